"""Versions: immutable names for executables."""

from __future__ import annotations

from datetime import datetime

from django.db import IntegrityError, transaction
from django.utils import timezone

from runs.actions.actors import Actor
from runs.actions.applications import (
    LATEST,
    LONGEST_DESCRIPTION,
    check_manages,
    id_fault,
    raise_invalid,
)
from runs.actions.audit import record_change
from runs.domain.errors import Conflict, FieldsInvalid, NotFound, NothingPushed, Taken
from runs.models import Application, Executable, Run, Version


def create_version(
    *,
    application: Application,
    version_id: str,
    actor: Actor,
    name: str = "",
    description: str = "",
    executable: Executable | None = None,
    now: datetime | None = None,
) -> Version:
    """Name an executable of the application for good, by default the one in use.

    Raises `FieldsInvalid` for an id that is taken, `Conflict` when nothing was uploaded.
    """
    check_manages(actor)
    executable = executable or application.executable
    if executable is None:
        raise NothingPushed(
            f"{application} has no executable yet. Push or upload one, then name it."
        )
    if executable.application_id != application.pk:
        raise FieldsInvalid({"executable": ["This build is of another application."]})
    errors = _text_errors(name, description)
    if fault := id_fault(version_id):
        errors["version_id"] = [fault]
    elif version_id == LATEST:
        errors["version_id"] = ["`latest` stands for the newest executable. Choose another id."]
    elif application.versions.filter(version_id=version_id).exists():
        errors["version_id"] = [_taken(version_id)]
    if errors:
        raise_invalid(errors, "version_id", _taken(version_id))
    try:
        with transaction.atomic():
            version = Version.objects.create(
                application=application,
                version_id=version_id,
                name=name.strip(),
                description=description,
                executable=executable,
                created_by=actor.user,
                created_at=now or timezone.now(),
            )
            _record(version, actor, "created", detail=f"build {executable.number}", now=now)
    except IntegrityError as error:
        raise Taken({"version_id": [_taken(version_id)]}) from error
    return version


def update_version(
    *,
    version: Version,
    actor: Actor,
    name: str,
    description: str,
    now: datetime | None = None,
) -> None:
    """Change the words about a version; what it names stays."""
    check_manages(actor)
    if errors := _text_errors(name, description):
        raise FieldsInvalid(errors)
    name = name.strip()
    if (version.name, version.description) == (name, description):
        return
    now = now or timezone.now()
    with transaction.atomic():
        Version.objects.filter(pk=version.pk).update(
            name=name, description=description, updated_at=now
        )
        _record(version, actor, "changed", now=now)
    version.name, version.description, version.updated_at = name, description, now


def delete_version(*, version: Version, actor: Actor, now: datetime | None = None) -> None:
    """Delete a version; its runs stay and keep its id, and its executable stays as well.

    Raises `Conflict` while an instance uses it, or a run of it has not ended.
    """
    check_manages(actor)
    with transaction.atomic():
        held = Version.objects.select_for_update().filter(pk=version.pk).first()
        if held is None:
            raise NotFound(f"Version `{version.version_id}` was deleted meanwhile.")
        using = held.instances.values_list("instance_id", flat=True)[:5]
        if using:
            raise Conflict(
                f"Version `{held.version_id}` is used by {', '.join(using)}. Give these instances"
                " another version first."
            )
        runs = Run.objects.filter(version=held.pk)
        if going := runs.active().values_list("run_id", flat=True).first():
            raise Conflict(
                f"Version `{held.version_id}` has runs that have not ended, as {going}. Wait for"
                " them or cancel them, then delete it."
            )
        runs.update(version=None, former_version_id=held.version_id)
        _record(held, actor, "deleted", now=now)
        held.delete()


def suggest_version_id(application: Application) -> str:
    """A free id that continues the others: `v1`, `v2` …; bounded."""
    number = application.versions.count() + 1
    taken = set(
        application.versions.filter(version_id__startswith="v").values_list(
            "version_id", flat=True
        )[:10_000]
    )
    while f"v{number}" in taken:
        number += 1
    return f"v{number}"


def _text_errors(name: str, description: str) -> dict[str, list[str]]:
    errors: dict[str, list[str]] = {}
    if len(name) > 200:
        errors["name"] = ["A name has at most 200 characters."]
    if len(description) > LONGEST_DESCRIPTION:
        errors["description"] = [f"A description has at most {LONGEST_DESCRIPTION:,} characters."]
    return errors


def _taken(version_id: str) -> str:
    return f"The application has a version `{version_id}` already. Choose another id."


def _record(
    version: Version,
    actor: Actor,
    verb: str,
    *,
    detail: str = "",
    now: datetime | None = None,
) -> None:
    record_change(
        account=version.application.account,
        actor=actor,
        verb=verb,
        noun="version",
        target=f"{version.application.application_id}/{version.version_id}",
        detail=detail,
        now=now,
    )
