"""What is known before a run: its usual duration and its expected start."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from runs.actions.estimates import Expected, expected_start, expected_starts, usual_duration
from runs.domain.status import Status
from runs.models import Account, Application, Run, RunWait, Worker
from runs.queue.order import Waiting, waiting_in_order
from tests.factories import (
    get_queue,
    make_account,
    make_application,
    make_attempt,
    make_environment,
    make_run,
    make_tracked_run,
    make_worker,
)

pytestmark = pytest.mark.django_db
NOW = timezone.now()


@pytest.fixture
def account() -> Account:
    return make_account()


@pytest.fixture
def application(account: Account) -> Application:
    return make_application(account, name="Router")


@pytest.fixture
def worker() -> Worker:
    return make_worker(slots=1)


def make_history(application: Application, *seconds: float, count: int = 30, size: int = 0) -> None:
    for number in range(count):
        make_run(
            application,
            status=Status.SUCCEEDED,
            execution_s=seconds[number % len(seconds)],
            input_bytes=size,
        )


def make_going(application: Application, worker: Worker, elapsed_s: float, **fields: object) -> Run:
    run = make_run(application, status=Status.RUNNING, **fields)
    make_attempt(run, worker=worker, claimed_at=NOW - timedelta(seconds=elapsed_s))
    return run


def expected_of(run: Run) -> Expected:
    found = expected_start(run, now=NOW)
    assert found is not None
    return found


def about(seconds: float) -> object:
    return pytest.approx(seconds, abs=0.01)


# --- Duration ---------------------------------------------------------------------------------


def test_the_usual_duration_is_a_range_of_runs_with_similar_inputs(application: Application):
    make_history(application, 1.0, count=12, size=1000)
    make_history(application, *(float(number) for number in range(10, 30)), count=20, size=50_000)
    small = usual_duration(application, 1100)
    assert (small.seconds, small.low_s, small.high_s, small.runs) == (1, 1, 1, 12)
    assert small.similar_input
    large = usual_duration(application, 45_000)
    assert large.seconds == about(19.5)
    assert large.range is not None
    assert 10 < large.range.low_s < 13
    assert 26 < large.range.high_s < 29
    every = usual_duration(application)
    assert (every.runs, every.similar_input) == (32, False)
    assert usual_duration(application, 10**9).runs == 32


def test_nine_runs_give_no_usual_duration(application: Application):
    make_history(application, 1.0, count=9)
    found = usual_duration(application, 0)
    assert (found.seconds, found.runs, found.range) == (None, 9, None)


# --- Start ------------------------------------------------------------------------------------


def test_runs_executed_elsewhere_teach_nothing(
    application: Application, worker: Worker, settings, tmp_path: Path
):
    settings.RUNSITE_DATA_DIR = tmp_path
    for _ in range(12):
        make_tracked_run(application, execution_s=1.0)
    assert usual_duration(application).runs == 0
    make_going(application, worker, 10)
    waiting = make_run(application)
    found = expected_start(waiting, now=NOW)
    assert found is not None
    assert found.reason == "Not enough history: 0 of 10 ended runs of Router."
    make_history(application, 100.0, count=12)
    usual = usual_duration(application)
    assert (usual.seconds, usual.runs) == (100.0, 12)
    after = expected_start(waiting, now=NOW)
    assert after is not None
    assert after.median_s == pytest.approx(90, abs=1)


def test_a_run_starts_at_once_when_a_slot_is_free(application: Application, worker: Worker):
    assert expected_of(make_run(application)) == Expected(0, 0, 0)


def test_a_run_starts_when_those_before_it_have_ended(application: Application, worker: Worker):
    make_history(application, 10.0)
    make_going(application, worker, 4)
    first, second = make_run(application), make_run(application)
    sooner = make_run(application, priority=1)
    found = expected_starts(application.account, waiting_in_order(application.account), now=NOW)
    medians = {pk: each.median_s for pk, each in found.items()}
    assert medians == {sooner.pk: about(6), first.pk: about(16), second.pk: about(26)}
    assert expected_of(second).median_s == about(26)
    make_worker(slots=1)
    assert expected_of(second).median_s == about(10)


def test_the_history_is_that_of_similar_inputs(application: Application, worker: Worker):
    make_history(application, 10.0, size=1000)
    make_history(application, 100.0, size=100_000)
    make_going(application, worker, 0, input_bytes=100_000)
    make_run(application, input_bytes=1000)
    assert expected_of(make_run(application)).median_s == about(110)


def test_little_history_is_said_with_its_count(application: Application, worker: Worker):
    make_history(application, 10.0, count=3)
    make_going(application, worker, 1)
    run = make_run(application)
    assert expected_of(run).reason == "Not enough history: 3 of 10 ended runs of Router."
    assert expected_of(run).median_s is None


def test_runs_of_other_accounts_count_but_are_not_named(application: Application, worker: Worker):
    other = make_application(name="Secret")
    make_going(other, worker, 4)
    run = make_run(application)
    assert expected_of(run).reason == "Not enough history of the runs that go first."
    make_history(other, 10.0)
    assert expected_of(run).median_s == about(6)


def test_what_has_no_known_end_is_said(application: Application):
    account = application.account
    make_history(application, 10.0)
    run = make_run(application)
    assert expected_of(run).reason == "Not known while no worker takes runs of queue `default`."
    worker = make_worker(slots=1)
    assert expected_of(make_run(application, slots=2)).reason == (
        "Not known while no worker has 2 slots."
    )
    built_later = make_run(application, environment=make_environment())
    assert expected_of(built_later).reason == "Not known until its environment is built."
    queue = get_queue(account)
    queue.paused_at = NOW
    queue.save()
    assert expected_of(run).reason == "Not known while queue `default` is paused."
    queue.paused_at = None
    queue.save()
    Worker.objects.filter(pk=worker.pk).update(drain_wanted=True)
    assert "no worker" in expected_of(run).reason


def test_a_held_lane_does_not_hold_others_up(application: Application, worker: Worker):
    make_history(application, 10.0)
    make_run(application, queue=get_queue(application.account, "closed"))
    paused = get_queue(application.account, "closed")
    paused.paused_at = NOW
    paused.save()
    assert expected_of(make_run(application)).median_s == 0


def test_a_limit_of_the_application_lets_one_after_the_other_start(
    application: Application, worker: Worker
):
    Worker.objects.filter(pk=worker.pk).update(slots=5)
    make_history(application, 10.0)
    application.running_limit = 1
    application.save()
    make_going(application, worker, 4)
    first, second = make_run(application), make_run(application)
    free = make_run(make_application(application.account))
    assert expected_of(first).median_s == about(6)
    assert expected_of(second).median_s == about(16)
    assert expected_of(free).median_s == 0
    application.running_limit = 0
    application.save()
    assert expected_of(first).reason == "Not known while its limit is 0."


def test_runs_of_one_key_follow_each_other(application: Application, worker: Worker):
    Worker.objects.filter(pk=worker.pk).update(slots=5)
    make_history(application, 10.0)
    application.concurrency_limit = 1
    application.save()
    make_going(application, worker, 4, concurrency_key="a")
    first, second = (
        make_run(application, concurrency_key="a", hold=Run.WAITS_FOR_KEY) for _ in range(2)
    )
    other = make_run(application, concurrency_key="b")
    assert expected_of(second).median_s == about(16)
    assert expected_of(first).median_s == about(6)
    assert expected_of(other).median_s == 0


def test_a_run_that_waits_for_runs_starts_after_them(application: Application, worker: Worker):
    Worker.objects.filter(pk=worker.pk).update(slots=5)
    make_history(application, 10.0)
    running = make_going(application, worker, 4)
    queued = make_run(application)
    run = make_run(application, hold=Run.WAITS_FOR_RUNS, open_waits=2)
    for awaited in (running, queued):
        RunWait.objects.create(run=run, awaited=awaited)
    assert expected_of(run).median_s == about(10)
    last = make_run(application, hold=Run.WAITS_FOR_RUNS, open_waits=1)
    RunWait.objects.create(run=last, awaited=run)
    page = [Waiting(each, None, ()) for each in (queued, run, last)]
    found = expected_starts(application.account, page, now=NOW)
    assert found[last.pk].median_s == about(20)
    unknown = make_going(make_application(application.account), worker, 1)
    RunWait.objects.create(run=run, awaited=unknown)
    assert "nobody knows when the runs end" in expected_of(run).reason


def test_a_retry_waits_at_least_for_its_delay(application: Application, worker: Worker):
    make_history(application, 10.0)
    make_going(application, worker, 4)
    until = NOW + timedelta(seconds=60)
    run = make_run(application, hold=Run.WAITS_FOR_RETRY, held_until=until)
    assert expected_of(run).median_s == about(60)
    assert expected_of(make_run(application)).median_s == about(6)


def test_the_start_of_a_run_far_behind_follows_from_the_pace(
    application: Application, worker: Worker
):
    make_history(application, 10.0)
    runs = [make_run(application) for _ in range(300)]
    assert expected_of(runs[-1]).median_s == pytest.approx(2990, rel=0.05)
    page = waiting_in_order(application.account, after=runs[289])
    found = expected_starts(application.account, page, now=NOW)
    assert found[runs[-1].pk].median_s == pytest.approx(2990, rel=0.05)


def test_a_run_that_does_not_wait_has_no_expected_start(application: Application):
    assert expected_start(make_run(application, status=Status.RUNNING)) is None
    run = make_run(application)
    assert expected_starts(make_account(), [Waiting(run, None, ())]) == {}


def test_a_page_asks_six_questions_whatever_it_holds(account: Account, worker: Worker):
    running = make_application(account)
    for number in range(5):
        application = make_application(account, running_limit=3, concurrency_limit=1)
        make_history(application, 10.0, count=10)
        make_going(running, worker, 1)
        for _ in range(3):
            awaited = make_run(application, environment=make_environment())
            make_run(application, concurrency_key="a", hold=Run.WAITS_FOR_KEY)
            run = make_run(application, hold=Run.WAITS_FOR_RUNS, open_waits=1)
            RunWait.objects.create(run=run, awaited=awaited)
        page = waiting_in_order(account)
        with CaptureQueriesContext(
            connection,
        ) as asked:
            found = expected_starts(account, page)
        assert len(found) == len(page) == 9 * (number + 1)
        assert len(asked) <= 6
