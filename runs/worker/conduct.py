"""Conducts one run from claim to record: the story of the product, on one screen."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.models import F
from django.utils import timezone

from runs.domain.errors import RunsiteError
from runs.domain.status import EndReason, Phase, Status
from runs.execution.executor import execute
from runs.execution.spec import Stop
from runs.models import Attempt, Run
from runs.queue.reaper import give_back
from runs.worker import results
from runs.worker.patience import GaveUp, Stopped, patiently
from runs.worker.places import Places
from runs.worker.recorder import Flusher, LogTotals, Recorder
from runs.worker.slots import Held
from runs.worker.spool import Spool
from runs.worker.staging import stage

log = logging.getLogger(__name__)


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
            spool = Spool(workspace / "log", limit_bytes=settings.RUNSITE_LOG_LIMIT)
        except OSError as error:
            log.error("run %s: no workspace could be made: %s", run.run_id, error)
            self._close(held, results.Record(no_workspace(error, attempt.worker_name), NO_LOG))
            return
        recorder = Recorder(attempt, run.run_id, spool)
        try:
            self._conduct(held, recorder)
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

    def _conduct(self, held: Held, recorder: Recorder) -> None:
        run, attempt = held.claimed.run, held.claimed.attempt
        with ExitStack() as uses:
            try:
                staged = stage(
                    held.claimed, places=self.places, boot_id=self.boot_id, held=held, uses=uses
                )
                look_for_cancel(held)
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
            outcome = execute(
                staged.spec,
                log=recorder,
                should_stop=held.should_stop,
                on_start=lambda pid, started: note_start(run, attempt, pid, started),
                on_usage=recorder.usage,
                tick=held.tick,
            )
        self.flusher.remove(recorder, held.tick)
        if held.lost:
            raise results.Superseded
        note_phase(run, Phase.COLLECTING, attempt.token)
        self._close(held, results.store_results(held, recorder, staged, outcome))

    def _end_without_result(self, held: Held, recorder: Recorder, verdict: results.Verdict) -> None:
        """End a run whose program never ran, or of which nothing can be recorded."""
        if held.lost:
            raise results.Superseded
        self.flusher.remove(recorder, held.tick)
        self._close(held, results.Record(verdict, results.store_log(held, recorder)))

    def _close(self, held: Held, record: results.Record) -> None:
        """End the run or give it back, as soon as the database answers."""
        run, attempt = held.claimed.run, held.claimed.attempt
        if record.verdict.reason is EndReason.WORKER_STOPPED:
            patiently(
                lambda: results.close_stopped(run, attempt, record, give_back=give_back),
                held=held,
            )
        else:
            patiently(lambda: results.end_run(run, attempt, record), held=held)
        results.remove_live_log(attempt, record.log)

    def _end_broken(self, held: Held, recorder: Recorder, error: Exception) -> None:
        """An error of ours must not leave the run `running`: it ends, and says so."""
        verdict = internal_error(error)
        recorder.write(f"\nRunsite could not go on with this run: {error!r}\n".encode())
        try:
            self._end_without_result(held, recorder, verdict)
        except (results.Superseded, GaveUp):
            self._give_up(held)
        except Exception:
            log.exception("run %s: its log could not be stored", recorder.run_id)
            self._close(held, results.Record(verdict, NO_LOG))

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
            results.keep_evidence(held, recorder)
        except Exception as error:  # what rows hold of it stays readable
            log.warning("run %s: the rest of its log is lost: %r", recorder.run_id, error)
            connection.close()


NO_LOG = results.StoredLog("", LogTotals(0, 0, None, 0))


def look_for_cancel(held: Held) -> None:
    """Learn of a cancel that came while the run was prepared: a short program would end before
    the watcher's next look."""
    try:
        asked = Run.objects.filter(
            pk=held.claimed.run.pk, cancel_requested_at__isnull=False
        ).exists()
    except DatabaseError:
        connection.close()  # the watcher looks again
        return
    if asked and held.stop in {None, Stop.WORKER_STOP}:
        held.stop = Stop.CANCEL


def cannot_be_staged(error: RunsiteError) -> results.Verdict:
    """The verdict on a run that could not be prepared."""
    reason = getattr(error, "end_reason", EndReason.NOT_STARTED)
    short = getattr(error, "short", "") or "not started"
    return results.Verdict(Status.FAILED, reason, short, error.message)


def stopped_before_start(stop: Stop | None) -> results.Verdict:
    """The verdict on a run that was stopped while it was prepared."""
    if stop is Stop.CANCEL:
        return results.Verdict(Status.CANCELED, EndReason.CANCELED, "canceled", "")
    return results.Verdict(Status.FAILED, EndReason.WORKER_STOPPED, "worker stopped", "")


def no_workspace(error: OSError, worker_name: str) -> results.Verdict:
    """The verdict on a run for which not even a folder could be made."""
    words = error.strerror or "disk error"
    return results.Verdict(
        Status.FAILED,
        EndReason.NOT_STARTED,
        f"not started: {words}"[:200],
        f"The worker could not make a workspace for the run: {words}. Free space in the data"
        f" directory of worker {worker_name}, or mend its disk, then launch the run again.",
    )


def internal_error(error: Exception) -> results.Verdict:
    """The verdict on a run that an error of ours broke."""
    return results.Verdict(
        Status.FAILED,
        EndReason.INTERNAL_ERROR,
        "internal error",
        f"Runsite itself failed on this run ({type(error).__name__}). It is not the application's"
        " fault: run it again, and show the worker's log to your administrator.",
    )


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
