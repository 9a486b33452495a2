"""Managed inputs: named inputs of an application, made of uploads and of runs."""

from __future__ import annotations

from typing import Any

from ninja import Router, Status

from runs.actions.managed_inputs import (
    check_new_input,
    create_managed_input,
    delete_managed_input,
    keep_input_of_run,
    update_managed_input,
)
from runs.actions.upload_inputs import input_of_upload
from runs.api.auth import ApiRequest, Key
from runs.api.pages import PageQuery, answer_list
from runs.api.times import wire_time
from runs.api.v1.finding import find_application, find_managed_input, named_run, named_upload
from runs.api.v1.schemas.base import FAILURES
from runs.api.v1.schemas.formats import format_out
from runs.api.v1.schemas.managed_inputs import (
    ManagedInputChange,
    ManagedInputIn,
    ManagedInputOut,
    ManagedInputPage,
)
from runs.domain.content import FORMATS
from runs.domain.errors import FieldsInvalid
from runs.models import Application, ManagedInput

router = Router(tags=["managed inputs"])


@router.get(
    "applications/{app_id}/inputs",
    auth=Key("view"),
    response={200: ManagedInputPage | list[ManagedInputOut], **FAILURES},
    exclude_none=True,
)
def list_managed_inputs(request: ApiRequest, app_id: str, paging: PageQuery) -> Any:
    """All managed inputs of an application, in the order in which they were created."""
    rows = find_application(request, app_id).managed_inputs.select_related("input_data")
    return answer_list(rows, paging, lambda page: map(managed_input_out, page))


@router.post(
    "applications/{app_id}/inputs",
    auth=Key("manage applications"),
    response={201: ManagedInputOut, **FAILURES},
    exclude_none=True,
)
def create(request: ApiRequest, app_id: str, body: ManagedInputIn) -> Any:
    """Keep what was uploaded, or what a run was given, under a name; it outlives both.

    The input of a run has the format it has, whatever the request says.
    """
    application = find_application(request, app_id)
    if bool(body.upload_id) == bool(body.run_id):
        raise FieldsInvalid(
            {"upload_id": ["Give either `upload_id` or `run_id`: what the input is made of."]}
        )
    name, description = body.name or body.id, body.description or ""
    output_format = body.format.output_type if body.format else ""
    _check_format(output_format)
    check_new_input(application=application, input_id=body.id, name=name, description=description)
    if body.run_id:
        managed = keep_input_of_run(
            application=application,
            run=named_run(request, body.run_id),
            input_id=body.id,
            output_format=output_format,
            any_kind=True,
            actor=request.actor,
            name=name,
            description=description,
        )
    else:
        upload = named_upload(request, body.upload_id or "")
        content_format = _content_format(application, body)
        managed = create_managed_input(
            application=application,
            input_id=body.id,
            input_data=input_of_upload(upload=upload, content_format=content_format),
            output_format=output_format,
            from_upload=upload.upload_id,
            any_kind=True,
            actor=request.actor,
            name=name,
            description=description,
        )
    return Status(201, managed_input_out(managed))


@router.get(
    "applications/{app_id}/inputs/{input_id}",
    auth=Key("view"),
    response={200: ManagedInputOut, **FAILURES},
    exclude_none=True,
)
def read(request: ApiRequest, app_id: str, input_id: str) -> Any:
    """One managed input."""
    return managed_input_out(find_managed_input(find_application(request, app_id), input_id))


@router.put(
    "applications/{app_id}/inputs/{input_id}",
    auth=Key("manage applications"),
    response={200: ManagedInputOut, **FAILURES},
    exclude_none=True,
)
def change(request: ApiRequest, app_id: str, input_id: str, body: ManagedInputChange) -> Any:
    """Change the words about an input; send the whole object or only what changes."""
    managed = update_managed_input(
        managed_input=find_managed_input(find_application(request, app_id), input_id),
        name=body.name,
        description=body.description,
        actor=request.actor,
    )
    return managed_input_out(managed)


@router.delete(
    "applications/{app_id}/inputs/{input_id}",
    auth=Key("manage applications"),
    response={204: None, **FAILURES},
)
def delete(request: ApiRequest, app_id: str, input_id: str) -> Any:
    """Delete a managed input; runs that were given it keep their input."""
    managed = find_managed_input(find_application(request, app_id), input_id)
    delete_managed_input(managed_input=managed, actor=request.actor)
    return Status(204, None)


def managed_input_out(managed: ManagedInput) -> dict[str, Any]:
    """A managed input as the client reads it; its data should have been read."""
    return {
        "id": managed.input_id,
        "name": managed.name,
        "description": managed.description,
        "run_id": managed.from_run or None,
        "upload_id": managed.from_upload or None,
        "format": format_out(managed.input_data.content_format, managed.output_format),
        "created_at": wire_time(managed.created_at),
        "updated_at": wire_time(managed.updated_at),
    }


def _content_format(application: Application, body: ManagedInputIn) -> str:
    """As what the upload is read: as the request says, else as the newest executable reads."""
    if body.format and body.format.input_type:
        _check_format(body.format.input_type)
        return body.format.input_type
    return application.executable.content_format if application.executable else "json"


def _check_format(name: str) -> None:
    if name not in {"", *FORMATS}:
        known = ", ".join(FORMATS)
        raise FieldsInvalid({"format": [f"`{name[:40]}` is no format; choose one of {known}."]})
