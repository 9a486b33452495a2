"""Removes from the store what attempts left there whose workers died: no row names it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import QuerySet

from runs.domain.status import EndReason
from runs.models import Asset, Attempt, LogChunk, RunFile
from runs.storage import keys, object_store

logger = logging.getLogger(__name__)

EVERY = timedelta(hours=1)
"""From the begin of one round to that of the next."""
YOUNGEST, OLDEST = timedelta(hours=1), timedelta(hours=24)
"""So long ago an attempt must have ended, and may at most."""
BATCH = 100
TURN_S = 1.0
"""The scheduler has more urgent duties: a round goes on at the next turn."""
GIVEN_BACK = (EndReason.WORKER_LOST, EndReason.WORKER_STOPPED)


class StrayObjects:
    """Looks once an hour at all attempts that were taken from their workers in the last day.

    A worker that was killed between storing a result and writing its rows leaves objects that
    nothing would ever remove but the deletion of the run. Never removed is what a row names.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began: datetime | None = None
        self._next: int | None = None
        """The key of the attempt from which the round goes on; None between two rounds."""
        self._suspects: set[str] = set()
        self._seen: set[str] = set()

    def turn(self, now: datetime) -> int:
        """Go on with the round, or begin one when it is time; how many objects were removed."""
        if self._next is None:
            if self._began is not None and now - self._began < EVERY:
                return 0
            self._began, self._next = now, _oldest_key(now)
            self._suspects, self._seen = self._seen, set()
        until = self._clock() + TURN_S
        count = 0
        while self._next is not None:
            found = list(_given_back(now).filter(pk__gte=self._next).order_by("pk")[:BATCH])
            for attempt in found:
                self._next = attempt.pk + 1  # first: one that cannot be listed holds up no other
                count += self._tidy(attempt)
                if self._clock() >= until:
                    break
            else:
                if len(found) < BATCH:
                    self._next = None
            if self._clock() >= until:
                break
        if count:
            logger.info("%d objects of attempts that did not count were removed.", count)
        return count

    def _tidy(self, attempt: Attempt) -> int:
        """Remove what no row names of one attempt; how many objects that were.

        Its worker may come back even now, and keep the log as evidence: it stores first and then
        writes the row. So a piece of a log goes only when it was in vain an hour ago, too; and the
        worker looks again when it has written the row. All else of it counts no more.
        """
        run_id, number = attempt.run.run_id, attempt.number
        stored = list(object_store().list(keys.attempt_prefix(run_id, number)))
        # Asked after the list: what is stored and named in between is not in it.
        stray = set(stored) - _named(attempt) if stored else set()
        count = 0
        for key in sorted(stray):
            if _is_of_log(key, run_id, number) and key not in self._suspects:
                self._seen.add(key)
                continue
            object_store().delete(key)
            count += 1
        return count


def _given_back(now: datetime) -> QuerySet[Attempt]:
    return Attempt.objects.filter(
        outcome__in=GIVEN_BACK, ended_at__gt=now - OLDEST, ended_at__lt=now - YOUNGEST
    ).select_related("run")


def _oldest_key(now: datetime) -> int:
    """From which key on an attempt can have ended in the last day; keys rise with the claims."""
    longest = timedelta(seconds=settings.RUNSITE_TIME_LIMIT_S)
    older = Attempt.objects.filter(claimed_at__lt=now - OLDEST - longest).order_by("-pk")
    return (older.values_list("pk", flat=True).first() or 0) + 1


def _named(attempt: Attempt) -> set[str]:
    """All keys below the attempt that a row names."""
    found: set[str] = set()
    for rows in (
        RunFile.objects.filter(run=attempt.run_id),
        Asset.objects.filter(run=attempt.run_id),
        LogChunk.objects.filter(attempt=attempt),
    ):
        found.update(rows.order_by().values_list("key", flat=True))
    columns = Attempt.objects.filter(pk=attempt.pk).values_list("log_key", "usage_key")
    for log_key, usage_key in columns:
        found |= {log_key, usage_key} | ({keys.index_of(log_key)} if log_key else set())
    return found


def _is_of_log(key: str, run_id: str, number: int) -> bool:
    whole = {
        form(run_id, number)
        for form in (keys.log, keys.log_index, keys.found_log, keys.found_log_index)
    }
    return key in whole or key.startswith(keys.log_parts_prefix(run_id, number))
