"""Checks executables that a push made, for a worker, and lets the runs go that wait for them."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.db import DataError, IntegrityError, ProgrammingError, connection, transaction
from django.utils import timezone

from runs.actions.actors import product
from runs.actions.application_settings import adopted_concurrency, concurrency_warning
from runs.actions.audit import record_change
from runs.actions.builds import Build, build_from_archive
from runs.actions.executables import build_columns
from runs.actions.run_limits import limits_in_force, retry_rule, slots_of
from runs.actions.run_targets import is_repeatable
from runs.domain.errors import RunsiteError
from runs.domain.manifest import manifest_from_json
from runs.domain.status import EndReason, Status
from runs.models import Application, Executable, Lane, Run
from runs.models.concurrency import pass_on
from runs.queue.dispatch import nudge_after_commit
from runs.storage import ObjectMissing, StorageError, keys, object_store

logger = logging.getLogger(__name__)

BATCH = 1000
UNCHECKED = (Executable.WAITING, Executable.CHECKING)
_ANYTHING = f"""
    SELECT EXISTS (SELECT 1 FROM runs_executable
            WHERE state IN ('{Executable.WAITING}', '{Executable.CHECKING}')
            AND state = '{Executable.WAITING}')
        OR EXISTS (SELECT 1 FROM runs_run WHERE status = '{Status.QUEUED.value}'
            AND hold = '{Run.WAITS_FOR_EXECUTABLE}')
"""


def check_executable(
    *, executable: Executable, boot_id: str, scratch: Path, now: datetime | None = None
) -> bool:
    """Check an executable that the boot `boot_id` has taken; whether it is ready.

    Its archive is fetched into the folder `scratch`. What is wrong with it, it says itself: it is
    `failed` then, and its runs end with the reason. Raises `StorageError` and `OSError` when the
    store or the disk is at fault; the caller gives it back then. Nothing is written once another
    worker has taken it.
    """
    source = scratch / "upload"
    try:
        try:
            object_store().fetch(executable.archive_key, source)
        except ObjectMissing:
            raise _Gone(
                "The uploaded archive is gone from the store. Push the application again."
            ) from None
        with build_from_archive(source=source, pushed=True, scratch=scratch) as build:
            return finish_check(executable=executable, build=build, boot_id=boot_id, now=now)
    except RunsiteError as refused:
        fail_check(executable=executable, boot_id=boot_id, reason=refused.message, now=now)
        return False
    finally:
        source.unlink(missing_ok=True)


class _Gone(RunsiteError):
    """The bytes of an upload are not where they should be."""


def finish_check(
    *, executable: Executable, build: Build, boot_id: str, now: datetime | None = None
) -> bool:
    """Make a checked executable ready and let its runs go; False when it was taken from us.

    The bytes go first. Locks the application, then the executable; the runs follow after that, one
    by one.
    """
    now = now or timezone.now()
    key = keys.executable_archive(executable.application_id, executable.executable_id)
    # Whoever else checks it writes the same bytes: a build is packed reproducibly.
    stored = object_store().put_file(key, build.archive, consume=True)
    with transaction.atomic():
        held = _lock(executable, boot_id)
        if held is None:
            _forget_deleted(executable)
            return False
        application = held.application
        adopted = adopted_concurrency(application, build.manifest)
        warning = "" if adopted else concurrency_warning(application, build.manifest)
        columns = build_columns(build, stored, key=key, warning=warning, now=now)
        Executable.objects.filter(pk=held.pk).update(
            **columns,
            state=Executable.READY,
            error="",
            worker_name="",
            boot_id="",
            checked_at=now,
        )
        if adopted:
            Application.objects.filter(pk=application.pk).update(**adopted)
    _forget_bytes(held.archive_key)
    release_held(executable.pk, now=now)
    return True


def fail_check(
    *, executable: Executable, boot_id: str, reason: str, now: datetime | None = None
) -> bool:
    """Refuse an executable: the one before is in use again, and its runs end with the reason.

    False when it was taken from us. `reason` is a sentence with its remedy.
    """
    now = now or timezone.now()
    with transaction.atomic():
        held = _lock(executable, boot_id)
        if held is None:
            return False
        Executable.objects.filter(pk=held.pk).update(
            state=Executable.FAILED,
            error=reason,
            worker_name="",
            boot_id="",
            checked_at=now,
        )
        before = held.application.executables.exclude(state=Executable.FAILED)
        Application.objects.filter(pk=held.application_id, executable=held).update(
            executable=before.filter(number__lt=held.number).order_by("-number").first()
        )
        record_change(
            account=held.application.account,
            actor=product(),
            verb="refused",
            noun="executable",
            target=f"{held.application.application_id} build {held.number}",
            detail=reason[:1000],
            now=now,
        )
    _forget_bytes(held.archive_key)
    release_held(executable.pk, now=now)
    return True


def is_anything_to_check() -> bool:
    """Whether an executable waits to be checked, or a run for that.

    Each worker asks every second: in words of our own, of two small indexes, it costs it next to
    nothing.
    """
    with connection.cursor() as cursor:
        cursor.execute(_ANYTHING)
        return bool(cursor.fetchone()[0])


def release_left(now: datetime) -> int:
    """Let the runs go that an accident left behind: their executable is checked. How many."""
    left = (
        Run.objects.filter(status=Status.QUEUED, hold=Run.WAITS_FOR_EXECUTABLE)
        .exclude(executable__state__in=UNCHECKED)
        .order_by()
    )
    executables = set(left.values_list("executable_id", flat=True)[:BATCH])
    return sum(release_held(pk, now=now) for pk in executables if pk is not None)


def release_held(executable: int, *, now: datetime) -> int:
    """Let the runs go that wait for the executable with this primary key; how many.

    Those of one that is ready wait for what else they have to wait for, in its environment; those
    of one that failed fail. None while it is not checked.
    """
    found = (
        Executable.objects.select_related("application", "environment")
        .filter(pk=executable)
        .first()
    )
    if found is None or found.state in UNCHECKED:
        return 0
    waiting = Run.objects.filter(
        executable=found, status=Status.QUEUED, hold=Run.WAITS_FOR_EXECUTABLE
    )
    count = 0
    while True:
        keys_of_runs = list(waiting.order_by("rank", "pk").values_list("pk", flat=True)[:BATCH])
        before = count
        for pk in keys_of_runs:
            try:
                with transaction.atomic():
                    run = waiting.select_for_update(no_key=True).filter(pk=pk).first()
                    count += run is not None and _let_go(run, found, now)
            except (IntegrityError, DataError, ProgrammingError, RunsiteError):
                logger.exception("The run with key %s could not be let go.", pk)
        if len(keys_of_runs) < BATCH or count == before:
            return count


def _let_go(run: Run, executable: Executable, now: datetime) -> bool:
    if executable.state == Executable.FAILED:
        return run.move_to(
            Status.FAILED,
            now=now,
            reason=EndReason.NOT_STARTED,
            actor="queue",
            text=f"Build {executable.number} was refused",
            changes={
                "error": "not started: build refused",
                "detail": f"Build {executable.number} of {executable.application}, which it was to"
                f" run, was refused: {executable.error} Push the application again, then launch"
                " the run again.",
            },
        )
    application = executable.application
    manifest = manifest_from_json(executable.manifest)
    slots = slots_of(application, manifest)
    lane, _ = Lane.objects.get_or_create(
        queue_id=run.queue_id,
        application=application,
        environment=executable.environment,
        slots=slots,
    )
    # What the run, its instance or the application asked for is in force already.
    in_force = limits_in_force({}, application, manifest)
    asked = {name: value for name in in_force if (value := getattr(run, name)) not in (None, "")}
    in_force = limits_in_force(asked, application, manifest)
    rule = retry_rule(application, manifest)
    hold = run.concurrency_key and Run.WAITS_FOR_KEY
    limit_s = in_force["queue_limit_s"]
    expires_at = run.expires_at
    if limit_s and expires_at is None and not run.open_waits:
        expires_at = now + timedelta(seconds=limit_s)
    Run.objects.filter(pk=run.pk).update(
        lane=lane,
        slots=slots,
        environment=executable.environment,
        hold=Run.WAITS_FOR_RUNS if run.open_waits else hold,
        expires_at=expires_at,
        max_attempts=settings.RUNSITE_MAX_ATTEMPTS if is_repeatable(manifest, application) else 1,
        retries=rule.retries,
        retry_on=rule.retry_on,
        retry_delay_s=rule.retry_delay_s,
        **in_force,
    )
    if run.open_waits:
        return True
    if run.concurrency_key:
        pass_on(application.pk, run.concurrency_key)
    nudge_after_commit(run.queue)
    return True


def _lock(executable: Executable, boot_id: str) -> Executable | None:
    """The executable, if this boot still checks it: locked, and its application before it."""
    applications = Application.objects.select_for_update(of=("self",), no_key=True)
    application = (
        applications.select_related("account").filter(pk=executable.application_id).first()
    )
    locked = Executable.objects.select_for_update(no_key=True)
    held = locked.filter(pk=executable.pk, state=Executable.CHECKING, boot_id=boot_id).first()
    if held is None or application is None:
        return None
    held.application = application
    return held


def _forget_deleted(executable: Executable) -> None:
    """Remove what was stored of an executable that was deleted while it was checked."""
    if not Executable.objects.filter(pk=executable.pk).exists():
        prefix = keys.executable_prefix(executable.application_id, executable.executable_id)
        object_store().delete_prefix(prefix)


def _forget_bytes(key: str) -> None:
    """Remove the bytes of an upload that are of no more use."""
    try:
        object_store().delete(key)
    except (StorageError, OSError) as error:
        logger.warning("`%s` stays in the store although it is of no more use: %s", key, error)
