"""Runs whose time has come: tried again, admitted, or given up."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from runs.domain.status import EndReason, Status
from runs.models import Run, RunWait
from runs.queue import dispatch
from runs.supervision.held_runs import admit_held, expire_waiting, release_retries
from tests.factories import make_application, make_run, make_worker

pytestmark = pytest.mark.django_db


@pytest.fixture
def nudged() -> Iterator[list[str]]:
    names: list[str] = []

    class Sender:
        def send(self, queue_name: str, target: str) -> None:
            names.append(queue_name)

    make_worker()
    with dispatch.sent_through(Sender()):
        yield names


def held(seconds: float, **fields: Any) -> Run:
    until = timezone.now() + timedelta(seconds=seconds)
    return make_run(hold=Run.WAITS_FOR_RETRY, held_until=until, **fields)


def test_a_run_is_tried_again_when_its_delay_is_over_and_not_before(nudged: list[str]):
    over, later = held(-1), held(60)
    assert release_retries(timezone.now()) == 1
    over.refresh_from_db()
    later.refresh_from_db()
    assert (over.hold, over.held_until, later.hold) == ("", None, Run.WAITS_FOR_RETRY)
    assert nudged == ["default"]
    assert release_retries(timezone.now()) == 0


def test_nothing_to_do_costs_one_query(django_assert_num_queries: Any):
    held(60)
    make_run(expires_at=timezone.now() + timedelta(seconds=60))
    now = timezone.now()
    for duty in (release_retries, expire_waiting, admit_held):
        with django_assert_num_queries(1):
            assert duty(now) == 0


def test_a_run_that_waited_too_long_fails_and_says_so():
    now = timezone.now()
    run = make_run(queue_limit_s=30, expires_at=now - timedelta(seconds=1))
    fine = make_run(queue_limit_s=30, expires_at=now + timedelta(seconds=9))
    going = make_run(status=Status.RUNNING)
    assert expire_waiting(now) == 1
    run.refresh_from_db()
    assert (run.status, run.end_reason, run.expires_at) == ("failed", EndReason.QUEUE_LIMIT, None)
    assert "within its queue limit of 30 s" in run.detail
    event = run.events.latest("pk")
    assert (event.after, event.text) == ("failed", "Waited longer than its queue limit of 30 s")
    assert [Run.objects.get(pk=one.pk).status for one in (fine, going)] == ["queued", "running"]


def test_who_waits_too_long_for_its_key_fails_and_those_that_wait_for_it_with_it():
    app = make_application(concurrency_limit=1)
    now = timezone.now()
    make_run(app, concurrency_key="k", status=Status.RUNNING)
    late = now - timedelta(seconds=1)
    run = make_run(app, concurrency_key="k", hold=Run.WAITS_FOR_KEY, expires_at=late)
    after = make_run(app, hold=Run.WAITS_FOR_RUNS, open_waits=1)
    RunWait.objects.create(run=after, awaited=run)
    assert expire_waiting(now) == 1
    after.refresh_from_db()
    assert after.end_reason == EndReason.WAIT_FAILED


def test_a_key_with_room_admits_those_who_wait_for_it(nudged: list[str]):
    app = make_application(concurrency_limit=2)
    keyed = {"concurrency_key": "k", "hold": Run.WAITS_FOR_KEY}
    runs = [make_run(app, **keyed) for _ in range(3)]
    full = make_application(concurrency_limit=1)
    make_run(full, concurrency_key="k", status=Status.RUNNING)
    waits = make_run(full, **keyed)
    unlimited = make_run(make_application(), **keyed)
    assert admit_held(timezone.now()) == 2
    held = [Run.objects.get(pk=run.pk).hold for run in (*runs, waits, unlimited)]
    assert held == ["", "", "key", "key", ""]
    assert nudged
    assert admit_held(timezone.now()) == 0
