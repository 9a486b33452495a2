"""One scheduler acts, others stand by, and nothing ends the loop but a stop."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone

from runs.domain.status import Status
from runs.models import LoopLease
from runs.supervision import scheduler as module
from runs.supervision.duties import Duty, all_duties
from runs.supervision.scheduler import Scheduler
from tests.factories import make_attempt, make_run
from tests.processes import until


class Clock:
    """A monotonic clock that the test turns."""

    def __init__(self) -> None:
        self.at = 10.0

    def __call__(self) -> float:
        return self.at


def _scheduler(name: str, clock: Clock, *duties: Duty, boot_id: str = "b1") -> Scheduler:
    return Scheduler(name, boot_id, duties=duties, lease_s=20, beat_s=5, clock=clock)


def _counting(counts: dict[str, int], name: str, every_s: float = 5) -> Duty:
    def act(now: datetime) -> None:
        counts[name] = counts.get(name, 0) + 1

    return Duty(name, every_s, act)


def _turns(clock: Clock, times: int, *schedulers: Scheduler) -> None:
    for _ in range(times):
        for scheduler in schedulers:
            scheduler.turn()
        clock.at += 5


@pytest.mark.django_db
def test_one_acts_and_the_other_stands_by() -> None:
    clock, counts = Clock(), dict[str, int]()
    first = _scheduler("a", clock, _counting(counts, "a"))
    second = _scheduler("b", clock, _counting(counts, "b"))
    _turns(clock, 10, first, second)
    assert (first.acting, second.acting) == (True, False)
    assert counts == {"a": 10}
    assert LoopLease.objects.get().holder == first.holder


@pytest.mark.django_db
def test_the_standby_takes_over_after_the_lease_by_its_own_clock() -> None:
    clock = Clock()
    first, second = _scheduler("a", clock), _scheduler("b", clock)
    _turns(clock, 2, first, second)
    _turns(clock, 3, second)
    assert not second.acting
    _turns(clock, 2, second)
    assert second.acting
    _turns(clock, 1, first, second)
    assert (first.acting, second.acting) == (False, True)


@pytest.mark.django_db
def test_a_lease_that_was_released_is_taken_at_once() -> None:
    clock = Clock()
    first, second = _scheduler("a", clock), _scheduler("b", clock)
    _turns(clock, 1, first, second)
    first.stop()
    first.run()
    assert LoopLease.objects.get().holder == ""
    _turns(clock, 1, second)
    assert second.acting


@pytest.mark.django_db
def test_a_new_boot_takes_over_from_its_former_one_at_once() -> None:
    clock = Clock()
    former = _scheduler("worker w1", clock)
    stranger = _scheduler("worker w", clock)
    _turns(clock, 1, former, stranger)
    again = _scheduler("worker w1", clock, boot_id="b2")
    _turns(clock, 1, again)
    assert (again.acting, stranger.acting) == (True, False)
    _turns(clock, 2, former, again)
    assert (former.acting, again.acting) == (False, True)


@pytest.mark.django_db
def test_each_duty_has_its_own_rhythm() -> None:
    clock, counts = Clock(), dict[str, int]()
    often, seldom = _counting(counts, "often", 5), _counting(counts, "seldom", 20)
    scheduler = _scheduler("a", clock, often, seldom)
    _turns(clock, 8, scheduler)
    assert counts == {"often": 8, "seldom": 2}


@pytest.mark.django_db
def test_a_failing_duty_stops_nobody_and_is_logged_at_its_begin_and_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock, counts = Clock(), dict[str, int]()
    broken = [True]

    def act(now: datetime) -> None:
        if broken[0]:
            raise RuntimeError("no such thing")

    scheduler = _scheduler("a", clock, Duty("odd", 5, act), _counting(counts, "good"))
    with caplog.at_level(logging.WARNING, module.logger.name):
        _turns(clock, 4, scheduler)
        broken[0] = False
        _turns(clock, 3, scheduler)
    assert counts == {"good": 7}
    begin, end = caplog.records
    assert "odd fails" in begin.getMessage()
    assert begin.exc_info is not None
    assert end.getMessage() == "Scheduler: odd works again after 4 failures."


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_a_database_that_is_away_is_one_warning_without_a_traceback(
    error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    blind = []

    def act(now: datetime) -> None:
        raise error("the server is down")

    duty = Duty("look", 5, act, was_blind=lambda: blind.append(None))
    with caplog.at_level(logging.WARNING, module.logger.name):
        _turns(clock, 3, _scheduler("a", clock, duty))
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert not record.exc_info
    assert "the server is down" in record.getMessage()
    assert len(blind) == 3


def _refuse(*_: object) -> None:
    raise OperationalError("the server is down")


@pytest.mark.django_db(transaction=True)
def test_a_database_outage_is_survived_and_loses_no_run() -> None:
    clock = Clock()
    scheduler = Scheduler("a", "b1", duties=all_duties(clock), lease_s=20, beat_s=5, clock=clock)
    run = make_run(status=Status.RUNNING)
    make_attempt(run)
    _turns(clock, 4, scheduler)
    with connection.execute_wrapper(_refuse):
        _turns(clock, 10, scheduler)
        assert not scheduler.acting
    _turns(clock, 4, scheduler)
    assert scheduler.acting
    run.refresh_from_db()
    assert run.status == Status.RUNNING
    _turns(clock, 1, scheduler)
    run.refresh_from_db()
    assert run.status == Status.QUEUED


@pytest.mark.django_db(transaction=True)
def test_a_database_that_cannot_be_written_loses_no_run() -> None:
    clock = Clock()
    scheduler = Scheduler("a", "b1", duties=all_duties(clock), lease_s=20, beat_s=5, clock=clock)
    run = make_run(status=Status.RUNNING)
    make_attempt(run)

    def only_read(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        if not sql.startswith("SELECT"):
            raise OperationalError("the disk is full")
        return execute(sql, *rest)

    _turns(clock, 1, scheduler)
    with connection.execute_wrapper(only_read):
        _turns(clock, 10, scheduler)
    _turns(clock, 3, scheduler)
    run.refresh_from_db()
    assert run.status == Status.RUNNING


@pytest.mark.django_db
def test_a_standby_that_takes_over_reaps_at_once() -> None:
    clock = Clock()
    first = Scheduler("a", "b1", duties=all_duties(clock), lease_s=20, beat_s=5, clock=clock)
    second = Scheduler("b", "b1", duties=all_duties(clock), lease_s=20, beat_s=5, clock=clock)
    run = make_run(status=Status.RUNNING)
    make_attempt(run)
    _turns(clock, 1, first, second)
    _turns(clock, 5, second)
    run.refresh_from_db()
    assert second.acting
    assert run.status == Status.QUEUED


@pytest.mark.django_db(transaction=True)
def test_the_loop_runs_in_a_thread_and_ends_when_told() -> None:
    acted = threading.Event()

    def act(now: datetime) -> None:
        assert now <= timezone.now()
        acted.set()

    scheduler = Scheduler("a", "b1", duties=[Duty("act", 0.01, act)])
    scheduler.start()
    try:
        assert acted.wait(60)
        assert LoopLease.objects.get().holder == scheduler.holder
    finally:
        scheduler.stop(60)
    until(lambda: LoopLease.objects.get().holder == "")
    assert not scheduler.acting
    assert all(thread.name != "scheduler" for thread in threading.enumerate())
