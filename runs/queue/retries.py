"""Further attempts by rule: whether a run that failed is tried again, and when."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Any

from runs.domain import retry
from runs.domain.status import EndReason
from runs.models import Run

FORGOTTEN: dict[str, Any] = {
    "started_at": None,
    "execution_s": None,
    "exit_code": None,
    "signal": None,
    "cpu_s": None,
    "peak_memory_bytes": None,
    "output_bytes": None,
    "log_bytes": 0,
    "value": None,
    "result_kind": "",
    "error": "",
    "detail": "",
}
"""What an attempt left on the run, and the next one must not inherit.

Warnings are not among them: until the run ends they are those of its submission.
"""


def most_attempts(run: Run) -> int:
    """How many attempts the run may come to: those for lost workers, and those by its rule."""
    return run.max_attempts + run.retries


def may_retry(run: Run, reason: EndReason, exit_code: int | None = None) -> bool:
    """Whether its rule names this end, retries are left, and nobody wants the run ended."""
    return (
        run.retries_made < run.retries
        and run.cancel_requested_at is None
        and run.stop_requested_at is None
        and retry.wants_retry(run.retry_on, reason, exit_code)
    )


def retry_columns(run: Run, now: datetime) -> dict[str, Any]:
    """The columns of a run that waits for its next attempt by rule, for `Run.move_to`."""
    # Spread a little, so that runs that failed together do not come back together.
    wait_s = retry.delay_s(run.retry_delay_s, run.retries_made, random.uniform(-1, 1))
    return {
        **FORGOTTEN,
        "hold": Run.WAITS_FOR_RETRY,
        "held_until": now + timedelta(seconds=wait_s),
        "retries_made": run.retries_made + 1,
    }


def retry_words(columns: dict[str, Any], run: Run, now: datetime) -> str:
    """When it is tried again, as "tried again in 10 s (retry 1 of 3)"; `columns` as made above."""
    wait_s = round((columns["held_until"] - now).total_seconds())
    number = columns["retries_made"]
    return f"tried again {in_words(wait_s)} (retry {number} of {run.retries})"


def in_words(wait_s: float) -> str:
    """A time to wait as people say it: "at once", "in 12 s", "in 3 min"."""
    seconds = round(wait_s)
    if seconds <= 0:
        return "at once"
    return f"in {seconds} s" if seconds < 120 else f"in {round(seconds / 60)} min"
