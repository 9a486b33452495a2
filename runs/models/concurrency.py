"""How many runs of one key may be under way at once: who is admitted, and who follows.

A run with a `concurrency_key` is admitted while it is running, or queued without waiting for its
key. At most the limit of its application is admitted; the others hold until one of them ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runs.domain.status import Status
from runs.models.applications import Application

if TYPE_CHECKING:
    from runs.models.runs import Run


def lock_key(run: Run) -> None:
    """Lock what decides about the key of this run, if it has one, until the transaction ends.

    That is its application. Taken before the run itself: claims lock in this order.
    """
    if run.concurrency_key:
        _limit_of(run.application_id)


def has_room_for(run: Run) -> bool:
    """Whether one more run of its key may be under way; locks as `lock_key`."""
    if not run.concurrency_key:
        return True
    limit = _limit_of(run.application_id)
    return limit is None or _admitted(run.application_id, run.concurrency_key) < limit


def admit_next(application: int, key: str) -> int:
    """Admit those who wait for this key, first in order first, as far as there is room; how many.

    `application` is a primary key. For the transaction in which a run of the key has ended.
    """
    from runs.models.runs import Run

    waiting = Run.objects.filter(
        application=application,
        concurrency_key=key,
        status=Status.QUEUED,
        hold=Run.WAITS_FOR_KEY,
    ).order_by("rank", "pk")
    if not waiting.exists():
        return 0
    limit = _limit_of(application)
    room = None if limit is None else max(0, limit - _admitted(application, key))
    chosen = list(waiting.values_list("pk", flat=True)[:room])
    return Run.objects.filter(pk__in=chosen, status=Status.QUEUED, hold=Run.WAITS_FOR_KEY).update(
        hold=Run.NO_HOLD
    )


def _limit_of(application: int) -> int | None:
    locked = Application.objects.select_for_update(no_key=True).filter(pk=application)
    return locked.values_list("concurrency_limit", flat=True).get()


def _admitted(application: int, key: str) -> int:
    from runs.models.runs import Run

    under_way = Run.objects.filter(application=application, concurrency_key=key)
    return under_way.active().exclude(hold__in=(Run.WAITS_FOR_KEY, Run.WAITS_FOR_RUNS)).count()
