"""From queued to running, exactly once: the right to conduct a run goes to one worker."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime

from django.db import connection, transaction

from runs.domain.concurrency import cancel_reason
from runs.domain.status import Phase, Status
from runs.models import Attempt, Run
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
        heads = next_heads(queues=identity.queues, host=identity.host, slots=slots, most=1)
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
        locked = _lock_run(head)
        if locked is None or _is_full(*locked):
            return None
        run = locked[0]
        if run.cancel_requested_at is not None:
            _cancel(run, now)
            return None
        return _move(run, identity, now)


def _lock_run(head: Head) -> tuple[Run, int | None, int | None] | None:
    """The run, and the limits of its queue and its application, all three locked.

    None when it may not start any more. Only claims make more runs run, and they hold these locks:
    what is counted then stays true until the end of the transaction.
    """
    statement = _LOCK if connection.features.has_select_for_update else _LOOK
    for run in Run.objects.raw(statement, [head.run]):
        # As a condition it would lead a planner to the runs of the lane.
        if run.lane_id == head.lane:
            return run, vars(run).pop("queue_limit"), vars(run).pop("application_limit")
    return None


# In words of our own, as putting it into words takes Django longer than the rest of a claim. Rows
# are locked in the order in which they are named: who ends runs has locked a run and may not wait
# for its application, so who locks both begins with the application.
_LOOK = """
    SELECT run.*, queue.running_limit AS queue_limit,
        application.running_limit AS application_limit
    FROM runs_queue queue
    JOIN runs_run run ON run.queue_id = queue.id
    JOIN runs_application application ON application.id = run.application_id
    WHERE run.id = %s AND run.status = 'queued' AND run.hold = ''
    AND queue.paused_at IS NULL
"""
_LOCK = f"{_LOOK} FOR NO KEY UPDATE OF queue, application, run"


def _is_full(run: Run, queue_limit: int | None, application_limit: int | None) -> bool:
    if queue_limit is None and application_limit is None:
        return False
    running = RunningCounts()
    return not (
        has_room(queue_limit, running.of_queue(run.queue_id))
        and has_room(application_limit, running.of_application(run.application_id))
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
