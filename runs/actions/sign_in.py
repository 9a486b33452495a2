"""Signing in by e-mail address and password, slowed down for those who guess."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.contrib.auth import authenticate
from django.db import transaction

from runs.actions.actors import person, product
from runs.actions.audit import record_change
from runs.domain.errors import FieldsInvalid, TooManyAttempts
from runs.models import AuditEvent, User

WINDOW = timedelta(minutes=10)
PAIR_LIMIT = 10
"""Failures of one address with one e-mail within the window."""
SINGLE_LIMIT = 50
"""Failures of one address with any e-mail, or of one e-mail from anywhere: many guessers at
once are slowed, and yet nobody can lock another person out with a few requests."""
_FAILED, _SIGNED_IN, _NOUN = "failed to sign in", "signed in", "user"
_LOOK_BACK = 5000


def sign_in_with_password(*, email: str, password: str, address: str, now: datetime) -> User:
    """The person with this e-mail address and password; `address` is the browser's.

    A failure is written down before the password is checked, so that guesses sent at once count
    too. Raises `TooManyAttempts`, `FieldsInvalid` without telling which of both was wrong.
    """
    email = email.strip().lower()[:200]
    with transaction.atomic():
        _check_failures(email=email, address=address, now=now)
        attempt = record_change(
            account=None,
            actor=product(f"from {address}"),
            verb=_FAILED,
            noun=_NOUN,
            target=email,
            now=now,
        )
    user = authenticate(username=email, password=password)
    if not isinstance(user, User):
        raise FieldsInvalid({"__all__": ["E-mail address and password do not fit together."]})
    actor = person(user, role="")
    AuditEvent.objects.filter(pk=attempt.pk).update(
        verb=_SIGNED_IN, user=user, actor=actor.name, detail=f"by password, from {address}"
    )
    return user


def _check_failures(*, email: str, address: str, now: datetime) -> None:
    """Count the failures of the window, looking at a bounded number of rows."""
    newest = (
        AuditEvent.objects.filter(account=None)
        .order_by("-id")
        .values_list("verb", "at", "target", "actor")[:_LOOK_BACK]
    )
    pair = by_email = by_address = 0
    since = now - WINDOW
    for verb, at, target, actor in newest:
        if verb != _FAILED or not since < at <= now:
            continue
        same_email, same_address = target == email, actor == f"from {address}"
        pair += same_email and same_address
        by_email += same_email
        by_address += same_address
    if pair >= PAIR_LIMIT or max(by_email, by_address) >= SINGLE_LIMIT:
        raise TooManyAttempts(
            "Too many failed attempts to sign in. Wait ten minutes, or use a one-time link."
        )
