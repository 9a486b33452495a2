"""Secrets: collections of variables and files for runs. Values come in and never go out."""

from __future__ import annotations

from typing import Any

from ninja import Router, Status

from runs.actions.secrets import (
    change_collection,
    create_collection,
    delete_collection,
    find_collection,
    masked_secrets,
)
from runs.api.auth import ApiRequest, Key
from runs.api.pages import PageQuery, answer_list
from runs.api.times import wire_time
from runs.api.v1.finding import find_application
from runs.api.v1.schemas.base import FAILURES
from runs.api.v1.schemas.secrets import (
    SecretsChange,
    SecretsIn,
    SecretsOut,
    SecretsPage,
    SecretsSummary,
)
from runs.domain.secrets import SecretOperation, SecretValue
from runs.models import Application, SecretsCollection

router = Router(tags=["secrets"])


@router.get(
    "applications/{app_id}/secrets",
    auth=Key("launch"),  # as on the pages: who only looks does not learn what secrets there are
    response={200: SecretsPage, **FAILURES},
    exclude_none=True,
)
def list_collections(request: ApiRequest, app_id: str, paging: PageQuery) -> Any:
    """All collections of an application, in the order in which they were created."""
    application = find_application(request, app_id)
    return answer_list(
        application.secrets_collections.all(),
        paging,
        lambda page: [summary_out(one, application) for one in page],
        bare=False,
    )


@router.post(
    "applications/{app_id}/secrets",
    auth=Key("manage applications"),
    response={201: SecretsSummary, **FAILURES},
)
def create(request: ApiRequest, app_id: str, body: SecretsIn) -> Any:
    """Create a collection with its secrets."""
    application = find_application(request, app_id)
    collection = create_collection(
        application=application,
        collection_id=body.id,
        name=body.name or "",
        description=body.description or "",
        secrets=[SecretValue(one.type, one.location, one.value) for one in body.secrets or ()],
        actor=request.actor,
    )
    return Status(201, summary_out(collection, application))


@router.get(
    "applications/{app_id}/secrets/{collection_id}",
    auth=Key("launch"),
    response={200: SecretsOut, **FAILURES},
)
def read(request: ApiRequest, app_id: str, collection_id: str) -> Any:
    """One collection with the names of its secrets; each value is a mask."""
    application = find_application(request, app_id)
    collection = find_collection(application, collection_id)
    secrets = [
        {"type": one.kind, "location": one.location, "value": one.value}
        for one in masked_secrets(collection)
    ]
    return {**summary_out(collection, application), "secrets": secrets}


@router.patch(
    "applications/{app_id}/secrets/{collection_id}",
    auth=Key("manage applications"),
    response={200: SecretsSummary, **FAILURES},
)
def change(request: ApiRequest, app_id: str, collection_id: str, body: SecretsChange) -> Any:
    """Change name, description and secrets of a collection, all of it or nothing."""
    application = find_application(request, app_id)
    collection = change_collection(
        collection=find_collection(application, collection_id),
        name=body.name,
        description=body.description,
        operations=[
            SecretOperation(one.op, one.type, one.location, one.value)
            for one in body.operations or ()
        ],
        actor=request.actor,
    )
    return summary_out(collection, application)


@router.delete(
    "applications/{app_id}/secrets/{collection_id}",
    auth=Key("manage applications"),
    response={204: None, **FAILURES},
)
def delete(request: ApiRequest, app_id: str, collection_id: str) -> Any:
    """Delete a collection that no instance and no run under way uses."""
    application = find_application(request, app_id)
    delete_collection(collection=find_collection(application, collection_id), actor=request.actor)
    return Status(204, None)


def summary_out(collection: SecretsCollection, application: Application) -> dict[str, Any]:
    """A collection without its secrets, as the client reads it."""
    return {
        "id": collection.collection_id,
        "application_id": application.application_id,
        "name": collection.name,
        "description": collection.description,
        "created_at": wire_time(collection.created_at),
        "updated_at": wire_time(collection.updated_at),
    }
