"""Conducts one run from claim to record: the story of the product, on one screen."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from django.db import DatabaseError, connection
from django.db.models import F
from django.utils import timezone

from runs.domain.errors import RunsiteError
from runs.domain.status import EndReason, Phase
from runs.execution.disk import disk_fault
from runs.execution.executor import execute
from runs.execution.spec import Outcome, Stop
from runs.models import Attempt, Run
from runs.models.limits import FAIL
from runs.queue.reaper import give_back
from runs.worker import results, retries
from runs.worker.held import Held
from runs.worker.masking import mask_record, masked_log
from runs.worker.patience import GaveUp, Stopped, patiently
from runs.worker.places import Places
from runs.worker.recorder import Flusher, Recorder
from runs.worker.result_documents import Record, remove_documents
from runs.worker.spool import Spool
from runs.worker.staging import log_limit_of, stage
from runs.worker.stored_logs import NO_LOG, keep_evidence, remove_live_log, store_log
from runs.worker.verdicts import (
    Verdict,
    cannot_be_staged,
    disk_failed,
    internal_error,
    no_workspace,
    stopped_before_start,
)

log = logging.getLogger(__name__)

DISK_WAIT_S = 5.0
"""So long a slot of a worker stays taken, at most, whose disk has failed a run."""
DISK_LOOK_S = 0.5
PROBE_BYTES = 256 * 1024


@dataclass(frozen=True)
class Conductor:
    """What conducting needs of its worker. Call it with each run that was claimed."""

    places: Places
    boot_id: str
    flusher: Flusher

    def __call__(self, held: Held) -> None:
        """Stage, execute, record; whatever happens, the run ends or is given back."""
        run, attempt = held.claimed.run, held.claimed.attempt
        workspace = self.places.workspace(run.run_id, attempt.number)
        try:
            spool = Spool(workspace / "log", limit_bytes=log_limit_of(run))
        except OSError as error:
            log.error("run %s: no workspace could be made: %s", run.run_id, error)
            fault, name = disk_fault(error), attempt.worker_name
            verdict = disk_failed(fault, name) if fault else no_workspace(error, name)
            self._close(held, Record(verdict, NO_LOG))
            results.remove_workspace(workspace)
            if fault:
                wait_for_disk(self.places.runs)
            return
        fails = run.log_limit_action == FAIL
        recorder = Recorder(
            attempt,
            run.run_id,
            spool,
            on_overflow=(lambda: held.ask(Stop.LOG_LIMIT)) if fails else None,
        )
        try:
            self._conduct_here(held, recorder)
        except results.Superseded:
            log.warning("run %s: attempt %s no longer holds it", run.run_id, attempt.number)
            self._keep_evidence(held, recorder)
        except GaveUp:
            self._give_up(held)
        except Exception as error:
            log.exception("run %s: attempt %s broke off", run.run_id, attempt.number)
            self._end_broken(held, recorder, error)
        finally:
            self.flusher.remove(recorder, held.tick)
            spool.close()
            results.remove_workspace(workspace)
        if spool.disk_failed:
            wait_for_disk(self.places.runs)

    def _conduct_here(self, held: Held, recorder: Recorder) -> None:
        """Conduct it, unless the disk of this worker fails: then another worker shall do it."""
        try:
            self._conduct(held, recorder)
        except OSError as error:  # those of the store have been waited for
            if not (fault := disk_fault(error)):
                raise
            self._leave_to_others(held, recorder, fault)

    def _conduct(self, held: Held, recorder: Recorder) -> None:
        run, attempt = held.claimed.run, held.claimed.attempt
        with ExitStack() as uses:
            try:
                staged = stage(
                    held.claimed, places=self.places, boot_id=self.boot_id, held=held, uses=uses
                )
                look_for_wishes(held)
                if held.stop is not None:
                    raise Stopped
            except Stopped:
                self._end_without_result(held, recorder, stopped_before_start(held.stop))
                return
            except RunsiteError as error:
                self._end_without_result(held, recorder, cannot_be_staged(error))
                return
            recorder.restart_clock()
            self.flusher.add(recorder)
            with masked_log(recorder, held.masker) as sink:
                outcome = execute(
                    staged.spec,
                    log=sink,
                    should_stop=lambda: wish_of(held, recorder),
                    on_start=lambda pid, started: note_start(run, attempt, pid, started),
                    on_usage=recorder.usage,
                    tick=held.tick,
                )
        self.flusher.remove(recorder, held.tick)
        if held.lost:
            raise results.Superseded
        if outcome.disk_failed:
            fault = recorder.spool.disk_failed or outcome.disk_failed
            self._leave_to_others(held, recorder, fault, outcome)
            return
        note_phase(run, Phase.COLLECTING, attempt.token)
        self._close(held, results.store_results(held, recorder, staged, outcome))

    def _leave_to_others(
        self, held: Held, recorder: Recorder, fault: str, outcome: Outcome | None = None
    ) -> None:
        """Give the run back, as this worker's disk is at fault and not the program."""
        if held.lost:
            raise results.Superseded
        name = held.claimed.attempt.worker_name
        log.error("run %s: the disk of this worker %s", recorder.run_id, fault)
        self.flusher.remove(recorder, held.tick)
        try:
            stored = store_log(held, recorder, waits_for_space=False)
        except OSError:  # the store lies on that disk: what rows hold of the log is joined later
            stored = NO_LOG
        recorder.spool.disk_failed = fault
        self._close(held, Record(disk_failed(fault, name), stored, outcome))

    def _end_without_result(self, held: Held, recorder: Recorder, verdict: Verdict) -> None:
        """End a run whose program never ran, or of which nothing can be recorded."""
        if held.lost:
            raise results.Superseded
        self.flusher.remove(recorder, held.tick)
        self._close(held, Record(verdict, store_log(held, recorder)))

    def _close(self, held: Held, record: Record) -> None:
        """End the run, give it back or have it tried again, as soon as the database answers."""
        mask_record(record, held.masker)
        run, attempt = held.claimed.run, held.claimed.attempt
        if record.verdict.reason is EndReason.WORKER_STOPPED:
            patiently(
                lambda: results.close_stopped(run, attempt, record, give_back=give_back),
                held=held,
            )
        elif retries.wants_further_attempt(run, record) and patiently(
            lambda: retries.try_again(run, attempt, record), held=held
        ):
            remove_documents(record)
        else:
            patiently(lambda: results.end_run(run, attempt, record), held=held)
        remove_live_log(attempt, record.log)

    def _end_broken(self, held: Held, recorder: Recorder, error: Exception) -> None:
        """An error of ours must not leave the run `running`: it ends, and says so."""
        verdict = internal_error(error)
        words = held.masker.text(repr(error))
        recorder.write(f"\nRunsite could not go on with this run: {words}\n".encode())
        try:
            self._end_without_result(held, recorder, verdict)
        except (results.Superseded, GaveUp):
            self._give_up(held)
        except Exception:
            log.exception("run %s: its log could not be stored", recorder.run_id)
            self._close(held, Record(verdict, NO_LOG))

    def _give_up(self, held: Held) -> None:
        """The worker is killed, or the run canceled, before its results are safe."""
        run, attempt = held.claimed.run, held.claimed.attempt
        try:
            give_back(run, attempt, timezone.now(), EndReason.WORKER_STOPPED)
        except DatabaseError as error:
            # The next boot of this worker does it, or the reaper.
            log.warning("run %s: could not be given back: %s", run.run_id, error)
            connection.close()

    def _keep_evidence(self, held: Held, recorder: Recorder) -> None:
        self.flusher.remove(recorder, held.tick)
        try:
            keep_evidence(held, recorder)
        except Exception as error:  # what rows hold of it stays readable
            log.warning("run %s: the rest of its log is lost: %r", recorder.run_id, error)
            connection.close()


def wish_of(held: Held, recorder: Recorder) -> Stop | None:
    """What the execution asks all the time: whether somebody, or the disk, wants the run ended."""
    if recorder.spool.disk_failed:
        held.ask(Stop.DISK_FAILED)
    return held.should_stop()


def wait_for_disk(folder: Path) -> None:
    """Wait until the disk takes a file again, a while at most; the run is given back already.

    The slot stays taken meanwhile: a worker with a broken disk must not use up the attempts of
    every run that waits, as fast as it can claim them.
    """
    until = time.monotonic() + DISK_WAIT_S
    probe = folder / f".probe-{threading.get_ident()}"
    while time.monotonic() < until:
        try:
            probe.write_bytes(bytes(PROBE_BYTES))
        except OSError:
            time.sleep(DISK_LOOK_S)  # nobody tells when a disk has space again
        else:
            return
        finally:
            with suppress(OSError):
                probe.unlink()


def look_for_wishes(held: Held) -> None:
    """Learn of a cancel or stop that came while the run was prepared: a short program would end
    before the watcher's next look."""
    run = held.claimed.run
    wishes = Run.objects.filter(pk=run.pk).values_list("cancel_requested_at", "stop_requested_at")
    try:
        canceled_at, stopped_at = wishes.first() or (None, None)
    except DatabaseError:
        connection.close()  # the watcher looks again
        return
    if canceled_at is not None:
        held.ask(Stop.CANCEL)
    elif stopped_at is not None:
        held.ask(Stop.KEEP)


def note_start(run: Run, attempt: Attempt, pid: int, pid_started: float) -> None:
    """Write down that the program has started, and by which process number."""
    now: datetime = timezone.now()
    rows = Run.objects.filter(pk=run.pk, token=attempt.token)
    try:
        if rows.update(phase=Phase.EXECUTING, started_at=now):
            Attempt.objects.filter(pk=attempt.pk).update(
                started_at=now, pid=pid, pid_started=pid_started, beat=F("beat") + 1
            )
            run.phase, run.started_at = Phase.EXECUTING, now
    except DatabaseError as error:
        # The program runs already; the end of the run records the start as well.
        log.warning("run %s: its start could not be written yet: %s", run.run_id, error)
        connection.close()


def note_phase(run: Run, phase: Phase, token: str) -> None:
    """Write down what the worker does with the run now."""
    try:
        Run.objects.filter(pk=run.pk, token=token).update(phase=phase)
    except DatabaseError:
        connection.close()  # only pages miss it; recording the end waits for the database
    run.phase = phase
