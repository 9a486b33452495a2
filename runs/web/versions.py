"""Pages of an application's versions."""

from __future__ import annotations

from django.contrib import messages
from django.db.models import Count
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from runs.actions import versions as actions
from runs.domain.errors import NotFound, RunsiteError
from runs.models import Application, Version
from runs.web.access import AccountRequest, check_permission, member
from runs.web.applications import find_application, frame, show_errors
from runs.web.forms.applications import VersionForm

SHOWN = 200
OFFERED_BUILDS = 50


@member("view")
@require_http_methods(["GET", "POST"])
def application_versions(request: AccountRequest, application_id: str) -> HttpResponse:
    """The versions of an application; makes one."""
    found = find_application(request, application_id)
    page = frame(request, found, "application-versions")
    form = None
    status = 200
    if request.method == "POST":
        check_permission(request, "manage applications")
    if page["may_manage"] and found.executable is not None:
        numbers = found.executables.order_by("-number").values_list("number", flat=True)
        choices = [(str(number), f"build {number}") for number in numbers[:OFFERED_BUILDS]]
        form = VersionForm(
            request.POST if request.method == "POST" else None,
            builds=choices,
            initial={
                "version_id": actions.suggest_version_id(found),
                "build": found.executable.number,
            },
        )
        if request.method == "POST":
            status = 422
            if form.is_valid():
                try:
                    version = _make(request, found, form)
                except RunsiteError as error:
                    status = show_errors(form, error)
                else:
                    messages.success(request, f"Version {version.version_id} has been made.")
                    return redirect("application-versions", application_id)
    versions = found.versions.select_related("executable", "created_by")
    context = {
        **page,
        "form": form,
        "versions": list(
            versions.annotate(instance_count=Count("instances")).order_by("-id")[:SHOWN]
        ),
    }
    return render(request, "applications/versions.html", context, status=status)


@member("manage applications")
@require_POST
def application_version_delete(
    request: AccountRequest, application_id: str, version_id: str
) -> HttpResponse:
    """Delete a version that no instance and no run under way uses."""
    found = find_application(request, application_id)
    version = find_version(found, version_id)
    actions.delete_version(version=version, actor=request.actor)
    messages.success(request, f"Version {version_id} has been deleted.")
    return redirect("application-versions", application_id)


def find_version(application: Application, version_id: str) -> Version:
    """The version with this id; raises `NotFound`."""
    version = application.versions.filter(version_id=version_id).first()
    if version is None:
        raise NotFound(f"{application} has no version `{version_id[:128]}`.")
    return version


def _make(request: AccountRequest, application: Application, form: VersionForm) -> Version:
    fields = form.cleaned_data
    executable = None
    if fields["build"] is not None:
        executable = application.executables.filter(number=fields["build"]).first()
    return actions.create_version(
        application=application,
        version_id=fields["version_id"],
        name=fields["name"],
        description=fields["description"],
        executable=executable,
        actor=request.actor,
    )
