"""Why a queued run waits, and when it should start: the part of its page that says so."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.template.loader import render_to_string
from django.utils import timezone

from runs.models import Run
from runs.queue.order import Waiting, holds_of
from runs.web.expected import expected_words


def waiting_context(run: Run, *, now: datetime | None = None) -> dict[str, Any]:
    """What holds a queued run, and its expected start."""
    now = now or timezone.now()
    holds = holds_of(run, now=now)
    expected = expected_words(run.account, [Waiting(run, None, holds)], now=now)
    return {"holds": holds, "expected": expected.get(run.pk)}


def waiting_part(run: Run) -> str:
    """The part as HTML; the same for everybody who may see the run."""
    context = {"run": run, "waiting": waiting_context(run)}
    return render_to_string("runs/_waiting.html", context)
