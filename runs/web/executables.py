"""Pages of an application's builds: the list, an upload, the folder read anew, environments."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from runs.actions.environments import rebuild_environment
from runs.actions.executables import register_folder, store_build
from runs.domain.errors import Conflict, NotFound, RunsiteError
from runs.domain.roles import may
from runs.models import Environment
from runs.web.access import AccountRequest, member
from runs.web.applications import find_application, frame, show_errors
from runs.web.forms.applications import UploadForm
from runs.web.sent_builds import sent_build
from runs.web.uploads import arrivals

PAGE = 50


@member("view")
@require_GET
def application_builds(request: AccountRequest, application_id: str) -> HttpResponse:
    """The executables of an application, newest first."""
    found = find_application(request, application_id)
    executables = found.executables.select_related("uploaded_by", "environment")
    before = request.GET.get("before", "")
    if before.isdecimal() and len(before) < 10:
        executables = executables.filter(number__lt=int(before))
    page = list(executables.prefetch_related("versions").order_by("-number")[: PAGE + 1])
    context = {
        **frame(request, found, "application-builds"),
        "executables": page[:PAGE],
        "before": page[PAGE - 1].number if len(page) > PAGE else "",
        "is_first": not before,
        "may_register": may(request.role, "register folders"),
    }
    return render(request, "applications/builds.html", context)


@csrf_exempt  # the files must arrive before the token is read; checked below
@member("manage applications")
@require_http_methods(["GET", "POST"])
def application_upload(request: AccountRequest, application_id: str) -> HttpResponse:
    """Upload a new executable; it is the one in use then."""
    with arrivals(request, limit_bytes=settings.RUNSITE_EXECUTABLE_LIMIT):
        return _application_upload(request, application_id)


@csrf_protect
def _application_upload(request: AccountRequest, application_id: str) -> HttpResponse:
    found = find_application(request, application_id)
    form = UploadForm(request.POST if request.method == "POST" else None)
    status = 200
    if request.method == "POST" and form.is_valid():
        try:
            with sent_build(request, "upload") as build:
                executable = store_build(application=found, build=build, actor=request.actor)
        except RunsiteError as error:
            status = show_errors(form, error, "upload")
        else:
            messages.success(request, f"Build {executable.number} is in use now.")
            return redirect("application", application_id)
    context = {
        **frame(request, found, "application-builds"),
        "form": form,
        "limit_bytes": settings.RUNSITE_EXECUTABLE_LIMIT,
    }
    return render(request, "applications/upload.html", context, status=status)


@member("register folders")
@require_POST
def application_read_folder(request: AccountRequest, application_id: str) -> HttpResponse:
    """Read the registered folder of an application anew."""
    found = find_application(request, application_id)
    if not found.folder:
        raise Conflict(f"{found} was uploaded, not registered. Upload a new executable.")
    register_folder(
        account=request.account,
        folder=Path(found.folder),
        actor=request.actor,
        application_id=found.application_id,
    )
    messages.success(request, f"{found.folder} has been read anew.")
    return redirect("application", application_id)


@member("view")
@require_GET
def application_environment(request: AccountRequest, application_id: str, key: str) -> HttpResponse:
    """An environment of an application: its requirements, and each host's build with its log."""
    found = find_application(request, application_id)
    environment = _environment(request, application_id, key)
    context = {
        **frame(request, found, "application-builds"),
        "environment": environment,
        "builds": list(environment.builds.order_by("host")[:50]),
    }
    return render(request, "applications/environment.html", context)


@member("manage applications")
@require_POST
def application_rebuild(request: AccountRequest, application_id: str, key: str) -> HttpResponse:
    """Have the failed builds of an environment tried again."""
    environment = _environment(request, application_id, key)
    rebuild_environment(environment=environment, account=request.account, actor=request.actor)
    messages.success(request, "The environment is built again.")
    return redirect("application-environment", application_id, key)


def _environment(request: AccountRequest, application_id: str, key: str) -> Environment:
    found = Environment.objects.filter(
        key=key,
        executables__application__account=request.account,
        executables__application__application_id=application_id,
    ).first()
    if found is None:
        raise NotFound("No executable of this application has such an environment.")
    return found
