"""The queue: what waits and why, what runs; pause, limit, order, cancel."""

from __future__ import annotations

from collections import Counter
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from runs.actions import queues as actions
from runs.actions.runs import cancel_run, set_priority
from runs.domain.errors import FieldsInvalid, NotFound
from runs.domain.roles import may
from runs.domain.status import Status
from runs.models import Queue, Run
from runs.models.run_counts import list_queues
from runs.queue.order import waiting_in_order
from runs.web.access import AccountRequest, member
from runs.web.expected import ASKED, expected_words, known_words
from runs.web.run_list import cancelable_ids, part_event

PAGE_ROWS = 50
MOST_RUNNING = 100


@member("view")
@require_safe
def queue(request: AccountRequest) -> HttpResponse:
    """The queue from its head, or with `after` a further page of what waits."""
    if name := request.GET.get("after", "").replace("\x00", ""):
        last = request.account.runs.filter(run_id=name).first()
        if last is not None:
            return render(request, "queue/more.html", _waiting(request, after=last))
        messages.info(request, "That run is gone; this is the queue from its head.")
    return render(request, "queue/queue.html", _state(request))


@member("view")
@never_cache
@require_safe
def queue_parts(request: AccountRequest) -> HttpResponse:
    """The tables of the queue, for a page that is open."""
    state = _state(request)
    parts = (
        ("queue-queues", "queue/_queues.html"),
        ("queue-running", "queue/_running.html"),
        ("queue-waiting", "queue/_waiting.html"),
    )
    events = [
        part_event(name, render_to_string(file, {**state, "request": request}))
        for name, file in parts
    ]
    return JsonResponse({"events": events, "after": ""})


@member("view")
@never_cache
@require_safe
def queue_starts(request: AccountRequest) -> JsonResponse:
    """When the runs of an open page should start."""
    names = [name.replace("\x00", "") for name in request.GET.getlist("run")[:PAGE_ROWS]]
    rows = request.account.runs.waiting().filter(run_id__in=names)
    runs = list(rows.select_related("application", "queue"))
    expected = expected_words(request.account, runs, now=timezone.now())
    events = []
    for run in runs:
        part = {"run": run, "expected": expected.get(run.pk)}
        name = f"queue-start-{run.run_id}"
        events.append(part_event(name, render_to_string("queue/_start.html", part)))
    return JsonResponse({"events": events, "after": ""})


@member("manage queue")
@require_POST
def queue_new(request: AccountRequest) -> HttpResponse:
    """Create a queue."""
    name, limit = request.POST.get("name", ""), request.POST.get("running_limit", "")
    try:
        made = actions.create_queue(
            account=request.account, name=name, running_limit=_limit(limit), actor=request.actor
        )
    except FieldsInvalid as error:
        typed = {"name": name, "running_limit": limit}
        state = _state(request) | {"errors": error.errors, "typed": typed}
        return render(request, "queue/queue.html", state, status=422)
    messages.success(
        request, f"Queue {made.name} was created. Workers that list no queues serve it already."
    )
    return redirect("queue")


@member("manage queue")
@require_POST
def queue_pause(request: AccountRequest) -> HttpResponse:
    """Pause a queue."""
    chosen = _queue(request)
    if actions.pause_queue(queue=chosen, actor=request.actor):
        messages.success(request, f"Queue {chosen.name} is paused; running runs go on.")
    else:
        messages.info(request, f"Queue {chosen.name} was paused already.")
    return redirect("queue")


@member("manage queue")
@require_POST
def queue_resume(request: AccountRequest) -> HttpResponse:
    """Resume a queue."""
    chosen = _queue(request)
    if actions.resume_queue(queue=chosen, actor=request.actor):
        messages.success(request, f"Queue {chosen.name} goes on.")
    else:
        messages.info(request, f"Queue {chosen.name} was not paused.")
    return redirect("queue")


@member("manage queue")
@require_POST
def queue_limit(request: AccountRequest) -> HttpResponse:
    """Set or take away the limit of a queue."""
    chosen = _queue(request)
    text = request.POST.get(f"limit-{chosen.name}", request.POST.get("running_limit", ""))
    try:
        changed = actions.set_running_limit(queue=chosen, limit=_limit(text), actor=request.actor)
    except FieldsInvalid as error:
        messages.error(request, f"Queue {chosen.name}: {error.message}")
        return redirect("queue")
    if changed:
        messages.success(request, f"The limit of queue {chosen.name} was changed.")
    return redirect("queue")


@member("manage queue")
@require_POST
def queue_priority(request: AccountRequest) -> HttpResponse:
    """Change the priority of a queued run."""
    run = _run(request)
    text = request.POST.get(f"priority-{run.run_id}", request.POST.get("priority", ""))
    try:
        priority = int(text) if text.isascii() and text.isdigit() and len(text) < 5 else 0
        changed = set_priority(run=run, priority=priority, actor=request.actor)
    except FieldsInvalid as error:
        messages.error(request, error.message)
        return redirect("queue")
    _say(request, changed, f"{run} has priority {priority} now.", f"{run} does not wait any more.")
    return redirect("queue")


@member("manage queue")
@require_POST
def queue_first(request: AccountRequest) -> HttpResponse:
    """Move a queued run to the front."""
    run = _run(request)
    changed = actions.move_run_first(run=run, actor=request.actor)
    _say(
        request,
        changed,
        f"{run} has the first priority now.",
        f"{run} does not wait any more.",
    )
    return redirect("queue")


@member("cancel")
@require_POST
def queue_cancel(request: AccountRequest) -> HttpResponse:
    """Cancel one run of the queue."""
    run = _run(request)
    changed = cancel_run(run=run, actor=request.actor)
    _say(request, changed, f"{run} is being canceled.", f"{run} could not be canceled any more.")
    return redirect("queue")


def _state(request: AccountRequest) -> dict[str, Any]:
    """The whole page: at most nine queries."""
    running = list(
        request.account.runs.filter(status=Status.RUNNING)
        .select_related("application", "queue", "submitted_by", "api_key")
        .defer("requested_options", "warnings", "description", "detail")
        .order_by("-pk")[:MOST_RUNNING]
    )
    per_queue = Counter(run.queue_id for run in running)
    state = _waiting(request)
    queues = list_queues(request.account)
    state |= {
        "queues": [
            {"figures": one, "queue": one.queue, "running": per_queue[one.queue.pk]}
            for one in queues
        ],
        "running": running,
        "running_more": len(running) == MOST_RUNNING,
        "errors": {},
        "typed": {},
    }
    state["cancelable"] |= cancelable_ids(request, running)
    return state


def _waiting(request: AccountRequest, *, after: Run | None = None) -> dict[str, Any]:
    now = timezone.now()
    found = waiting_in_order(request.account, after=after, limit=PAGE_ROWS, now=now)
    runs = [one.run for one in found]
    if request.GET.get(ASKED):
        expected_words(request.account, runs, now=now)
    expected = known_words(runs)
    more = len(found) == PAGE_ROWS
    return {
        "waiting": [
            {
                "run": one.run,
                "place": one.place,
                "holds": one.holds,
                "expected": expected.get(one.run.pk),
            }
            for one in found
        ],
        "starts": f"{reverse('queue-starts')}?{urlencode([('run', run.run_id) for run in runs])}",
        "older": f"{reverse('queue')}?after={found[-1].run.run_id}" if more else "",
        "first": reverse("queue") if after is not None else "",
        "manages": may(request.role, "manage queue"),
        "cancelable": cancelable_ids(request, [one.run for one in found]),
    }


def _say(request: AccountRequest, changed: bool, yes: str, no: str) -> None:
    if changed:
        messages.success(request, yes)
    else:
        messages.info(request, no)


def _queue(request: AccountRequest) -> Queue:
    name = request.POST.get("queue", "").replace("\x00", "")
    found = request.account.queues.filter(name=name).first()
    if found is None:
        raise NotFound(f"There is no queue `{name[:64]}` in {request.account.name}.")
    return found


def _run(request: AccountRequest) -> Run:
    name = request.POST.get("run", "").replace("\x00", "")
    found = request.account.runs.filter(run_id=name).first()
    if found is None:
        raise NotFound(f"There is no run `{name[:40]}` in {request.account.name}.")
    return found


def _limit(text: str) -> int | None:
    """The limit that was typed, None for an empty field. Raises `FieldsInvalid`."""
    text = text.strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise FieldsInvalid({"running_limit": ["Give a whole number, or nothing for no limit."]})
    return int(text)
