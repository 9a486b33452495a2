"""Keys of runs at their submission: which key, whether it has room, and what follows when not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from runs.domain.concurrency import REPLACED_BY, cancel_reason, evaluate_key, option_names
from runs.domain.manifest import Manifest
from runs.domain.options import ResolvedOption
from runs.domain.status import EndReason, Status
from runs.models import Application, Run, RunEvent
from runs.models.concurrency import admitted, lock_limit
from runs.models.waits import lock_runs, those_waiting


@dataclass(frozen=True)
class Room:
    """How full a key is: its limit (None: no limit) and those under way, the oldest first."""

    limit: int | None
    under_way: tuple[int, ...]

    @property
    def is_full(self) -> bool:
        """Whether one more has to wait, or what else the policy says."""
        return self.limit is not None and len(self.under_way) >= self.limit


def key_of(
    application: Application, manifest: Manifest, resolved: Sequence[ResolvedOption]
) -> tuple[str, list[str]]:
    """The key of a run with these options in force, empty without a limit, and warnings.

    What the expression names counts as empty where the run has no such option: a version that is
    older than the expression can still be launched.
    """
    if application.concurrency_limit is None:
        return "", []
    expression = application.concurrency_expression
    named = option_names(expression)
    values = {option.name: option.value for option in resolved}
    declared = {item.name for item in manifest.options.items}
    missing = [name for name in named if name not in declared and name not in values]
    warnings = [
        f"The concurrency key of the application names option `{name}`, which this version does"
        " not have; it counts as empty."
        for name in missing
    ]
    return evaluate_key(expression, dict.fromkeys(named) | values), warnings


def lock_room(application: Application, key: str) -> Room:
    """How full the key is; stays true until the transaction ends. Locks the application."""
    limit = lock_limit(application.pk)
    under_way = () if limit is None else admitted(application.pk, key).order_by("pk")
    return Room(limit, tuple(run.pk for run in under_way))


def reuse_newest(application: int, key: str, *, actor: str, now: datetime) -> Run | None:
    """The newest run of the key that is under way or next, with an event that says so.

    None without one. A run that somebody wants ended is no answer: it brings no whole result.
    """
    active = Run.objects.filter(
        application=application,
        concurrency_key=key,
        cancel_requested_at__isnull=True,
        stop_requested_at__isnull=True,
    ).active()
    later = (Run.WAITS_FOR_RUNS, Run.WAITS_FOR_EXECUTABLE)
    run = active.exclude(hold__in=later).order_by("-pk").first()
    if run is not None:
        text = f"Submitted again by {actor}; this run of the same key is used"
        RunEvent.objects.create(run=run, kind=RunEvent.NOTED, at=now, actor=actor, text=text)
    return run


def drop(run: Run, room: Room, *, now: datetime) -> None:
    """End a new run at once, because its key is full; it names the newest that is under way."""
    count = len(room.under_way)
    busy = f"{count} of {room.limit} runs of key `{run.concurrency_key}`"
    what = f"{busy} {'is' if count == 1 else 'are'} under way"
    newest = Run.objects.filter(pk__in=room.under_way[-1:]).values_list("run_id", flat=True)
    if run_id := newest.first():
        what += f" (run {run_id})" if count == 1 else f", the newest is run {run_id}"
    run.move_to(
        Status.CANCELED,
        now=now,
        reason=EndReason.SUPERSEDED,
        actor="queue",
        text=what,
        changes={
            "error": "superseded",
            "detail": f"{what}, and the application drops what comes then. Launch it again later.",
        },
    )


def replace_others(run: Run, room: Room, *, now: datetime) -> None:
    """Cancel for a new run those that wait for its key, and as many under way as make room.

    The oldest go. Queued ones end at once, running ones are asked to; the new run waits for them.
    Locks all of them, and what may end with them, the oldest first.
    """
    surplus = len(room.under_way) - (room.limit or 0) + 1
    waiting = Run.objects.filter(
        application=run.application_id,
        concurrency_key=run.concurrency_key,
        status=Status.QUEUED,
        hold__in=(Run.WAITS_FOR_KEY, Run.WAITS_FOR_RUNS, Run.WAITS_FOR_EXECUTABLE),
    ).exclude(pk=run.pk)
    wanted = set(room.under_way[:surplus]) | set(waiting.values_list("pk", flat=True))
    victims = Run.objects.filter(pk__in=wanted)
    locked = lock_runs(wanted | those_waiting(victims, ending=True))
    for victim in locked:
        if victim.pk in wanted:
            _replace(victim, run, now)
    run.refresh_from_db(fields=["hold"])


def _replace(victim: Run, run: Run, now: datetime) -> None:
    actor = f"{REPLACED_BY}{run.run_id}"
    asked = {"cancel_requested_at": now, "cancel_actor": actor}
    if victim.status == Status.QUEUED:
        detail = f"{actor.capitalize()}, which has the same concurrency key."
        victim.move_to(
            Status.CANCELED,
            now=now,
            reason=cancel_reason(actor),
            actor=actor,
            text="Replaced before it started",
            changes={**asked, "error": "superseded", "detail": detail},
        )
        return
    running = Run.objects.filter(
        pk=victim.pk, status=Status.RUNNING, cancel_requested_at__isnull=True
    )
    if running.update(**asked):
        RunEvent.objects.create(
            run=victim,
            kind=RunEvent.CANCEL_REQUESTED,
            at=now,
            attempt_number=victim.attempt_number,
            actor=actor,
        )
