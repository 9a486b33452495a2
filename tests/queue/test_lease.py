"""Heartbeats renew what is held; silence is counted by the watcher's own clock."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from runs.domain.status import Status
from runs.models import Attempt, Worker
from runs.queue.lease import BeatWatch, WorkerIdentity, renew
from tests.factories import make_attempt, make_run, make_worker


def _identity(worker: Worker) -> WorkerIdentity:
    return WorkerIdentity(worker.pk, worker.name, worker.boot_id, worker.host)


@pytest.mark.django_db
def test_a_heartbeat_tells_of_the_worker_and_renews_its_leases() -> None:
    worker = make_worker(state=Worker.LOST)
    attempts = [make_attempt(worker=worker) for _ in range(2)]
    now = timezone.now()
    held = renew(
        _identity(worker),
        [attempt.token for attempt in attempts],
        now=now,
        slots=4,
        slots_used=2,
        state=Worker.DRAINING,
        load=1.5,
        memory_bytes=10,
        free_bytes=20,
        note="n" * 400,
    )
    assert held == {attempt.token for attempt in attempts}
    worker.refresh_from_db()
    assert (worker.beat, worker.seen_at, worker.state) == (1, now, Worker.DRAINING)
    assert (worker.slots, worker.slots_used, worker.load) == (4, 2, 1.5)
    assert (worker.memory_bytes, worker.free_bytes, worker.note) == (10, 20, "n" * 300)
    assert list(Attempt.objects.values_list("beat", flat=True)) == [1, 1]


@pytest.mark.django_db
def test_a_lease_that_was_taken_away_is_not_renewed() -> None:
    worker = make_worker()
    kept, closed = (make_attempt(worker=worker) for _ in range(2))
    Attempt.objects.filter(pk=closed.pk).update(ended_at=timezone.now())
    tokens = [kept.token, closed.token, "unknown"]
    held = renew(_identity(worker), tokens, now=timezone.now(), slots=2, slots_used=2)
    assert held == {kept.token}
    closed.refresh_from_db()
    assert closed.beat == 0


@pytest.mark.django_db
def test_a_worker_whose_name_was_taken_over_changes_nothing() -> None:
    worker = make_worker()
    attempt = make_attempt(make_run(status=Status.RUNNING), worker=worker)
    stale = WorkerIdentity(worker.pk, worker.name, "former boot", worker.host)
    assert renew(stale, [attempt.token], now=timezone.now(), slots=1, slots_used=1) == set()
    worker.refresh_from_db()
    attempt.refresh_from_db()
    assert (worker.beat, attempt.beat) == (0, 0)


@pytest.mark.django_db
@pytest.mark.parametrize("leases", [1, 5])
def test_a_heartbeat_is_three_queries_however_many_leases(
    leases: int, django_assert_num_queries: object
) -> None:
    worker = make_worker()
    tokens = [make_attempt(worker=worker).token for _ in range(leases)]
    with django_assert_num_queries(3):  # type: ignore[operator]
        renew(_identity(worker), tokens, now=timezone.now(), slots=5, slots_used=leases)


@pytest.mark.django_db(transaction=True)
def test_a_heartbeat_is_written_as_a_whole_or_not_at_all() -> None:
    worker = make_worker()
    attempt = make_attempt(worker=worker)

    def fail(execute: Any, sql: str, *rest: Any) -> Any:
        if "runs_attempt" in sql:
            raise OperationalError("gone")
        return execute(sql, *rest)

    with connection.execute_wrapper(fail), pytest.raises(OperationalError):
        renew(_identity(worker), [attempt.token], now=timezone.now(), slots=5, slots_used=1)
    worker.refresh_from_db()
    assert worker.beat == 0


@pytest.mark.django_db
def test_a_heartbeat_tells_how_far_the_logs_are_behind() -> None:
    worker = make_worker()
    renew(_identity(worker), [], now=timezone.now(), slots=5, slots_used=0, log_lag_s=2.5)
    worker.refresh_from_db()
    assert worker.log_lag_s == 2.5


class Clock:
    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


def test_who_does_not_beat_for_the_whole_lease_is_silent() -> None:
    clock = Clock()
    watch: BeatWatch[str] = BeatWatch(20, clock)
    found = []
    for turn in range(6):
        found.append(watch.saw({"mute": 7, "lively": turn}))
        clock.at += 5
    assert found == [frozenset()] * 4 + [frozenset({"mute"})] * 2


def test_a_beat_begins_the_lease_anew() -> None:
    clock = Clock()
    watch: BeatWatch[str] = BeatWatch(20, clock)
    for beat in (1, 1, 1, 2, 2, 2, 2):
        assert not watch.saw({"w": beat})
        clock.at += 5
    assert watch.saw({"w": 2}) == {"w"}


def test_a_watcher_that_was_stopped_for_hours_loses_nobody() -> None:
    clock = Clock()
    watch: BeatWatch[str] = BeatWatch(20, clock)
    watch.saw({"w": 1})
    clock.at += 36_000
    assert not watch.saw({"w": 1})


def test_a_clock_that_goes_back_loses_nobody() -> None:
    clock = Clock()
    watch: BeatWatch[str] = BeatWatch(20, clock)
    watch.saw({"w": 1})
    clock.at -= 500
    assert not watch.saw({"w": 1})


def test_blindness_gives_everybody_a_whole_lease_again() -> None:
    clock = Clock()
    watch: BeatWatch[str] = BeatWatch(20, clock)
    for _ in range(4):
        watch.saw({"w": 1})
        clock.at += 5
    watch.was_blind()
    clock.at += 60
    assert not watch.saw({"w": 1})
    clock.at += 5
    assert not watch.saw({"w": 1})


def test_who_is_gone_from_the_table_is_forgotten() -> None:
    clock = Clock()
    watch: BeatWatch[str] = BeatWatch(20, clock)
    for _ in range(4):
        watch.saw({"w": 1})
        clock.at += 5
    assert not watch.saw({})
    assert not watch.saw({"w": 1})
