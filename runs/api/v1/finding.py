"""Finds what a path names, in the account of the key; 404 where it is not there."""

from __future__ import annotations

from runs.api.auth import ApiRequest
from runs.domain.errors import NotFound
from runs.models import Application


def find_application(request: ApiRequest, app_id: str) -> Application:
    """The application with this id; archived ones are there, too. One query."""
    found = request.account.applications.select_related("default_instance").filter(
        application_id=app_id
    )
    application = found.first()
    if application is None:
        raise NotFound(f"Application '{app_id[:128]}' does not exist in this account.")
    application.account = request.account
    return application
