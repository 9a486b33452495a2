"""Gives back or ends the runs of lost workers, and mends what no worker will mend."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import (
    DatabaseError,
    DataError,
    IntegrityError,
    ProgrammingError,
    connection,
    transaction,
)
from django.db.models import Exists, F, OuterRef

from runs.domain.concurrency import cancel_reason
from runs.domain.errors import RunsiteError
from runs.domain.status import WORDS, EndReason, Status
from runs.models import Attempt, EnvironmentBuild, Executable, LogChunk, Run, Worker
from runs.queue.dispatch import nudge_after_commit
from runs.queue.lease import BeatWatch, WorkerIdentity
from runs.queue.retries import FORGOTTEN, may_retry, most_attempts, retry_columns, retry_words

logger = logging.getLogger(__name__)


@dataclass
class Reaped:
    """What one look has changed."""

    given_back: int = 0
    ended: int = 0
    canceled: int = 0
    workers_lost: int = 0
    mended: int = 0

    def count(self, after: Status | None) -> None:
        """Count a run that was taken from its worker."""
        if after is Status.QUEUED:
            self.given_back += 1
        elif after is Status.CANCELED:
            self.canceled += 1
        elif after is not None:
            self.ended += 1

    def __bool__(self) -> bool:
        return any(vars(self).values())


def give_back(
    run: Run,
    attempt: Attempt | None,
    now: datetime,
    why: EndReason = EndReason.WORKER_LOST,
    *,
    what: str = "",
) -> Status | None:
    """Take the run from the worker that held it, and close the attempt with `why` as outcome.

    Queued again while attempts are left for that, else after a delay when its retry rule names
    `why`; canceled when somebody asked for that; else failed with `why` (`worker_lost` or
    `worker_stopped`) as end reason, or with `no_result` when it was to be stopped and its result
    kept. `what` says it in words, as "Worker w1 was lost". Returns the new status, or None when
    the attempt did not hold the run any more: then nothing has changed. Done twice, it happens
    once. Locks the run, then the attempt.
    """
    name = attempt.worker_name if attempt else "unknown"
    what = what or f"Worker {name} was {'stopped' if why is EndReason.WORKER_STOPPED else 'lost'}"
    with transaction.atomic():
        held = Run.objects.select_for_update(of=("self",), no_key=True).select_related("queue")
        held = held.filter(status=Status.RUNNING, token=attempt.token if attempt else run.token)
        fresh = held.filter(pk=run.pk).first()
        if fresh is None:
            return None
        after = _move_away(fresh, attempt, now, why, what)
        if attempt is not None:
            _close(attempt, now, why, what)
        if after is Status.QUEUED and not fresh.hold:
            nudge_after_commit(fresh.queue)
    for field in ("status", "end_reason", "phase", "token", "ended_at", *_MOVED, *FORGOTTEN):
        setattr(run, field, getattr(fresh, field))
    return after


_MOVED = ("hold", "held_until", "retries_made")


def _move_away(
    run: Run, attempt: Attempt | None, now: datetime, why: EndReason, what: str
) -> Status:
    changes: dict[str, Any]
    if run.cancel_requested_at is not None:
        text = f"{what} while the run was being canceled"
        after, reason = Status.CANCELED, cancel_reason(run.cancel_actor)
        changes = {"error": WORDS[reason], "detail": f"{text}."}
    elif run.stop_requested_at is not None:
        text = f"{what} while the run was being stopped"
        changes = {
            "error": WORDS[EndReason.NO_RESULT],
            "detail": f"{text}, so no result could be kept. Launch it again if you want one.",
        }
        after, reason = Status.FAILED, EndReason.NO_RESULT
    elif run.attempt_number - run.retries_made < run.max_attempts:
        text = f"{what}; given back for attempt {run.attempt_number + 1} of {most_attempts(run)}"
        changes = dict(FORGOTTEN)
        after, reason = Status.QUEUED, EndReason.NONE
    elif may_retry(run, why):
        changes = retry_columns(run, now)
        text = f"{what}; {retry_words(changes, run, now)}"
        after, reason = Status.QUEUED, EndReason.NONE
    else:
        text = f"{what}; {_used_up(run)}"
        changes = {
            "error": WORDS[why],
            "detail": f"{text}. Launch it again if you want it repeated.",
        }
        after, reason = Status.FAILED, why
    if after is not Status.QUEUED and attempt is not None:
        changes["log_bytes"] = _known_log_bytes(attempt)
    run.move_to(
        after, now=now, reason=reason, actor="queue", text=text, token=run.token, changes=changes
    )
    return after


def _used_up(run: Run) -> str:
    if run.attempt_number == 1:
        return "the run may not be repeated"
    return f"all {run.attempt_number} attempts are used"


def _known_log_bytes(attempt: Attempt) -> int:
    """How much of the log of an attempt had left its worker."""
    rows = LogChunk.objects.filter(attempt=attempt).order_by("-first_byte")
    first_byte, size = rows.values_list("first_byte", "size").first() or (0, 0)
    return first_byte + size


def _close(attempt: Attempt, now: datetime, why: EndReason, what: str) -> None:
    columns: dict[str, Any] = {"ended_at": now, "outcome": why}
    if not attempt.error:
        columns |= {"error": WORDS[why], "detail": f"{what}."}
    Attempt.objects.filter(pk=attempt.pk, ended_at__isnull=True).update(**columns)
    for name, value in columns.items():
        setattr(attempt, name, value)


def release_former_boots(identity: WorkerIdentity, *, now: datetime) -> int:
    """Give back what former boots of this worker still hold; how many runs that were.

    For a worker that starts, before its first claim and after it has ended the processes that a
    former boot left: that boot cannot come back, so nothing waits for a lease to run out.
    """
    left = Attempt.objects.filter(worker_name=identity.name, ended_at__isnull=True)
    count = 0
    for attempt in left.exclude(boot_id=identity.boot_id).select_related("run"):
        after = give_back(attempt.run, attempt, now, what=f"Worker {identity.name} was restarted")
        count += after is not None
    return count


def cancel_waiting(now: datetime) -> int:
    """Cancel queued runs that somebody wanted canceled; how many. Canceling does it at once, so
    this finds only what was left by an accident."""
    wanted = Run.objects.filter(status=Status.QUEUED, cancel_requested_at__isnull=False)
    return sum(
        run.move_to(
            Status.CANCELED,
            now=now,
            reason=cancel_reason(run.cancel_actor),
            actor=run.cancel_actor,
            text="Canceled before it started",
        )
        for run in wanted[:1000]
    )


class Reaper:
    """Watches beats by its own monotonic clock and takes runs from workers that are silent.

    A time in which the table could not be read or written counts for nothing: `look` starts anew
    after an error, and its owner says `was_blind` when it could not write. Any number of reapers
    may look at once. `lease_s` is the silence, in seconds, after which a worker is lost.
    """

    def __init__(
        self, *, lease_s: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        lease_s = settings.RUNSITE_LEASE_S if lease_s is None else lease_s
        self._attempts: BeatWatch[int] = BeatWatch(lease_s, clock)
        self._workers: BeatWatch[int] = BeatWatch(lease_s, clock)

    def was_blind(self) -> None:
        """The table could not be read or written: everybody gets a whole lease again."""
        self._attempts.was_blind()
        self._workers.was_blind()

    def watch(self) -> tuple[frozenset[int], frozenset[int]]:
        """Look without acting: keys of the attempts and of the workers that are silent.

        A stand-by watches too, so that it can act at once when it takes over. Two queries.
        """
        try:
            with connection.cursor() as cursor:
                cursor.execute(_ATTEMPTS)
                attempts = dict(cursor.fetchall())
                cursor.execute(_WORKERS)
                workers = dict(cursor.fetchall())
        except DatabaseError:
            self.was_blind()
            raise
        return self._attempts.saw(attempts), self._workers.saw(workers)

    def look(self, now: datetime) -> Reaped:
        """Look, and take from the silent what they hold. `now` is only written, never compared."""
        attempts, workers = self.watch()
        reaped = Reaped()
        try:
            if attempts:
                for attempt in Attempt.objects.filter(pk__in=attempts).select_related("run"):
                    with _one_by_one(attempt.run):
                        reaped.count(give_back(attempt.run, attempt, now))
            if workers:
                for worker in Worker.objects.filter(pk__in=workers):
                    reaped.workers_lost += _lose(worker)
            if _is_any_broken():
                reaped.mended += _mend_attempts(now) + _mend_runs(now, reaped)
                reaped.mended += _free_builds() + _free_checks()
        except DatabaseError:
            self.was_blind()
            raise
        if reaped:
            logger.warning("Reaped: %s", reaped)
        return reaped


# Asked every few seconds for as long as an installation lives, and Django takes ten times as long
# to put a question into words as the database takes to answer it. `_BROKEN` is whether one of the
# four below has something to mend.
_ATTEMPTS = "SELECT id, beat FROM runs_attempt WHERE ended_at IS NULL"
_WORKERS = "SELECT id, beat FROM runs_worker WHERE state IN ('active', 'draining')"
_BROKEN = """
    SELECT EXISTS (
        SELECT 1 FROM runs_attempt attempt JOIN runs_run run ON run.id = attempt.run_id
        WHERE attempt.ended_at IS NULL AND run.token <> attempt.token
    ) OR EXISTS (
        SELECT 1 FROM runs_run run WHERE run.status = 'running' AND NOT EXISTS (
            SELECT 1 FROM runs_attempt attempt
            WHERE attempt.token = run.token AND attempt.ended_at IS NULL
        )
    ) OR EXISTS (
        SELECT 1 FROM runs_environmentbuild build
        WHERE build.state = 'building' AND NOT EXISTS (
            SELECT 1 FROM runs_worker worker
            WHERE worker.boot_id = build.boot_id AND worker.state IN ('active', 'draining')
        )
    ) OR EXISTS (
        SELECT 1 FROM runs_executable executable
        WHERE executable.state IN ('waiting', 'checking') AND executable.state = 'checking'
        AND NOT EXISTS (
            SELECT 1 FROM runs_worker worker
            WHERE worker.boot_id = executable.boot_id AND worker.state IN ('active', 'draining')
        )
    )
"""


def _is_any_broken() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(_BROKEN)
        return bool(cursor.fetchone()[0])


@contextmanager
def _one_by_one(run: Run) -> Iterator[None]:
    """A run that cannot be taken back, which is a fault of ours, must not hold up the others."""
    try:
        yield
    except (IntegrityError, DataError, ProgrammingError, RunsiteError):
        logger.exception("Run %s could not be taken back.", run.run_id)


def _lose(worker: Worker) -> int:
    """Show a silent worker as lost, unless it sent a heartbeat just now."""
    return Worker.objects.filter(
        pk=worker.pk, beat=worker.beat, state__in=(Worker.ACTIVE, Worker.DRAINING)
    ).update(state=Worker.LOST, slots_used=0, note="")


def _mend_attempts(now: datetime) -> int:
    """Close attempts that are open though they do not hold their run: nobody else would."""
    orphans = Attempt.objects.filter(ended_at__isnull=True).exclude(run__token=F("token"))
    return orphans.update(
        ended_at=now, outcome=EndReason.WORKER_LOST, error=WORDS[EndReason.WORKER_LOST]
    )


def _mend_runs(now: datetime, reaped: Reaped) -> int:
    """Take back runs that no open attempt holds: no heartbeat would ever miss them."""
    holders = Attempt.objects.filter(token=OuterRef("token"), ended_at__isnull=True)
    count = 0
    for run in Run.objects.filter(~Exists(holders), status=Status.RUNNING):
        with _one_by_one(run):
            after = give_back(run, None, now, what="The attempt of the run was gone")
            reaped.count(after)
            count += after is not None
    return count


def _free_builds() -> int:
    """Let environments be built by others whose builder is gone."""
    builds = EnvironmentBuild.objects.filter(~_boot_lives(), state=EnvironmentBuild.BUILDING)
    return builds.update(
        state=EnvironmentBuild.WAITING, worker_name="", boot_id="", started_at=None
    )


def _free_checks() -> int:
    """Let pushed executables be checked by others whose worker is gone."""
    checks = Executable.objects.filter(~_boot_lives(), state=Executable.CHECKING)
    return checks.update(state=Executable.WAITING, worker_name="", boot_id="")


def _boot_lives() -> Exists:
    """Whether the boot that a row names is that of a worker that serves."""
    serving = Worker.objects.filter(
        boot_id=OuterRef("boot_id"), state__in=(Worker.ACTIVE, Worker.DRAINING)
    )
    return Exists(serving)
