"""Runs that wait for other runs: no slot is held, and the end of the last one lets them start."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.db import models
from django.db.models import F, Q

from runs.domain.status import EndReason, Status
from runs.models.concurrency import admit_next, has_room_for, lock_key

if TYPE_CHECKING:
    from runs.models.runs import Run

FAIL, SKIP, CONTINUE = "fail", "skip", "continue"
POLICIES = [(name, name) for name in (FAIL, SKIP, CONTINUE)]


class RunWait(models.Model):
    """One run waits for another. Open until the awaited one has ended; `outcome` is its status."""

    run = models.ForeignKey("runs.Run", models.CASCADE, related_name="waits")
    awaited = models.ForeignKey("runs.Run", models.CASCADE, related_name="awaited_by")
    open = models.BooleanField(default=True)
    outcome = models.CharField(max_length=16, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "awaited"], name="wait_once")]
        indexes = [models.Index(fields=["awaited"], condition=Q(open=True), name="wait_open")]

    def __str__(self) -> str:
        return f"{self.run_id} waits for {self.awaited_id}"


def release_waiting(awaited: Run, now: datetime) -> None:
    """Let the runs that waited for this one, which has just ended, start or end themselves.

    For `Run.move_to`, within its transaction. Those that end let others go in their turn, so a
    chain of any length ends at once. Locks for each what its key belongs to, then the waiting
    run: it is younger than the awaited one, so nobody locks the other way round.
    """
    ended = [awaited]
    for one in ended:
        waits = RunWait.objects.filter(awaited=one, open=True).select_related("run")
        for wait in waits.order_by("run__application", "run"):
            if (run := settle_wait(wait, one, now)) is not None:
                ended.append(run)
        if one.concurrency_key:
            admit_next(one.application_id, one.concurrency_key)


def settle_wait(wait: RunWait, awaited: Run, now: datetime) -> Run | None:
    """Close one wait: its run counts one less, and is released, failed or skipped by its policy.

    Returns the run if this has ended it; what waits for that one is the caller's business.
    """
    from runs.models.runs import Run

    lock_key(wait.run)
    if not RunWait.objects.filter(pk=wait.pk, open=True).update(open=False, outcome=awaited.status):
        return None
    queued = Run.objects.filter(pk=wait.run_id, status=Status.QUEUED)
    if not queued.update(open_waits=F("open_waits") - 1):
        return None  # it has ended meanwhile
    run = queued.get()
    if awaited.status != Status.SUCCEEDED and run.wait_policy != CONTINUE:
        return run if _end(run, awaited, now) else None
    if run.open_waits == 0:
        release(run, now)
    return None


def release(run: Run, now: datetime) -> None:
    """Make a queued run claimable that waits for no other run any more, if its key has room."""
    from runs.models.runs import Run

    hold = Run.NO_HOLD if has_room_for(run) else Run.WAITS_FOR_KEY
    limit = run.queue_limit_s
    Run.objects.filter(pk=run.pk, status=Status.QUEUED, hold=Run.WAITS_FOR_RUNS).update(
        hold=hold, expires_at=now + timedelta(seconds=limit) if limit else None
    )


def _end(run: Run, awaited: Run, now: datetime) -> bool:
    what = f"Run {awaited.run_id}, which it waits for, {_ENDED[Status(awaited.status)]}"
    if run.wait_policy == SKIP:
        return run.write_move(
            Status.CANCELED,
            now=now,
            reason=EndReason.SKIPPED,
            actor="queue",
            text=what,
            changes={"error": "skipped", "detail": f"{what}, so this one was skipped."},
        )
    return run.write_move(
        Status.FAILED,
        now=now,
        reason=EndReason.WAIT_FAILED,
        actor="queue",
        text=what,
        changes={
            "error": "a run it waits for did not succeed",
            "detail": f"{what}. Mend that one, then launch both again.",
        },
    )


_ENDED = {
    Status.FAILED: "failed",
    Status.CANCELED: "was canceled",
    Status.SUCCEEDED: "succeeded",
}
