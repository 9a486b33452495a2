"""The account: what waits and runs in it, and who belongs to it."""

from __future__ import annotations

from typing import Any

from ninja import Router

from runs.actions.applications import LATEST
from runs.api.auth import ApiRequest, Key
from runs.api.times import wire_time
from runs.api.v1.schemas.account import OrganizationOut, QueueOut
from runs.api.v1.schemas.base import FAILURES
from runs.domain.errors import NotAllowed, NotFound
from runs.domain.status import Status
from runs.models import Run

router = Router(tags=["account"])

MOST_QUEUED = 1000
MOST_MEMBERS = 1000
_LARGE = ("warnings", "requested_options", "detail")


@router.get("account/queue", auth=Key("view"), response={200: QueueOut, **FAILURES})
def read_queue(request: ApiRequest) -> Any:
    """The runs of the account that have not ended, at most 1,000.

    First those that run, the newest first; then those that wait, in the order of their queue.
    """
    runs = Run.objects.filter(account=request.account).defer(*_LARGE)
    runs = runs.select_related("application", "instance", "version", "submitted_by")
    running = list(runs.filter(status=Status.RUNNING).order_by("-pk")[:MOST_QUEUED])
    waiting = runs.waiting()[: MOST_QUEUED - len(running)]
    return {"runs": [queued_run_out(run) for run in (*running, *waiting)]}


@router.get(
    "organization/{organization_id}", auth=Key("view"), response={200: OrganizationOut, **FAILURES}
)
def read_organization(request: ApiRequest, organization_id: str) -> Any:
    """The account of the key and its members; its id is the short name that pages show."""
    account = request.account
    if organization_id != account.slug:
        raise NotFound(
            f"Organization '{organization_id[:128]}' does not exist, or this key is not of it. The"
            f" account of this key is '{account.slug}'."
        )
    memberships = account.memberships.select_related("user").order_by("pk")[:MOST_MEMBERS]
    return {
        "id": account.slug,
        "name": account.name,
        "members": [
            {"email": one.user.email, "role": one.role, "pending_invite": False}
            for one in memberships
        ],
    }


@router.post("organization", auth=Key("view"), response=FAILURES)
def create_organization(request: ApiRequest) -> Any:
    """Refused: accounts are made by the people who run the console."""
    raise _refusal()


@router.api_operation(
    ["PUT", "DELETE"],
    "organization/{organization_id}",
    auth=Key("view"),
    response=FAILURES,
    include_in_schema=False,
)
def change_organization(request: ApiRequest, organization_id: str) -> Any:
    """Refused: accounts and members are changed in the console."""
    raise _refusal()


def _refusal() -> NotAllowed:
    return NotAllowed(
        "Accounts cannot be created, changed or deleted by the API. Members are managed on the page"
        " Members of the console; accounts by the people who run it."
    )


def queued_run_out(run: Run) -> dict[str, Any]:
    """A run that has not ended, as the client reads it."""
    return {
        "id": run.run_id,
        "user_email": run.submitted_by.email if run.submitted_by else "",
        "name": run.name,
        "description": run.description,
        "created_at": wire_time(run.created_at),
        "application_id": run.application.application_id,
        "application_instance_id": run.instance.instance_id if run.instance else LATEST,
        "application_version_id": run.version.version_id if run.version else LATEST,
        "execution_class": run.execution_class,
        "status_v2": run.status,
    }
