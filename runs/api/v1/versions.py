"""Versions: list, create, read, describe, delete."""

from __future__ import annotations

from typing import Any

from ninja import Router, Status

from runs.actions.versions import create_version, delete_version, update_version
from runs.api.auth import ApiRequest, Key
from runs.api.pages import PageQuery, answer_list
from runs.api.times import wire_time
from runs.api.v1.executables import executable_out
from runs.api.v1.finding import find_application, find_version
from runs.api.v1.schemas.base import FAILURES
from runs.api.v1.schemas.versions import VersionChange, VersionIn, VersionOut, VersionPage
from runs.models import Application, Version

router = Router(tags=["versions"])


@router.get(
    "applications/{app_id}/versions",
    auth=Key("view"),
    response={200: VersionPage | list[VersionOut], **FAILURES},
    exclude_none=True,
)
def list_versions(request: ApiRequest, app_id: str, paging: PageQuery) -> Any:
    """All versions of an application, in the order in which they were created."""
    application = find_application(request, app_id)
    rows = application.versions.select_related("executable__uploaded_by")
    return answer_list(
        rows, paging, lambda page: [version_out(version, application) for version in page]
    )


@router.post(
    "applications/{app_id}/versions",
    auth=Key("manage applications"),
    response={201: VersionOut, **FAILURES},
)
def create(request: ApiRequest, app_id: str, body: VersionIn) -> Any:
    """Name what is in use now, for good."""
    application = find_application(request, app_id)
    version = create_version(
        application=application,
        version_id=body.id,
        name=body.name or body.id,
        description=body.description or "",
        actor=request.actor,
    )
    return Status(201, version_out(version, application))


@router.get(
    "applications/{app_id}/versions/{version_id}",
    auth=Key("view"),
    response={200: VersionOut, **FAILURES},
)
def read(request: ApiRequest, app_id: str, version_id: str) -> Any:
    """One version."""
    application = find_application(request, app_id)
    return version_out(find_version(application, version_id), application)


@router.put(
    "applications/{app_id}/versions/{version_id}",
    auth=Key("manage applications"),
    response={200: VersionOut, **FAILURES},
)
def change(request: ApiRequest, app_id: str, version_id: str, body: VersionChange) -> Any:
    """Change the words about a version; send the whole object or only what changes."""
    application = find_application(request, app_id)
    version = find_version(application, version_id)
    update_version(
        version=version,
        name=version.name if body.name is None else body.name,
        description=version.description if body.description is None else body.description,
        actor=request.actor,
    )
    return version_out(version, application)


@router.delete(
    "applications/{app_id}/versions/{version_id}",
    auth=Key("manage applications"),
    response={204: None, **FAILURES},
)
def delete(request: ApiRequest, app_id: str, version_id: str) -> Any:
    """Delete a version that no instance uses; its ended runs stay and keep its id."""
    application = find_application(request, app_id)
    delete_version(version=find_version(application, version_id), actor=request.actor)
    return Status(204, None)


def version_out(version: Version, application: Application) -> dict[str, Any]:
    """A version as the client reads it."""
    return {
        "id": version.version_id,
        "application_id": application.application_id,
        "name": version.name,
        "description": version.description,
        "executable": executable_out(version.executable),
        "created_at": wire_time(version.created_at),
        "updated_at": wire_time(version.updated_at or version.created_at),
    }
