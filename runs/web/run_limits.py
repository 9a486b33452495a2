"""What a run may use and what it has used, as its page shows them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from runs.domain.retry import REASONS
from runs.domain.status import WORDS, EndReason
from runs.models import Run
from runs.templatetags.human import duration, filesize
from runs.web.forms.limits import LOG_ACTIONS, OUTPUT_ACTIONS, YES_NO

OF_LIMITS = frozenset(
    {
        EndReason.TIMED_OUT,
        EndReason.MEMORY_LIMIT,
        EndReason.PROCESS_LIMIT,
        EndReason.LOG_TOO_LARGE,
        EndReason.OUTPUT_TOO_LARGE,
        EndReason.QUEUE_LIMIT,
        EndReason.STOPPED_EARLY,
    }
)
"""Ends that make a reader ask for the limits."""


@dataclass(frozen=True)
class LimitRow:
    """One limit in force. `share` is how much of it was used, None where nobody knows."""

    label: str
    limit: str
    used: str = ""
    share: float | None = None
    then: str = ""

    @property
    def is_over(self) -> bool:
        """Whether the limit was reached."""
        return self.share is not None and self.share >= 1


def limit_rows(run: Run) -> list[LimitRow]:
    """The limits of this run that are not simply those of the installation; no query."""
    return list(_rows(run))


def _rows(run: Run) -> Iterator[LimitRow]:
    if run.time_limit_s or run.keep_at_time_limit is not None:
        limit = duration(run.time_limit_s) if run.time_limit_s else "of the installation"
        keep = run.keep_at_time_limit
        yield _row(
            "Time limit",
            limit,
            *(run.execution_s, run.time_limit_s, duration),
            then="" if keep is None else YES_NO[keep],
        )
    if run.queue_limit_s:
        since = run.started_at or run.ended_at
        waited = (since - run.created_at).total_seconds() if since else None
        yield _row("Queue limit", duration(run.queue_limit_s), waited, run.queue_limit_s, duration)
    if run.memory_limit_bytes:
        limit_bytes, peak = run.memory_limit_bytes, run.peak_memory_bytes
        yield _row("Memory limit", filesize(limit_bytes), peak, limit_bytes, filesize)
    if run.process_limit:
        over = run.end_reason == EndReason.PROCESS_LIMIT
        yield LimitRow(
            "Processes at once", str(run.process_limit), "more were alive" if over else ""
        )
    if run.log_limit_bytes or run.log_limit_action:
        yield _sized("Log limit", run.log_limit_bytes, run.log_bytes or None, run.log_limit_action)
    if run.output_limit_bytes or run.output_limit_action:
        yield _sized(
            "Output limit", run.output_limit_bytes, run.output_bytes, run.output_limit_action
        )
    if run.stop_signal not in ("", "SIGINT") or run.stop_grace_s is not None:
        grace = "" if run.stop_grace_s is None else f", {duration(run.stop_grace_s)} to react"
        yield LimitRow("Stop signal", f"{run.stop_signal or 'SIGINT'}{grace}")
    if run.retries:
        causes = ", ".join(cause_words(word) for word in run.retry_on.split())
        yield LimitRow(
            "Retries", str(run.retries), f"{run.retries_made} made", then=f"after {causes}"
        )


def cause_words(word: str) -> str:
    """A cause of a retry rule as pages say it: `exit_code:3` is "exit code 3"."""
    name, _, code = word.partition(":")
    if name in REASONS:
        return f"{WORDS[EndReason(name)]} {code}".strip()
    return word


def _sized(label: str, limit: int | None, used: int | None, action: str) -> LimitRow:
    words = (LOG_ACTIONS if label.startswith("Log") else OUTPUT_ACTIONS).get(action, "")
    shown = filesize(limit) if limit else "of the installation"
    return _row(label, shown, used, limit, filesize, then=words)


def _row(
    label: str, limit: str, used: float | None, most: float | None, words: object, then: str = ""
) -> LimitRow:
    if used is None:
        return LimitRow(label, limit, then=then)
    assert callable(words)
    share = used / most if most else None
    return LimitRow(label, limit, words(used), share, then)
