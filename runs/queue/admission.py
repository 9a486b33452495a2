"""Whether a run that may not wait in the queue could start now."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.db.models import Count, QuerySet, Sum

from runs.domain.errors import QueueFull
from runs.models import Attempt, EnvironmentBuild, Queue, Run, Worker
from runs.queue.order import BUILT, RunningCounts, ahead_of, has_room, holds_but_turn, next_heads

Counted = tuple[int, int, int, int]
"""Runs of one kind: their queue and application by primary key, how many, and their slots."""


def lock_queues() -> None:
    """Let those that may not wait come one after the other; the caller is in a transaction.

    All queues, in one order: a worker may serve any of them. Claims lock one, and before the
    application, too.
    """
    list(Queue.objects.select_for_update(no_key=True).order_by("pk").values_list("pk"))


def refuse_to_wait(run: Run, *, now: datetime) -> None:
    """Raise `QueueFull` unless a worker has room for this queued run, and nothing keeps it.

    It is written, but not yet committed, and the caller has locked the queues. Slots count as taken
    by what runs, by what goes first and may start, and by others that were not to wait. At most 11
    queries.
    """
    reasons = holds_but_turn(run, now=now) or _no_room(run)
    if reasons:
        raise QueueFull(
            f"The run may not wait in queue `{run.queue.name}` and cannot start now:"
            f" {' '.join(reasons)} Send it again later, or let it wait (`queuing.disabled` false)."
        )


def _no_room(run: Run) -> tuple[str, ...]:
    """Why the slots do not suffice, in a sentence; empty when they do."""
    name = run.queue.name
    able = Worker.objects.filter(state=Worker.ACTIVE, drain_wanted=False, slots__gte=run.slots)
    if run.environment_id is not None:
        built = EnvironmentBuild.objects.filter(environment=run.environment_id, state__in=BUILT)
        able = able.filter(host__in=built.values("host"))
    workers = {
        pk: (slots, names)
        for pk, slots, names in able.values_list("pk", "slots", "queues")
        if not names or name in names
    }
    # The attempts: what a worker says of its slots is as old as its last heartbeat.
    attempts = Attempt.objects.filter(worker__in=workers, ended_at=None).order_by()
    used = dict(attempts.values_list("worker").annotate(Sum("run__slots")))
    free = {pk: max(0, slots - used.get(pk, 0)) for pk, (slots, _) in workers.items()}
    served: set[str] | None = set()
    for _, names in workers.values():
        served = None if served is None or not names else served | set(names)
    lanes = [head.lane for head in next_heads(queues=served or ())]
    others = Run.objects.claimable().filter(lane__in=lanes).exclude(pk=run.pk)
    before = _counted(ahead_of(others, run))
    left = sum(free.values()) - _slots(before) - run.slots
    if left >= 0:
        # Those behind it were let in because they could start. Of equal rank they are before it.
        before += _counted(others.filter(queuing_disabled=True, rank__gt=run.rank))
        left = sum(free.values()) - _slots(before) - run.slots
    if max(free.values(), default=0) < run.slots or left < 0:
        if run.slots > 1:
            return (f"It needs {run.slots} slots, and so many are not free.",)
        total = sum(slots for slots, _ in workers.values())
        slots = "The only slot is" if total == 1 else f"All {total} slots are"
        return (f"{slots} in use.",)
    return _at_limit(run, before)


def _counted(runs: QuerySet[Run]) -> list[Counted]:
    kinds = runs.order_by().values_list("queue_id", "application_id")
    return list(kinds.annotate(Count("pk"), Sum("slots")))


def _slots(counted: Iterable[Counted]) -> int:
    return sum(slots for *_, slots in counted)


def _at_limit(run: Run, before: list[Counted]) -> tuple[str, ...]:
    """Whether those that go first will fill its queue or its application."""
    limits = (run.queue.running_limit, run.application.running_limit)
    if limits == (None, None) or not before:
        return ()
    running = RunningCounts()
    in_queue = sum(count for queue, _, count, _ in before if queue == run.queue_id)
    in_application = sum(count for _, app, count, _ in before if app == run.application_id)
    if has_room(limits[0], running.of_queue(run.queue_id) + in_queue) and has_room(
        limits[1], running.of_application(run.application_id) + in_application
    ):
        return ()
    return ("As many runs as may run at once go first.",)
