"""Hooks our worker into Celery's: what starts with it, and what its signals mean.

The first SIGTERM or SIGINT drains, the second (or SIGQUIT, or the drain limit) ends the runs and
gives them back, the third kills. Celery's threads pool does none of this by itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import IO, Any, Protocol

from celery import bootsteps
from celery.worker import state as celery_state
from django.conf import settings
from django.db import DatabaseError, connection
from django.utils import timezone

from runs.domain.ids import new_id
from runs.execution import guardian, process
from runs.models import Worker, WorkerBoot
from runs.queue.claim import WorkerIdentity
from runs.queue.reaper import release_former_boots
from runs.worker.builder import Builder
from runs.worker.conduct import Conductor
from runs.worker.intake import Intake
from runs.worker.places import Places
from runs.worker.recorder import Flusher
from runs.worker.slots import Slots
from runs.worker.upkeep import Upkeep

log = logging.getLogger(__name__)

_NEXT, _QUIT = b"n", b"q"
KILL_LIMIT_S = 10.0
"""Once killed, runs have this long to be recorded or given back."""
EXIT_WAIT_S = 0.5
"""Celery gets this long to leave by itself once our part has ended; it has nothing to lose."""


class RunsiteStep(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
    """Starts before Celery looks for its broker, so that runs go on without one."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self.engine: Engine | None = None

    def start(self, parent: Any) -> None:
        """Called in the main thread, after Celery has set its own signal handlers."""
        self.engine = engine = Engine()
        _engines.append(engine)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, engine.on_stop_signal)
        signal.signal(signal.SIGQUIT, engine.on_quit_signal)
        engine.start()

    def stop(self, parent: Any) -> None:
        """Nothing is left to do: our part ended before Celery was told to leave."""


LEAVE_S = 10.0
"""Saying goodbye may take this long, should the database be away."""


class Companion(Protocol):
    """A loop that lives in the worker's process."""

    def start(self) -> None:
        """Begin; waits for nothing."""

    def stop(self) -> None:
        """End, and wait for that."""


companions: list[Callable[[str, str], Companion]] = []
"""What else starts with the worker, made with its name and boot id; the door fills this."""

_engines: list[Engine] = []


def install(app: Any) -> None:
    """Add our step to the worker of this Celery app."""
    app.steps["worker"].add(RunsiteStep)


def wake(queue_name: str = "") -> None:
    """A nudge came: the worker of this process looks at the table now."""
    for engine in _engines:
        engine.wake(queue_name)


class Engine:
    """Everything that makes this process a worker of Runsite."""

    def __init__(self) -> None:
        self.boot_id = new_id()
        self.name, self._name_lock = take_name(
            Path(settings.RUNSITE_DATA_DIR), settings.RUNSITE_WORKER_NAME
        )
        self.places = Places(Path(settings.RUNSITE_DATA_DIR), self.name)
        self._flusher = Flusher()
        self._builder = Builder(self.places, worker_name=self.name, boot_id=self.boot_id)
        self._intake = Intake(self.places, worker_name=self.name, boot_id=self.boot_id)
        self._upkeep = Upkeep(self.places)
        self._companions: list[Companion] = []
        self._slots: Slots | None = None
        self._guardian: Any = None
        # Handlers write to a pipe: they may interrupt each other, so they must take no lock.
        self._signals, self._signal = os.pipe()
        os.set_blocking(self._signal, False)
        self._stopping = threading.Event()
        self._serving = threading.Lock()
        self._over = threading.Event()

    def start(self) -> None:
        """End what a former boot left, then serve in threads; waits for nothing."""
        self.places.make()
        process.become_subreaper()
        left = process.end_marked(self.places.family, grace_s=0)
        if left:
            log.warning("ended %d processes that a former boot of this worker left", len(left))
        self._guardian = guardian.start_guardian(self.places.boot(self.boot_id))
        self._upkeep.clear_workspaces()
        for name, loop in (
            ("starter", self._serve),
            ("stopper", self._wait_for_stop),
            ("strays", self._reap_strays),
        ):
            threading.Thread(target=loop, name=name, daemon=True).start()

    def wake(self, queue_name: str = "") -> None:
        """There may be work."""
        if self._slots is not None:
            self._slots.wake(queue_name)

    def on_stop_signal(self, number: int, frame: FrameType | None) -> None:
        """SIGTERM or SIGINT: one stage further. Only notes it; a thread acts."""
        self._note(_NEXT)

    def on_quit_signal(self, number: int, frame: FrameType | None) -> None:
        """SIGQUIT: end the runs; when that is under way already, kill them."""
        self._note(_QUIT)

    def _note(self, word: bytes) -> None:
        with contextlib.suppress(BlockingIOError):  # thousands came already
            os.write(self._signal, word)

    # --- serving ----------------------------------------------------------------------------

    def _serve(self) -> None:
        """Register as soon as the database answers, then claim and conduct."""
        identity = self._wait_for(self._register, "registering")
        if identity is None:
            return
        conductor = Conductor(places=self.places, boot_id=self.boot_id, flusher=self._flusher)
        slots = Slots(
            identity,
            slots=settings.RUNSITE_SLOTS,
            conduct=conductor,
            log_lag_s=self._flusher.lag_s,
        )
        self._flusher.start()
        self._builder.start()
        self._intake.start()
        self._upkeep.start()
        for make in companions:
            companion = make(f"worker {self.name}", self.boot_id)
            companion.start()
            self._companions.append(companion)
        with self._serving:
            if self._stopping.is_set():
                return  # told to leave meanwhile: a claim now would be nobody's
            slots.start()
            slots.wake()
            self._slots = slots
        connection.close()

    def _register(self) -> WorkerIdentity:
        now = timezone.now()
        name = free_row_name(self.name, self.places.host)
        worker, _ = Worker.objects.update_or_create(
            name=name,
            defaults={
                "boot_id": self.boot_id,
                "host": self.places.host,
                "pid": os.getpid(),
                "software": settings.RUNSITE_RELEASE,
                "state": Worker.ACTIVE,
                "drain_wanted": False,
                "slots": settings.RUNSITE_SLOTS,
                "slots_used": 0,
                "queues": list(settings.RUNSITE_QUEUES),
                "seen_at": now,
                "started_at": now,
                "stopped_at": None,
                "note": "",
            },
        )
        worker.boots.filter(ended_at__isnull=True).update(
            ended_at=now, how="ended without a word; found at the next start"
        )
        WorkerBoot.objects.create(
            worker=worker,
            boot_id=self.boot_id,
            host=self.places.host,
            pid=os.getpid(),
            started_at=now,
        )
        identity = WorkerIdentity(
            worker_id=worker.pk,
            name=name,
            boot_id=self.boot_id,
            host=self.places.host,
            queues=tuple(settings.RUNSITE_QUEUES),
        )
        release_former_boots(identity, now=now)
        return identity

    def _reap_strays(self) -> None:
        """Take the exit codes of adopted processes, and see that a guardian is on guard."""
        while not self._over.wait(1.0):
            try:
                process.reap_strays()
                if not self._guardian.is_alive() and not self._over.is_set():
                    log.warning("the guardian of this worker is gone; another one starts")
                    self._guardian.close()
                    self._guardian = guardian.start_guardian(self.places.boot(self.boot_id))
            except Exception as error:  # tried again in a second
                log.warning("the processes of this worker cannot be looked after: %r", error)

    # --- stopping ---------------------------------------------------------------------------

    def _wait_for_stop(self) -> None:
        """Act on the signals, stage by stage, until nothing runs; then leave."""
        wanted = self._next_stage(0, wait_s=None)
        with self._serving:
            self._stopping.set()
            slots = self._slots
        empty = slots is None
        stage = 0
        limit = settings.RUNSITE_DRAIN_LIMIT_S
        begin = killed = time.monotonic()
        while slots is not None and not empty:
            if limit is not None and time.monotonic() - begin >= limit:
                wanted = max(wanted, 2)
            while stage < wanted:
                stage += 1
                self._enter(slots, stage)
                killed = time.monotonic()
            empty = slots.wait_until_empty(0.1)
            if stage == 3 and time.monotonic() - killed > KILL_LIMIT_S:
                log.error("leaves although runs are not recorded; they are given back later")
                break
            wanted = self._next_stage(wanted, wait_s=0)
        self._leave(empty=empty)

    def _next_stage(self, stage: int, wait_s: float | None) -> int:
        """The stage that the signals come to, after waiting for one for at most `wait_s`."""
        if not select.select([self._signals], [], [], wait_s)[0]:
            return stage
        for word in os.read(self._signals, 64):
            stage = max(2, stage + 1) if word == _QUIT[0] else stage + 1
        return min(3, stage)

    def _enter(self, slots: Slots, stage: int) -> None:
        count = len(slots.held())
        if stage == 1:
            log.warning("draining: takes nothing new, waits for %d runs", count)
            slots.drain()
        elif stage == 2:
            log.warning("ending %d runs; they are given back", count)
            slots.end_runs()
        else:
            log.warning("killing %d runs", count)
            slots.kill_runs()
        slots.beat_soon()

    def _leave(self, *, empty: bool) -> None:
        """Say goodbye, and let Celery end; it is not waited for long.

        Unless all runs have ended (`empty`) the guardian stays on guard, and ends what is left.
        """
        self._over.set()
        _exit_after(LEAVE_S)
        for companion in self._companions:
            companion.stop()
        self._intake.stop()
        self._builder.stop()
        self._upkeep.stop()
        if self._slots is not None and empty:
            self._slots.stop()
            self._flusher.stop()
        try:
            self._unregister()
        except DatabaseError as error:
            log.warning("could not say goodbye, the database does not answer: %s", error)
        if self._guardian is not None and empty:
            self._guardian.close()
        celery_state.should_stop = 0
        _exit_after(EXIT_WAIT_S)

    def _unregister(self) -> None:
        now = timezone.now()
        mine = Worker.objects.filter(boot_id=self.boot_id)
        mine.update(state=Worker.STOPPED, stopped_at=now, slots_used=0, seen_at=now)
        WorkerBoot.objects.filter(boot_id=self.boot_id).update(
            ended_at=now, how="stopped on request"
        )
        connection.close()

    def _wait_for(self, act: Callable[[], WorkerIdentity], what: str) -> WorkerIdentity | None:
        failing = False
        while not self._over.is_set() and not self._stopping.is_set():
            try:
                return act()
            except Exception as error:  # a worker that does not try again would serve nobody
                if not failing:
                    known = isinstance(error, DatabaseError)
                    words = "%s waits for the database: %s"
                    log.warning(words, what, error, exc_info=None if known else error)
                failing = True
                connection.close()
                self._over.wait(1.0)
        return None


def _exit_after(seconds: float) -> None:
    """End the process then, whatever its other threads wait for."""
    timer = threading.Timer(seconds, os._exit, (0,))
    timer.daemon = True
    timer.start()


def free_row_name(wanted: str, host: str) -> str:
    """The name of this worker's row: `wanted`, unless a living worker elsewhere has it.

    Two machines may have the same name; taking the row of the other would end its runs.
    """
    for number in range(1, 1000):
        name = wanted if number == 1 else f"{wanted}-at-{number}"
        taken = Worker.objects.filter(name=name, state__in=(Worker.ACTIVE, Worker.DRAINING))
        if not taken.exclude(host=host).exists():
            return name
    raise RuntimeError(f"a thousand workers are named {wanted}; set RUNSITE_WORKER_NAME")


def take_name(data_dir: Path, wanted: str) -> tuple[str, IO[bytes]]:
    """A name that no other living worker of this data directory has, and the lock that says so.

    The first is `wanted`, then `wanted-2` and so on. The lock ends with the process.
    """
    folder = data_dir / "worker"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for number in range(1, 1000):
        name = wanted if number == 1 else f"{wanted}-{number}"
        safe = "".join(c if c.isalnum() or c in "._-" else "_" for c in name)
        lock = (folder / f"{safe}.lock").open("wb")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        return name, lock
    raise RuntimeError(f"a thousand workers named {wanted} run here; set RUNSITE_WORKER_NAME")
