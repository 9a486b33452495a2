"""What a queued run waits for by itself, in sentences.

Other runs, its key, its next attempt, its executable.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Protocol

from django.db.models import Min, Q

from runs.domain.status import WORDS, EndReason
from runs.models import Attempt, Run, RunWait
from runs.queue.retries import in_words, most_attempts


class Running(Protocol):
    """Knows how many runs are running."""

    def of_key(self, application: int, key: str) -> int:
        """Those of this concurrency key of the application with this primary key."""
        ...


class OwnHolds:
    """Why each of some queued runs may not be claimed, whatever its lane.

    A query for those that wait for runs and one for those to be tried again, if there are any,
    however many they are.
    """

    def __init__(self, runs: Iterable[Run], now: datetime, running: Running) -> None:
        by_hold: dict[str, list[Run]] = {}
        for run in runs:
            by_hold.setdefault(run.hold, []).append(run)
        self._now = now
        self._awaited = _first_awaited(by_hold.get(Run.WAITS_FOR_RUNS, []))
        self._running = running
        self._ended = _last_attempts(by_hold.get(Run.WAITS_FOR_RETRY, []))

    def of(self, run: Run) -> tuple[str, ...]:
        """One sentence, or none for a run that only waits for its turn."""
        if run.hold == Run.WAITS_FOR_RUNS:
            return (self._runs(run),)
        if run.hold == Run.WAITS_FOR_KEY:
            return (self._key(run),)
        if run.hold == Run.WAITS_FOR_RETRY:
            return (self._retry(run),)
        if run.hold == Run.WAITS_FOR_EXECUTABLE:
            return ("Waits until a worker has checked the executable that was pushed for it.",)
        return ()

    def _runs(self, run: Run) -> str:
        first = self._awaited.get(run.pk)
        if first is None:
            return "Waits for other runs."  # they have ended in this moment
        more = run.open_waits - 1
        others = "" if more < 1 else " and 1 other" if more == 1 else f" and {more:,} others"
        named = f", {first.name}" if first.name else ""
        return f"Waits for run `{first.run_id}`{named} ({first.status}){others}."

    def _key(self, run: Run) -> str:
        limit = run.application.concurrency_limit
        what = f"Waits for its key `{run.concurrency_key}`"
        if limit is None:
            return f"{what}."  # the limit was taken away in this moment
        # A key that somebody waits for is full, so what its running runs leave of the limit are
        # queued ones that it has admitted: nobody needs to count those that wait.
        count = max(self._running.of_key(run.application_id, run.concurrency_key), limit)
        return f"{what}: {count} of {limit} runs {'is' if count == 1 else 'are'} under way."

    def _retry(self, run: Run) -> str:
        until = run.held_until or self._now
        when = in_words(max(0.0, (until - self._now).total_seconds()))
        last = self._ended.get(run.pk)
        after = f" after {ended_words(last)}" if last else ""
        number = run.attempt_number + 1
        return f"Is tried again {when} (attempt {number} of {most_attempts(run)}{after})."


def ended_words(attempt: Attempt) -> str:
    """How an attempt ended, as "exit code 3" or "worker lost"."""
    if attempt.outcome == EndReason.EXIT_CODE:
        return f"exit code {attempt.exit_code}"
    try:
        return WORDS[EndReason(attempt.outcome)] or "its last attempt"
    except ValueError:
        return "its last attempt"


def _first_awaited(runs: Sequence[Run]) -> dict[int, Run]:
    """For each run one that it still waits for."""
    if not runs:
        return {}
    waits = RunWait.objects.filter(run__in=[run.pk for run in runs], open=True)
    firsts = waits.order_by().values("run").annotate(first=Min("pk")).values("first")
    found = RunWait.objects.filter(pk__in=firsts).select_related("awaited")
    return {wait.run_id: wait.awaited for wait in found}


def _last_attempts(runs: Sequence[Run]) -> dict[int, Attempt]:
    """The newest attempt of each run."""
    if not runs:
        return {}
    newest = Q()
    for run in runs:
        newest |= Q(run=run, number=run.attempt_number)
    found = Attempt.objects.filter(newest).only("run", "outcome", "exit_code")
    return {attempt.run_id: attempt for attempt in found}
