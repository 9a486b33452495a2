"""The ledger: what was submitted, what became of it, and what does not add up."""

from __future__ import annotations

from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from django.db.models import Count, QuerySet

from runs.actions.overdue import Finding, find_unsettled
from runs.domain.status import END_REASONS, FINAL, MOVES, EndReason, Status
from runs.models import Account, Attempt, Counter, EndedProcess, Run, RunEvent

LOOK_AT = 5_000
"""Runs that one ledger is about, unless asked for more."""
MOST_FINDINGS = 100
"""Of each kind that are kept; all are counted."""
_FOLLOWING = {str(before): following for before, following in MOVES.items()}
GIVEN_BACK = (EndReason.WORKER_LOST, EndReason.WORKER_STOPPED)


@dataclass(frozen=True)
class Ledger:
    """What became of the newest runs, or of those before `before`, and what does not add up.

    `runs` is how many it is about, from `since` to `until`; with `older` there are more. Findings
    are what contradicts the promises; those about what is under way (`orphans`, `overdue`) are
    looked for among all runs.
    """

    at: datetime
    runs: int
    since: datetime | None
    until: datetime | None
    older: str
    """The run before which the next ledger goes on; empty when there is none."""
    by_status: Mapping[str, int]
    by_end_reason: Mapping[str, int]
    recorded: int
    """Runs that were executed elsewhere and only recorded here: no worker had them."""
    attempts: int
    """Executions by a worker."""
    by_outcome: Mapping[str, int]
    """Attempts by what became of them; "" for those under way."""
    repeated: int
    """Runs with more than one attempt."""
    given_back: int
    """Attempts that ended because their worker was lost or stopped."""
    retried: int
    """Attempts that a retry rule asked for."""
    accepted: int
    """Succeeded runs with exactly one accepted result."""
    ended_processes: Mapping[str, int]
    """Processes of these runs that had to be ended, by the signal."""
    counters: Mapping[str, int]
    """What the installation has counted since it exists; empty for a single account."""
    doubled: Sequence[Finding]
    contradictions: Sequence[Finding]
    orphans: Sequence[Finding]
    overdue: Sequence[Finding]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Everything that does not add up."""
        return (*self.doubled, *self.contradictions, *self.orphans, *self.overdue)

    @property
    def balanced(self) -> bool:
        """Whether everything adds up."""
        return not self.findings

    @property
    def oldest(self) -> Finding | None:
        """What has been unreconciled for longest."""
        dated = [one for one in self.findings if one.since is not None]
        return min(dated, key=lambda one: one.since or self.at, default=None)


class _Row(NamedTuple):
    pk: int
    run_id: str
    account: int
    status: str
    end_reason: str
    attempt_number: int
    retries_made: int
    created_at: datetime


_COLUMNS = (
    *("pk", "run_id", "account_id", "status", "end_reason"),
    *("attempt_number", "retries_made", "created_at"),
)


def read_ledger(
    now: datetime,
    *,
    account: Account | None = None,
    most: int = LOOK_AT,
    before: str = "",
) -> Ledger:
    """The ledger of an account, or of the installation, over `most` runs at a time.

    Those are the newest, or with `before` (a run id) the newest that are older than that run.
    Changes nothing and locks nothing; what changes while it reads is looked at a second time.
    At most eight queries for an account, twelve for the installation, however many runs there are.
    """
    rows = _window(account, most + 1, before)
    older = rows[most - 1].run_id if len(rows) > most else ""
    rows = rows[:most]
    attempts = _attempts(rows, account)
    ways = _events(rows, account)
    recorded = {run for run, way in ways.items() if way[0].kind == RunEvent.RECORDED}
    doubled, contradictions = _check(rows, attempts, ways)
    if moved := _moved(rows, {one.run_id for one in (*doubled, *contradictions)}):
        doubled = [one for one in doubled if one.run_id not in moved]
        contradictions = [one for one in contradictions if one.run_id not in moved]
    orphans, overdue = find_unsettled(now, account)
    of_workers = [made for run, made in attempts.items() if run not in recorded]
    outcomes = Tally(one.outcome for made in of_workers for one in made)
    return Ledger(
        at=now,
        runs=len(rows),
        since=rows[-1].created_at if rows else None,
        until=rows[0].created_at if rows else None,
        older=older,
        by_status=dict.fromkeys(map(str, Status), 0) | Tally(row.status for row in rows),
        by_end_reason=Tally(row.end_reason for row in rows if row.end_reason),
        recorded=len(recorded),
        attempts=sum(outcomes.values()),
        by_outcome=outcomes,
        repeated=sum(len(made) > 1 for made in attempts.values()),
        given_back=sum(outcomes[reason] for reason in GIVEN_BACK),
        retried=sum(row.retries_made for row in rows),
        accepted=_accepted(rows, attempts),
        ended_processes=_ended_processes(rows, account),
        counters=_counters() if account is None else {},
        doubled=doubled,
        contradictions=contradictions,
        orphans=orphans,
        overdue=overdue,
    )


class _Made(NamedTuple):
    """An attempt."""

    number: int
    outcome: str


class _Moved(NamedTuple):
    """An event of a run's way from status to status."""

    kind: str
    before: str
    after: str


def _window(account: Account | None, most: int, before: str) -> list[_Row]:
    runs = Run.objects.all() if account is None else account.runs.all()
    if before:
        runs = runs.filter(pk__lt=runs.filter(run_id=before).values("pk")[:1])
    return [_Row(*row) for row in runs.order_by("-pk").values_list(*_COLUMNS)[:most]]


def _between(
    found: QuerySet[Any], rows: Sequence[_Row], account: Account | None, path: str = "run"
) -> QuerySet[Any]:
    """What belongs to these runs, as a range of their keys: an index serves it."""
    if not rows:
        return found.none()
    found = found.filter(**{f"{path}__gte": rows[-1].pk, f"{path}__lte": rows[0].pk})
    return found if account is None else found.filter(**{f"{path}__account": account})


def _attempts(rows: Sequence[_Row], account: Account | None) -> dict[int, list[_Made]]:
    found = _between(Attempt.objects.order_by("run_id", "number"), rows, account)
    made: dict[int, list[_Made]] = defaultdict(list)
    for run, *columns in found.values_list("run_id", "number", "outcome"):
        made[run].append(_Made(*columns))
    return made


def _events(rows: Sequence[_Row], account: Account | None) -> dict[int, list[_Moved]]:
    kinds = (RunEvent.SUBMITTED, RunEvent.RECORDED, RunEvent.MOVED)
    found = RunEvent.objects.filter(kind__in=kinds).order_by("run_id", "id")
    ways: dict[int, list[_Moved]] = defaultdict(list)
    for run, *columns in _between(found, rows, account).values_list(
        "run_id", "kind", "before", "after"
    ):
        ways[run].append(_Moved(*columns))
    return ways


def _moved(rows: Sequence[_Row], suspects: set[str]) -> set[str]:
    """Which of the suspects have moved since they were read.

    A run that moves between two queries seems to contradict itself. One that has not moved since
    the first of them is as it was read; every claim counts an attempt, so none comes back.
    """
    read = {row.pk: row for row in rows if row.run_id in suspects}
    if not read:
        return set()
    now = {row[0]: _Row(*row) for row in Run.objects.filter(pk__in=read).values_list(*_COLUMNS)}
    return {row.run_id for pk, row in read.items() if now.get(pk) != row}


def _check(
    rows: Iterable[_Row], attempts: Mapping[int, list[_Made]], ways: Mapping[int, list[_Moved]]
) -> tuple[list[Finding], list[Finding]]:
    """Runs with more than one accepted result, and those that contradict themselves."""
    doubled: list[Finding] = []
    contradictions: list[Finding] = []
    for row in rows:
        made = attempts.get(row.pk, [])
        results = _results(made)

        def finding(kind: str, text: str, row: _Row = row) -> Finding:
            return Finding(kind, text, row.run_id, row.account, row.created_at)

        if results > 1:
            doubled.append(finding("result twice", f"{results} of its attempts have a result."))
        problem = _problem(row, made, results, ways.get(row.pk, []))
        if problem:
            contradictions.append(finding("history", problem))
    return doubled, contradictions


def _accepted(rows: Iterable[_Row], attempts: Mapping[int, list[_Made]]) -> int:
    return sum(
        row.status == Status.SUCCEEDED and _results(attempts.get(row.pk, [])) == 1 for row in rows
    )


def _results(made: Iterable[_Made]) -> int:
    return sum(one.outcome in END_REASONS[Status.SUCCEEDED] for one in made)


def _problem(row: _Row, made: Sequence[_Made], results: int, way: Sequence[_Moved]) -> str:
    """What contradicts the table of moves or the attempts, in a sentence; empty when nothing."""
    at = ""
    for event in way:
        if event.kind == RunEvent.SUBMITTED:
            legal = at == ""
        elif event.kind == RunEvent.RECORDED:
            legal = at == "" and event.after in FINAL
        else:
            legal = event.before == at and event.after in _FOLLOWING.get(at, ())
        if not legal:
            return f"Its history says “{event.before or at} → {event.after}” after “{at}”."
        at = event.after
    if at != row.status:
        return f"It is {row.status}, and its history ends with “{at or 'nothing'}”."
    # One that was executed elsewhere has what was sent of it as its only attempt.
    claims = sum(event.after == Status.RUNNING or event.kind == RunEvent.RECORDED for event in way)
    if claims != len(made) or claims != row.attempt_number:
        numbers = f"{claims} by its history, {len(made)} recorded, {row.attempt_number} counted"
        return f"The number of its attempts differs: {numbers}."
    if row.status == Status.SUCCEEDED and not results:
        return "It succeeded, and none of its attempts has a result."
    if row.status != Status.SUCCEEDED and results:
        return f"It is {row.status}, and an attempt of it has a result."
    return ""


def _ended_processes(rows: Sequence[_Row], account: Account | None) -> Mapping[str, int]:
    found = _between(EndedProcess.objects.order_by(), rows, account, "attempt__run")
    return dict(found.values_list("signal").annotate(Count("pk")))


def _counters() -> Mapping[str, int]:
    return {
        f"{name} {label}".strip(): value
        for name, label, value in Counter.objects.order_by("name", "label").values_list(
            "name", "label", "value"
        )
    }
