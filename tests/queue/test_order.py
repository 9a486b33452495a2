"""The order of the queue page, and the reason that each run waits for."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from runs.domain.status import Status
from runs.models import Account, EnvironmentBuild, Run, Worker
from runs.queue import order
from runs.queue.order import holds_of, next_heads, waiting_in_order
from tests.factories import (
    get_queue,
    make_account,
    make_application,
    make_build,
    make_environment,
    make_queue,
    make_run,
    make_worker,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def account() -> Account:
    return make_account()


def _busy_worker(**fields: Any) -> Worker:
    return make_worker(**{"slots": 4, "slots_used": 4, **fields})


def test_runs_stand_in_the_order_in_which_they_start(account: Account) -> None:
    application, other = make_application(account), make_application(account)
    runs = [
        make_run(application, priority=6),
        make_run(other, priority=1),
        make_run(application, priority=9),
        make_run(other, priority=6),
    ]
    make_run(application, status=Status.RUNNING)
    make_run()
    waiting = waiting_in_order(account)
    assert [one.run for one in waiting] == [runs[1], runs[0], runs[3], runs[2]]
    assert [one.place for one in waiting] == [1, 2, 3, 4]


def test_a_page_goes_on_where_the_last_one_ended(account: Account) -> None:
    application = make_application(account)
    runs = [make_run(application, priority=1 + number % 3) for number in range(9)]
    whole = waiting_in_order(account)
    pages, after = [], None
    while page := waiting_in_order(account, after=after, limit=2):
        pages += page
        after = page[-1].run
    assert len(pages) == len(runs)
    assert [(one.run, one.place) for one in pages] == [(one.run, one.place) for one in whole]
    assert [one.holds for one in pages] == [one.holds for one in whole]


def test_a_page_goes_on_after_a_run_that_has_started_meanwhile(account: Account) -> None:
    application = make_application(account)
    first, second, third = (make_run(application) for _ in range(3))
    second.move_to(Status.RUNNING, now=timezone.now(), changes={"token": "t"})
    (only,) = waiting_in_order(account, after=second)
    assert (only.run, only.place) == (third, 2)
    assert first.status == Status.QUEUED


def test_places_beyond_the_cap_are_not_counted(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order, "COUNT_CAP", 3)
    application = make_application(account)
    runs = [make_run(application) for _ in range(6)]
    _busy_worker()
    (near,) = waiting_in_order(account, after=runs[1], limit=1)
    (far,) = waiting_in_order(account, after=runs[4], limit=1)
    assert (near.place, far.place) == (3, None)
    assert far.holds == ("All 4 slots are in use.", "More than 3 runs go first.")


def test_without_a_worker_everything_waits_for_one(account: Account) -> None:
    make_worker(state=Worker.LOST)
    run = make_run(make_application(account))
    assert holds_of(run) == ("No worker is running.",)


def test_a_queue_that_nobody_lists_is_not_served(account: Account) -> None:
    make_worker(queues=["default"])
    run = make_run(make_application(account), queue=make_queue(account, name="gpu"))
    assert holds_of(run) == ("No worker serves queue `gpu`.",)
    make_worker(queues=["gpu"], state=Worker.DRAINING)
    assert holds_of(run) == ("Every worker that serves queue `gpu` is draining.",)
    make_worker(queues=["gpu"])
    assert holds_of(run) == ()


def test_a_worker_told_to_drain_serves_nobody(account: Account) -> None:
    make_worker(drain_wanted=True)
    run = make_run(make_application(account))
    assert holds_of(run) == ("Every worker that serves queue `default` is draining.",)


def test_a_paused_queue_says_by_whom(account: Account) -> None:
    make_worker()
    queue = make_queue(account, paused_at=timezone.now(), paused_by="ann@example.org")
    run = make_run(queue=queue)
    assert holds_of(run) == ("Queue `default` is paused by ann@example.org.",)


def test_limits_say_how_much_runs(account: Account) -> None:
    make_worker(slots=9)
    queue = make_queue(account, running_limit=3)
    routing = make_application(account, name="Routing", running_limit=2)
    other = make_application(account)
    for application in (routing, routing, other):
        make_run(application, queue=queue, status=Status.RUNNING)
    held, free = make_run(routing, queue=queue), make_run(other, queue=queue)
    assert holds_of(held) == (
        "3 of 3 runs of queue `default` are running.",
        "2 of 2 runs of Routing are running.",
    )
    assert holds_of(free) == ("3 of 3 runs of queue `default` are running.",)


def test_the_limit_of_a_queue_is_not_counted_by_the_application_alone(account: Account) -> None:
    make_worker(slots=9)
    queue, gpu = make_queue(account, running_limit=2), make_queue(account, name="gpu")
    limited = make_application(account, running_limit=2)
    make_run(limited, queue=queue, status=Status.RUNNING)
    make_run(limited, queue=gpu, status=Status.RUNNING)
    run = make_run(make_application(account), queue=queue)
    held = make_run(limited, queue=queue)
    assert holds_of(run) == ()
    assert holds_of(held) == (f"2 of 2 runs of {limited} are running.",)


def test_an_environment_is_waited_for_in_words(account: Account) -> None:
    make_worker(host="host")
    environment = make_environment()
    make_build(environment, host="a host without a worker")
    run = make_run(make_application(account), environment=environment)
    assert holds_of(run) == ("The environment waits to be built.",)
    build = make_build(environment, host="host", state=EnvironmentBuild.BUILDING)
    assert holds_of(run) == ("The environment is being built.",)
    EnvironmentBuild.objects.filter(pk=build.pk).update(state=EnvironmentBuild.READY)
    assert holds_of(run) == ()


def test_those_in_front_and_full_slots_are_counted(account: Account) -> None:
    _busy_worker()
    application = make_application(account)
    held = make_application(account, running_limit=0, name="Held")
    make_run(held, priority=1)
    make_run()  # of another account: nobody here learns of it
    runs = [make_run(application) for _ in range(4)]
    waiting = waiting_in_order(account)
    assert [one.holds for one in waiting] == [
        ("0 of 0 runs of Held are running.",),
        ("All 4 slots are in use.",),
        ("All 4 slots are in use.", "1 run goes first."),
        ("All 4 slots are in use.", "2 runs go first."),
        ("All 4 slots are in use.", "3 runs go first."),
    ]
    assert holds_of(runs[2]) == waiting[3].holds


def test_one_slot_is_said_so(account: Account) -> None:
    make_worker(slots=1, slots_used=1)
    assert holds_of(make_run(make_application(account))) == ("The only slot is in use.",)


def test_a_run_that_does_not_wait_has_no_holds() -> None:
    assert holds_of(make_run(status=Status.RUNNING)) == ()
    assert holds_of(make_run(status=Status.SUCCEEDED)) == ()


def test_the_queue_page_asks_at_most_8_queries_however_many_wait(
    account: Account, django_assert_max_num_queries: Any
) -> None:
    _busy_worker()
    runs: list[Run] = []
    for number in range(6):
        environment = make_environment()
        make_build(environment)
        application = make_application(account, running_limit=1 + number)
        queue = make_queue(account, name=f"q{number}", running_limit=5)
        runs += [make_run(application, queue=queue, environment=environment) for _ in range(5)]
    with django_assert_max_num_queries(8):
        for one in waiting_in_order(account, after=runs[3]):
            assert one.run.application.name
            assert one.run.queue.name
    with django_assert_max_num_queries(8):
        holds_of(Run.objects.get(pk=runs[-1].pk))


def test_heads_are_one_run_for_each_lane_that_may_start(account: Account) -> None:
    application, held = make_application(account), make_application(account, running_limit=0)
    first = make_run(application)
    make_run(application)
    make_run(held)
    urgent = make_run(queue=get_queue(account, "gpu"), priority=1)
    assert [head.run for head in next_heads()] == [urgent.pk, first.pk]
    assert [head.run for head in next_heads(queues=["default"])] == [first.pk]
