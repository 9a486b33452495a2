"""Reaping by hand: it watches for a whole lease, acts once, and counts what it did."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db.models import F
from django.utils import timezone

from runs.domain.status import Status
from runs.models import Attempt, Counter, Run, Worker
from runs.queue.reaper import Reaped
from runs.supervision.reaping import in_words, reap_once
from tests.factories import make_attempt, make_run

pytestmark = pytest.mark.django_db


class Clock:
    """A clock that goes on only while somebody waits; `meanwhile` happens in each wait."""

    def __init__(self, meanwhile: Any = None) -> None:
        self.at = 0.0
        self._meanwhile = meanwhile

    def __call__(self) -> float:
        return self.at

    def wait(self, seconds: float) -> None:
        self.at += seconds
        if self._meanwhile:
            self._meanwhile()


def test_a_silent_worker_loses_its_run_after_one_lease_and_a_live_one_does_not():
    silent = make_attempt(make_run(status=Status.RUNNING, max_attempts=2))
    live = make_attempt(make_run(status=Status.RUNNING))

    def beat() -> None:
        Attempt.objects.filter(pk=live.pk).update(beat=F("beat") + 1)
        Worker.objects.filter(pk=live.worker_id).update(beat=F("beat") + 1)

    clock = Clock(beat)
    reaped = reap_once(lease_s=20, clock=clock, wait=clock.wait, now=timezone.now)
    assert 20 <= clock.at <= 23
    assert (reaped.given_back, reaped.workers_lost) == (1, 1)
    assert Run.objects.get(pk=silent.run_id).status == Status.QUEUED
    assert Run.objects.get(pk=live.run_id).status == Status.RUNNING
    counts = dict(Counter.objects.filter(name="reaped").values_list("label", "value"))
    assert counts == {"given_back": 1, "worker_lost": 1}


def test_the_command_says_what_it_did(settings: Any):
    settings.RUNSITE_LEASE_S = 0.5
    make_attempt(make_run(status=Status.RUNNING, max_attempts=1))
    out = StringIO()
    call_command("reap", stdout=out)
    assert "Watching for 0.5 s" in out.getvalue()
    assert "1 run ended, 1 worker lost." in out.getvalue()
    call_command("reap", stdout=out)
    assert "Nothing to reap" in out.getvalue()


def test_what_was_reaped_is_said_in_words():
    assert in_words(Reaped(given_back=2, mended=1)) == (
        "2 runs given back to the queue, 1 thing mended."
    )
    assert in_words(Reaped()).startswith("Nothing to reap")
