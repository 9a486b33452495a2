"""Ends runs at somebody's wish: cancel them, or stop them early and keep the result."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from django.utils import timezone

from runs.actions.actors import Actor
from runs.domain.errors import Conflict, NotAllowed
from runs.domain.roles import may
from runs.domain.status import FINAL, EndReason, Status
from runs.models import Run, RunEvent


def cancel_run(*, run: Run, actor: Actor, now: datetime | None = None) -> bool:
    """Cancel a run: at once while it is queued, else the worker is told within 0.2 s.

    It goes before an earlier wish to stop and keep the result. Returns whether this changed
    anything; a run that has ended stays as it is. Raises `NotAllowed` when the member may cancel
    their own runs only.
    """
    now = now or timezone.now()
    check_may_end(run, actor)
    for _ in range(10):
        fresh = Run.objects.get(pk=run.pk)
        if fresh.status in FINAL:
            return False
        if fresh.status == Status.QUEUED:
            who = f"canceled by {actor.name}"
            moved = fresh.move_to(
                Status.CANCELED,
                now=now,
                reason=EndReason.CANCELED,
                actor=actor.name,
                user=actor.user,
                text="Canceled before it started",
                changes={
                    "cancel_requested_at": now,
                    "cancel_actor": actor.name,
                    "error": who,
                    "detail": f"{who.capitalize()} before it started.",
                },
            )
            if moved:
                return True
            continue  # a worker took it in this moment: ask that worker
        with transaction.atomic():
            asked = Run.objects.filter(
                pk=run.pk, status=Status.RUNNING, cancel_requested_at__isnull=True
            ).update(cancel_requested_at=now, cancel_actor=actor.name)
            if asked:
                _note(fresh, RunEvent.CANCEL_REQUESTED, actor, now)
                return True
        if Run.objects.filter(pk=run.pk, cancel_requested_at__isnull=False).exists():
            return False
    raise Conflict("The run changes too fast to be canceled. Try again.")


def stop_run(*, run: Run, actor: Actor, now: datetime | None = None) -> bool:
    """Ask a running run to end now and keep what it has: the worker is told within 0.2 s.

    Returns whether this changed anything: not when it has ended, nor when it was asked before or
    is being canceled. Raises `Conflict` for a run that has not started, `NotAllowed` as
    `cancel_run`.
    """
    now = now or timezone.now()
    check_may_end(run, actor)
    with transaction.atomic():
        asked = Run.objects.filter(
            pk=run.pk,
            status=Status.RUNNING,
            stop_requested_at__isnull=True,
            cancel_requested_at__isnull=True,
        ).update(stop_requested_at=now, stop_actor=actor.name)
        fresh = Run.objects.get(pk=run.pk)
        if asked:
            _note(fresh, RunEvent.STOP_REQUESTED, actor, now)
    if not asked and fresh.status == Status.QUEUED:
        raise Conflict(f"Run {fresh.run_id} has not started, so it has no result. Cancel it.")
    return bool(asked)


def check_may_end(run: Run, actor: Actor) -> None:
    """Raise `NotAllowed` unless the actor may cancel or stop this run."""
    own = run.submitted_by_id is not None and actor.user and run.submitted_by_id == actor.user.pk
    if not (may(actor.role, "cancel any") or (own and may(actor.role, "cancel"))):
        raise NotAllowed("You may cancel your own runs only. Ask a developer or an admin.")


def _note(run: Run, kind: str, actor: Actor, now: datetime) -> None:
    RunEvent.objects.create(
        run=run,
        kind=kind,
        at=now,
        attempt_number=run.attempt_number,
        user=actor.user,
        actor=actor.name,
    )
