"""Input and output of a run: lists of files, previews by size, never whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.http import HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_GET

from runs.actions.outputs import Preview, preview_object
from runs.domain.content import is_folder_format
from runs.domain.errors import NotFound
from runs.models import Asset, InputFile, Run, RunFile
from runs.web.access import AccountRequest, member
from runs.web.json_tables import find_tables
from runs.web.json_tree import json_tree
from runs.web.run_pages import find_run, run_page

MOST_FILES = 300
_ROLES = {
    RunFile.SOLUTION: "Result files",
    RunFile.STDOUT: "Standard output",
    RunFile.CLEANED: "With null in place of NaN and infinities",
    RunFile.METRICS: "Metrics",
    RunFile.STATISTICS: "Statistics",
}
_MOST_DOCUMENTS = 10


@dataclass(frozen=True)
class ShownFile:
    """A file in a list: `name` is its word in the query, `url` downloads it."""

    name: str
    path: str
    size_bytes: int
    url: str
    key: str
    group: str
    is_json: bool = False
    may_preview: bool = True


@require_GET
@member("view")
def run_input(request: AccountRequest, run_id: str) -> HttpResponse:
    """The input of a run."""
    run = find_run(request, run_id)
    context = input_context(run, request.GET.get("file", ""))
    return run_page(request, run, tab="input", template="runs/input.html", context=context)


@require_GET
@member("view")
def run_output(request: AccountRequest, run_id: str) -> HttpResponse:
    """What a run produced."""
    run = find_run(request, run_id)
    context = output_context(run, request.GET.get("file", ""))
    return run_page(request, run, tab="output", template="runs/output.html", context=context)


def input_context(run: Run, chosen: str = "") -> dict[str, Any]:
    """The files of the input and a preview of one; one query."""
    rows: list[InputFile] = []
    if run.input_data is not None:
        rows = list(run.input_data.files.order_by("number")[: MOST_FILES + 1])
    files = [
        ShownFile(
            name=str(row.number),
            path=row.path,
            size_bytes=row.size_bytes,
            url=reverse("run-input-file", args=[run.run_id, row.number]),
            key=row.key,
            group="Input",
            is_json=run.input_format == "json",
        )
        for row in rows[:MOST_FILES]
    ]
    return {
        "run": run,
        "files": files,
        "more_files": len(rows) > MOST_FILES,
        "zip_url": reverse("run-input-download", args=[run.run_id]) if len(files) > 1 else "",
        **_preview(files, chosen),
    }


def output_context(run: Run, chosen: str = "") -> dict[str, Any]:
    """The files of the result, its assets, and a preview of one; three queries."""
    stored = RunFile.objects.filter(run=run).order_by("role", "number")
    found = list(stored.filter(role=RunFile.SOLUTION)[: MOST_FILES + 1])
    solutions = found[:MOST_FILES]
    # Few, and asked for by themselves: thousands of result files must not push them out.
    documents = list(stored.exclude(role=RunFile.SOLUTION)[:_MOST_DOCUMENTS])
    documents.sort(key=lambda row: list(_ROLES).index(row.role))
    rows = solutions + documents
    files = [
        ShownFile(
            name=f"{row.role}-{row.number}",
            path=row.path,
            size_bytes=row.size_bytes,
            url=reverse("run-file", args=[run.run_id, row.role, row.number]),
            key=row.key,
            group=_ROLES[row.role],
            is_json=row.role != RunFile.SOLUTION
            and (row.role != RunFile.STDOUT or run.result_kind == "object"),
        )
        for row in rows
    ]
    assets = Asset.objects.filter(run=run).order_by("number").defer("description")[:MOST_FILES]
    files += [
        ShownFile(
            name=f"asset-{row.number}",
            path=row.name,
            size_bytes=row.size_bytes,
            url=reverse("run-asset", args=[run.run_id, row.number]),
            key=row.key,
            group="Assets",
            is_json=row.content_type != Asset.PAGE,
        )
        for row in assets
    ]
    in_folder = is_folder_format(run.output_format)
    first = RunFile.SOLUTION if in_folder and solutions else RunFile.STDOUT
    default = next((file.name for file in files if file.name == f"{first}-0"), "")
    zip_url = reverse("run-output-download", args=[run.run_id]) if len(solutions) > 1 else ""
    return {
        "run": run,
        "files": files,
        "more_files": len(found) > MOST_FILES,
        "zip_url": zip_url,
        **_preview(files, chosen or default),
    }


def _preview(files: Sequence[ShownFile], chosen: str) -> dict[str, Any]:
    shown = next((file for file in files if file.name == chosen), files[0] if files else None)
    if shown is None:
        return {"shown": None}
    try:
        preview = preview_object(
            key=shown.key, name=shown.path, size_bytes=shown.size_bytes, is_json=shown.is_json
        )
    except NotFound as error:
        preview = Preview("gone", problem=error.message)
    context: dict[str, Any] = {"shown": shown, "preview": preview}
    if preview.kind == "json":
        context["tree"] = json_tree(preview.value)
        context["tables"] = find_tables(preview.value)
    return context
