"""What the scheduler does for the whole installation, and how often."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef, ProtectedError

from runs.actions.inputs import sweep_scratch
from runs.models import (
    Executable,
    InputData,
    ManagedInput,
    Queue,
    Run,
    SignInLink,
    Submission,
    Upload,
    Worker,
)
from runs.queue import dispatch
from runs.queue.order import next_heads
from runs.queue.reaper import Reaper, cancel_waiting
from runs.storage import keys, object_store
from runs.supervision.held_runs import admit_held, expire_waiting, release_retries
from runs.supervision.lost_logs import tidy_lost_attempts
from runs.supervision.reaping import reap
from runs.supervision.stray_objects import StrayObjects

UPLOADS_LIVE = timedelta(hours=24)
LINKS_LIVE = timedelta(days=1)
INPUTS_LIVE = timedelta(days=1)
SUBMISSIONS_LIVE = timedelta(days=1)
SUBMISSIONS_BATCH = 1000
MOST_SUBMISSIONS = 100_000
"""In one turn: more urgent duties wait meanwhile."""
SWEEP_AFTER_S = 86400.0
BATCH = 200


@dataclass(frozen=True)
class Duty:
    """Something done every `every_s` seconds by whoever holds the lease; harmless when done twice.

    `watch` is called by a stand-by instead, `was_blind` when the database failed.
    """

    name: str
    every_s: float
    act: Callable[[datetime], object]
    watch: Callable[[], object] | None = None
    was_blind: Callable[[], None] | None = None


def all_duties(clock: Callable[[], float] = time.monotonic) -> tuple[Duty, ...]:
    """The duties of an installation, the most urgent first."""
    reaper = Reaper(clock=clock)
    return (
        Duty(
            "reap", settings.RUNSITE_REAP_S, partial(reap, reaper), reaper.watch, reaper.was_blind
        ),
        Duty("release held", 1, release_retries),
        Duty("expire waiting", 2, expire_waiting),
        Duty("admit held", settings.RUNSITE_REAP_S, admit_held),
        Duty("nudge", settings.RUNSITE_REAP_S, nudge_waiting),
        Duty("cancel waiting runs", 60, cancel_waiting),
        Duty("tidy lost attempts", 15, tidy_lost_attempts),
        Duty("prune uploads", 600, prune_uploads),
        Duty("prune submissions", 600, prune_submissions),
        Duty("prune inputs", 3600, prune_inputs),
        Duty("sweep the store", 3600, sweep_store),
        Duty("remove stray objects", 60, StrayObjects(clock).turn),
        Duty("prune sign-in links", 3600, prune_links),
        Duty("prune sessions", 3600, prune_sessions),
    )


def nudge_waiting(now: datetime) -> int:
    """Nudge for queues in which a run could start while a slot is free; how many messages."""
    free = [
        names
        for names, slots, used in Worker.objects.filter(
            state=Worker.ACTIVE, drain_wanted=False
        ).values_list("queues", "slots", "slots_used")
        if used < slots
    ]
    if not free:
        return 0
    names = set().union(*free) if all(free) else set()
    queues = {head.queue for head in next_heads(queues=names)}
    return sum(dispatch.nudge(queue, now=now) for queue in Queue.objects.filter(pk__in=queues))


def prune_uploads(now: datetime) -> int:
    """Remove uploads that nobody made use of within a day; how many.

    Those that an executable waits to be checked of stay.
    """
    needed = Executable.objects.filter(
        upload=OuterRef("pk"), state__in=(Executable.WAITING, Executable.CHECKING)
    )
    old = Upload.objects.filter(~Exists(needed), created_at__lt=now - UPLOADS_LIVE).order_by(
        "created_at"
    )
    count = 0
    for upload in old[:BATCH]:
        # First: a row without bytes is found again, not so bytes. What was sent several times, or
        # by a process that was killed then, lies beside them.
        object_store().delete(upload.key)
        object_store().delete_prefix(keys.upload_prefix(upload.upload_id))
        count += Upload.objects.filter(pk=upload.pk).delete()[0]
    return count


def prune_submissions(now: datetime) -> int:
    """Forget requests to submit a run of more than a day ago; how many.

    By then nobody repeats one, except under a name of its own, which is promised for a day.
    """
    old = Submission.objects.filter(received_at__lt=now - SUBMISSIONS_LIVE).order_by("received_at")
    count = 0
    while found := list(old.values_list("pk", flat=True)[:SUBMISSIONS_BATCH]):
        count += Submission.objects.filter(pk__in=found).delete()[0]
        if len(found) < SUBMISSIONS_BATCH or count >= MOST_SUBMISSIONS:
            break
    return count


def prune_inputs(now: datetime) -> int:
    """Remove inputs that no run and no managed input has used for a day; how many.

    Rows first: whoever wants to use one at the same time then meets it whole or not at all.
    """
    unused = InputData.objects.filter(
        ~Exists(Run.objects.filter(input_data=OuterRef("pk"))),
        ~Exists(ManagedInput.objects.filter(input_data=OuterRef("pk"))),
        created_at__lt=now - INPUTS_LIVE,
    ).order_by("pk")
    count = 0
    for input_data in unused[:BATCH]:
        try:
            with transaction.atomic():
                # A run that refers to it now waits for this lock, and then finds it gone.
                if not unused.select_for_update(of=("self",)).filter(pk=input_data.pk).exists():
                    continue
                InputData.objects.filter(pk=input_data.pk).delete()
        except (ProtectedError, IntegrityError):
            continue  # somebody uses it since we looked
        object_store().delete_prefix(keys.input_prefix(input_data.input_key))
        count += 1
    return count


def sweep_store(now: datetime) -> int:
    """Remove what writers that were killed left in the store and on their way to it; how many."""
    left = sweep_scratch(SWEEP_AFTER_S, now_s=time.time())
    return left + object_store().sweep(SWEEP_AFTER_S)


def prune_links(now: datetime) -> int:
    """Remove sign-in links that have been of no use for a day; how many."""
    return SignInLink.objects.filter(expires_at__lt=now - LINKS_LIVE).delete()[0]


def prune_sessions(now: datetime) -> int:
    """Remove sessions that have run out; how many."""
    return Session.objects.filter(expire_date__lt=now).delete()[0]
