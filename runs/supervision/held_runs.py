"""Lets queued runs go on whose time has come: to be tried again, to be admitted, or to give up."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime

from django.db import DataError, IntegrityError, ProgrammingError, connection, transaction
from django.db.models import Count, F, Q

from runs.domain.errors import RunsiteError
from runs.domain.status import ACTIVE, EndReason, Status
from runs.models import Queue, Run
from runs.models.concurrency import admit_next
from runs.queue import dispatch

logger = logging.getLogger(__name__)

BATCH = 1000

# Asked every second or two for as long as an installation lives, and Django takes ten times as long
# to put a question into words as the database takes to answer it. The conditions hold those
# of the indexes `run_held_until`, `run_expires` and `run_of_key`: when nothing waits, these are
# empty and nothing else is read.
_RETRIES_DUE = (
    "SELECT EXISTS (SELECT 1 FROM runs_run"
    " WHERE status = 'queued' AND hold = 'retry' AND held_until <= %s)"
)
_EXPIRED = (
    "SELECT EXISTS (SELECT 1 FROM runs_run"
    " WHERE status = 'queued' AND expires_at IS NOT NULL AND expires_at <= %s)"
)
_KEYS_WAITED_FOR = (
    "SELECT EXISTS (SELECT 1 FROM runs_run"
    " WHERE status IN ('queued', 'running') AND NOT (concurrency_key = '')"
    " AND hold = 'key')"
)


def release_retries(now: datetime) -> int:
    """Make the runs claimable whose wait for another attempt is over; how many.

    One query when there is none.
    """
    if not _is_any(_RETRIES_DUE, now):
        return 0
    due = Run.objects.filter(
        status=Status.QUEUED, hold=Run.WAITS_FOR_RETRY, held_until__lte=now
    ).order_by("held_until")
    with transaction.atomic():
        # One that is locked is being canceled, or is found at the next look.
        chosen = dict(
            due.select_for_update(no_key=True, skip_locked=True).values_list("pk", "queue_id")[
                :BATCH
            ]
        )
        count = due.order_by().filter(pk__in=chosen).update(hold=Run.NO_HOLD, held_until=None)
    _nudge(chosen.values(), now)
    return count


def admit_held(now: datetime) -> int:
    """Admit runs whose key has room although they wait for it; how many keys had such runs.

    Whoever ends a run admits the next one, so this finds what a process left that was killed in
    that moment, and what waits since a limit was raised. One query when nothing waits for a key.
    """
    if not _is_any(_KEYS_WAITED_FOR):
        return 0
    not_admitted = (Run.WAITS_FOR_KEY, Run.WAITS_FOR_RUNS, Run.WAITS_FOR_EXECUTABLE)
    under_way = Count("pk", filter=~Q(hold__in=not_admitted))
    keys = (
        Run.objects.filter(~Q(concurrency_key=""), status__in=sorted(ACTIVE))
        .order_by()
        .values_list("application_id", "concurrency_key")
        .annotate(
            limit=F("application__concurrency_limit"),
            waiting=Count("pk", filter=Q(hold=Run.WAITS_FOR_KEY)),
            under_way=under_way,
        )
        .filter(waiting__gt=0)
    )
    queues: set[int] = set()
    count = 0
    for application, key, limit, _, taken in keys:
        if limit is None or taken < limit:
            queues.update(admit_next(application, key))
            count += 1
    _nudge(queues, now)
    return count


def expire_waiting(now: datetime) -> int:
    """End the queued runs that have waited longer than their queue limit; how many.

    One query when there is none.
    """
    if not _is_any(_EXPIRED, now):
        return 0
    late = Run.objects.filter(status=Status.QUEUED, expires_at__lte=now)
    count = 0
    for pk in list(late.order_by("expires_at").values_list("pk", flat=True)[:BATCH]):
        try:
            with transaction.atomic():
                # Locked: it may be claimed just now, or wait with a new limit.
                run = late.select_for_update(no_key=True).filter(pk=pk).first()
                count += run is not None and _give_up(run, now)
        except (IntegrityError, DataError, ProgrammingError, RunsiteError):
            logger.exception("The run with key %s could not be ended.", pk)
    return count


def _give_up(run: Run, now: datetime) -> bool:
    limit = f" of {run.queue_limit_s} s" if run.queue_limit_s else ""
    return run.move_to(
        Status.FAILED,
        now=now,
        reason=EndReason.QUEUE_LIMIT,
        actor="queue",
        text=f"Waited longer than its queue limit{limit}",
        changes={
            "error": "waited too long",
            "detail": f"The run was not started within its queue limit{limit}. See on the queue "
            "page what holds runs back, then launch it again or give it a longer limit.",
        },
    )


def _is_any(statement: str, *instants: datetime) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(statement, [connection.ops.adapt_datetimefield_value(at) for at in instants])
        row = cursor.fetchone()
    return bool(row[0])


def _nudge(queues: Iterable[int], now: datetime) -> None:
    wanted = set(queues)
    for queue in Queue.objects.filter(pk__in=wanted) if wanted else ():
        dispatch.nudge(queue, now=now)
