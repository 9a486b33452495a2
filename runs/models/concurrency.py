"""How many runs of one key may be under way at once: who is admitted, and who follows.

A run with a `concurrency_key` is admitted while it is running, or queued without waiting for its
key or for other runs. At most the limit of its application is admitted; the others hold until one
of them ends.

Whoever admits locks the application, and only a submission waits for that lock: it has locked no
run by then. A transaction that ends runs has, and claims lock the application before the run, so
it merely tries, and makes up for it after its commit.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from django.db import DatabaseError, connection, transaction
from django.db.models.expressions import RawSQL

from runs.domain.status import Status
from runs.models.applications import Application

if TYPE_CHECKING:
    from runs.models.runs import RunQuerySet

logger = logging.getLogger(__name__)


def lock_limit(application: int) -> int | None:
    """The limit of this application, by primary key, locked until the transaction ends.

    Waits for the lock: not for a transaction that has locked a run.
    """
    locked = Application.objects.select_for_update(no_key=True).filter(pk=application)
    return locked.values_list("concurrency_limit", flat=True).get()


def admitted(application: int, key: str) -> RunQuerySet:
    """The runs of the key that are under way and count against the limit.

    Those that wait for the key are not walked, however many: neither by an index of the key, nor
    by one of the queue without its holds.
    """
    from runs.models.runs import Run

    return Run.objects.filter(pk__in=RawSQL(_ADMITTED, [application, key] * 2))


# An expression in place of a column keeps planners from the indexes of it.
_ADMITTED = """
    SELECT id FROM runs_run
    WHERE status = 'running' AND application_id + 0 = %s AND concurrency_key || '' = %s
    UNION ALL
    SELECT run.id FROM runs_lane lane JOIN runs_run run ON run.lane_id = lane.id
    WHERE lane.application_id = %s AND run.status = 'queued' AND run.hold IN ('', 'retry')
    AND run.concurrency_key || '' = %s
"""


def pass_on(application: int, key: str) -> None:
    """Let those follow who wait for this key, as a run of it has ended or begins to wait for it.

    For the transaction in which that happens: it admits at once if it can lock the application
    without waiting, and looks again after the commit, as others may have held on meanwhile.
    """
    limit = Application.objects.select_for_update(no_key=True, skip_locked=True)
    found = limit.filter(pk=application).values_list("concurrency_limit", flat=True)
    if rows := list(found):
        _admit(application, key, rows[0])
    if connection.features.has_select_for_update:  # else there is one writer, who saw all
        transaction.on_commit(partial(_admit_later, application, key))


def admit_next(application: int, key: str) -> list[int]:
    """Admit those who wait for this key, first in order first, as far as there is room.

    In a transaction of its own. Returns the queues, by primary key, of those who were admitted.
    """
    with transaction.atomic():
        return _admit(application, key, lock_limit(application))


def _admit(application: int, key: str, limit: int | None) -> list[int]:
    from runs.models.runs import Run

    waiting = Run.objects.filter(
        application=application,
        concurrency_key=key,
        status=Status.QUEUED,
        hold=Run.WAITS_FOR_KEY,
    ).order_by("rank", "pk")
    if not waiting.exists():
        return []
    room = None if limit is None else max(0, limit - admitted(application, key).count())
    # Who has locked one of them may be ending it, and wait for a run that is locked here.
    free = waiting.select_for_update(no_key=True, skip_locked=True)
    chosen = list(free.values_list("pk", "queue_id")[:room])
    for part in in_parts([run for run, _ in chosen]):
        Run.objects.filter(pk__in=part, status=Status.QUEUED, hold=Run.WAITS_FOR_KEY).update(
            hold=Run.NO_HOLD
        )
    return sorted({queue for _, queue in chosen})


def _admit_later(application: int, key: str) -> None:
    """As `admit_next`, never raising: what is missed here the scheduler finds."""
    try:
        admit_next(application, key)
    except (DatabaseError, Application.DoesNotExist) as error:
        logger.warning("Nobody was admitted for key %s: %s", key, error)
        if not connection.in_atomic_block:
            connection.close()


def in_parts(keys: list[int], size: int = 1000) -> list[list[int]]:
    """The list in parts: a database takes a limited number of values in one statement."""
    return [keys[start : start + size] for start in range(0, len(keys), size)]
