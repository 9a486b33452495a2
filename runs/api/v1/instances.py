"""Instances: list, create, read, change, lock, delete; and `latest`, which is always there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ninja import Router, Status

from runs.actions.applications import LATEST
from runs.actions.instances import (
    InstanceValues,
    create_instance,
    delete_instance,
    lock_instance,
    update_instance,
)
from runs.actions.secrets import named_collection
from runs.api.auth import ApiRequest, Key
from runs.api.pages import PageQuery, answer_list
from runs.api.times import wire_time
from runs.api.v1.finding import find_application, find_instance, named_version
from runs.api.v1.schemas.base import FAILURES
from runs.api.v1.schemas.instances import (
    InstanceChange,
    InstanceConfigurationIn,
    InstanceIn,
    InstanceOut,
    InstancePage,
    Lock,
)
from runs.domain.errors import Conflict, FieldsInvalid, NotFound
from runs.domain.options import to_wire
from runs.models import Application, Instance, Version

router = Router(tags=["instances"])


@router.get(
    "applications/{app_id}/instances",
    auth=Key("view"),
    response={200: InstancePage | list[InstanceOut], **FAILURES},
    exclude_none=True,
)
def list_instances(request: ApiRequest, app_id: str, paging: PageQuery) -> Any:
    """The instances that were created, in that order; `latest` is not among them."""
    application = find_application(request, app_id)
    rows = application.instances.select_related("version", "secrets")
    return answer_list(
        rows, paging, lambda page: [instance_out(instance, application) for instance in page]
    )


@router.post(
    "applications/{app_id}/instances",
    auth=Key("manage applications"),
    response={201: InstanceOut, **FAILURES},
    exclude_none=True,
)
def create(request: ApiRequest, app_id: str, body: InstanceIn) -> Any:
    """Create an instance of a version, or of `latest`: then it follows every push."""
    application = find_application(request, app_id)
    instance = create_instance(
        application=application,
        instance_id=body.id,
        values=_values(
            application,
            name=body.name or body.id,
            description=body.description or "",
            version=_chosen_version(application, body.version_id),
            configuration=body.configuration or InstanceConfigurationIn(),
        ),
        actor=request.actor,
        enforce=False,
    )
    return Status(201, instance_out(instance, application))


@router.get(
    "applications/{app_id}/instances/{instance_id}",
    auth=Key("view"),
    response={200: InstanceOut, **FAILURES},
    exclude_none=True,
)
def read(request: ApiRequest, app_id: str, instance_id: str) -> Any:
    """One instance. `latest` is there as soon as something was pushed."""
    application = find_application(request, app_id)
    if instance_id == LATEST:
        return _latest_out(application)
    return instance_out(find_instance(application, instance_id), application)


@router.put(
    "applications/{app_id}/instances/{instance_id}",
    auth=Key("manage applications"),
    response={200: InstanceOut, **FAILURES},
    exclude_none=True,
)
def change(request: ApiRequest, app_id: str, instance_id: str, body: InstanceChange) -> Any:
    """Change an instance: what is missing stays, a configuration that is there replaces all of it.

    A locked one takes only what changes nothing.
    """
    application = find_application(request, app_id)
    instance = _changeable(application, instance_id)
    version = instance.version
    if body.version_id is not None:
        version = _chosen_version(application, body.version_id)
    update_instance(
        instance=instance,
        values=_values(
            application,
            name=instance.name if body.name is None else body.name,
            description=instance.description if body.description is None else body.description,
            version=version,
            configuration=body.configuration,
            present=instance,
        ),
        seen_at=None,
        actor=request.actor,
        enforce=False,
    )
    return instance_out(instance, application)


@router.put(
    "applications/{app_id}/instances/{instance_id}/lock",
    auth=Key("manage applications"),
    response={200: InstanceOut, **FAILURES},
    exclude_none=True,
)
def lock(request: ApiRequest, app_id: str, instance_id: str, body: Lock) -> Any:
    """Protect an instance from changes and deletion, or release it."""
    application = find_application(request, app_id)
    instance = _changeable(application, instance_id)
    lock_instance(instance=instance, locked=body.locked, actor=request.actor)
    return instance_out(instance, application)


@router.delete(
    "applications/{app_id}/instances/{instance_id}",
    auth=Key("manage applications"),
    response={204: None, **FAILURES},
)
def delete(request: ApiRequest, app_id: str, instance_id: str) -> Any:
    """Delete an instance that is not locked; its ended runs stay and keep its id."""
    application = find_application(request, app_id)
    delete_instance(instance=_changeable(application, instance_id), actor=request.actor)
    return Status(204, None)


def instance_out(instance: Instance, application: Application) -> dict[str, Any]:
    """An instance as the client reads it; version and secrets should have been read."""
    return {
        "id": instance.instance_id,
        "application_id": application.application_id,
        "version_id": instance.version.version_id if instance.version else LATEST,
        "name": instance.name,
        "description": instance.description,
        "configuration": _configuration_out(instance),
        "locked": instance.locked,
        "created_at": wire_time(instance.created_at),
        "updated_at": wire_time(instance.updated_at),
    }


def _latest_out(application: Application) -> dict[str, Any]:
    executable = application.executable
    if executable is None:
        raise NotFound(
            f"Instance 'latest' does not exist in application '{application.application_id}':"
            " nothing was pushed yet."
        )
    return {
        "id": LATEST,
        "application_id": application.application_id,
        "version_id": LATEST,
        "name": LATEST,
        "description": "Runs whatever was pushed last.",
        "configuration": {},
        "locked": True,
        "created_at": wire_time(application.created_at),
        "updated_at": wire_time(executable.created_at),
    }


def _changeable(application: Application, instance_id: str) -> Instance:
    """The instance with this id. Raises `Conflict` for `latest`, which is nobody's to change."""
    if instance_id == LATEST:
        raise Conflict(
            "Instance 'latest' is built in: it cannot be changed, locked or deleted. Create an"
            " instance of version 'latest' for a configuration of your own."
        )
    return find_instance(application, instance_id)


def _chosen_version(application: Application, version_id: str) -> Version | None:
    return None if version_id == LATEST else named_version(application, version_id)


def _values(
    application: Application,
    *,
    name: str,
    description: str,
    version: Version | None,
    configuration: InstanceConfigurationIn | None,
    present: Instance | None = None,
) -> InstanceValues:
    """What an instance shall say; without a configuration that of the present one."""
    if configuration is None and present is not None:
        return InstanceValues(
            name=name,
            description=description,
            version=version,
            options=present.options,
            execution_class=present.execution_class,
            content_format=present.content_format,
            output_format=present.output_format,
            priority=present.priority,
            queuing_disabled=present.queuing_disabled,
            time_limit_s=present.time_limit_s,
            secrets=present.secrets,
        )
    chosen = configuration or InstanceConfigurationIn()
    if chosen.integration_id:
        raise FieldsInvalid(
            {"integration_id": ["Integrations are not part of this release. Leave it out."]}
        )
    content_format, output_format = _formats(application, version, chosen)
    time_limit_s = chosen.limits.time_limit_s if chosen.limits else None
    if chosen.limits is None and present is not None:
        time_limit_s = present.time_limit_s  # the published client does not know it
    named = chosen.secrets_collection_id
    queuing = chosen.queuing
    return InstanceValues(
        name=name,
        description=description,
        version=version,
        options=_options(chosen.options or {}, present.options if present else {}),
        execution_class=chosen.execution_class or "",
        content_format=content_format,
        output_format=output_format,
        priority=queuing.priority if queuing else None,
        queuing_disabled=bool(queuing and queuing.disabled),
        time_limit_s=time_limit_s,
        secrets=named_collection(application, named) if named else None,
    )


def _formats(
    application: Application, version: Version | None, chosen: InstanceConfigurationIn
) -> tuple[str, str]:
    """The formats of input and output; where only an output is said, the input is the app's."""
    if chosen.format is None:
        return "", ""
    content_format, output_format = chosen.format.input_type, chosen.format.output_type
    if output_format and not content_format:
        executable = version.executable if version else application.executable
        content_format = executable.content_format if executable else "json"
    return content_format, output_format


def _options(given: Mapping[str, Any], present: Mapping[str, Any]) -> dict[str, Any]:
    """The options given; those that say the same as before keep their type."""
    return {
        name: present[name]
        if name in present and to_wire(present[name]) == to_wire(value)
        else value
        for name, value in given.items()
        if value is not None
    }


def _configuration_out(instance: Instance) -> dict[str, Any]:
    """Only what was said: an instance that says nothing has an empty one."""
    shown: dict[str, Any] = {}
    if instance.execution_class:
        shown["execution_class"] = instance.execution_class
    if instance.content_format:
        shown["format"] = {"input": {"type": instance.content_format}}
        if instance.output_format:
            shown["format"]["output"] = {"type": instance.output_format}
    if instance.options:
        shown["options"] = {
            name: to_wire(value) for name, value in instance.options.items() if value is not None
        }
    if instance.secrets:
        shown["secrets_collection_id"] = instance.secrets.collection_id
    if instance.priority is not None or instance.queuing_disabled:
        shown["queuing"] = {
            "priority": instance.priority,
            "disabled": instance.queuing_disabled,
        }
    if instance.time_limit_s is not None:
        shown["limits"] = {"time_limit_s": instance.time_limit_s}
    return shown
