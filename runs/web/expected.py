"""When queued runs should start, in words; looked up once for all who look at the same queue."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from runs.actions.estimates import Expected, expected_starts
from runs.models import Account
from runs.queue.order import Waiting

KEPT_S = 2.0
"""How long an outlook is kept: many look at a queue, and it costs more than the page around it."""
MOST_KEPT = 64
_STEPS = ((90.0, 1.0, "s"), (5400.0, 60.0, "min"), (36 * 3600.0, 3600.0, "h"))


@dataclass(frozen=True)
class ExpectedWords:
    """When a run should start: in words, and exactly; or why that is not known."""

    words: str = ""
    exact: str = ""
    reason: str = ""


class _Kept:
    """The newest outlooks by what they are about."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[object, tuple[float, dict[int, Expected], datetime]] = (
            OrderedDict()
        )

    def find(self, key: object) -> tuple[dict[int, Expected], datetime] | None:
        with self._lock:
            known = self._known.get(key)
        if known is None or time.monotonic() - known[0] > KEPT_S:
            return None
        return known[1], known[2]

    def keep(self, key: object, found: dict[int, Expected], now: datetime) -> None:
        with self._lock:
            self._known[key] = (time.monotonic(), found, now)
            self._known.move_to_end(key)
            while len(self._known) > MOST_KEPT:
                self._known.popitem(last=False)

    def clear(self) -> None:
        with self._lock:
            self._known.clear()


kept = _Kept()


def expected_words(
    account: Account, waiting: Sequence[Waiting], *, now: datetime
) -> dict[int, ExpectedWords]:
    """When each of these runs should start, by primary key; up to `KEPT_S` old."""
    # By what holds them, so that a change of theirs is seen at once.
    about = tuple((each.run.run_id, each.run.rank, each.run.hold) for each in waiting)
    key = (account.slug, about)
    known = kept.find(key)
    if known is None:
        known = expected_starts(account, waiting, now=now), now
        kept.keep(key, *known)
    found, seen_at = known
    return {pk: told(expected, seen_at) for pk, expected in found.items()}


def told(expected: Expected, seen_at: datetime) -> ExpectedWords:
    """An expected start in words."""
    if expected.low_s is None or expected.high_s is None:
        return ExpectedWords(reason=expected.reason or "Not known.")
    low, high = (_clock(seen_at, seconds) for seconds in (expected.low_s, expected.high_s))
    half = _clock(seen_at, expected.median_s or expected.low_s)
    exact = f"Between {low} and {high} UTC, most likely about {half}; 8 of 10 runs start within it."
    if expected.high_s < 1:
        return ExpectedWords("now", exact)
    words = span_words(expected.low_s, expected.high_s)
    return ExpectedWords(words if words.startswith("within") else f"in {words}", exact)


def span_words(low_s: float, high_s: float) -> str:
    """A range of seconds as people say it: `2 to 5 min`, `about 3 s`, `within 20 s`."""
    high_s = max(high_s, 1.0)
    unit_s, unit = next(
        ((size, name) for limit, size, name in _STEPS if high_s < limit), (86400.0, "d")
    )
    low, high = math.floor(low_s / unit_s), math.ceil(high_s / unit_s)
    if high > 20:
        low, high = 5 * (low // 5), 5 * math.ceil(high / 5)
    if low == 0:
        return f"within {high} {unit}"
    return f"about {high} {unit}" if low == high else f"{low} to {high} {unit}"


def _clock(seen_at: datetime, seconds: float) -> str:
    at = (seen_at + timedelta(seconds=min(seconds, 10 * 365 * 86400.0))).astimezone(UTC)
    far = abs(seconds) > 20 * 3600
    return f"{at:%Y-%m-%d %H:%M}" if far else f"{at:%H:%M:%S}"
