"""Addresses as the published client prints them; they lead to our pages."""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_safe

from runs.domain.errors import NotFound
from runs.web.access import AccountRequest, member


@require_safe
@member("view")
def console_run(request: AccountRequest, application_id: str, run_id: str) -> HttpResponse:
    """The run that `/app/<application>/run/<run>` names, with any query; one query."""
    runs = request.account.runs.filter(application__application_id=application_id, run_id=run_id)
    if not runs.exists():
        raise NotFound(
            f"There is no run {run_id[:64]} of {application_id[:128]} in {request.account.name}."
            " It may have been deleted, or it belongs to another account."
        )
    return redirect("run", run_id=run_id)
