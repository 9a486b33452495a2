"""Uploads: where to send the bytes of inputs, and of what a tracked run has produced."""

from __future__ import annotations

from typing import Any

from ninja import Router, Status

from runs.actions.tickets import new_upload, upload_url
from runs.api.addresses import public_base
from runs.api.auth import ApiRequest, Key
from runs.api.v1.finding import find_application
from runs.api.v1.schemas.base import FAILURES
from runs.api.v1.schemas.uploads import UploadTicket

router = Router(tags=["uploads"])


@router.post(
    "applications/{app_id}/runs/uploadurl",
    auth=Key("launch"),
    response={201: UploadTicket, **FAILURES},
)
def ask(request: ApiRequest, app_id: str) -> Any:
    """An address to send bytes to, and the id by which runs and inputs then name them."""
    application = find_application(request, app_id)
    upload = new_upload(account=request.account, actor=request.actor, application=application)
    address = upload_url(upload, base=public_base(request))
    return Status(201, {"upload_id": upload.upload_id, "upload_url": address})
