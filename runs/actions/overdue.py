"""Conditions that have lasted longer than their deadline: somebody should have ended them.

The deadlines are those of the table in docs/architecture.md, with room for a busy machine. Ages are
counted from the instants in the rows, so they are as good as the clocks that wrote them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Exists, OuterRef, QuerySet, Subquery, Value

from runs.domain.status import Status
from runs.models import (
    Account,
    Attempt,
    EnvironmentBuild,
    Executable,
    LoopLease,
    Run,
    RunEvent,
    Worker,
)

ROOM = timedelta(seconds=30)
"""For a machine that is busy with other things."""
MOST = 1000
"""Rows looked at of each kind."""
CHECK_LIMIT = timedelta(hours=1)
"""What was pushed is checked by then, whatever was pushed before it."""
LIVE = (Worker.ACTIVE, Worker.DRAINING)


@dataclass(frozen=True)
class Finding:
    """Something that does not add up, in a sentence. `since` is when it began, as far as known.

    `run_id` and `account` (a primary key) are those of the run concerned, if it is one.
    """

    kind: str
    text: str
    run_id: str = ""
    account: int | None = None
    since: datetime | None = None


def find_unsettled(now: datetime, account: Account | None) -> tuple[list[Finding], list[Finding]]:
    """Orphans, and what is overdue, of an account or of the installation; the oldest first.

    Orphans are open attempts that hold no run, and running runs that no open attempt holds: the
    scheduler ends both at its next look. Three queries over what is under way, or past an instant
    that has an index; four more for workers, loops, builds and pushes of the installation.
    """
    late = now - timedelta(seconds=2 * settings.RUNSITE_REAP_S) - ROOM
    orphans, overdue = _without_attempt(account), _waiting(now, account)
    for attempt in _open_attempts(account):
        if attempt.run.token == attempt.token:
            overdue += _of_attempt(attempt, now)
        else:
            orphans.append(_without_run(attempt))
    if account is None:
        overdue += _of_installation(now)
    return (
        _oldest_first(one for one in orphans if one.since and one.since < late),
        _oldest_first(overdue),
    )


def _without_attempt(account: Account | None) -> list[Finding]:
    """Running runs that no open attempt holds. One query."""
    last = RunEvent.objects.filter(run=OuterRef("pk")).order_by("-id").values("at")[:1]
    holders = Attempt.objects.filter(token=OuterRef("token"), ended_at__isnull=True)
    running = Run.objects.filter(~Exists(holders), status=Status.RUNNING)
    if account is not None:
        running = running.filter(account=account)
    text = "It is running, and no open attempt holds it."
    return [
        Finding("run without an attempt", text, run_id, account_id, last_at or created_at)
        for run_id, account_id, created_at, last_at in running.annotate(
            last_at=Subquery(last)
        ).values_list("run_id", "account_id", "created_at", "last_at")[:MOST]
    ]


def _without_run(attempt: Attempt) -> Finding:
    run = attempt.run
    text = f"Attempt {attempt.number} is open and does not hold its run, which is {run.status}."
    since = run.ended_at or attempt.claimed_at
    return Finding("attempt without a run", text, run.run_id, run.account_id, since)


def _open_attempts(account: Account | None) -> list[Attempt]:
    """As few as there are slots. A condition on the account would only lead a planner to the index
    of its runs, and so to all it ever made."""
    found = Attempt.objects.filter(ended_at__isnull=True).select_related("run", "worker")
    rows = list(found.order_by()[:MOST])
    return rows if account is None else [one for one in rows if one.run.account_id == account.pk]


def _of_attempt(attempt: Attempt, now: datetime) -> Iterator[Finding]:
    run, worker = attempt.run, attempt.worker
    silence = timedelta(seconds=settings.RUNSITE_LEASE_S + 2 * settings.RUNSITE_REAP_S) + ROOM
    grace_s = settings.RUNSITE_GRACE_S if run.stop_grace_s is None else run.stop_grace_s
    ending = timedelta(seconds=2 * max(settings.RUNSITE_GRACE_S, grace_s)) + ROOM

    def finding(kind: str, text: str, since: datetime) -> Finding:
        return Finding(kind, text, run.run_id, run.account_id, since)

    since = attempt.claimed_at
    if worker is not None and worker.boot_id == attempt.boot_id:
        since = max(since, worker.seen_at)
    if now - since > silence and (worker is None or worker.boot_id != attempt.boot_id):
        yield finding(
            "worker gone", f"The boot of {attempt.worker_name} that has it is gone.", since
        )
    elif now - since > silence:
        yield finding("worker silent", f"{attempt.worker_name}, which has it, is silent.", since)
    if run.cancel_requested_at and now - run.cancel_requested_at > silence + ending:
        yield finding("cancel", "Canceling it takes too long.", run.cancel_requested_at)
    if run.stop_requested_at and now - run.stop_requested_at > silence + ending:
        yield finding("stop", "Stopping it takes too long.", run.stop_requested_at)
    limit_s = min(run.time_limit_s or settings.RUNSITE_TIME_LIMIT_S, settings.RUNSITE_TIME_LIMIT_S)
    if attempt.started_at and attempt.executed_at is None:
        over = attempt.started_at + timedelta(seconds=limit_s)
        if run.phase == "executing" and now - over > ending:
            yield finding("time limit", "It runs beyond its time limit.", over)


def _waiting(now: datetime, account: Account | None) -> list[Finding]:
    """Queued runs past an instant at which something had to happen. One query, of all accounts for
    the same reason: each part follows the index of its instant, or of its hold."""
    late = now - ROOM
    queued = Run.objects.filter(status=Status.QUEUED).order_by()
    expired = queued.filter(expires_at__lt=late).annotate(what=Value("queue limit"))
    retried = queued.filter(hold=Run.WAITS_FOR_RETRY, held_until__lt=late).annotate(
        what=Value("retry")
    )
    checked = queued.filter(
        hold=Run.WAITS_FOR_EXECUTABLE, executable__checked_at__lt=late
    ).annotate(what=Value("executable"))
    texts = {
        "executable": "Its executable is checked, and it is still held.",
        "queue limit": "It has waited longer than its queue limit.",
        "retry": "The delay of its retry is over, and it is still held.",
    }
    rows: QuerySet[Any, Any] = expired.values_list("what", "run_id", "account_id", "expires_at")
    every = rows.union(
        retried.values_list("what", "run_id", "account_id", "held_until"),
        checked.values_list("what", "run_id", "account_id", "executable__checked_at"),
        all=True,
    )
    return [
        Finding(what, texts[what], run_id, account_id, since)
        for what, run_id, account_id, since in every[:MOST]
        if account is None or account_id == account.pk
    ]


def _of_installation(now: datetime) -> list[Finding]:
    silence = timedelta(seconds=settings.RUNSITE_LEASE_S + 2 * settings.RUNSITE_REAP_S) + ROOM
    found = [
        Finding("silent worker", f"{name} is shown as {state}, and is silent.", since=seen_at)
        for name, state, seen_at in Worker.objects.filter(
            state__in=LIVE, seen_at__lt=now - silence
        ).values_list("name", "state", "seen_at")[:MOST]
    ]
    found += [
        Finding("no scheduler", f"Nobody does the duties of the {name}.", since=seen_at)
        for name, seen_at in LoopLease.objects.filter(seen_at__lt=now - silence).values_list(
            "name", "seen_at"
        )[:MOST]
    ]
    limit = timedelta(seconds=settings.RUNSITE_BUILD_LIMIT_S) + silence
    building = EnvironmentBuild.objects.filter(
        state=EnvironmentBuild.BUILDING, started_at__lt=now - limit
    )
    found += [
        Finding("build", f"The build of an environment on {host} goes on too long.", since=since)
        for host, since in building.values_list("host", "started_at")[:MOST]
    ]
    unchecked = Executable.objects.filter(
        state__in=(Executable.WAITING, Executable.CHECKING), created_at__lt=now - CHECK_LIMIT
    )
    found += [
        Finding("unchecked", f"Build {number} of {name} is still not checked.", "", account, since)
        for number, name, account, since in unchecked.values_list(
            "number", "application__application_id", "application__account", "created_at"
        )[:MOST]
    ]
    return found


def _oldest_first(found: Iterable[Finding]) -> list[Finding]:
    return sorted(found, key=lambda one: (one.since is None, one.since))
