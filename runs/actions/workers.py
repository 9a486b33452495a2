"""Drains workers and lets them take runs again."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from runs.actions.actors import Actor
from runs.actions.audit import record_change
from runs.domain.errors import Conflict, NotAllowed
from runs.domain.roles import may
from runs.models import Worker

LIVE = (Worker.ACTIVE, Worker.DRAINING)


def drain_worker(*, worker: Worker, actor: Actor, now: datetime | None = None) -> bool:
    """Let a worker take no new runs; those it has go on. It hears of it with its next heartbeat.

    Returns False when that was wanted already. Raises `Conflict` when the worker does not live,
    `NotAllowed`.
    """
    return _want(worker, actor, drain=True, verb="drained", now=now)


def resume_worker(*, worker: Worker, actor: Actor, now: datetime | None = None) -> bool:
    """Let a drained worker take runs again; False when it does already.

    Raises `Conflict` when the worker does not live, `NotAllowed`.
    """
    return _want(worker, actor, drain=False, verb="resumed", now=now)


def _want(worker: Worker, actor: Actor, *, drain: bool, verb: str, now: datetime | None) -> bool:
    if not may(actor.role, "manage workers"):
        raise NotAllowed("Your role may not manage workers. Ask an admin of the account.")
    living = Worker.objects.filter(pk=worker.pk, state__in=LIVE)
    with transaction.atomic():
        changed = living.filter(drain_wanted=not drain).update(drain_wanted=drain)
        if changed:
            # A worker serves all accounts: the change concerns the installation.
            record_change(
                account=None, actor=actor, verb=verb, noun="worker", target=worker.name, now=now
            )
    if not changed and not living.exists():
        raise Conflict(
            f"Worker {worker.name} is not running. It takes runs again when it is started anew."
        )
    return bool(changed)
