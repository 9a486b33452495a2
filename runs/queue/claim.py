"""From queued to running, exactly once: the right to conduct a run goes to one worker."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from runs.domain.status import EndReason, Phase, Status
from runs.models import Attempt, Lane, Run
from runs.queue.lease import WorkerIdentity
from runs.queue.order import Head, RunningCounts, has_room, next_heads

__all__ = ["Claimed", "WorkerIdentity", "claim_next"]

MOST_LOOKS = 200


@dataclass(frozen=True)
class Claimed:
    """A run that is now running, and the attempt that holds it."""

    run: Run
    attempt: Attempt


def claim_next(identity: WorkerIdentity, *, now: datetime) -> Claimed | None:
    """Take the run that is first in order among those that may start on this worker.

    None when there is none. Looking takes no lock, so an idle worker disturbs nobody. The taking
    locks the queue and the application of one run (on PostgreSQL; on SQLite the transaction is
    the only writer), looks at pause and limits again, and moves the run by a guarded update. Who
    loses a race looks anew: somebody else has made progress then.
    """
    for _ in range(MOST_LOOKS):
        heads = next_heads(queues=identity.queues, host=identity.host)
        if not heads:
            return None
        claimed = _take(heads[0], identity, now)
        if claimed is not None:
            return claimed
    return None


def _take(head: Head, identity: WorkerIdentity, now: datetime) -> Claimed | None:
    with transaction.atomic():
        lane = _lock_lane(head)
        if lane is None or _is_full(lane):
            return None
        run = (
            Run.objects.select_for_update(of=("self",), no_key=True)
            .select_related("executable__environment")
            .filter(pk=head.run, lane=lane, status=Status.QUEUED)
            .first()
        )
        if run is None:
            return None
        run.queue, run.application = lane.queue, lane.application
        if run.cancel_requested_at is not None:
            _cancel(run, now)
            return None
        return _move(run, identity, now)


def _lock_lane(head: Head) -> Lane | None:
    """The lane with its queue and application locked, unless the queue was paused meanwhile.

    Only claims make more runs run, and they hold these locks: what is counted below stays true
    until the end of the transaction.
    """
    return (
        Lane.objects.select_for_update(of=("queue", "application"), no_key=True)
        .select_related("queue", "application")
        .filter(pk=head.lane, queue__paused_at__isnull=True)
        .first()
    )


def _is_full(lane: Lane) -> bool:
    queue, application = lane.queue, lane.application
    if queue.running_limit is None and application.running_limit is None:
        return False
    running = RunningCounts()
    return not (
        has_room(queue.running_limit, running.of_queue(queue.pk))
        and has_room(application.running_limit, running.of_application(application.pk))
    )


def _move(run: Run, identity: WorkerIdentity, now: datetime) -> Claimed | None:
    number = run.attempt_number + 1
    token = secrets.token_hex(16)
    moved = run.move_to(
        Status.RUNNING,
        now=now,
        actor=f"worker {identity.name}",
        text=f"Attempt {number} of {run.max_attempts} on worker {identity.name}",
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
        reason=EndReason.CANCELED,
        actor=run.cancel_actor,
        text="Canceled before it started",
    )
