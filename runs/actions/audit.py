"""The audit trail: one row for each change that a person or a key made outside of runs."""

from __future__ import annotations

from datetime import datetime

from django.utils import timezone

from runs.actions.actors import Actor
from runs.models import Account, AuditEvent


def record_change(
    *,
    account: Account | None,
    actor: Actor,
    verb: str,
    noun: str,
    target: str = "",
    detail: str = "",
    now: datetime | None = None,
) -> AuditEvent:
    """Write down that `actor` did `verb` to the `noun` named `target`; the new row.

    Call it in the transaction of the change. Without an account the change concerns the
    installation. Texts are cut to their columns; none may hold a secret.
    """
    return AuditEvent.objects.create(
        account=account,
        at=now or timezone.now(),
        user=actor.user,
        actor=actor.name[:200],
        verb=verb[:64],
        noun=noun[:64],
        target=target[:300],
        detail=detail,
    )
