"""Creates, pauses, resumes and limits queues, and moves runs in them."""

from __future__ import annotations

from datetime import datetime

from django.db import IntegrityError, transaction
from django.utils import timezone

from runs.actions.actors import Actor
from runs.actions.audit import record_change
from runs.actions.runs import set_priority
from runs.domain.errors import FieldsInvalid, NotAllowed
from runs.domain.ids import is_chosen_id
from runs.domain.roles import may
from runs.models import Account, Queue, Run
from runs.queue.dispatch import nudge_after_commit

LONGEST_NAME = 64
MOST_RUNNING = 100_000
FIRST = 1


def create_queue(
    *, account: Account, name: str, actor: Actor, running_limit: int | None = None
) -> Queue:
    """A new queue of the account; runs whose execution class is `name` wait in it.

    Raises `FieldsInvalid` when the name cannot be used or is taken, `NotAllowed`.
    """
    _check_role(actor)
    name = name.strip()
    if not is_chosen_id(name) or len(name) > LONGEST_NAME:
        raise FieldsInvalid(
            {
                "name": [
                    f"Give 1 to {LONGEST_NAME} letters, digits, dots, dashes or underscores, "
                    "as `gpu` or `large-memory`."
                ]
            }
        )
    _check_limit(running_limit)
    try:
        with transaction.atomic():
            queue = Queue.objects.create(account=account, name=name, running_limit=running_limit)
            record_change(account=account, actor=actor, verb="created", noun="queue", target=name)
    except IntegrityError:
        raise FieldsInvalid({"name": [f"There is a queue `{name}` already."]}) from None
    return queue


def pause_queue(*, queue: Queue, actor: Actor, now: datetime | None = None) -> bool:
    """Let no run of the queue start until it is resumed; running ones go on.

    Returns whether this changed anything: False when it was paused already.
    """
    _check_role(actor)
    now = now or timezone.now()
    with transaction.atomic():
        changed = Queue.objects.filter(pk=queue.pk, paused_at__isnull=True).update(
            paused_at=now, paused_by=actor.name[:200]
        )
        if changed:
            _record(queue, actor, "paused", now=now)
    return bool(changed)


def resume_queue(*, queue: Queue, actor: Actor, now: datetime | None = None) -> bool:
    """Let runs of a paused queue start again; False when it was not paused."""
    _check_role(actor)
    with transaction.atomic():
        changed = Queue.objects.filter(pk=queue.pk, paused_at__isnull=False).update(
            paused_at=None, paused_by=""
        )
        if changed:
            _record(queue, actor, "resumed", now=now)
            nudge_after_commit(queue)
    return bool(changed)


def set_running_limit(*, queue: Queue, limit: int | None, actor: Actor) -> bool:
    """Set how many runs of the queue run at once, 1 or more; None takes the limit away.

    A lower limit ends nothing: it only lets nothing start. Returns whether it was another limit.
    """
    _check_role(actor)
    _check_limit(limit)
    with transaction.atomic():
        before = Queue.objects.select_for_update(no_key=True).get(pk=queue.pk).running_limit
        if before == limit:
            return False
        Queue.objects.filter(pk=queue.pk).update(running_limit=limit)
        said = f"{_in_words(before)} → {_in_words(limit)}"
        _record(queue, actor, "limited", detail=said)
        nudge_after_commit(queue)
    return True


def move_run_first(*, run: Run, actor: Actor, now: datetime | None = None) -> bool:
    """Give a queued run the first priority; whether it was still queued.

    Runs that had this priority already and were submitted sooner still go before it.
    """
    return set_priority(run=run, priority=FIRST, actor=actor, now=now)


def _check_role(actor: Actor) -> None:
    if not may(actor.role, "manage queue"):
        raise NotAllowed("Your role may not manage queues. Ask a developer or an admin.")


def _check_limit(limit: int | None) -> None:
    if limit is not None and not 1 <= limit <= MOST_RUNNING:
        raise FieldsInvalid(
            {
                "running_limit": [
                    f"Give a limit from 1 to {MOST_RUNNING:,}, or nothing for no limit. "
                    "To let nothing start, pause the queue."
                ]
            }
        )


def _record(
    queue: Queue, actor: Actor, verb: str, *, detail: str = "", now: datetime | None = None
) -> None:
    record_change(
        account=queue.account,
        actor=actor,
        verb=verb,
        noun="queue",
        target=queue.name,
        detail=detail,
        now=now,
    )


def _in_words(limit: int | None) -> str:
    return "no limit" if limit is None else str(limit)
