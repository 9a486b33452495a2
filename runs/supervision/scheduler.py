"""One loop for the whole installation: whoever holds its lease does the duties, others stand by."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime

from django.conf import settings
from django.db import (
    DatabaseError,
    InterfaceError,
    OperationalError,
    close_old_connections,
    connection,
)
from django.db.models import F
from django.utils import timezone

from runs.models import LoopLease
from runs.queue.lease import BeatWatch
from runs.supervision.duties import Duty, all_duties

logger = logging.getLogger(__name__)

LEASE = "scheduler"
LONGEST_WAIT_S = 1.0


class Scheduler:
    """Does the duties while it holds the lease of the loop, else watches whoever does.

    Any number may run: one acts. It shows life by a beat; when that has not changed for the whole
    lease, by the monotonic clock of a stand-by, the stand-by takes over. `name` is kept over
    restarts and `boot_id` is not: a new boot takes over from a former one at once.
    """

    def __init__(
        self,
        name: str,
        boot_id: str,
        *,
        duties: Sequence[Duty] | None = None,
        lease_s: float | None = None,
        beat_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = timezone.now,
    ) -> None:
        self._former = f"{name} ("
        self.holder = f"{name} ({boot_id})"
        self._duties = all_duties(clock) if duties is None else tuple(duties)
        self._beat_s = settings.RUNSITE_HEARTBEAT_S if beat_s is None else beat_s
        self._clock = clock
        self._now = now
        lease_s = settings.RUNSITE_LEASE_S if lease_s is None else lease_s
        self._watch: BeatWatch[str] = BeatWatch(lease_s, clock)
        self._due: dict[str, float] = {}
        self._beat_due = float("-inf")
        self._first = True
        self._acting = False
        self._failing: dict[str, int] = {}
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def acting(self) -> bool:
        """Whether it held the lease at its last turn."""
        return self._acting

    def start(self) -> None:
        """Run the loop in a thread of its own."""
        self._thread = threading.Thread(target=self.run, name="scheduler", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """End the loop and wait for that; the lease is free then. Safe from a signal handler's
        thread, and before `start`."""
        self._over.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    def run(self) -> None:
        """The loop itself, until `stop`; no error of a duty or of the database ends it."""
        try:
            while not self._over.is_set():
                self._over.wait(self.turn())
            self._guarded("release of the lease", self._release)
        finally:
            _close_connection()

    def turn(self) -> float:
        """Do what is due; seconds until something is due again."""
        if not connection.in_atomic_block:  # as a test may be
            close_old_connections()
        if self._clock() >= self._beat_due and not self._guarded("lease", self._hold):
            self._acting = False
        for duty in self._duties:
            if self._over.is_set():
                return 0
            if self._clock() >= self._due.get(duty.name, float("-inf")):
                self._do(duty)
        due = [self._beat_due, *self._due.values()]
        return min(max(min(due) - self._clock(), 0.01), LONGEST_WAIT_S)

    def _do(self, duty: Duty) -> None:
        if self._acting:
            self._guarded(duty.name, lambda: duty.act(self._now()))
        elif duty.watch is not None:
            self._guarded(duty.name, duty.watch)
        self._due[duty.name] = self._clock() + duty.every_s

    def _hold(self) -> None:
        """Keep the lease, take a free or silent one, or watch it."""
        self._beat_due = self._clock() + self._beat_s
        mine = LoopLease.objects.filter(name=LEASE, holder=self.holder)
        if mine.update(beat=F("beat") + 1, seen_at=self._now()):
            self._become(acting=True)
            return
        lease, _ = LoopLease.objects.get_or_create(name=LEASE)
        silent = lease.holder in self._watch.saw({lease.holder: lease.beat})
        gone = self._first and lease.holder.startswith(self._former)
        self._first = False
        if silent or gone or not lease.holder:
            taken = LoopLease.objects.filter(name=LEASE, holder=lease.holder, beat=lease.beat)
            if taken.update(holder=self.holder, beat=F("beat") + 1, seen_at=self._now()):
                self._become(acting=True)
                return
        self._become(acting=False)

    def _become(self, *, acting: bool) -> None:
        if acting != self._acting:
            logger.info("Scheduler %s %s.", self.holder, "acts" if acting else "stands by")
            self._due = dict.fromkeys(self._due, float("-inf"))
        self._acting = acting

    def _release(self) -> None:
        LoopLease.objects.filter(name=LEASE, holder=self.holder).update(holder="")
        self._acting = False

    def _guarded(self, what: str, act: Callable[[], object]) -> bool:
        """Do it; an error is logged when it begins and when it ends, and never leaves here."""
        try:
            act()
        except Exception as error:
            if isinstance(error, DatabaseError | InterfaceError):
                self._was_blind()
            if what not in self._failing:
                words = "Scheduler: %s fails; it is tried again and again: %s"
                away = isinstance(error, OperationalError | InterfaceError)
                level = logging.WARNING if away else logging.ERROR
                # Of a database that is away no traceback tells more.
                logger.log(level, words, what, error, exc_info=not away)
            self._failing[what] = self._failing.get(what, 0) + 1
            return False
        if failures := self._failing.pop(what, 0):
            logger.warning("Scheduler: %s works again after %d failures.", what, failures)
        return True

    def _was_blind(self) -> None:
        """Nobody is silent because we could not look."""
        self._watch.was_blind()
        for duty in self._duties:
            if duty.was_blind is not None:
                duty.was_blind()
        _close_connection()


def _close_connection() -> None:
    """Let the next query open a new one; never within a transaction, which would be lost."""
    if not connection.in_atomic_block:
        connection.close()
