"""The order of the queue page, and the reason that each run waits for."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from runs.domain.status import Status
from runs.models import Account, Application, EnvironmentBuild, Run, RunWait, Worker
from runs.queue import order
from runs.queue.order import holds_of, next_heads, waiting_in_order
from tests.factories import (
    get_queue,
    make_account,
    make_application,
    make_attempt,
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


def test_the_queue_page_asks_at_most_9_queries_however_many_wait(
    account: Account, django_assert_max_num_queries: Any
) -> None:
    _busy_worker()
    runs: list[Run] = []
    for number in range(6):
        environment = make_environment()
        make_build(environment)
        application = make_application(account, running_limit=1 + number)
        queue = make_queue(account, name=f"q{number}", running_limit=5)
        kind = {"queue": queue, "environment": environment}
        runs += [make_run(application, **kind) for _ in range(5)]
        runs.append(make_run(application, hold="key", concurrency_key="k", **kind))
        runs.append(make_run(application, hold="retry", held_until=timezone.now(), **kind))
        make_attempt(runs[-1])
        runs.append(_waiting_for(application, runs[0], runs[1], **kind))
    with django_assert_max_num_queries(9):
        for one in waiting_in_order(account, after=runs[3]):
            assert one.run.application.name
            assert one.run.queue.name
    for run in runs[-8:]:
        with django_assert_max_num_queries(7):
            holds_of(Run.objects.get(pk=run.pk))


def test_heads_are_one_run_for_each_lane_that_may_start(account: Account) -> None:
    application, held = make_application(account), make_application(account, running_limit=0)
    first = make_run(application)
    make_run(application)
    make_run(held)
    urgent = make_run(queue=get_queue(account, "gpu"), priority=1)
    assert [head.run for head in next_heads()] == [urgent.pk, first.pk]
    assert [head.run for head in next_heads(queues=["default"])] == [first.pk]


def _waiting_for(application: Application, *awaited: Run, **fields: Any) -> Run:
    run = make_run(application, hold="runs", open_waits=len(awaited), **fields)
    RunWait.objects.bulk_create(RunWait(run=run, awaited=one) for one in awaited)
    return run


def test_a_run_that_waits_for_others_names_the_first_that_is_still_open(account: Account) -> None:
    make_worker()
    application = make_application(account)
    done, running, *queued = (
        make_run(application, status=status)
        for status in (Status.SUCCEEDED, Status.RUNNING, Status.QUEUED, Status.QUEUED)
    )
    one = _waiting_for(application, running)
    three = _waiting_for(application, done, running, *queued)
    RunWait.objects.filter(awaited=done).update(open=False, outcome="succeeded")
    Run.objects.filter(pk=three.pk).update(open_waits=3)
    three.refresh_from_db()
    first = f"Waits for run `{running.run_id}`, {running.name} (running)"
    assert holds_of(one) == (f"{first}.",)
    assert holds_of(three) == (f"{first} and 2 others.",)
    Run.objects.filter(pk=three.pk).update(open_waits=2)
    three.refresh_from_db()
    assert holds_of(three) == (f"{first} and 1 other.",)


def test_a_run_that_waits_for_its_key_says_how_many_are_under_way(account: Account) -> None:
    make_worker(slots=9)
    application = make_application(account, concurrency_limit=1)
    other = make_application(account, concurrency_limit=3)
    key = {"concurrency_key": "region=north"}
    make_run(application, status=Status.RUNNING, **key)
    make_run(other, **key)
    one = make_run(application, hold="key", **key)
    three = make_run(other, hold="key", **key)
    said = "Waits for its key `region=north`:"
    assert holds_of(one) == (f"{said} 1 of 1 runs is under way.",)
    assert holds_of(three) == (f"{said} 3 of 3 runs are under way.",)
    make_run(application, status=Status.RUNNING, **key)  # the limit was two a moment ago
    assert holds_of(one) == (f"{said} 2 of 1 runs are under way.",)


def test_a_run_that_is_tried_again_says_when_and_after_what(account: Account) -> None:
    make_worker()
    now = timezone.now()
    run = make_run(
        make_application(account),
        hold="retry",
        held_until=now + timedelta(seconds=12),
        attempt_number=1,
        max_attempts=2,
        retries=2,
        retries_made=1,
    )
    make_attempt(run, ended_at=now, outcome="exit_code", exit_code=3)
    again = "(attempt 2 of 4 after exit code 3)."
    assert holds_of(run, now=now) == (f"Is tried again in 12 s {again}",)
    assert holds_of(run, now=now + timedelta(hours=1)) == (f"Is tried again at once {again}",)
    run.held_until = now + timedelta(minutes=10)
    assert holds_of(run, now=now) == (f"Is tried again in 10 min {again}",)
    run.attempts.update(outcome="timed_out")
    assert holds_of(run, now=now)[0].endswith("(attempt 2 of 4 after timed out).")


def test_a_run_says_what_holds_itself_before_what_holds_its_lane(account: Account) -> None:
    make_worker()
    application = make_application(account, running_limit=0, name="Held")
    run = make_run(application, hold="retry", held_until=timezone.now())
    own, lane = holds_of(run)
    assert own.startswith("Is tried again")
    assert lane == "0 of 0 runs of Held are running."


def test_who_is_held_by_itself_stands_in_nobodys_way_but_keeps_its_place(account: Account) -> None:
    _busy_worker()
    application = make_application(account)
    make_run(application, hold="retry", held_until=timezone.now())
    _waiting_for(application, make_run(application, priority=9))
    run = make_run(application)
    waiting = waiting_in_order(account)
    assert [(one.run, one.place) for one in waiting][2] == (run, 3)
    assert waiting[2].holds == ("All 4 slots are in use.",)
    assert holds_of(run) == waiting[2].holds


def test_slots_that_no_worker_has_are_said(account: Account) -> None:
    make_worker(slots=2)
    make_worker(slots=8, queues=["gpu"])
    make_worker(slots=8, state=Worker.DRAINING)
    application = make_application(account)
    assert holds_of(make_run(application, slots=3)) == ("Needs 3 slots; the largest worker has 2.",)
    gpu = make_queue(account, name="gpu")
    assert holds_of(make_run(application, slots=3, queue=gpu)) == ()


@pytest.mark.parametrize(
    ("used", "said"),
    [
        ([1], ("Needs 2 slots, 1 is free.",)),
        ([2], ("All 2 slots are in use.",)),
        ([0], ()),
        ([1, 1], ("Needs 2 slots, 1 is free on one worker.",)),
        ([0, 1], ()),
    ],
)
def test_slots_that_are_not_free_together_are_said(
    account: Account, used: list[int], said: tuple[str, ...]
) -> None:
    for number in used:
        make_worker(slots=2, slots_used=number)
    make_worker(slots=1)  # it never takes the run, whatever is free there
    assert holds_of(make_run(make_application(account), slots=2)) == said


def test_the_queue_page_tells_when_a_run_has_waited_too_long(account: Account) -> None:
    application = make_application(account)
    at = timezone.now() + timedelta(minutes=5)
    make_run(application, expires_at=at)
    make_run(application)
    assert [one.expires_at for one in waiting_in_order(account)] == [at, None]


def test_heads_leave_out_lanes_that_need_more_slots_than_a_worker_has(account: Account) -> None:
    application = make_application(account)
    large = make_run(application, slots=4)
    small = make_run(application)
    assert [(head.run, head.slots) for head in next_heads()] == [(large.pk, 4), (small.pk, 1)]
    assert [head.run for head in next_heads(slots=3)] == [small.pk]
