"""What all pages of a run share: finding it, who may do what with it, its header and tabs."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone

from runs.actions.results import Sample, last_usage
from runs.domain.errors import NotFound
from runs.domain.roles import may
from runs.domain.status import EndReason, Status
from runs.models import Attempt, Run
from runs.web.access import AccountRequest
from runs.web.expected import ASKED
from runs.web.live_hub import RUN_COLUMNS, state_of
from runs.web.run_waiting import look_ahead, waiting_context
from runs.web.same_request import run_requests

TABS = (
    ("summary", "Summary", "run"),
    ("log", "Log", "run-log"),
    ("input", "Input", "run-input"),
    ("output", "Output", "run-output"),
    ("visuals", "Visuals", "run-visuals"),
    ("resources", "Resources", "run-resources"),
    ("history", "History", "run-history"),
)
USUAL_OF = 21
"""The usual duration is the median of this many newest runs that succeeded."""

_RUN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_RELATED = (
    *("application", "version", "instance", "instance__version", "executable"),
    *("submitted_by", "api_key", "input_data", "managed_input", "cloned_from", "queue", "secrets"),
)
_PHASES = {
    "": "A worker takes it.",
    "preparing": "The workspace is being prepared.",
    "executing": "The program runs.",
    "collecting": "The results are being stored.",
}


@dataclass(frozen=True)
class Viewer:
    """What somebody may do with a run; those who may do the same are shown the same."""

    role: str
    may_launch: bool
    may_cancel: bool
    may_delete: bool


def find_run(request: AccountRequest, run_id: str) -> Run:
    """The run of this account with this id; raises `NotFound`."""
    run = None
    if _RUN_ID.fullmatch(run_id):
        run = request.account.runs.filter(run_id=run_id).select_related(*_RELATED).first()
    if run is None:
        raise NotFound(
            f"There is no run {run_id[:64]} in {request.account.name}. It may have been deleted,"
            " or it belongs to another account."
        )
    run.account = request.account
    return run


def viewer_of(request: AccountRequest, run: Run) -> Viewer:
    """What the person may do with this run."""
    own = run.submitted_by_id is not None and run.submitted_by_id == request.user.pk
    role = request.role
    return Viewer(
        role=role,
        may_launch=may(role, "launch"),
        may_cancel=may(role, "cancel any") or (own and may(role, "cancel")),
        may_delete=may(role, "delete runs"),
    )


def attempt_of(run: Run, number: str = "") -> Attempt | None:
    """The attempt with this number, else the newest; None when none was made or fits."""
    attempts = Attempt.objects.filter(run=run)
    if number:
        if not (number.isascii() and number.isdecimal() and len(number) < 6):
            return None
        attempts = attempts.filter(number=int(number))
    attempt = attempts.order_by("-number").first()
    if attempt is not None:
        attempt.run = run
    return attempt


def run_page(
    request: AccountRequest,
    run: Run,
    *,
    tab: str,
    template: str,
    context: Mapping[str, Any],
    live_log: tuple[int, int] | None = None,
) -> HttpResponse:
    """The page of a run with the content of one tab.

    `live_log` is the attempt and the byte from which its log is to be kept live.
    """
    viewer = viewer_of(request, run)
    if request.GET.get(ASKED) and run.status == Status.QUEUED:
        look_ahead(run)
    tabs = [
        {"label": label, "url": reverse(name, args=[run.run_id]), "current": tab == key}
        for key, label, name in TABS
    ]
    state = state_of({name: getattr(run, name) for name in RUN_COLUMNS})
    attempt, position = live_log or (run.attempt_number, 0)
    return render(
        request,
        template,
        {
            **header_context(run, viewer),
            **run_requests(request, run, may_launch=viewer.may_launch),
            "tabs": tabs,
            "tab": tab,
            "with_log": live_log is not None,
            "live_after": f"{attempt}.{position}.{state.fingerprint}",
            **context,
        },
    )


def header_context(run: Run, viewer: Viewer) -> dict[str, Any]:
    """What the parts at the head of the page show; one query, six more for a queued run."""
    waiting = run.status == Status.QUEUED
    return {
        "run": run,
        "viewer": viewer,
        "now": timezone.now(),
        "most_attempts": run.max_attempts + run.retries,
        "usual_s": None if waiting or run.is_tracked else usual_duration(run),
        "waiting": waiting_context(run) if waiting else None,
        "phase_words": _PHASES.get(run.phase, "") if run.status == Status.RUNNING else "",
    }


def usual_duration(run: Run) -> float | None:
    """The median of what the newest runs of the application took here, in seconds; one query."""
    rows = (
        Run.objects.filter(
            account_id=run.account_id,
            application_id=run.application_id,
            status=Status.SUCCEEDED,
            execution_s__isnull=False,
        )
        .exclude(run_type=Run.EXTERNAL)
        .order_by("-id")
    )
    newest = rows.values_list("execution_s", "end_reason")[: 3 * USUAL_OF]
    # Not those that somebody stopped, or their time limit: they would have taken longer.
    whole = [s for s, reason in newest if s is not None and reason != EndReason.STOPPED_EARLY]
    times = whole[:USUAL_OF]
    return statistics.median(times) if times else None


def usage_part(usage: Sample | None) -> str:
    """The line of live use of resources."""
    return render_to_string("runs/_usage.html", {"usage": usage})


def usage_of(run: Run) -> Sample | None:
    """The newest sample of a run that runs."""
    attempt = attempt_of(run) if run.status == Status.RUNNING else None
    return last_usage(attempt=attempt) if attempt else None
