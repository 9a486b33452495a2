"""The slots of a worker: claims runs while slots are free, conducts each in a thread of its own.

Threads wait a moment for the next run: a new one would need a new connection to the database.
One thread claims: it wakes by a nudge, by a run that ended, or after a second. One watches for
requests to cancel or to stop and for lost leases, five times a second. One sends the heartbeat. A
stop has three stages, each entered by a signal: draining, ending, killing.
"""

from __future__ import annotations

import enum
import logging
import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue

import psutil
from django.conf import settings
from django.db import DatabaseError, close_old_connections, connection
from django.utils import timezone

from runs.domain.status import EndReason
from runs.execution.spec import Stop
from runs.models import Run, Worker
from runs.queue.claim import Claimed, WorkerIdentity, claim_next
from runs.queue.dispatch import nudge_arrived
from runs.queue.lease import renew
from runs.queue.reaper import give_back
from runs.worker.held import STUCK_S, Held

log = logging.getLogger(__name__)

LOOK_S = 1.0
"""A free slot looks at the table this often, whether a nudge came or not."""
WATCH_S = 0.2
"""Requests to cancel or to stop are looked for this often."""
IDLE_S = 5.0
"""A thread that has conducted a run waits this long for the next one."""


class Stage(enum.IntEnum):
    """How far a stop of the worker has come."""

    SERVING = 0
    DRAINING = 1
    ENDING = 2
    KILLING = 3


Conduct = Callable[[Held], None]


class Slots:
    """All that a worker does with runs. `conduct` is called in a thread for each run."""

    def __init__(
        self,
        identity: WorkerIdentity,
        *,
        slots: int,
        conduct: Conduct,
        log_lag_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """`log_lag_s` is asked at each heartbeat: how far the logs are behind their programs."""
        self.identity = identity
        self._log_lag_s = log_lag_s
        self.slots = slots
        self._conduct = conduct
        self._held: set[Held] = set()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._nudges: deque[str] = deque(maxlen=100)
        self._changed = threading.Condition(self._lock)
        self._handed: SimpleQueue[Held | None] = SimpleQueue()
        self._conductors: set[threading.Thread] = set()
        self._idle = 0
        self._claiming = False
        self._beat = threading.Event()
        self._over = threading.Event()
        self.stage = Stage.SERVING
        self._drain_by_page = False
        self.note = ""
        self._threads = [
            threading.Thread(target=loop, name=name, daemon=True)
            for name, loop in (
                ("claimer", self._claim_loop),
                ("watcher", self._watch_loop),
                ("heartbeat", self._heartbeat_loop),
            )
        ]

    def start(self) -> None:
        """Start the threads; the worker row exists by now."""
        for thread in self._threads:
            thread.start()

    def wake(self, queue_name: str = "") -> None:
        """There may be work, in `queue_name` if a nudge says so: look now."""
        if queue_name:
            self._nudges.append(queue_name)
        self._wake.set()

    def held(self) -> list[Held]:
        """The runs that are conducted now."""
        with self._lock:
            return list(self._held)

    def drain(self) -> None:
        """Take nothing new; runs finish."""
        self._enter(Stage.DRAINING)

    def end_runs(self) -> None:
        """End the runs politely; they are given back."""
        self._enter(Stage.ENDING)
        for held in self.held():
            held.ask(Stop.WORKER_STOP)

    def kill_runs(self) -> None:
        """End the runs at once."""
        self._enter(Stage.KILLING)
        for held in self.held():
            held.ask(Stop.KILL)

    def wait_until_empty(self, limit_s: float | None = None) -> bool:
        """Wait until no run is conducted any more; whether that came true within `limit_s`."""
        with self._changed:
            # A claim under way may bring one more, whatever the stage is by then.
            return self._changed.wait_for(lambda: not (self._held or self._claiming), limit_s)

    def stop(self) -> None:
        """End the threads; call it when no run is conducted any more."""
        self._enter(Stage.DRAINING)
        self._over.set()
        self._wake.set()
        self._beat.set()
        with self._lock:
            for _ in range(self._idle):
                self._handed.put(None)
            self._idle = 0
            conductors = list(self._conductors)
        for thread in (*self._threads, *conductors):
            thread.join(5)

    def heartbeat_now(self) -> None:
        """Send a heartbeat outside of the rhythm, so that the pages know at once."""
        self._heartbeat()

    def beat_soon(self) -> None:
        """Have the heartbeat sent now by its own thread; waits for nothing."""
        self._beat.set()

    # --- claiming ---------------------------------------------------------------------------

    def _claim_loop(self) -> None:
        failing = False
        while not self._over.is_set():
            self._wake.wait(LOOK_S)
            self._wake.clear()
            try:
                self._fill()
                failing = False
            except Exception as error:  # no fault may leave a worker that claims nothing
                if not failing:
                    _say("nothing is claimed", error)
                failing = True
                connection.close()
                self._over.wait(LOOK_S)
        connection.close()

    def _fill(self) -> None:
        """Claim until the slots are full or nothing is left."""
        while self._nudges:
            # Here and not in Celery's thread, which would need a connection of its own.
            nudge_arrived(self._nudges.popleft())
        try:
            while self._may_claim():
                close_old_connections()
                claimed = claim_next(
                    self.identity,
                    now=timezone.now(),
                    free_slots=self._free_slots(),
                    slots=self.slots,
                )
                if claimed is None:
                    return
                self._hand_over(self._hold(claimed))
        finally:
            with self._changed:
                self._claiming = False
                self._changed.notify_all()

    def _hold(self, claimed: Claimed) -> Held:
        held = Held(claimed)
        with self._lock:
            self._held.add(held)
            # Signals come at any time: a run claimed while the stage changed obeys it, too.
            if self.stage >= Stage.KILLING:
                held.ask(Stop.KILL)
            elif self.stage >= Stage.ENDING:
                held.ask(Stop.WORKER_STOP)
        return held

    def _may_claim(self) -> bool:
        """Whether to claim one more; says so to `wait_until_empty` in the same moment."""
        with self._lock:
            free_slot = _slots_of(self._held) < self.slots and not self._drain_by_page
            self._claiming = free_slot and self.stage is Stage.SERVING and not self._over.is_set()
            if not self._claiming:
                return False
        free = free_bytes()
        if free < settings.RUNSITE_FREE_SPACE:
            self.note = f"Takes nothing: only {free // 2**20} MiB of disk are free."
            return False
        self.note = ""
        return True

    def _free_slots(self) -> int:
        """Only the thread that asks this takes more of them."""
        with self._lock:
            return self.slots - _slots_of(self._held)

    def _hand_over(self, held: Held) -> None:
        """Give the run to a thread that waits for one, or to a new thread."""
        with self._lock:
            waits = self._idle > 0
            if waits:
                self._idle -= 1
            else:
                loop = threading.Thread(
                    target=self._conduct_loop, args=(held,), name="conductor", daemon=True
                )
                self._conductors.add(loop)
        if waits:
            self._handed.put(held)
            return
        try:
            loop.start()
        except RuntimeError:  # the system has no more threads
            with self._changed:
                self._conductors.discard(loop)
                self._held.discard(held)
                self._changed.notify_all()
            run, attempt = held.claimed.run, held.claimed.attempt
            give_back(run, attempt, timezone.now(), EndReason.WORKER_STOPPED)
            raise

    def _conduct_loop(self, held: Held | None) -> None:
        while held is not None:
            self._conduct_one(held)
            held = self._next_held()
        connection.close()
        with self._lock:
            self._conductors.discard(threading.current_thread())

    def _next_held(self) -> Held | None:
        """Wait for the next run; None when none has come for a while, or at the end."""
        with self._lock:
            if self._over.is_set():
                return None
            self._idle += 1
        try:
            return self._handed.get(timeout=IDLE_S)
        except Empty:
            with self._lock:
                if self._idle > 0:
                    self._idle -= 1
                    return None
        return self._handed.get()  # it was handed over in this very moment

    def _conduct_one(self, held: Held) -> None:
        try:
            close_old_connections()
            self._conduct(held)
        except Exception:
            # The last resort: `conduct` answers for its errors itself. The lease runs out.
            log.exception("run %s: conducting it broke off", held.claimed.run.run_id)
        finally:
            close_old_connections()
            with self._changed:
                self._held.discard(held)
                self._changed.notify_all()
            self._wake.set()

    # --- watching ---------------------------------------------------------------------------

    def _watch_loop(self) -> None:
        failing = False
        while not self._over.wait(WATCH_S):
            held = self.held()
            if not held:
                continue
            try:
                self._watch(held)
                failing = False
            except Exception as error:  # canceling waits for the database
                if not failing and not isinstance(error, DatabaseError):
                    _say("nothing is canceled", error)
                failing = True
                connection.close()
        connection.close()

    def _watch(self, held: Iterable[Held]) -> None:
        """Tell runs that somebody wants them ended, and those that are not ours any more."""
        by_pk = {one.claimed.run.pk: one for one in held}
        rows = Run.objects.filter(pk__in=by_pk).values_list(
            "pk", "token", "cancel_requested_at", "stop_requested_at"
        )
        seen = set()
        for pk, token, cancel_requested_at, stop_requested_at in rows:
            seen.add(pk)
            one = by_pk[pk]
            if token != one.claimed.attempt.token:
                self._lose(one)
            elif cancel_requested_at is not None:
                one.ask(Stop.CANCEL)
            elif stop_requested_at is not None:
                one.ask(Stop.KEEP)
        for pk in by_pk.keys() - seen:
            self._lose(by_pk[pk])

    def _lose(self, held: Held) -> None:
        with self._lock:
            if held not in self._held or held.lost:
                return
        run = Run.objects.filter(pk=held.claimed.run.pk).only("token", "status").first()
        if run is not None and run.token == held.claimed.attempt.token:
            return
        with self._lock:
            # Ended by our own thread in the meantime: then nothing was lost.
            if held not in self._held:
                return
        held.lost = True
        held.ask(Stop.KILL)

    # --- heartbeat --------------------------------------------------------------------------

    def _heartbeat_loop(self) -> None:
        psutil.cpu_percent()
        failing = False
        while True:
            try:
                self._heartbeat()
                failing = False
            except Exception as error:  # a worker without a heartbeat loses all its runs
                if not failing:
                    _say("no heartbeat", error)
                failing = True
                connection.close()
            self._beat.wait(settings.RUNSITE_HEARTBEAT_S)
            self._beat.clear()
            if self._over.is_set():
                connection.close()
                return

    def _heartbeat(self) -> None:
        close_old_connections()
        held = self.held()
        lively = {
            one.claimed.attempt.token: one
            for one in held
            if time.monotonic() - one.ticked < STUCK_S and not one.lost
        }
        state = Worker.DRAINING if self.stage or self._drain_by_page else Worker.ACTIVE
        kept = renew(
            self.identity,
            list(lively),
            now=timezone.now(),
            slots=self.slots,
            slots_used=_slots_of(held),
            state=state,
            load=os.getloadavg()[0],
            memory_bytes=psutil.Process().memory_info().rss,
            free_bytes=free_bytes(),
            log_lag_s=self._log_lag_s(),
            note=self.note,
        )
        for token, one in lively.items():
            if token not in kept:
                self._lose(one)
        wanted = (
            Worker.objects.filter(pk=self.identity.worker_id)
            .values_list("drain_wanted", flat=True)
            .first()
        )
        if self._drain_by_page and not wanted:
            self.wake()
        self._drain_by_page = bool(wanted)

    def _enter(self, stage: Stage) -> None:
        with self._lock:
            self.stage = max(self.stage, stage)


def _slots_of(held: Iterable[Held]) -> int:
    return sum(one.slots for one in held)


def _say(what: str, error: Exception) -> None:
    """Log what a loop cannot do; only a fault of ours is worth its traceback."""
    if isinstance(error, DatabaseError):
        log.warning("%s, the database does not answer: %s", what, error)
    else:
        log.error("%s; it is tried again and again", what, exc_info=error)


def free_bytes() -> int:
    """Free bytes where this worker keeps its workspaces."""
    try:
        return shutil.disk_usage(settings.RUNSITE_DATA_DIR).free
    except OSError:
        return 0
