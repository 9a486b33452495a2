"""From queued to running, exactly once: the right to conduct a run goes to one worker."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from django.db import connection, transaction
from django.db.models import QuerySet

from runs.domain.concurrency import cancel_reason
from runs.domain.status import Phase, Status
from runs.models import Attempt, Lane, Run
from runs.queue.lease import WorkerIdentity
from runs.queue.order import Head, RunningCounts, has_room, next_heads
from runs.queue.retries import most_attempts

__all__ = ["Claimed", "WorkerIdentity", "claim_next"]

MOST_LOOKS = 200


@dataclass(frozen=True)
class Claimed:
    """A run that is now running, and the attempt that holds it."""

    run: Run
    attempt: Attempt


def claim_next(
    identity: WorkerIdentity,
    *,
    now: datetime,
    free_slots: int | None = None,
    slots: int | None = None,
) -> Claimed | None:
    """Take the run that is first in order among those that may start on this worker.

    `slots` is how many the worker has, `free_slots` how many of them are free; None does not ask.
    None when there is no such run, or when the first one needs more than the free slots. Looking
    takes no lock, so an idle worker disturbs nobody. The taking locks the queue and the
    application of one run (on PostgreSQL; on SQLite the transaction is the only writer), looks at
    pause and limits again, and moves the run by a guarded update. Who loses a race looks anew:
    somebody else has made progress then.
    """
    for _ in range(MOST_LOOKS):
        heads = next_heads(queues=identity.queues, host=identity.host, slots=slots)
        if not heads:
            return None
        if free_slots is not None and heads[0].slots > free_slots:
            # The slots are kept free for it. Were smaller runs behind it taken meanwhile, a run
            # of several slots would never see them free at once. What is too large for this
            # worker is not among the heads, so nothing waits here in vain.
            return None
        claimed = _take(heads[0], identity, now)
        if claimed is not None:
            return claimed
    return None


def _take(head: Head, identity: WorkerIdentity, now: datetime) -> Claimed | None:
    with transaction.atomic():
        limits = _lock_lane(head)
        if limits is None or _is_full(*limits):
            return None
        run = _lock_run(head)
        if run is None:
            return None
        if run.cancel_requested_at is not None:
            _cancel(run, now)
            return None
        return _move(run, identity, now)


def _lock_lane(head: Head) -> tuple[int, int | None, int, int | None] | None:
    """Queue, its limit, application, its limit, both locked; None when the queue was paused.

    Only claims make more runs run, and they hold these locks: what is counted below stays true
    until the end of the transaction.
    """
    statement, values = _lane_statement(connection.vendor)
    with connection.cursor() as cursor:
        cursor.execute(statement, _filled(values, head))
        row: tuple[int, int | None, int, int | None] | None = cursor.fetchone()
    return row


def _lock_run(head: Head) -> Run | None:
    """The run, locked, if it may still be claimed."""
    statement, values = _run_statement(connection.vendor)
    return next(iter(Run.objects.raw(statement, _filled(values, head))), None)


# Both statements are kept in words, as putting them into words takes Django longer than the rest of
# a claim. Nobody has these primary keys: they stand where those of the head are filled in.
_RUN, _LANE = -1, -2


def _filled(values: tuple[Any, ...], head: Head) -> list[Any]:
    return [{_RUN: head.run, _LANE: head.lane}.get(value, value) for value in values]


@lru_cache(maxsize=4)
def _lane_statement(vendor: str) -> tuple[str, tuple[Any, ...]]:
    # The lane's own row is locked as well, which nobody else ever does.
    lanes = Lane.objects.select_for_update(no_key=True)
    return _in_words(
        lanes.filter(pk=_LANE, queue__paused_at__isnull=True).values_list(
            "queue_id", "queue__running_limit", "application_id", "application__running_limit"
        )
    )


@lru_cache(maxsize=4)
def _run_statement(vendor: str) -> tuple[str, tuple[Any, ...]]:
    runs = Run.objects.select_for_update(no_key=True)
    return _in_words(runs.filter(pk=_RUN, lane=_LANE, status=Status.QUEUED, hold=Run.NO_HOLD))


# Any: whatever kind of rows it gives.
def _in_words(rows: QuerySet[Any, Any]) -> tuple[str, tuple[Any, ...]]:
    statement, values = rows.query.sql_with_params()
    return statement, tuple(values)


def _is_full(
    queue: int, queue_limit: int | None, application: int, application_limit: int | None
) -> bool:
    if queue_limit is None and application_limit is None:
        return False
    running = RunningCounts()
    return not (
        has_room(queue_limit, running.of_queue(queue))
        and has_room(application_limit, running.of_application(application))
    )


def _move(run: Run, identity: WorkerIdentity, now: datetime) -> Claimed | None:
    number = run.attempt_number + 1
    token = secrets.token_hex(16)
    moved = run.move_to(
        Status.RUNNING,
        now=now,
        actor=f"worker {identity.name}",
        text=f"Attempt {number} of {most_attempts(run)} on worker {identity.name}",
        changes={"token": token, "attempt_number": number, "phase": Phase.PREPARING},
    )
    if not moved:
        return None
    attempt = Attempt.objects.create(
        run=run,
        number=number,
        token=token,
        worker_id=identity.worker_id,
        worker_name=identity.name,
        boot_id=identity.boot_id,
        host=identity.host,
        claimed_at=now,
    )
    return Claimed(run, attempt)


def _cancel(run: Run, now: datetime) -> None:
    """A queued run that was to be canceled is never started; it goes where it should be."""
    run.move_to(
        Status.CANCELED,
        now=now,
        reason=cancel_reason(run.cancel_actor),
        actor=run.cancel_actor,
        text="Canceled before it started",
    )
