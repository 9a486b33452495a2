"""Executables: uploads and server folders become builds of an application."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import DatabaseError, OperationalError, transaction
from django.db.models import Max
from django.utils import timezone

from runs.actions.actors import Actor
from runs.actions.application_settings import adopted_concurrency, concurrency_warning
from runs.actions.applications import check_manages, check_new_application, create_application
from runs.actions.audit import record_change
from runs.actions.builds import Build, build_from_archive, build_from_files, build_from_folder
from runs.actions.environments import ensure_environment
from runs.actions.inputs import NewFile
from runs.domain.errors import FieldsInvalid, NotAllowed
from runs.domain.ids import new_id, suggest_id
from runs.domain.manifest import manifest_to_json
from runs.domain.roles import may
from runs.models import Account, Application, Executable, Upload
from runs.storage import Stored, keys, object_store


def add_executable(
    *, application: Application, source: Path, actor: Actor, file_name: str = ""
) -> Executable:
    """Make the archive at `source` (zip, tar, tar.gz) the executable in use of an application.

    Raises `ArchiveRejected`, `ManifestInvalid` (file, line, remedy) or `TooLarge`; nothing is
    kept then. `file_name` is the name that the user gave it, for messages.
    """
    check_manages(actor)
    with build_from_archive(source=source, file_name=file_name) as build:
        return store_build(application=application, build=build, actor=actor)


def add_executable_files(
    *, application: Application, files: Iterable[NewFile], actor: Actor
) -> Executable:
    """As `add_executable`, for the files of a dropped folder with their relative paths."""
    check_manages(actor)
    with build_from_files(files=files) as build:
        return store_build(application=application, build=build, actor=actor)


def create_with_build(
    *,
    account: Account,
    build: Build,
    actor: Actor,
    application_id: str = "",
    name: str = "",
    description: str = "",
    folder: str = "",
) -> Application:
    """A new application with its first executable; both, or neither.

    Without a name it is that of the upload, without an id it is made of the name. Raises
    `FieldsInvalid` for an id that is taken or cannot be made.
    """
    check_manages(actor)
    name = name.strip() or build.suggested_name
    application_id = application_id.strip() or suggest_id(name)
    check_new_application(
        account=account, application_id=application_id, name=name, description=description
    )
    application = create_application(
        account=account,
        application_id=application_id,
        name=name,
        description=description,
        folder=folder,
        actor=actor,
    )
    try:
        store_build(application=application, build=build, actor=actor)
    except BaseException:
        application.delete()
        raise
    return application


def register_folder(
    *,
    account: Account,
    folder: Path,
    actor: Actor,
    application_id: str = "",
    name: str = "",
    description: str = "",
) -> Application:
    """Make a folder on the server an application, or read it anew when it is one already.

    The folder must lie in one of `RUNSITE_APP_FOLDERS`, by its real path: links are refused.
    For the permission *register folders* (admins) only.
    """
    if not may(actor.role, "register folders"):
        raise NotAllowed("Only admins may register folders of the server. Upload it instead.")
    real = check_folder(folder)
    with build_from_folder(folder=real) as build:
        known = account.applications.filter(folder=str(real)).first()
        if known is not None and application_id in {"", known.application_id}:
            store_build(application=known, build=build, actor=actor)
            return known
        return create_with_build(
            account=account,
            build=build,
            actor=actor,
            application_id=application_id,
            name=name,
            description=description,
            folder=str(real),
        )


def check_folder(folder: Path) -> Path:
    """The real path of a folder that may be registered; raises `FieldsInvalid` otherwise."""
    allowed = [root.resolve() for root in settings.RUNSITE_APP_FOLDERS]
    if not allowed:
        raise _folder_fault(
            "No folders may be registered here. Set RUNSITE_APP_FOLDERS to the directories that"
            " hold them."
        )
    # Who may not look around on the server learns nothing of what lies outside.
    outside = _folder_fault(
        f"`{folder}` does not lie in a directory of RUNSITE_APP_FOLDERS. Choose one in "
        + ", ".join(f"`{root}`" for root in allowed)
        + "."
    )
    try:
        if not folder.is_absolute() or ".." in folder.parts:
            raise outside
        real = folder.resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise outside from error
    if not any(folder.is_relative_to(root) or real.is_relative_to(root) for root in allowed):
        raise outside
    if not any(real.is_relative_to(root) for root in allowed) or not _is_plain(folder, allowed):
        raise _folder_fault(f"`{folder}` leads through a link. Name the folder itself.")
    if not real.is_dir():
        raise _folder_fault(f"`{folder}` is no folder on this server. Correct the path.")
    return real


def store_build(
    *,
    application: Application,
    build: Build,
    actor: Actor,
    upload: Upload | None = None,
    now: datetime | None = None,
) -> Executable:
    """Keep a checked build as the newest executable of an application and put it into use.

    The bytes go first; the rows follow in one transaction that holds the application, so that
    two uploads at once get two numbers. An `upload` becomes one executable, however often and by
    however many requests at once it is stored.
    """
    now = now or timezone.now()
    executable_id = new_id()
    prefix = keys.executable_prefix(application.pk, executable_id)
    key = keys.executable_archive(application.pk, executable_id)
    try:
        stored = object_store().put_file(key, build.archive, consume=True)
        with transaction.atomic():
            held = Application.objects.select_for_update().get(pk=application.pk)
            known = held.executables.filter(upload=upload).first() if upload else None
            if known is None:
                adopted = adopted_concurrency(held, build.manifest)
                warning = "" if adopted else concurrency_warning(held, build.manifest)
                last = held.executables.aggregate(last=Max("number"))["last"] or 0
                executable = Executable.objects.create(
                    application=held,
                    executable_id=executable_id,
                    number=last + 1,
                    uploaded_by=actor.user,
                    created_at=now,
                    upload=upload,
                    **build_columns(build, stored, key=key, warning=warning, now=now),
                )
                Application.objects.filter(pk=held.pk).update(executable=executable, **adopted)
                record_change(
                    account=held.account,
                    actor=actor,
                    verb="uploaded",
                    noun="executable",
                    target=f"{held.application_id} build {executable.number}",
                    detail=f"{stored.size} bytes, SHA-256 {stored.sha256}",
                    now=now,
                )
    except BaseException as problem:
        if not (isinstance(problem, OperationalError) and _may_be_written(executable_id)):
            object_store().delete_prefix(prefix)
        raise
    if known is not None:
        object_store().delete_prefix(prefix)
        return known
    application.executable = executable
    for name, value in adopted.items():
        setattr(application, name, value)
    return executable


def _may_be_written(executable_id: str) -> bool:
    """Whether there is a row, although the database broke off: it may have written it before."""
    try:
        return Executable.objects.filter(executable_id=executable_id).exists()
    except DatabaseError:
        return True


def build_columns(
    build: Build, stored: Stored, *, key: str, warning: str = "", now: datetime
) -> dict[str, Any]:
    """The columns of an executable that a checked build fills, stored under `key`.

    Asks for its environment; `warning` is one more than the build has.
    """
    manifest = build.manifest
    environment = None
    if manifest.type == "python":
        environment = ensure_environment(
            requirements=build.requirements, python_version=build.python_version, now=now
        )
    return {
        "archive_key": key,
        "archive_bytes": stored.size,
        "sha256": stored.sha256,
        "unpacked_bytes": build.unpacked_bytes,
        "file_count": build.file_count,
        "manifest": manifest_to_json(manifest),
        "warnings": [*build.warnings, *([warning] if warning else [])],
        "content_format": manifest.content.format,
        "platform": build.platform,
        "environment": environment,
    }


def _is_plain(folder: Path, allowed: list[Path]) -> bool:
    """Whether no part of the path below its allowed directory is a link."""
    for path in (folder, *folder.parents):
        if path.resolve() in allowed:
            return True
        if path.is_symlink():
            return False
    return False


def _folder_fault(message: str) -> FieldsInvalid:
    return FieldsInvalid({"folder": [message]})
