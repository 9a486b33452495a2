"""Reaps and counts what came of it: as a duty of the scheduler, or once by hand."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

from django.conf import settings
from django.utils import timezone

from runs.models import Counter
from runs.queue.reaper import Reaped, Reaper

LOOKS = 10
"""How often it looks during one lease."""


def reap(reaper: Reaper, now: datetime) -> Reaped:
    """One look of the reaper, counted for the metrics after its work is committed."""
    reaped = reaper.look(now)
    for label, count in (
        ("given_back", reaped.given_back),
        ("ended", reaped.ended),
        ("canceled", reaped.canceled),
        ("worker_lost", reaped.workers_lost),
        ("mended", reaped.mended),
    ):
        if count:
            Counter.add("reaped", label, by=count)
    return reaped


def reap_once(
    *,
    lease_s: float | None = None,
    clock: Callable[[], float] = time.monotonic,
    wait: Callable[[float], object] = time.sleep,
    now: Callable[[], datetime] = timezone.now,
) -> Reaped:
    """Watch all beats for one lease (as the settings say), then act once on what was silent.

    It needs no scheduler and disturbs none. Raises `DatabaseError`: nothing was changed then, or
    what had been changed was complete.
    """
    lease_s = settings.RUNSITE_LEASE_S if lease_s is None else lease_s
    reaper = Reaper(lease_s=lease_s, clock=clock)
    reaper.watch()
    watched_s, looked_at = 0.0, clock()
    while watched_s < lease_s:
        wait(lease_s / LOOKS)
        reaper.watch()
        at = clock()
        # As the watch counts: a long step, as of a machine that slept, is a third at most.
        watched_s += min(at - looked_at, lease_s / 3)
        looked_at = at
    return reap(reaper, now())


def in_words(reaped: Reaped) -> str:
    """What a look has changed, as one line for people."""
    parts = [
        f"{count} {one if count == 1 else many}"
        for count, one, many in (
            (reaped.given_back, "run given back to the queue", "runs given back to the queue"),
            (reaped.ended, "run ended", "runs ended"),
            (reaped.canceled, "run canceled", "runs canceled"),
            (reaped.workers_lost, "worker lost", "workers lost"),
            (reaped.mended, "thing mended", "things mended"),
        )
        if count
    ]
    return f"{', '.join(parts)}." if parts else "Nothing to reap: all that hold runs show life."
