"""Why a queued run waits, and when it should start: the part of its page that says so."""

from __future__ import annotations

from typing import Any

from django.template.loader import render_to_string
from django.utils import timezone

from runs.models import Run
from runs.queue.order import holds_of
from runs.web.expected import expected_words, known_words


def waiting_context(run: Run) -> dict[str, Any]:
    """What holds a queued run, and its expected start as far as that is known."""
    return {"holds": holds_of(run, now=timezone.now()), "expected": known_words([run]).get(run.pk)}


def waiting_part(run: Run) -> str:
    """The part as HTML, with the expected start; the same for everybody who may see the run."""
    look_ahead(run)
    return render_to_string("runs/_waiting.html", {"run": run, "waiting": waiting_context(run)})


def look_ahead(run: Run) -> None:
    """Find out when a queued run should start; its part shows it from then on."""
    expected_words(run.account, [run], now=timezone.now())
