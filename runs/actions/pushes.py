"""Pushes: programs upload an archive by a ticket, then activate it as the newest executable."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from runs.actions.actors import Actor
from runs.actions.applications import check_manages
from runs.actions.audit import record_change
from runs.actions.builds import build_from_archive
from runs.actions.executables import store_build
from runs.actions.inputs import check_room, scratch_folder
from runs.actions.tickets import is_filled, new_upload
from runs.domain.errors import ArchiveRejected, FieldsInvalid
from runs.domain.ids import new_id
from runs.domain.manifest import Manifest, manifest_to_json
from runs.domain.manifest_wire import manifest_from_wire
from runs.execution import archive
from runs.models import ApiKey, Application, Executable, Upload
from runs.storage import ObjectMissing, object_store

SMALL_BYTES = 4 * 1024 * 1024
"""An upload up to this size is checked while it is activated, if it also unpacks to little."""
SMALL_UNPACKED_BYTES = 16 * 1024 * 1024
SMALL_FILES = 2000
MOST_TICKETS = 20
"""So many of the newest uploads are looked at: who asks again leaves some without bytes."""


def new_push(
    *,
    application: Application,
    actor: Actor,
    key: ApiKey | None = None,
    now: datetime | None = None,
) -> Upload:
    """An upload that an archive of this application can be sent to.

    `key` is that of the actor when it is not given.
    """
    check_manages(actor)
    return new_upload(
        account=application.account,
        actor=replace(actor, key=key or actor.key),
        application=application,
        purpose=Upload.EXECUTABLE,
        now=now,
    )


def activate_push(
    *,
    application: Application,
    actor: Actor,
    manifest: Manifest | None = None,
    declared: Mapping[str, Any] | None = None,
    now: datetime | None = None,
) -> Executable:
    """Make the newest archive that this actor has uploaded the executable in use.

    A small one is checked at once: `ArchiveRejected`, `ManifestInvalid` or `TooLarge` are raised,
    and nothing changes then. A larger one is in use at once with the manifest that the push
    declares, and a worker checks it; runs wait until then. `declared` is the body of the request
    with its `requirements`, read when no `manifest` is given. The same upload activated again
    answers the same executable; if that was refused meanwhile, `ArchiveRejected` says why.
    """
    check_manages(actor)
    if manifest is None:
        manifest = manifest_from_wire((declared or {}).get("requirements"))
    upload, size = _newest_filled(application, actor)
    known = application.executables.filter(upload=upload).first()
    if known is not None:
        return _again(known, manifest)
    now = now or timezone.now()
    try:
        if size <= SMALL_BYTES and (checked := _check_now(application, upload, actor, now)):
            return checked
    except _Gone:
        known = application.executables.filter(upload=upload).first()
        if known is None:
            raise
        return _again(known, manifest)  # the same request, sent twice, was quicker
    return _accept(application, upload, size, manifest, actor, now)


def _check_now(
    application: Application, upload: Upload, actor: Actor, now: datetime
) -> Executable | None:
    """The executable that a small upload becomes; None when it unpacks to much."""
    with _fetched(upload) as source:
        if not _is_quick(source):
            return None
        with build_from_archive(source=source, pushed=True) as build:
            executable = store_build(
                application=application, build=build, actor=actor, upload=upload, now=now
            )
        object_store().delete(upload.key)
        return executable


class _Gone(ArchiveRejected):
    """The bytes of an upload are not where they should be."""


def _newest_filled(application: Application, actor: Actor) -> tuple[Upload, int]:
    """The newest upload of this actor whose bytes have come, and how many these are."""
    tickets = application.uploads.filter(
        purpose=Upload.EXECUTABLE, created_by=actor.user, api_key=actor.key
    ).order_by("-id")
    for upload in tickets[:MOST_TICKETS]:
        if is_filled(upload):
            return upload, upload.size_bytes or 0
    raise FieldsInvalid(
        {
            "upload": [
                f"No archive was uploaded for {application}. Ask for an upload address, send the"
                " archive there, then activate it."
            ]
        }
    )


def _again(known: Executable, manifest: Manifest) -> Executable:
    """The executable that this upload has become already."""
    if known.state == Executable.FAILED:
        raise ArchiveRejected(f"{known.error} Push the application again.")
    columns = {
        "manifest": manifest_to_json(manifest),
        "content_format": manifest.content.format,
    }
    # Until it is checked, what was declared last counts; then the manifest in the archive.
    if known.state == Executable.WAITING and known.manifest != columns["manifest"]:
        waiting = Executable.objects.filter(pk=known.pk, state=Executable.WAITING)
        waiting.update(**columns)
        known.refresh_from_db()
    return known


def _accept(
    application: Application,
    upload: Upload,
    size: int,
    manifest: Manifest,
    actor: Actor,
    now: datetime,
) -> Executable:
    """Take an upload into use unchecked."""
    with transaction.atomic():
        held = Application.objects.select_for_update().get(pk=application.pk)
        known = held.executables.filter(upload=upload).first()
        if known is not None:  # the same request, sent twice at once
            application.executable = held.executable
            return known
        last = held.executables.aggregate(last=Max("number"))["last"] or 0
        executable = Executable.objects.create(
            application=held,
            executable_id=new_id(),
            number=last + 1,
            archive_key=upload.key,
            archive_bytes=size,
            sha256=upload.sha256,
            manifest=manifest_to_json(manifest),
            content_format=manifest.content.format,
            uploaded_by=actor.user,
            created_at=now,
            state=Executable.WAITING,
            upload=upload,
        )
        Application.objects.filter(pk=held.pk).update(executable=executable)
        record_change(
            account=held.account,
            actor=actor,
            verb="uploaded",
            noun="executable",
            target=f"{held.application_id} build {executable.number}",
            detail=f"{size} bytes, to be checked",
            now=now,
        )
    application.executable = executable
    return executable


def _is_quick(source: Path) -> bool:
    """Whether an archive unpacks to little; also for a broken one, which is refused quickly."""
    size = 0
    try:
        with archive.open_archive(source) as reader:
            for count, member in enumerate(reader.members(), 1):
                size += member.entry.size
                if size > SMALL_UNPACKED_BYTES or count > SMALL_FILES:
                    return False
    except archive.ArchiveRefused:
        return True
    return True


@contextmanager
def _fetched(upload: Upload) -> Iterator[Path]:
    """The bytes of an upload in our scratch folder."""
    check_room()
    folder = Path(tempfile.mkdtemp(prefix="push-", dir=scratch_folder()))
    try:
        source = folder / "archive"
        try:
            object_store().fetch(upload.key, source)
        except ObjectMissing as error:
            raise _Gone(
                "The uploaded archive is gone from the store. Push the application again."
            ) from error
        yield source
    finally:
        shutil.rmtree(folder, ignore_errors=True)
