"""Local run folders: admins import them, and everybody takes a run along as one."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from django import forms
from django.conf import settings
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_http_methods, require_safe

from runs.actions.run_export import export_run
from runs.actions.run_folders import (
    IMPORTED,
    KNOWN,
    REFUSED,
    ImportReport,
    import_archive,
    import_server_folder,
)
from runs.domain.errors import ArchiveRejected, FieldsInvalid, RunsiteError
from runs.web.access import AccountRequest, member
from runs.web.applications import show_errors
from runs.web.downloads import send_stream
from runs.web.forms.run_folders import ImportFolderForm, ImportForm
from runs.web.run_pages import find_run
from runs.web.sent_builds import NothingSent, arrived
from runs.web.uploads import arrivals

MOST_AT_ONCE = 300
WITHIN_S = 20.0
"""Folders of one request, and seconds, so that it ends; the same again goes on where it stopped."""
_REPORT = "import-report"
_LEVELS = {IMPORTED: "success", KNOWN: "neutral", REFUSED: "danger"}


@member("view")
@require_safe
def run_export(request: AccountRequest, run_id: str) -> HttpResponseBase:
    """A run as the folder of the local tool, in a zip."""
    run = find_run(request, run_id)
    name, pieces = export_run(run)
    return send_stream(pieces, name)


@csrf_exempt  # the file must arrive before the token is read; checked below
@member("register folders")
@never_cache
@require_http_methods(["GET", "POST"])
def runs_import(request: AccountRequest) -> HttpResponse:
    """Import run folders from an archive or from a folder on the server."""
    with arrivals(request, limit_bytes=settings.RUNSITE_UPLOAD_LIMIT):
        return _runs_import(request)


@csrf_protect
def _runs_import(request: AccountRequest) -> HttpResponse:
    is_folder = request.method == "POST" and request.POST.get("way") == "folder"
    is_upload = request.method == "POST" and not is_folder
    form = ImportForm(request.POST if is_upload else None)
    folder_form = ImportFolderForm(request.POST if is_folder else None)
    chosen: forms.Form = folder_form if is_folder else form
    status = 200
    if request.method == "POST":
        try:
            if chosen.is_valid():
                report = (
                    _import_folder(request, folder_form) if is_folder else _import(request, form)
                )
                _keep(request, report)
                return redirect("runs-import")
            status = 422
        except RunsiteError as error:
            names = {"application_id": "folder_application"} if is_folder else {}
            at = "" if isinstance(error, FieldsInvalid) else "folder" if is_folder else "upload"
            status = show_errors(chosen, error, at, names)
    context = {
        "form": form,
        "folder_form": folder_form,
        "folders": [str(each) for each in settings.RUNSITE_APP_FOLDERS],
        "limit_bytes": settings.RUNSITE_UPLOAD_LIMIT,
        "show_folder": is_folder,
        "report": _kept(request) if request.method == "GET" else None,
    }
    return render(request, "runs/import.html", context, status=status)


def _import(request: AccountRequest, form: forms.Form) -> ImportReport:
    received = arrived(request, "upload")
    if not received:
        raise NothingSent("Choose a .zip, .tar or .tar.gz that holds run folders.")
    if len(received) > 1:
        raise ArchiveRejected(f"{len(received)} files were sent. Pack the folder into one archive.")
    return import_archive(
        account=request.account,
        source=received[0].path,
        file_name=received[0].file_name,
        actor=request.actor,
        application_id=form.cleaned_data["application_id"],
        most=MOST_AT_ONCE,
        within_s=WITHIN_S,
    )


def _import_folder(request: AccountRequest, form: forms.Form) -> ImportReport:
    return import_server_folder(
        account=request.account,
        folder=Path(form.cleaned_data["folder"]),
        actor=request.actor,
        application_id=form.cleaned_data["folder_application"],
        most=MOST_AT_ONCE,
        within_s=WITHIN_S,
    )


def _keep(request: AccountRequest, report: ImportReport) -> None:
    """Keep a report for the page that the form leads to: at most a few hundred short lines."""
    # What is here already says nothing new: it goes last, and is shortened first.
    rows = sorted(report.folders, key=lambda one: one.outcome == KNOWN)[:MOST_AT_ONCE]
    request.session[_REPORT] = {
        "account": request.account.pk,
        "left": report.left,
        "more": len(report.folders) - len(rows),
        "sums": [[word, report.count(word)] for word in (IMPORTED, KNOWN, REFUSED)]
        + [["left for later", len(report.folders) - sum(map(report.count, _LEVELS))]],
        "rows": [{**asdict(one), "warnings": list(one.warnings)[:5]} for one in rows],
    }


def _kept(request: AccountRequest) -> dict[str, Any] | None:
    report: dict[str, Any] | None = request.session.pop(_REPORT, None)
    if report is None or report["account"] != request.account.pk:
        return None
    for row in report["rows"]:
        row["level"] = _LEVELS.get(row["outcome"], "warning")
    return {**report, "sums": [(word, number) for word, number in report["sums"] if number]}
