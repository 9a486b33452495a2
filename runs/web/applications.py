"""Pages of applications: the list, a new one, what one is, its settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.db import transaction
from django.db.models import Q
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.safestring import SafeString, mark_safe
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from runs.actions import applications as actions
from runs.actions.application_figures import Figures, application_figures, newest_ended
from runs.actions.executables import create_with_build, register_folder
from runs.domain.errors import FieldsInvalid, NotFound, RunsiteError
from runs.domain.manifest import manifest_from_json
from runs.domain.options import visible_to
from runs.domain.roles import may
from runs.models import Application
from runs.templatetags.human import coded
from runs.visuals.charts import RunPoint, SizePoint, duration_against_input, metric_history
from runs.visuals.pages import PLOTLY_SCRIPT, json_block
from runs.web.access import AccountRequest, check_permission, member
from runs.web.forms import application_settings as settings_forms
from runs.web.forms.application_settings import SettingsForm
from runs.web.forms.applications import FolderForm, NewApplicationForm
from runs.web.forms.limits import FIELDS
from runs.web.sent_builds import NothingSent, sent_build
from runs.web.uploads import arrivals

PAGE = 30
LATEST_RUNS = 10
FEWEST_POINTS = 2
"""Fewer runs make no plot."""

# --- The list ---------------------------------------------------------------------------------


@member("view")
@require_GET
def applications(request: AccountRequest) -> HttpResponse:
    """The applications of the account: pinned first, then by name; found by name and id."""
    query = request.GET.get("q", "").strip()[:200]
    archived = request.GET.get("archived") == "1"
    found = request.account.applications.filter(archived_at__isnull=not archived)
    for word in query.split()[:10]:
        found = found.filter(
            Q(name__icontains=word)
            | Q(application_id__icontains=word)
            | Q(description__icontains=word)
        )
    if after := request.GET.get("after", ""):
        last = request.account.applications.filter(application_id=after).first()
        if last is not None:
            behind = Q(name__gt=last.name) | Q(name=last.name, pk__gt=last.pk)
            found = found.filter(
                Q(pinned=False) | (Q(pinned=True) & behind)
                if last.pinned
                else Q(pinned=False) & behind
            )
    page = list(found.select_related("executable").order_by("-pinned", "name", "pk")[: PAGE + 1])
    more, page = page[PAGE:], page[:PAGE]
    figures = application_figures(page)
    context = {
        "rows": [(each, figures.get(each.pk, Figures())) for each in page],
        "after": page[-1].application_id if more else "",
        "is_first": not after,
        "query": query,
        "archived": archived,
        "may_manage": may(request.role, "manage applications"),
        "may_launch": may(request.role, "launch"),
    }
    return render(request, "applications/list.html", context)


# --- A new one --------------------------------------------------------------------------------


@csrf_exempt  # the files must arrive before the token is read; checked below
@member("manage applications")
@require_http_methods(["GET", "POST"])
def application_new(request: AccountRequest) -> HttpResponse:
    """Make an application of a dropped folder, an archive, or a folder on the server."""
    with arrivals(request, limit_bytes=settings.RUNSITE_EXECUTABLE_LIMIT):
        return _application_new(request)


@csrf_protect
def _application_new(request: AccountRequest) -> HttpResponse:
    is_folder = request.method == "POST" and request.POST.get("way") == "folder"
    is_upload = request.method == "POST" and not is_folder
    form = NewApplicationForm(request.POST if is_upload else None)
    folder_form = FolderForm(request.POST if is_folder else None)
    status = 200
    try:
        if is_folder and folder_form.is_valid():
            fields = folder_form.cleaned_data
            check_permission(request, "register folders")
            application = register_folder(
                account=request.account,
                folder=Path(fields["folder"]),
                name=fields["folder_name"],
                application_id=fields["folder_id"],
                actor=request.actor,
            )
            return _made(request, application)
        if is_upload and form.is_valid():
            with sent_build(request, "upload") as build:
                application = create_with_build(
                    account=request.account,
                    build=build,
                    actor=request.actor,
                    application_id=form.cleaned_data["application_id"],
                    name=form.cleaned_data["name"],
                    description=form.cleaned_data["description"],
                )
            return _made(request, application)
    except RunsiteError as error:
        if is_folder:
            names = {"name": "folder_name", "application_id": "folder_id"}
            status = show_errors(folder_form, error, "folder", names)
        else:
            at_files = "" if isinstance(error, FieldsInvalid) else "upload"
            status = show_errors(form, error, at_files)
    if (is_folder and folder_form.errors) or (is_upload and form.errors):
        status = status if status >= 400 else 422
    context = {
        "form": form,
        "folder_form": folder_form,
        "may_register": may(request.role, "register folders"),
        "folders": [str(each) for each in settings.RUNSITE_APP_FOLDERS],
        "limit_bytes": settings.RUNSITE_EXECUTABLE_LIMIT,
        "show_folder": is_folder,
    }
    return render(request, "applications/new.html", context, status=status)


def _made(request: AccountRequest, application: Application) -> HttpResponse:
    messages.success(request, f"{application} is ready: launch its first run.")
    return redirect("application", application.application_id)


# --- One --------------------------------------------------------------------------------------


@member("view")
@require_GET
def application(request: AccountRequest, application_id: str) -> HttpResponse:
    """What an application is and how it does."""
    found = find_application(request, application_id)
    executable = found.executable
    manifest = manifest_from_json(executable.manifest) if executable else None
    environment = executable.environment if executable else None
    runs = found.runs.filter(account=request.account).select_related("instance", "version")
    options = manifest.options.items if manifest else ()
    request.inline_styles = True  # type: ignore[attr-defined] # Plotly needs inline styles
    context = {
        **frame(request, found, "application"),
        "executable": executable,
        "newest": found.executables.order_by("-number").first(),
        "manifest": manifest,
        "options": [option for option in options if visible_to(option, request.role)],
        "plots": _plots(found),
        "plotly_script": PLOTLY_SCRIPT,
        "environment": environment,
        "builds": list(environment.builds.order_by("host")[:50]) if environment else [],
        "figures": application_figures([found]).get(found.pk, Figures()),
        "runs": list(runs.order_by("-id")[:LATEST_RUNS]),
    }
    return render(request, "applications/detail.html", context)


def _plots(found: Application) -> list[tuple[str, SafeString]]:
    """Title and figure of each plot of the newest runs; one query."""
    ended = newest_ended(found)
    links = {each.run_id: reverse("run", args=[each.run_id]) for each in ended}
    values = [
        RunPoint(each.at, each.value, each.run_id, each.status, links[each.run_id])
        for each in ended
        if each.value is not None
    ]
    times = [
        SizePoint(each.input_bytes, each.execution_s, each.run_id, each.status, links[each.run_id])
        for each in ended
        if each.execution_s is not None
    ]
    plots = []
    if len(values) >= FEWEST_POINTS:
        plots.append(("Value over time", metric_history(values, name="value")))
    if len(times) >= FEWEST_POINTS:
        plots.append(("Duration against input size", duration_against_input(times)))
    return [(title, mark_safe(json_block(figure) or "null")) for title, figure in plots]


@member("manage applications")
@require_http_methods(["GET", "POST"])
def application_settings(request: AccountRequest, application_id: str) -> HttpResponse:
    """Change an application; refused where somebody else changed it since the page was opened."""
    found = find_application(request, application_id)
    executable = found.executable
    manifest = manifest_from_json(executable.manifest) if executable else None
    form, status = SettingsForm(application=found, manifest=manifest), 200
    if request.method == "POST":
        seen = request.POST.get(settings_forms.SEEN, "")
        with transaction.atomic():
            # Locked, so that nobody changes it between the look and the change.
            list(Application.objects.select_for_update(no_key=True).filter(pk=found.pk))
            found.refresh_from_db()
            changed = settings_forms.changed_since(seen, found)
            data = settings_forms.taken_over(request.POST, seen, found) if changed else request.POST
            form = SettingsForm(data, application=found, manifest=manifest)
            status = _change_settings(request, found, form, changed)
        if status == 200:
            messages.success(request, "The settings have been changed.")
            return redirect("application-settings", application_id)
    context = {
        **frame(request, found, "application-settings"),
        "form": form,
        "seen": settings_forms.stamp(found),
        "has_runs": found.runs.exists(),
    }
    return render(request, "applications/settings.html", context, status=status)


def _change_settings(
    request: AccountRequest, found: Application, form: SettingsForm, changed: list[str]
) -> int:
    """Apply a form unless it is wrong, or others changed something since; the status for that."""
    if changed:
        what = settings_forms.what_changed(form, changed)
        form.add_error(
            None,
            f"Nothing was saved: somebody else has changed this meanwhile ({what}). What you typed"
            " is kept, all else is as it is now. Look it over, then save again.",
        )
        return 409
    if not form.is_valid():
        return 422
    try:
        actions.update_application(
            application=found,
            actor=request.actor,
            **form.plain(),
            run_settings=form.run_settings(),
        )
    except RunsiteError as error:
        return show_errors(form, error, names={**FIELDS, "retry_on": "retry_causes"})
    return 200


@member("manage applications")
@require_POST
def application_pin(request: AccountRequest, application_id: str) -> HttpResponse:
    """Pin an application or take the pin away."""
    found = find_application(request, application_id)
    pinned = request.POST.get("pinned") == "1"
    actions.pin_application(application=found, pinned=pinned, actor=request.actor)
    messages.success(request, f"{found} is pinned." if pinned else f"{found} is not pinned now.")
    return redirect("application", application_id)


@member("manage applications")
@require_POST
def application_archive(request: AccountRequest, application_id: str) -> HttpResponse:
    """Take an application out of the lists, or bring it back."""
    found = find_application(request, application_id)
    if request.POST.get("restore") == "1":
        actions.restore_application(application=found, actor=request.actor)
        messages.success(request, f"{found} is back.")
    else:
        actions.archive_application(application=found, actor=request.actor)
        messages.success(request, f"{found} is archived; its runs stay.")
    return redirect("application-settings", application_id)


@member("manage applications")
@require_POST
def application_delete(request: AccountRequest, application_id: str) -> HttpResponse:
    """Delete an application that never ran."""
    found = find_application(request, application_id)
    actions.delete_application(application=found, actor=request.actor)
    messages.success(request, f"{found} has been deleted.")
    return redirect("applications")


# --- For the pages of one application ---------------------------------------------------------


def find_application(request: AccountRequest, application_id: str) -> Application:
    """The account's application with this id, its executable beside it; raises `NotFound`."""
    found = (
        request.account.applications.filter(application_id=application_id)
        .select_related("executable__environment", "default_instance", "account")
        .first()
    )
    if found is None:
        raise NotFound(
            f"{request.account.name} has no application `{application_id[:128]}`. It may have been"
            " deleted, or belong to another account."
        )
    return found


def frame(request: AccountRequest, found: Application, current: str) -> dict[str, Any]:
    """What the frame of each page of an application needs: its tabs and what may be done."""
    may_manage = may(request.role, "manage applications")
    pages = [
        ("application", "Overview"),
        ("application-versions", "Versions"),
        ("application-instances", "Instances"),
        ("application-builds", "Builds"),
        ("application-inputs", "Inputs"),
    ]
    if may(request.role, "launch"):
        pages.append(("application-secrets", "Secrets"))
    if may_manage:
        pages.append(("application-settings", "Settings"))
    return {
        "application": found,
        "may_manage": may_manage,
        "may_launch": may(request.role, "launch"),
        "tabs": [
            {
                "label": label,
                "url": reverse(name, args=[found.application_id]),
                "current": name == current,
            }
            for name, label in pages
        ],
    }


def show_errors(
    form: forms.Form,
    error: RunsiteError,
    field: str = "",
    names: dict[str, str] | None = None,
) -> int:
    """Put the messages of an action at their fields, else at `field`; the status to answer with.

    `names` are the form's own names for fields of the action.
    """
    if not isinstance(error, FieldsInvalid):
        # A message of several lines is one message for each.
        for line in error.message.splitlines():
            form.add_error(field or None, line)
        return 422 if isinstance(error, NothingSent) else error.status
    for name, texts in error.errors.items():
        name = (names or {}).get(name, name)
        for text in texts:
            form.add_error(name if name in form.fields else None, coded(text))
    return error.status
