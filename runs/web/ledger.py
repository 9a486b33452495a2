"""The ledger: what became of the runs, and what does not add up."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from runs.actions.ledger import Ledger, read_ledger
from runs.actions.overdue import Finding
from runs.domain.roles import may
from runs.domain.status import WORDS, EndReason
from runs.web.access import AccountRequest, member

WHOLE = "installation"
MOST_SHOWN = 50
_COUNTED = {
    "nudges_lost": "messages to workers that were lost, and made up for",
    "reaped given_back": "runs given back to the queue after a worker was lost",
    "reaped ended": "runs ended as failed after a worker was lost",
    "reaped canceled": "runs canceled after their worker was lost",
    "reaped worker_lost": "workers found lost",
    "reaped mended": "rows that did not fit each other, mended",
}
"""What the counters of the installation say; those of the store name its operation."""


@member("view")
@never_cache
@require_safe
def ledger(request: AccountRequest) -> HttpResponse:
    """Of the account; who manages workers may see the whole installation, in numbers only."""
    manages = may(request.role, "manage workers")
    whole = manages and request.GET.get("of") == WHOLE
    before = request.GET.get("before", "").replace("\x00", "")[:64]
    found = read_ledger(timezone.now(), account=None if whole else request.account, before=before)
    here = reverse("ledger")
    return render(
        request,
        "ledger/ledger.html",
        {
            "ledger": found,
            "lines": _lines(found),
            "outcomes": _in_words(found.by_outcome),
            "reasons": _in_words(found.by_end_reason),
            "checks": _checks(found, request),
            "counters": [
                {"name": _COUNTED.get(name, name.replace("_", " ")), "number": number}
                for name, number in found.counters.items()
            ],
            "oldest": found.oldest and _shown(found.oldest, request),
            "whole": whole,
            "before": before,
            "older_url": _older(here, found, whole=whole),
            "tabs": [
                {"label": request.account.name, "url": here, "current": not whole},
                {"label": "Whole installation", "url": f"{here}?of={WHOLE}", "current": whole},
            ]
            if manages
            else [],
        },
    )


def _older(here: str, found: Ledger, *, whole: bool) -> str:
    if not found.older:
        return ""
    words = {"of": WHOLE} if whole else {}
    return f"{here}?{urlencode({**words, 'before': found.older})}"


def _lines(found: Ledger) -> list[dict[str, Any]]:
    """Each figure with what it says."""
    lines: list[tuple[str, int, str]] = [
        ("Submitted", found.runs, "Every run that is recorded, whatever became of it."),
        (
            "Recorded only",
            found.recorded,
            "Runs that were executed elsewhere. No worker had them, so they have no attempt here.",
        ),
        ("Attempts", found.attempts, "Executions begun by a worker. One for each run is usual."),
        (
            "Runs with more than one attempt",
            found.repeated,
            "Executed again, because a worker was lost or stopped, or by a retry rule.",
        ),
        (
            "Given back",
            found.given_back,
            "Attempts that ended with their worker. What they still send is refused.",
        ),
        ("Retried", found.retried, "Further attempts that the retry rule of a run asked for."),
        (
            "Results accepted",
            found.accepted,
            "Succeeded runs of which exactly one attempt has the result.",
        ),
        (
            "Processes ended",
            sum(found.ended_processes.values()),
            "Processes that outlived their program or a stop, and had to be ended.",
        ),
    ]
    return [{"label": label, "number": number, "text": text} for label, number, text in lines]


def _checks(found: Ledger, request: AccountRequest) -> list[dict[str, Any]]:
    """Each promise with what contradicts it."""
    checks = [
        (
            "No result is accepted twice",
            "Each succeeded run has the result of exactly one of its attempts, however often it "
            "was begun. What a worker sends that was taken for lost is refused.",
            found.doubled,
        ),
        (
            "Every history is whole",
            "The events of each run begin with its submission, follow each other as they may and "
            "end where the run is now; each start has its attempt, each success its result.",
            found.contradictions,
        ),
        (
            "Nothing is orphaned",
            "Each run that is shown as running is held by a worker, and no worker holds a run that "
            "has ended.",
            found.orphans,
        ),
        (
            "Nothing is overdue",
            "Nothing is late: runs over their time or queue limit, stops and cancels, further "
            "attempts, builds, workers that are silent.",
            found.overdue,
        ),
    ]
    return [
        {
            "name": name,
            "text": text,
            "holds": not findings,
            "count": len(findings),
            "findings": [_shown(one, request) for one in findings[:MOST_SHOWN]],
            "more": max(0, len(findings) - MOST_SHOWN),
        }
        for name, text, findings in checks
    ]


def _shown(finding: Finding, request: AccountRequest) -> dict[str, Any]:
    """A finding; of a run of another account no more than that there is one."""
    foreign = finding.account is not None and finding.account != request.account.pk
    return {
        "text": finding.text,
        "since": finding.since,
        "run_id": "" if foreign else finding.run_id,
        "foreign": foreign,
    }


def _in_words(counts: Any) -> list[dict[str, Any]]:
    """Counts by end reason, the largest first, as pages say them."""
    found = [
        {"word": WORDS[EndReason(reason)] or "under way", "number": number}
        for reason, number in counts.items()
    ]
    return sorted(found, key=lambda one: -int(one["number"]))
