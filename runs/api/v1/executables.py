"""Pushes: where to send an archive, and what makes it the newest executable."""

from __future__ import annotations

from typing import Any

from ninja import Router

from runs.actions.pushes import activate_push, new_push
from runs.actions.tickets import upload_url
from runs.api.addresses import public_base
from runs.api.auth import ApiRequest, Key
from runs.api.times import wire_time
from runs.api.v1.finding import find_application
from runs.api.v1.schemas.base import FAILURES
from runs.api.v1.schemas.executables import Activation, ExecutableOut, PushTicket
from runs.domain.manifest import manifest_from_json
from runs.domain.manifest_wire import manifest_to_wire
from runs.models import Executable

router = Router(tags=["executables"])


@router.get(
    "applications/{app_id}/binary",
    auth=Key("manage applications"),
    response={200: PushTicket, **FAILURES},
)
def ask(request: ApiRequest, app_id: str) -> Any:
    """An address to send the archive of an application to."""
    application = find_application(request, app_id)
    upload = new_push(application=application, actor=request.actor, key=request.key)
    return {"upload_url": upload_url(upload, base=public_base(request))}


@router.put(
    "applications/{app_id}/binary",
    auth=Key("manage applications"),
    response={200: ExecutableOut, **FAILURES},
)
def activate(request: ApiRequest, app_id: str, body: Activation) -> Any:
    """Make what was sent last the executable in use; harmless when it is repeated.

    A large archive is looked at afterwards: runs may be submitted at once and wait for that.
    """
    executable = activate_push(
        application=find_application(request, app_id),
        actor=request.actor,
        declared={"requirements": body.requirements},
    )
    return executable_out(executable)


def executable_out(executable: Executable) -> dict[str, Any]:
    """An executable as the client reads it; `uploaded_by` should have been read."""
    uploader = executable.uploaded_by
    return {
        "id": executable.executable_id,
        "user_email": uploader.email if uploader else "",
        "uploaded_at": wire_time(executable.created_at),
        "requirements": manifest_to_wire(manifest_from_json(executable.manifest)),
    }
