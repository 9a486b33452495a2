"""The page of a run: summary, resources, history; cancel and delete."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString, mark_safe
from django.views.decorators.http import require_GET, require_POST

from runs.actions.outputs import FIGURE_LIMIT_BYTES
from runs.actions.results import read_usage
from runs.actions.run_stops import stop_run
from runs.actions.runs import cancel_run, delete_run
from runs.domain.errors import ManifestInvalid
from runs.domain.manifest import manifest_from_json
from runs.domain.options import OptionDefinition, to_wire, visible_to
from runs.domain.status import WORDS, EndReason
from runs.models import Asset, Attempt, Run, RunEvent
from runs.visuals.charts import ResourceSample, resources_figure
from runs.visuals.pages import PLOTLY_SCRIPT, SANDBOX, json_block
from runs.web.access import AccountRequest, member
from runs.web.run_limits import OF_LIMITS, limit_rows
from runs.web.run_neighbours import find_neighbours
from runs.web.run_pages import Viewer, find_run, header_context, run_page, usage_of, viewer_of

MOST_METRICS = 300
MOST_EVENTS = 500
MOST_ATTEMPTS = 50
MAIN_METRICS = 4
VALUE_METRICS = {"value", "result.value"}
"""Left out of the main metrics when they are the value, which is shown before them."""


@dataclass(frozen=True)
class OptionRow:
    """An option in force as the page shows it; `changed` says that it differs from its default."""

    name: str
    label: str
    text: str
    default: str
    source: str
    changed: bool
    passed: bool


@dataclass(frozen=True)
class HistoryEntry:
    """An attempt with what had to be ended after it."""

    attempt: Attempt
    outcome: str


@require_GET
@member("view")
def run(request: AccountRequest, run_id: str) -> HttpResponse:
    """The summary of a run."""
    found = find_run(request, run_id)
    viewer = viewer_of(request, found)
    context = summary_context(found, viewer)
    live_log = None if found.is_final else (found.attempt_number, 0)
    return run_page(
        request,
        found,
        tab="summary",
        template="runs/summary.html",
        context=context,
        live_log=live_log,
    )


@require_GET
@member("view")
def run_resources(request: AccountRequest, run_id: str) -> HttpResponse:
    """CPU and memory of the process tree over time."""
    found = find_run(request, run_id)
    request.inline_styles = True  # type: ignore[attr-defined] # Plotly needs inline styles
    context = resources_context(found, request.GET.get("attempt", ""))
    return run_page(
        request, found, tab="resources", template="runs/resources.html", context=context
    )


@require_GET
@member("view")
def run_history(request: AccountRequest, run_id: str) -> HttpResponse:
    """Every status change and attempt."""
    found = find_run(request, run_id)
    return run_page(
        request,
        found,
        tab="history",
        template="runs/history.html",
        context=history_context(found),
    )


@require_POST
@member("cancel")
def run_cancel(request: AccountRequest, run_id: str) -> HttpResponse:
    """Ask for the end of a run."""
    found = find_run(request, run_id)
    changed = cancel_run(run=found, actor=request.actor, now=timezone.now())
    text = "Cancel asked for." if changed else "The run has ended, or its cancel was asked for."
    return _asked(request, run_id, text)


@require_POST
@member("cancel")
def run_stop(request: AccountRequest, run_id: str) -> HttpResponse:
    """Ask a run to end now and to keep what it has."""
    found = find_run(request, run_id)
    changed = stop_run(run=found, actor=request.actor, now=timezone.now())
    text = "Stop asked for." if changed else "The run has ended, or its stop was asked for."
    return _asked(request, run_id, text)


def _asked(request: AccountRequest, run_id: str, text: str) -> HttpResponse:
    """The answer to a request about a run: the changed parts, or without script the page."""
    if not request.htmx:
        messages.success(request, text)
        return redirect("run", run_id=run_id)
    found = find_run(request, run_id)
    parts = header_parts(found, viewer_of(request, found))
    actions = parts.pop("run-actions")
    others = (_out_of_band(html, name) for name, html in parts.items())
    return HttpResponse(actions + "".join(others))


@require_POST
@member("delete runs")
def run_delete(request: AccountRequest, run_id: str) -> HttpResponse:
    """Delete a run that has ended."""
    found = find_run(request, run_id)
    delete_run(run=found, actor=request.actor)
    messages.success(request, f"Run {found} was deleted.")
    if not request.htmx:
        return redirect("runs")
    response = HttpResponse(status=204)
    response["HX-Redirect"] = reverse("runs")
    return response


def header_parts(found: Run, viewer: Viewer) -> dict[str, str]:
    """The parts at the head of every page of the run, as HTML by their id."""
    context = header_context(found, viewer)
    context["usage"] = usage_of(found)
    return {
        "run-status": render_to_string("runs/_run_status.html", context),
        "run-actions": render_to_string("runs/_run_actions.html", context),
        "run-header": render_to_string("runs/_run_header.html", context),
    }


def summary_context(found: Run, viewer: Viewer) -> dict[str, Any]:
    """Metrics, options, limits, neighbours and the first visual.

    Four queries for an ended run, else two, and three more where many runs wait for each other.
    """
    limits = limit_rows(found)
    context: dict[str, Any] = {
        "run": found,
        "options": option_rows(found, viewer),
        "limits": limits,
        "limits_open": found.end_reason in OF_LIMITS,
        "neighbours": find_neighbours(found),
    }
    if found.is_final:
        rows = list(found.metrics.order_by("position")[: MOST_METRICS + 1])
        context["metrics"] = rows[:MOST_METRICS]
        context["more_metrics"] = len(rows) > MOST_METRICS
        # The value has a tile of its own.
        context["main_metrics"] = [
            row
            for row in rows
            if row.number is not None
            and not (row.name in VALUE_METRICS and row.number == found.value)
        ][:MAIN_METRICS]
        visuals = list(Asset.objects.filter(run=found).exclude(schema="").order_by("number")[:20])
        context["visuals"] = visuals
        context["visual"] = visuals[0] if visuals else None
        context["frame_height"] = 1  # the tab of visuals gives it the room it wants
        context["too_large"] = bool(visuals) and visuals[0].size_bytes > FIGURE_LIMIT_BYTES
        context["sandbox"] = SANDBOX
    return context


def option_rows(found: Run, viewer: Viewer) -> list[OptionRow]:
    """The options in force, without those hidden from the role; one query."""
    declared: dict[str, OptionDefinition] = {}
    if found.executable is not None:
        try:
            manifest = manifest_from_json(found.executable.manifest)
            declared = {item.name: item for item in manifest.options.items}
        except (ManifestInvalid, ValueError, KeyError, TypeError):
            declared = {}  # made by an older release; the values are shown without their labels
    rows = []
    for option in found.options.order_by("position"):
        definition = declared.get(option.name)
        if definition is not None and not visible_to(definition, viewer.role):
            continue
        has_default = definition is not None and definition.default is not None
        default = to_wire(definition.default) if definition is not None and has_default else ""
        rows.append(
            OptionRow(
                name=option.name,
                label=definition.label if definition else option.name,
                text=option.text if len(option.text) <= 2000 else f"{option.text[:2000]}…",
                default=default,
                source=option.source,
                changed=option.source != "manifest" and option.text != default,
                passed=option.passed,
            )
        )
    return rows


def resources_context(found: Run, number: str = "") -> dict[str, Any]:
    """The figure of one attempt, by default the newest; two queries."""
    attempts = list(Attempt.objects.filter(run=found).order_by("-number")[:MOST_ATTEMPTS])
    attempt = next((each for each in attempts if str(each.number) == number), None)
    attempt = attempt or (attempts[0] if attempts else None)
    samples = read_usage(attempt=attempt) if attempt else []
    figure: SafeString | None = None
    if len(samples) > 1:
        points = [ResourceSample(s.at_s, s.cpu_s, s.memory_bytes, s.processes) for s in samples]
        figure = mark_safe(json_block(resources_figure(points)) or "null")
    return {
        "run": found,
        "attempts": attempts,
        "attempt": attempt,
        "samples": len(samples),
        "figure": figure,
        "peak_processes": max((sample.processes for sample in samples), default=None),
        "plotly_script": PLOTLY_SCRIPT,
    }


def history_context(found: Run) -> dict[str, Any]:
    """Events, attempts and the processes that had to be ended; three queries."""
    attempts = (
        Attempt.objects.filter(run=found)
        .prefetch_related("ended_processes")
        .order_by("-number")[:MOST_ATTEMPTS]
    )
    events = list(RunEvent.objects.filter(run=found).order_by("-id")[:MOST_EVENTS])
    recorded = events[-1] if events and events[-1].kind == RunEvent.RECORDED else None
    return {
        "run": found,
        "recorded": recorded,
        "events": [(event, _words(event.end_reason)) for event in events],
        "attempts": [HistoryEntry(each, _words(each.outcome)) for each in attempts],
    }


def _words(reason: str) -> str:
    if not reason or reason == EndReason.EXITED:
        return ""
    try:
        return WORDS[EndReason(reason)]
    except ValueError:
        return reason.replace("_", " ")


def _out_of_band(html: str, name: str) -> str:
    return html.replace(f'id="{name}"', f'id="{name}" hx-swap-oob="true"', 1)
