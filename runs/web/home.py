"""Home: what runs, waits and failed, the workers, and where to launch."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.http import HttpResponse, JsonResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from runs.models import Application, Worker
from runs.models.run_counts import Outcomes, count_outcomes, count_running, count_waiting
from runs.models.run_list import RunFilter, find_page
from runs.visuals.charts import HourBucket, runs_per_hour
from runs.web.access import AccountRequest, member
from runs.web.run_list import part_event

NEWEST_RUNS = 10
CARDS = 12
MOST_WORKERS = 200
LIVE = (Worker.ACTIVE, Worker.DRAINING)


@member("view")
@require_safe
def home(request: AccountRequest) -> HttpResponse:
    """The first page."""
    # The figure needs inline styles.
    request.inline_styles = True  # type: ignore[attr-defined] # read by the middleware
    context = _state(request)
    context["cards"] = _cards(request)
    outcomes: Outcomes = context["outcomes"]
    context["ended"] = sum(sum(counts.values()) for _, counts in outcomes.hours)
    context["figure"] = runs_per_hour([HourBucket(at, counts) for at, counts in outcomes.hours])
    context["hours"] = [
        {"at": at, "counts": counts} for at, counts in reversed(outcomes.hours) if counts
    ]
    return render(request, "home/home.html", context)


@member("view")
@never_cache
@require_safe
def home_parts(request: AccountRequest) -> HttpResponse:
    """The parts of Home that change by themselves."""
    state = _state(request)
    parts = [("home-stats", "home/_stats.html")]
    if state["runs"]:
        parts.append(("home-runs", "home/_runs.html"))
    events = [part_event(name, render_to_string(file, state)) for name, file in parts]
    return JsonResponse({"events": events, "after": ""})


def _state(request: AccountRequest) -> dict[str, Any]:
    account, now = request.account, timezone.now()
    workers = list(
        Worker.objects.filter(state__in=LIVE)
        .order_by("name")
        .only("name", "state", "drain_wanted", "slots", "slots_used")[:MOST_WORKERS]
    )
    serving = [one for one in workers if one.state == Worker.ACTIVE and not one.drain_wanted]
    slots = sum(one.slots for one in serving)
    outcomes = count_outcomes(account, now=now)
    day = f"{now - timedelta(days=1):%Y-%m-%dT%H:00Z}"
    return {
        "runs": find_page(account, RunFilter(), limit=NEWEST_RUNS).runs,
        "waiting": count_waiting(account),
        "running": count_running(account),
        "outcomes": outcomes,
        "failed": outcomes.total("failed"),
        "succeeded": outcomes.total("succeeded"),
        "failed_url": f"{reverse('runs')}?{urlencode({'status': 'failed', 'from': day})}",
        "succeeded_url": f"{reverse('runs')}?{urlencode({'status': 'succeeded', 'from': day})}",
        "workers": workers,
        "draining": len(workers) - len(serving),
        "slots": slots,
        "free": max(0, slots - sum(one.slots_used for one in serving)),
    }


def _cards(request: AccountRequest) -> list[Application]:
    """The pinned applications, else the first by name."""
    known = request.account.applications.filter(archived_at__isnull=True)
    return list(known.order_by("-pinned", "name", "pk")[:CARDS])
