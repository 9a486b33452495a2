"""Workers: state, slots, runs and heartbeat of each; drain and resume; what became of lost ones.

Everything stands in the tables: no page asks the broker.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any

from django.contrib import messages
from django.db.models import Subquery
from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from runs.actions import workers as actions
from runs.domain.errors import NotFound
from runs.domain.roles import may
from runs.domain.status import EndReason
from runs.models import Attempt, Worker, WorkerBoot
from runs.web.access import AccountRequest, member
from runs.web.run_list import part_event

MOST_WORKERS = 200
MOST_LOST = 3
ATTEMPTS_OF_LOST = 50
LOOKED_AT = 5000
BOOTS = 30
LATE_AFTER = timedelta(seconds=15)
LIVE = (Worker.ACTIVE, Worker.DRAINING)


@member("view")
@require_safe
def workers(request: AccountRequest) -> HttpResponse:
    """All workers of the installation; runs of other accounts are only counted."""
    state = _state(request)
    state["boots"] = WorkerBoot.objects.select_related("worker").order_by("-pk")[:BOOTS]
    return render(request, "workers/workers.html", state)


@member("view")
@never_cache
@require_safe
def workers_parts(request: AccountRequest) -> HttpResponse:
    """The table of workers, for a page that is open."""
    state = {**_state(request), "request": request}
    html = render_to_string("workers/_workers.html", state)
    return JsonResponse({"events": [part_event("workers-table", html)], "after": ""})


@member("manage workers")
@require_POST
def worker_drain(request: AccountRequest) -> HttpResponse:
    """Let a worker take nothing new."""
    worker = _worker(request)
    if actions.drain_worker(worker=worker, actor=request.actor):
        messages.success(request, f"Worker {worker.name} takes no new runs; those it has go on.")
    else:
        messages.info(request, f"Worker {worker.name} is draining already.")
    return redirect("workers")


@member("manage workers")
@require_POST
def worker_resume(request: AccountRequest) -> HttpResponse:
    """Let a worker take runs again."""
    worker = _worker(request)
    if actions.resume_worker(worker=worker, actor=request.actor):
        messages.success(request, f"Worker {worker.name} takes runs again.")
    else:
        messages.info(request, f"Worker {worker.name} takes runs already.")
    return redirect("workers")


def _state(request: AccountRequest) -> dict[str, Any]:
    now = timezone.now()
    # "active", "draining", "lost", "stopped": those that live come first.
    found = list(Worker.objects.order_by("state", "name")[:MOST_WORKERS])
    # A worker keeps its place when it begins to drain.
    found.sort(key=lambda one: ("" if one.state in LIVE else one.state, one.name))
    current = _current_runs([one for one in found if one.state in LIVE], request)
    lost = sorted(
        (one for one in found if one.state == Worker.LOST),
        key=lambda one: one.seen_at,
        reverse=True,
    )
    told: list[dict[str, Any]] = [
        {"worker": one, "attempts": _attempts_of_lost(one, request)} for one in lost[:MOST_LOST]
    ]
    known = {attempt.pk for one in told for attempt in one["attempts"]}
    return {
        "workers": [
            {
                "worker": one,
                "labels": [f"{name}={value}" if value else name for name, value in _labels(one)],
                "lives": one.state in LIVE,
                "late": one.state in LIVE and now - one.seen_at > LATE_AFTER,
                "attempts": current[one.pk][0],
                "others": current[one.pk][1],
            }
            for one in found
        ],
        "lost": told,
        "taken_back": [one for one in _taken_back(request, now) if one.pk not in known],
        "manages": may(request.role, "manage workers"),
    }


def _current_runs(
    living: list[Worker], request: AccountRequest
) -> dict[int, tuple[list[Attempt], int]]:
    """Of each worker the attempts of this account that are open, and how many others are."""
    result: dict[int, tuple[list[Attempt], int]] = {}
    own: dict[int, list[Attempt]] = defaultdict(list)
    others: dict[int, int] = defaultdict(int)
    if living:
        # All that are open are as few as there are slots.
        rows = Attempt.objects.filter(ended_at__isnull=True).select_related("run__application")
        for attempt in rows.order_by()[:1000]:
            if attempt.worker_id is None:
                continue
            if attempt.run.account_id == request.account.pk:
                own[attempt.worker_id].append(attempt)
            else:
                others[attempt.worker_id] += 1
    for worker in living:
        result[worker.pk] = (own[worker.pk], others[worker.pk])
    return defaultdict(lambda: ([], 0), result)


def _attempts_of_lost(worker: Worker, request: AccountRequest) -> list[Attempt]:
    """What a lost worker held when it fell silent, of this account; its newest attempts only."""
    newest = Attempt.objects.filter(worker=worker).select_related("run__application")
    return [
        attempt
        for attempt in newest.order_by("-pk")[:ATTEMPTS_OF_LOST]
        if attempt.boot_id == worker.boot_id
        and attempt.outcome == EndReason.WORKER_LOST
        and attempt.run.account_id == request.account.pk
    ]


def _taken_back(request: AccountRequest, now: datetime) -> list[Attempt]:
    """The attempts of this account that were lost with their worker in the last day, newest first.

    Also of workers that are back. Among the newest 5,000 attempts, so that none is looked for in
    all that there ever were; one query.
    """
    newest = Attempt.objects.order_by("-pk").values("pk")[:1]
    lost = Attempt.objects.filter(
        pk__gt=Subquery(newest) - LOOKED_AT,
        outcome=EndReason.WORKER_LOST,
        ended_at__gte=now - timedelta(days=1),
        run__account=request.account,
    )
    return list(lost.select_related("run").order_by("-pk")[:ATTEMPTS_OF_LOST])


def _labels(worker: Worker) -> list[tuple[str, str]]:
    labels = worker.labels if isinstance(worker.labels, dict) else {}
    return [(str(name), str(value)) for name, value in list(labels.items())[:20]]


def _worker(request: AccountRequest) -> Worker:
    name = request.POST.get("worker", "").replace("\x00", "")
    found = Worker.objects.filter(name=name).first()
    if found is None:
        raise NotFound(f"There is no worker `{name[:64]}`. Reload the page.")
    return found
