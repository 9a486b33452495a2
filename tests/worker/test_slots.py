"""Slots: how many runs at once, who is canceled, what a stop does, what becomes of lost leases."""

from __future__ import annotations

import threading
import time

import pytest
from django.utils import timezone

from runs.actions.actors import product
from runs.actions.runs import cancel_run
from runs.domain.status import Status
from runs.execution.spec import Stop
from runs.models import Attempt, Run, Worker
from runs.queue.claim import WorkerIdentity, claim_next
from runs.queue.reaper import give_back
from runs.worker import slots as module
from runs.worker.held import STUCK_S, Held
from runs.worker.slots import Slots, Stage
from tests.factories import get_queue, make_account, make_application, make_run, make_worker
from tests.processes import until

pytestmark = pytest.mark.django_db(transaction=True)


class Conductor:
    """Stands in for conducting: holds each run until the test lets it go."""

    def __init__(self) -> None:
        self.begun: list[Held] = []
        self.go = threading.Event()

    def __call__(self, held: Held) -> None:
        self.begun.append(held)
        while not self.go.is_set() and held.should_stop() is None:
            self.go.wait(0.02)
        if held.lost or held.stop is Stop.WORKER_STOP:
            return
        run = Run.objects.get(pk=held.claimed.run.pk)
        after = Status.CANCELED if held.stop is Stop.CANCEL else Status.SUCCEEDED
        reason = "canceled" if held.stop is Stop.CANCEL else "exited"
        run.move_to(after, now=timezone.now(), reason=reason, token=held.claimed.attempt.token)
        Attempt.objects.filter(pk=held.claimed.attempt.pk).update(ended_at=timezone.now())


@pytest.fixture
def conductor():
    return Conductor()


@pytest.fixture
def slots(conductor):
    worker = make_worker(name="w1", slots=2)
    identity = WorkerIdentity(worker.pk, worker.name, worker.boot_id, worker.host)
    slots = Slots(identity, slots=2, conduct=conductor)
    slots.start()
    yield slots
    conductor.go.set()
    slots.kill_runs()
    slots.wait_until_empty(30)
    slots.stop()


@pytest.fixture
def application():
    account = make_account()
    get_queue(account)
    return make_application(account)


def _statuses() -> dict[str, int]:
    found: dict[str, int] = {}
    for status in Run.objects.values_list("status", flat=True):
        found[status] = found.get(status, 0) + 1
    return found


def test_it_conducts_as_many_runs_as_it_has_slots_and_then_the_next(slots, conductor, application):
    for _ in range(3):
        make_run(application)
    slots.wake()
    until(lambda: len(conductor.begun) == 2)
    assert _statuses() == {"running": 2, "queued": 1}
    conductor.go.set()
    until(lambda: _statuses() == {"succeeded": 3})


def test_a_run_is_found_without_any_nudge(slots, conductor, application):
    make_run(application)
    until(lambda: conductor.begun)


def test_a_request_to_cancel_reaches_the_run(slots, conductor, application):
    run = make_run(application)
    until(lambda: conductor.begun)
    assert cancel_run(run=Run.objects.get(pk=run.pk), actor=product())
    until(lambda: _statuses() == {"canceled": 1})
    assert conductor.begun[0].stop is Stop.CANCEL


def test_a_drained_worker_takes_nothing_and_lets_its_runs_finish(slots, conductor, application):
    make_run(application)
    until(lambda: conductor.begun)
    slots.drain()
    make_run(application)
    slots.heartbeat_now()
    assert Worker.objects.get(name="w1").state == Worker.DRAINING
    conductor.go.set()
    assert slots.wait_until_empty(30)
    assert _statuses() == {"succeeded": 1, "queued": 1}


def test_ending_the_runs_tells_each_of_them(slots, conductor, application):
    make_run(application)
    until(lambda: conductor.begun)
    slots.end_runs()
    assert slots.wait_until_empty(30)
    assert conductor.begun[0].stop is Stop.WORKER_STOP
    assert slots.stage is Stage.ENDING


def test_a_run_that_was_given_to_another_attempt_is_killed_here(slots, conductor, application):
    run = make_run(application)
    held = until(lambda: conductor.begun)[0]
    slots.drain()
    attempt = Attempt.objects.get(run=run)
    assert give_back(Run.objects.get(pk=run.pk), attempt, timezone.now()) is Status.QUEUED
    assert slots.wait_until_empty(30)
    assert held.lost
    assert held.stop is Stop.KILL
    assert _statuses() == {"queued": 1}


def test_a_worker_that_a_page_drains_takes_nothing_until_it_is_resumed(
    slots, conductor, application
):
    Worker.objects.update(drain_wanted=True)
    slots.heartbeat_now()
    run = make_run(application)
    slots.wake()
    slots.heartbeat_now()
    assert Run.objects.get(pk=run.pk).status == Status.QUEUED
    Worker.objects.update(drain_wanted=False)
    slots.heartbeat_now()
    until(lambda: conductor.begun)


def test_the_heartbeat_renews_the_leases_and_shows_the_slots(slots, conductor, application):
    make_run(application)
    until(lambda: conductor.begun)
    before = Attempt.objects.get().beat
    slots.heartbeat_now()
    assert Attempt.objects.get().beat > before
    assert Worker.objects.get(name="w1").slots_used == 1


def test_a_full_disk_stops_claiming_and_is_said(slots, conductor, application, settings):
    settings.RUNSITE_FREE_SPACE = 1 << 62
    make_run(application)
    slots.wake()
    until(lambda: slots.note)
    slots.heartbeat_now()
    assert "disk" in Worker.objects.get(name="w1").note
    assert not conductor.begun
    settings.RUNSITE_FREE_SPACE = 0
    slots.wake()
    until(lambda: conductor.begun)


def test_a_claim_under_way_counts_when_the_worker_wants_to_leave(
    conductor, application, monkeypatch
):
    """A run claimed in the moment of a stop would else be left to nobody."""
    begun, go = threading.Event(), threading.Event()

    def slow_claim(*args, **words):
        begun.set()
        assert go.wait(60)
        return claim_next(*args, **words)

    monkeypatch.setattr(module, "claim_next", slow_claim)
    worker = make_worker(name="w2", slots=1)
    identity = WorkerIdentity(worker.pk, worker.name, worker.boot_id, worker.host)
    slots = Slots(identity, slots=1, conduct=conductor)
    make_run(application)
    slots.start()
    try:
        assert begun.wait(60)
        slots.end_runs()
        assert not slots.wait_until_empty(0.2)
        go.set()
        assert slots.wait_until_empty(60)
        assert [held.stop for held in conductor.begun] == [Stop.WORKER_STOP]
    finally:
        go.set()
        slots.stop()


@pytest.mark.parametrize("name", ["claim_next", "renew"])
def test_a_fault_of_ours_does_not_end_a_loop(conductor, application, monkeypatch, caplog, name):
    real, calls = getattr(module, name), []

    def broken_once(*args, **words):
        calls.append(None)
        if len(calls) == 1:
            raise ValueError("never thought of")
        return real(*args, **words)

    monkeypatch.setattr(module, name, broken_once)
    worker = make_worker(name="w2", slots=1)
    identity = WorkerIdentity(worker.pk, worker.name, worker.boot_id, worker.host)
    slots = Slots(identity, slots=1, conduct=conductor)
    make_run(application)
    slots.start()
    try:
        until(lambda: calls)
        slots.beat_soon()
        until(lambda: len(calls) > 1 and conductor.begun)
        assert "never thought of" in caplog.text
    finally:
        conductor.go.set()
        slots.wait_until_empty(60)
        slots.stop()


def test_a_step_that_shows_no_life_may_take_the_time_it_was_given(slots, conductor, application):
    make_run(application)
    held = until(lambda: conductor.begun)[0]
    conductor.go.set()
    slots.wait_until_empty(60)
    held.ticked = time.monotonic() - 2 * STUCK_S
    held.allow(600)
    assert time.monotonic() - held.ticked < STUCK_S
    held.tick()
    assert held.ticked <= time.monotonic()


def test_a_run_of_two_slots_fills_a_worker_of_two(slots, conductor, application):
    make_run(application, slots=2)
    make_run(application)
    until(lambda: conductor.begun)
    slots.heartbeat_now()
    assert Worker.objects.get(name="w1").slots_used == 2
    assert _statuses() == {"running": 1, "queued": 1}
    conductor.go.set()
    until(lambda: _statuses() == {"succeeded": 2})


def test_a_run_of_two_slots_is_waited_for_and_not_overtaken(slots, conductor, application):
    make_run(application)
    until(lambda: conductor.begun)
    large = make_run(application, slots=2)
    small = make_run(application)
    slots.wake()
    until(lambda: not slots._wake.is_set())
    slots.heartbeat_now()
    assert _statuses() == {"running": 1, "queued": 2}
    conductor.go.set()
    until(lambda: _statuses() == {"succeeded": 3})
    assert [held.claimed.run.pk for held in conductor.begun[1:]] == [large.pk, small.pk]


def test_a_request_to_stop_reaches_the_run_and_a_cancel_is_stronger(slots, conductor, application):
    run = make_run(application)
    held = until(lambda: conductor.begun)[0]
    asked = []
    held.ask, ask = lambda stop: (asked.append(stop), ask(stop)), held.ask
    Run.objects.filter(pk=run.pk).update(stop_requested_at=timezone.now())
    until(lambda: held.stop is Stop.KEEP)
    Run.objects.filter(pk=run.pk).update(cancel_requested_at=timezone.now())
    until(lambda: Stop.CANCEL in asked or not slots.held())


def test_a_nudge_that_comes_twice_starts_one_run(slots, conductor, application):
    run = make_run(application)
    for _ in range(2):
        slots.wake("default")
    until(lambda: len(conductor.begun) == 1)
    for _ in range(5):
        slots.wake("default")
    other = make_run(application)
    slots.wake("default")
    until(lambda: len(conductor.begun) == 2)
    begun = sorted(held.claimed.run.pk for held in conductor.begun)
    assert begun == [run.pk, other.pk]
    assert Attempt.objects.count() == 2
