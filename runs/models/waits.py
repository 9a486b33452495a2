"""Runs that wait for other runs: no slot is held, and the end of the last one lets them start."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.db import models
from django.db.models import F, Q

from runs.domain.status import EndReason, Status
from runs.models.concurrency import in_parts, pass_on

if TYPE_CHECKING:
    from runs.models.runs import Run, RunQuerySet

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
    chain of any length ends at once. What waits is younger than what it waits for, and all of it
    is locked in this order before anything is changed: so nobody locks the other way round.
    """
    ended = [awaited]
    if waiting := those_waiting([awaited], ending=awaited.status != Status.SUCCEEDED):
        lock_runs(waiting)
        for one in ended:
            ended += _settle(one, now)
    for application, key in dict.fromkeys(
        (one.application_id, one.concurrency_key) for one in ended
    ):
        if key:
            pass_on(application, key)


def those_waiting(awaited: Iterable[Run], *, ending: bool) -> set[int]:
    """The primary keys of the runs that wait for these.

    With `ending` also of those that wait for them in turn, as they may end with them.
    """
    found: set[int] = set()
    level = [run.pk for run in awaited]
    while level:
        waits: set[int] = set()
        for part in in_parts(level):
            open_ones = RunWait.objects.filter(awaited__in=part, open=True)
            waits.update(open_ones.values_list("run_id", flat=True))
        level = list(waits - found) if ending else []
        found |= waits
    return found


def lock_runs(keys: Iterable[int]) -> list[Run]:
    """The runs with these primary keys, locked, the oldest first."""
    from runs.models.runs import Run

    locked = Run.objects.select_for_update(no_key=True).order_by("pk")
    return [run for part in in_parts(sorted(keys)) for run in locked.filter(pk__in=part)]


def _settle(awaited: Run, now: datetime) -> list[Run]:
    """Close all waits for a run that has ended; the runs that this ends."""
    from runs.models.runs import Run

    waits = RunWait.objects.filter(awaited=awaited, open=True)
    keys = sorted(waits.values_list("run_id", flat=True))
    waits.update(open=False, outcome=awaited.status)
    ended: list[Run] = []
    for part in in_parts(keys):
        queued = Run.objects.filter(pk__in=part, status=Status.QUEUED)
        queued.update(open_waits=F("open_waits") - 1)
        if awaited.status != Status.SUCCEEDED:
            gone = queued.exclude(wait_policy=CONTINUE).order_by("pk")
            ended += [run for run in gone if end_by_policy(run, awaited, now)]
        _release(queued.filter(open_waits=0, hold=Run.WAITS_FOR_RUNS), now)
    return ended


def _release(runs: RunQuerySet, now: datetime) -> None:
    """Make queued runs claimable that wait for no other run any more, if their key has room."""
    from runs.models.runs import Run

    kinds = runs.order_by().values_list("application_id", "concurrency_key", "queue_limit_s")
    for application, key, limit in set(kinds):
        runs.filter(
            application=application,
            concurrency_key=key,
            **({"queue_limit_s": limit} if limit else {"queue_limit_s__isnull": True}),
        ).update(
            hold=Run.WAITS_FOR_KEY if key else Run.NO_HOLD,
            expires_at=now + timedelta(seconds=limit) if limit else None,
        )
        if key:
            pass_on(application, key)


def end_by_policy(run: Run, awaited: Run, now: datetime) -> bool:
    """End a queued run that does not go on without this one, which did not succeed.

    What waits for it, or for its key, is the caller's business.
    """
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
