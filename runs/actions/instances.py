"""Instances: a version with default options and a queue, ready to receive runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.conf import settings
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
from runs.actions.secrets import check_of_application
from runs.domain.content import FORMATS
from runs.domain.errors import Conflict, FieldsInvalid, NotFound, OptionsInvalid, Taken
from runs.domain.manifest import Manifest, manifest_from_json
from runs.domain.options import check_amount, check_options
from runs.models import Application, Instance, Run, SecretsCollection, Version
from runs.models.queues import DEFAULT_QUEUE


@dataclass(frozen=True)
class InstanceValues:
    """What an instance says; empty and None leave the application's or installation's value.

    Without a `version` the instance follows the newest executable. `options` are the defaults
    that its runs start from.
    """

    name: str = ""
    description: str = ""
    version: Version | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    execution_class: str = ""
    content_format: str = ""
    output_format: str = ""
    priority: int | None = None
    queuing_disabled: bool = False
    time_limit_s: int | None = None
    secrets: SecretsCollection | None = None


def create_instance(
    *,
    application: Application,
    instance_id: str,
    values: InstanceValues,
    actor: Actor,
    enforce: bool = True,
    now: datetime | None = None,
) -> Instance:
    """A new instance. Raises `FieldsInvalid` or `OptionsInvalid` with the messages of each.

    With `enforce` options are checked as in a form; else only as far as the manifest asks for.
    None can be called `latest`: that one is always there, without a row.
    """
    check_manages(actor)
    errors = _field_errors(application, values)
    if fault := id_fault(instance_id):
        errors["instance_id"] = [fault]
    elif instance_id == LATEST:
        errors["instance_id"] = [
            "`latest` is there already: it runs the newest executable. Choose another id."
        ]
    elif application.instances.filter(instance_id=instance_id).exists():
        errors["instance_id"] = [_taken(instance_id)]
    if errors:
        raise_invalid(errors, "instance_id", _taken(instance_id))
    _check_options(application, values, enforce)
    now = now or timezone.now()
    try:
        with transaction.atomic():
            instance = Instance.objects.create(
                application=application,
                instance_id=instance_id,
                created_by=actor.user,
                created_at=now,
                updated_at=now,
                **_columns(values),
            )
            _record(instance, actor, "created", now=now)
    except IntegrityError as error:
        raise Taken({"instance_id": [_taken(instance_id)]}) from error
    return instance


def update_instance(
    *,
    instance: Instance,
    values: InstanceValues,
    seen_at: datetime | None,
    actor: Actor,
    enforce: bool = True,
    now: datetime | None = None,
) -> Instance:
    """Change an instance as it was at `seen_at`, its `updated_at` when the form was shown.

    With None it is changed whatever it was. What changes nothing is taken in any case, also by a
    locked one: the published client sends the whole instance before it unlocks it. For `enforce`
    see `create_instance`. Raises `Conflict` when it is locked, or somebody else changed it
    meanwhile.
    """
    check_manages(actor)
    if errors := _field_errors(instance.application, values):
        raise FieldsInvalid(errors)
    _check_options(instance.application, values, enforce)
    columns = _columns(values)
    if all(getattr(instance, column) == value for column, value in columns.items()):
        return instance
    columns["updated_at"] = now or timezone.now()
    with transaction.atomic():
        unlocked = Instance.objects.filter(pk=instance.pk, locked=False)
        seen = unlocked if seen_at is None else unlocked.filter(updated_at=seen_at)
        changed = seen.update(**columns)
        if not changed:
            _refuse_locked(instance)
            raise Conflict(
                f"Instance `{instance.instance_id}` was changed by somebody else since you opened"
                " the form. Look at its present values, then change it again."
            )
        _record(instance, actor, "changed", now=now)
    for name, value in columns.items():
        setattr(instance, name, value)
    return instance


def set_default_instance(
    *,
    application: Application,
    instance: Instance | None,
    actor: Actor,
    now: datetime | None = None,
) -> None:
    """Make an instance the one that runs take when none is named; None for no instance."""
    check_manages(actor)
    if instance is not None and instance.application_id != application.pk:
        raise FieldsInvalid({"instance": ["This instance is of another application."]})
    with transaction.atomic():
        Application.objects.filter(pk=application.pk).update(default_instance=instance)
        record_change(
            account=application.account,
            actor=actor,
            verb="changed",
            noun="default instance",
            target=application.application_id,
            detail=instance.instance_id if instance else "none",
            now=now,
        )
    application.default_instance = instance


def lock_instance(
    *, instance: Instance, locked: bool, actor: Actor, now: datetime | None = None
) -> bool:
    """Protect an instance from changes and deletion, or release it; whether this changed it."""
    check_manages(actor)
    now = now or timezone.now()
    with transaction.atomic():
        changed = Instance.objects.filter(pk=instance.pk, locked=not locked).update(
            locked=locked, updated_at=now
        )
        if changed:
            _record(instance, actor, "locked" if locked else "unlocked", now=now)
            instance.locked, instance.updated_at = locked, now
    return bool(changed)


def delete_instance(*, instance: Instance, actor: Actor, now: datetime | None = None) -> None:
    """Delete an instance; its runs stay and keep its id.

    Raises `Conflict` for a locked one, and while a run of it has not ended.
    """
    check_manages(actor)
    with transaction.atomic():
        held = _lock(instance)
        _refuse_locked(held)
        runs = Run.objects.filter(instance=held.pk)
        if going := runs.active().values_list("run_id", flat=True).first():
            raise Conflict(
                f"Instance `{held.instance_id}` has runs that have not ended, as {going}. Wait for"
                " them or cancel them, then delete it."
            )
        runs.update(instance=None, former_instance_id=held.instance_id)
        _record(held, actor, "deleted", now=now)
        held.delete()


def instance_manifest(application: Application, version: Version | None) -> Manifest | None:
    """The manifest whose options an instance of this version sets; None without an executable."""
    executable = version.executable if version else application.executable
    return manifest_from_json(executable.manifest) if executable else None


def _lock(instance: Instance) -> Instance:
    held = Instance.objects.select_for_update().filter(pk=instance.pk).first()
    if held is None:
        raise NotFound(f"Instance `{instance.instance_id}` was deleted meanwhile.")
    return held


def _refuse_locked(instance: Instance) -> None:
    if Instance.objects.filter(pk=instance.pk, locked=True).exists():
        raise Conflict(f"Instance `{instance.instance_id}` is locked. Unlock it first.")


def _columns(values: InstanceValues) -> dict[str, Any]:
    named = values.execution_class
    return {
        "name": values.name.strip(),
        "description": values.description,
        "version": values.version,
        "options": dict(values.options),
        "execution_class": "" if named == DEFAULT_QUEUE else named,
        "content_format": values.content_format,
        "output_format": values.output_format,
        "priority": values.priority,
        "queuing_disabled": values.queuing_disabled,
        "time_limit_s": values.time_limit_s,
        "secrets": values.secrets,
    }


def _field_errors(application: Application, values: InstanceValues) -> dict[str, list[str]]:
    errors: dict[str, list[str]] = {}
    if len(values.name) > 200:
        errors["name"] = ["A name has at most 200 characters."]
    if len(values.description) > LONGEST_DESCRIPTION:
        errors["description"] = [f"A description has at most {LONGEST_DESCRIPTION:,} characters."]
    if values.version is not None and values.version.application_id != application.pk:
        errors["version"] = ["This version is of another application."]
    for column, chosen in (
        ("content_format", values.content_format),
        ("output_format", values.output_format),
    ):
        if chosen not in {"", *FORMATS}:
            errors[column] = [f"`{chosen[:40]}` is no format; choose one of {', '.join(FORMATS)}."]
    if values.priority is not None and not 1 <= values.priority <= 9:
        errors["priority"] = ["Give a priority from 1 (first) to 9."]
    most = int(settings.RUNSITE_TIME_LIMIT_S)
    if values.time_limit_s is not None and not 1 <= values.time_limit_s <= most:
        errors["time_limit_s"] = [f"Give a time limit from 1 to {most} seconds."]
    try:
        check_of_application(application, values.secrets)
    except FieldsInvalid as error:
        errors |= error.errors
    named = values.execution_class
    if named not in {"", DEFAULT_QUEUE}:
        queues = application.account.queues
        if not queues.filter(name=named).exists():
            others = queues.exclude(name=DEFAULT_QUEUE).order_by("name")
            known = ", ".join([DEFAULT_QUEUE, *others.values_list("name", flat=True)[:20]])
            errors["execution_class"] = [f"There is no queue `{named[:64]}`. Known: {known}."]
    return errors


def _check_options(application: Application, values: InstanceValues, enforce: bool) -> None:
    """Each value must fit; what is required but left to the run is no error here."""
    check_amount(values.options)
    manifest = instance_manifest(application, values.version)
    if manifest is None:
        return
    errors = check_options(
        manifest.options.items,
        values.options,
        strict=manifest.options.strict,
        free_options=manifest.allows_free_options,
    )
    given = {name: texts for name, texts in errors.items() if name in values.options}
    if "options" in errors and "options" not in values.options:
        given["options"] = errors["options"]
    declared = {item.name for item in manifest.options.items}
    asked = manifest.options.enforce == "all" or (
        manifest.options.strict and not declared.issuperset(given)
    )
    if given and (enforce or asked):
        raise OptionsInvalid(given)


def _taken(instance_id: str) -> str:
    return f"The application has an instance `{instance_id}` already. Choose another id."


def _record(instance: Instance, actor: Actor, verb: str, *, now: datetime | None = None) -> None:
    record_change(
        account=instance.application.account,
        actor=actor,
        verb=verb,
        noun="instance",
        target=f"{instance.application.application_id}/{instance.instance_id}",
        now=now,
    )
