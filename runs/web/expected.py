"""When queued runs should start, in words; looked up once for all who look at the same queue.

An outlook costs more than the page around it, so pages show what is known already, and open pages
ask for the rest at once. Without script a link does.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from runs.actions.estimates import Expected, expected_starts
from runs.models import Account, Run
from runs.queue.order import Waiting

FRESH_S = 2.0
"""An outlook that is younger is not looked up anew."""
KEPT_S = 15.0
"""So long a page may show what was known."""
MOST_KEPT = 5000
ASKED = "starts"
"""The parameter by which a page without script asks for the outlook."""
_STEPS = ((90.0, 1.0, "s"), (5400.0, 60.0, "min"), (36 * 3600.0, 3600.0, "h"))


@dataclass(frozen=True)
class ExpectedWords:
    """When a run should start: in words, and exactly; or why that is not known."""

    words: str = ""
    exact: str = ""
    reason: str = ""


class Kept:
    """What this process knows of starts, by run and by what holds it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[object, tuple[float, ExpectedWords]] = OrderedDict()

    def find(self, run: Run, age_s: float) -> ExpectedWords | None:
        """What was found out at most `age_s` ago, while it was held as it is now."""
        with self._lock:
            known = self._known.get(_key(run))
        return known[1] if known and time.monotonic() - known[0] <= age_s else None

    def keep(self, run: Run, words: ExpectedWords) -> None:
        """Keep it in place of the oldest."""
        with self._lock:
            self._known[_key(run)] = (time.monotonic(), words)
            self._known.move_to_end(_key(run))
            while len(self._known) > MOST_KEPT:
                self._known.popitem(last=False)

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._known.clear()


kept = Kept()


def known_words(runs: Iterable[Run]) -> dict[int, ExpectedWords]:
    """What is known without a look, by primary key."""
    found = {run.pk: kept.find(run, KEPT_S) for run in runs}
    return {pk: words for pk, words in found.items() if words is not None}


def expected_words(
    account: Account, runs: Sequence[Run], *, now: datetime
) -> dict[int, ExpectedWords]:
    """When each of these runs, which follow each other, should start; at most six queries."""
    known = {run.pk: kept.find(run, FRESH_S) for run in runs}
    if any(words is None for words in known.values()):
        found = expected_starts(account, [Waiting(run, None, ()) for run in runs], now=now)
        for run in runs:
            if run.pk in found:
                known[run.pk] = told(found[run.pk], now)
                kept.keep(run, told(found[run.pk], now))
    return {pk: words for pk, words in known.items() if words is not None}


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
    near = words.startswith("within")
    return ExpectedWords(words if near else f"in {words}", exact)


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


def _key(run: Run) -> object:
    # By what holds it, too: a change of that is seen at once.
    return run.run_id, run.rank, run.hold, run.open_waits


def _clock(seen_at: datetime, seconds: float) -> str:
    at = (seen_at + timedelta(seconds=min(seconds, 10 * 365 * 86400.0))).astimezone(UTC)
    far = abs(seconds) > 20 * 3600
    return f"{at:%Y-%m-%d %H:%M}" if far else f"{at:%H:%M:%S}"
