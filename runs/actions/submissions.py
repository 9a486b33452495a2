"""Tells a repeated request to submit a run from a second one that is wanted, see decision 14."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from runs.actions.actors import Actor
from runs.domain.errors import Conflict, FieldsInvalid, TooManyAttempts
from runs.models import Account, Run, Submission

PATIENCE = timedelta(seconds=15)
"""A client that waits for an answer repeats its request after 20 s, never sooner."""
REPEATED_WITHIN = timedelta(minutes=5)
KEPT = timedelta(days=1)
"""So long a key of the sender stands for its run."""
WAITED_S = 10.0
LOOK_EVERY_S = 0.1
LONGEST_KEY = 128


Note = Callable[[Run], None]
"""Remembers the run of a request; to be called in the transaction that writes the run."""


class KeyReused(Conflict):
    """The key of the sender named another request before."""


def digest_of(method_and_path: str, query: str, body: bytes) -> str:
    """What makes two requests the same: where they go to, and every byte of what they say."""
    digest = hashlib.blake2b(digest_size=32)
    for part in (method_and_path.encode(), query.encode(), body):
        digest.update(len(part).to_bytes(8))
        digest.update(part)
    return digest.hexdigest()


def submit_once(
    *,
    account: Account,
    actor: Actor,
    digest: str,
    submit: Callable[[Note], Run],
    key: str = "",
    clock: Callable[[], datetime] = timezone.now,
    wait: Callable[[float], None] = time.sleep,
) -> Run:
    """The run that `submit` makes, or that of the request which this one repeats.

    A request is a repetition when the same came with the same API key at least 15 s before, was
    not answered within 15 s, and is under way or was answered at most 5 minutes ago; or when its
    sender gives it the `key` of an earlier one of this API key within a day. Everything else is
    wanted. While the earlier one is under way its end is waited for, 10 s at most; then
    `TooManyAttempts` asks to come again. Raises `KeyReused` when the key named another request.

    `submit` is called outside of a transaction, with what is to be told of the run. Costs one
    query, one row written, and one changed in the transaction of the run.
    """
    key = _own_key(actor, key)
    waited = 0.0
    while True:
        now = clock()
        known = _find(account, actor, digest, key, now)
        if known is None:
            mine = _begin(account, actor, digest, key, now)
            if mine is not None:
                break
            known = _find(account, actor, digest, key, now)  # somebody else was first
        if known is not None and known.run is not None:
            return known.run
        if waited >= WAITED_S:
            raise TooManyAttempts(
                "The same request is still being worked on. Send it again in a few seconds: then"
                " it is answered with the run that came of the first one."
            )
        wait(LOOK_EVERY_S)
        waited += LOOK_EVERY_S
    mine_alone = Submission.objects.filter(pk=mine.pk)
    try:
        return submit(lambda run: _note(mine_alone, run, clock()))
    except BaseException:
        mine_alone.filter(run=None).delete()  # what was written with its run counts all the same
        raise


def _note(rows: QuerySet[Submission], run: Run, now: datetime) -> None:
    """Remember the run; raises `Conflict` when another request has taken over the key meanwhile."""
    if not rows.update(run=run, answered_at=now):
        raise Conflict(
            "This request took so long that another request with its Idempotency-Key was carried"
            " out instead. Send it again: then it is answered with the run of that one."
        )


def _find(
    account: Account, actor: Actor, digest: str, key: str, now: datetime
) -> Submission | None:
    """The request that this one repeats."""
    if key:
        known = account.submissions.filter(key=key).first()
        if known is None or _is_dead(known, now):
            return None
        if known.digest != digest:
            raise KeyReused(
                "This Idempotency-Key was given to another request before. Give each request a key"
                " of its own."
            )
        return known
    # Without the run: seldom there is one, and its columns are many.
    same = Submission.objects.filter(
        Q(api_key=actor.key), digest=digest, key="", received_at__lte=now - PATIENCE
    )
    known = same.order_by("-id").first()
    if known is None:
        return None
    if known.answered_at is None:
        return None if _is_dead(known, now) else known
    was_slow = known.answered_at - known.received_at > PATIENCE
    return known if was_slow and now - known.answered_at <= REPEATED_WITHIN else None


def _is_dead(known: Submission, now: datetime) -> bool:
    """Whether the process that worked on it must be gone, or its key has had its day."""
    if known.answered_at is None:
        return now - known.received_at > REPEATED_WITHIN
    return now - known.received_at > KEPT


def _begin(
    account: Account, actor: Actor, digest: str, key: str, now: datetime
) -> Submission | None:
    """The row of a new request; None when another with its key was first."""
    if key:
        dead = account.submissions.filter(key=key).filter(
            Q(answered_at=None, received_at__lt=now - REPEATED_WITHIN)
            | Q(received_at__lt=now - KEPT)
        )
        dead.delete()
    try:
        with transaction.atomic():
            return Submission.objects.create(
                account=account, api_key=actor.key, digest=digest, key=key, received_at=now
            )
    except IntegrityError:
        if not key:
            raise
        return None


def _own_key(actor: Actor, key: str) -> str:
    """The sender's key as it is kept: those of two API keys never meet."""
    if not key:
        return ""
    if len(key) > LONGEST_KEY or not key.isascii() or not key.isprintable():
        raise FieldsInvalid(
            {"Idempotency-Key": [f"A key has at most {LONGEST_KEY} printable ASCII characters."]}
        )
    return f"{actor.key.pk if actor.key else 0}:{key}"
