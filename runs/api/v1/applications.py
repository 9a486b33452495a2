"""Applications: list, create, read, change, delete."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from ninja import Router, Status

from runs.actions.applications import create_application, delete_application, describe_application
from runs.api.auth import ApiRequest, Key
from runs.api.pages import PageQuery, answer_list
from runs.api.times import wire_time
from runs.api.v1.finding import find_application
from runs.api.v1.schemas.applications import (
    ApplicationChange,
    ApplicationIn,
    ApplicationOut,
    ApplicationPage,
)
from runs.api.v1.schemas.base import FAILURES
from runs.models import Application

router = Router(tags=["applications"])


@router.get(
    "applications",
    auth=Key("view"),
    response={200: ApplicationPage | list[ApplicationOut], **FAILURES},
    exclude_none=True,
)
def list_applications(request: ApiRequest, paging: PageQuery) -> Any:
    """All applications of the account, in the order in which they were created."""
    rows = request.account.applications.select_related("default_instance")
    return answer_list(rows, paging, lambda page: map(application_out, page))


@router.post(
    "applications", auth=Key("manage applications"), response={201: ApplicationOut, **FAILURES}
)
def create(request: ApiRequest, body: ApplicationIn) -> Any:
    """Create an application; executables are pushed to it afterwards."""
    with transaction.atomic():
        application = create_application(
            account=request.account,
            application_id=body.id,
            name=body.name,
            description=body.description or "",
            actor=request.actor,
        )
        describe_application(
            application=application,
            actor=request.actor,
            default_instance_id=body.default_instance,
            experiment_instance_id=body.default_experiment_instance,
        )
    return Status(201, application_out(application))


@router.get("applications/{app_id}", auth=Key("view"), response={200: ApplicationOut, **FAILURES})
def read(request: ApiRequest, app_id: str) -> Any:
    """One application."""
    return application_out(find_application(request, app_id))


@router.put(
    "applications/{app_id}",
    auth=Key("manage applications"),
    response={200: ApplicationOut, **FAILURES},
)
def change(request: ApiRequest, app_id: str, body: ApplicationChange) -> Any:
    """Change an application; send the whole object or only what changes."""
    instance = body.default_instance
    if instance is None:
        instance = body.default_instance_id
    application = describe_application(
        application=find_application(request, app_id),
        actor=request.actor,
        name=body.name,
        description=body.description,
        default_instance_id=instance,
        experiment_instance_id=body.default_experiment_instance,
    )
    return application_out(application)


@router.delete(
    "applications/{app_id}", auth=Key("manage applications"), response={204: None, **FAILURES}
)
def delete(request: ApiRequest, app_id: str) -> Any:
    """Delete an application with everything that belongs to it, its ended runs included."""
    application = find_application(request, app_id)
    delete_application(application=application, actor=request.actor, with_runs=True)
    return Status(204, None)


def application_out(application: Application) -> dict[str, Any]:
    """An application as the client reads it."""
    default = application.default_instance
    return {
        "id": application.application_id,
        "name": application.name,
        "description": application.description,
        "type": "custom",
        "default_instance": default.instance_id if default else "",
        "default_experiment_instance": application.experiment_instance_id,
        "locked": False,
        "created_at": wire_time(application.created_at),
        "updated_at": wire_time(application.updated_at or application.created_at),
    }
