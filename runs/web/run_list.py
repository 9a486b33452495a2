"""The list of runs: filters, pages by cursor, bulk cancel, and its rows kept true."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.cache import patch_vary_headers
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from runs.actions.runs import cancel_run
from runs.domain.errors import RunsiteError
from runs.domain.roles import may
from runs.domain.status import END_REASONS, WORDS, EndReason, Status
from runs.models import Application, Run
from runs.models.run_list import (
    PAGE_ROWS,
    About,
    RunFilter,
    RunPage,
    count_about,
    find_page,
    list_rows,
)
from runs.templatetags.human import number
from runs.web.access import AccountRequest, member, safe_next
from runs.web.same_request import list_requests

SOURCES = ("console", "api", "demo", "import")
MOST_CHOICES = 200
MOST_CANCELED = 200


@member("view")
@require_safe
def runs(request: AccountRequest) -> HttpResponse:
    """The list, or for htmx the part of it that a filter changes."""
    chosen = RunFilter.from_parameters(dict(request.GET.lists()))
    after, before = request.GET.get("after", ""), request.GET.get("before", "")
    page = find_page(request.account, chosen, after=after, before=before)
    about = count_about(request.account, chosen)
    address = _address(chosen)
    context: dict[str, Any] = {
        "filter": chosen,
        "page": page,
        "runs": page.runs,
        "address": address,
        "here": _address(chosen, after=after, before=before),
        "newer": _address(chosen, before=page.newer) if page.newer else "",
        "older": _address(chosen, after=page.older) if page.older else "",
        "first": address if page.newer else "",
        "summary": _summary(page, about),
        "cancelable": cancelable_ids(request, page.runs),
        "chips": _chips(chosen),
        "may_import": may(request.role, "register folders"),
        "poll": poll_address(page.runs),
        **list_requests(request, chosen),
    }
    if request.htmx:
        response = render(request, "runs/_list.html", context)
        response["HX-Push-Url"] = context["here"]
    else:
        applications = list(
            request.account.applications.order_by("name", "pk").defer("description")[:MOST_CHOICES]
        )
        context |= {
            "statuses": list(Status),
            "ends": [
                (status, [(reason, WORDS[reason]) for reason in EndReason if reason in reasons])
                for status, reasons in END_REASONS.items()
                if EndReason.NONE not in reasons
            ],
            "applications": applications,
            "unlisted": _unlisted(chosen, applications),
            "sources": list(dict.fromkeys([*SOURCES, *filter(None, [chosen.source])])),
            "people": _people(request, chosen),
            "fields": dict(chosen.parameters()),
        }
        response = render(request, "runs/list.html", context)
    patch_vary_headers(response, ["HX-Request"])
    return response


@member("view")
@never_cache
@require_safe
def runs_parts(request: AccountRequest) -> HttpResponse:
    """The rows of the runs named, for a list that is open; says when all have ended."""
    names = [name.replace("\x00", "") for name in request.GET.getlist("run")[:PAGE_ROWS]]
    shown = list_rows(request.account, names) if names else []
    return JsonResponse(
        {
            "events": row_events(request, shown, columns=request.GET.get("columns", "")),
            "after": "",
            "end": all(run.is_final for run in shown),
        }
    )


@member("cancel")
@require_POST
def runs_cancel(request: AccountRequest) -> HttpResponse:
    """Cancel the runs that were chosen; those that have ended stay as they are."""
    following = safe_next(request, reverse("runs"))
    names = [name.replace("\x00", "") for name in request.POST.getlist("run")]
    if not names:
        messages.warning(request, "No run was chosen. Tick the runs to cancel, then cancel them.")
        return redirect(following)
    canceled, refused = 0, ""
    for run in request.account.runs.filter(run_id__in=names[:MOST_CANCELED]):
        try:
            canceled += cancel_run(run=run, actor=request.actor)
        except RunsiteError as error:
            refused = error.message
    if canceled:
        messages.success(request, f"{canceled} run{'s' if canceled != 1 else ''} canceled.")
    elif not refused:
        messages.info(request, "None of these runs could still be canceled: they have ended.")
    if refused:
        messages.error(request, refused)
    if len(names) > MOST_CANCELED:
        messages.warning(request, f"Only the first {MOST_CANCELED} runs were canceled.")
    return redirect(following)


def cancelable_ids(request: AccountRequest, shown: Iterable[Run]) -> set[str]:
    """The ids of those runs that this member may cancel and that have not ended."""
    if not may(request.role, "cancel"):
        return set()
    of_any = may(request.role, "cancel any")
    return {
        run.run_id
        for run in shown
        if run.is_cancelable and (of_any or run.submitted_by_id == request.user.pk)
    }


def poll_address(shown: Iterable[Run], *, columns: str = "") -> str:
    """Where a list asks for its rows that may still change; empty when none may."""
    names = [("run", run.run_id) for run in shown if not run.is_final]
    if columns:
        names.append(("columns", columns))
    return f"{reverse('runs-parts')}?{urlencode(names)}" if any(names) else ""


def row_events(
    request: AccountRequest, shown: Iterable[Run], *, columns: str = ""
) -> list[dict[str, Any]]:
    """The rows as parts for `live.js`; `columns` is `plain` for a list without choice boxes."""
    shown = list(shown)
    context = {
        "cancelable": cancelable_ids(request, shown),
        "selectable": columns != "plain",
    }
    return [
        part_event(
            f"run-row-{run.run_id}", render_to_string("runs/_row.html", {**context, "run": run})
        )
        for run in shown
    ]


def part_event(name: str, html: str) -> dict[str, Any]:
    """One part of a page, as `live.js` swaps it."""
    return {"event": "part", "data": {"id": name, "html": html}}


def _address(chosen: RunFilter, **cursor: str) -> str:
    pairs = [*chosen.parameters(), *((name, value) for name, value in cursor.items() if value)]
    return reverse("runs") + (f"?{urlencode(pairs)}" if pairs else "")


def _summary(page: RunPage, about: About | None) -> str:
    shown = len(page.runs)
    if about is not None:
        if about.more:
            return f"{shown} of more than {number(about.number)} runs"
        if about.number <= shown:
            return f"{shown} run{'s' if shown != 1 else ''}"
        return f"{shown} of about {number(about.number)} runs"
    if page.looked is not None:
        return f"{shown} found in the {number(page.looked)} runs looked at"
    return f"{shown} run{'s' if shown != 1 else ''} on this page"


def _chips(chosen: RunFilter) -> list[dict[str, str]]:
    """Each filter in force, with the address of the list without it."""
    words = {"q": "text", "to": "until", "reason": "end"}
    pairs = chosen.parameters()
    return [
        {
            "label": words.get(name, name),
            "value": WORDS[EndReason(value)] if name == "reason" else value,
            "url": _without(pairs, place),
        }
        for place, (name, value) in enumerate(pairs)
    ]


def _without(pairs: list[tuple[str, str]], place: int) -> str:
    rest = [pair for number, pair in enumerate(pairs) if number != place]
    return reverse("runs") + (f"?{urlencode(rest)}" if rest else "")


def _unlisted(chosen: RunFilter, applications: list[Application]) -> str:
    """The application asked for when the choices do not have it."""
    known = {one.application_id for one in applications}
    return chosen.application if chosen.application not in known else ""


def _people(request: AccountRequest, chosen: RunFilter) -> list[str]:
    members = request.account.memberships.order_by("user__email")
    emails = list(members.values_list("user__email", flat=True)[:MOST_CHOICES])
    return list(dict.fromkeys([*emails, *filter(None, [chosen.who])]))
