"""The ledger: right figures, and every kind of contradiction is found."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from runs.actions.ledger import Ledger, read_ledger
from runs.domain.ids import new_id
from runs.domain.status import EndReason, Status
from runs.models import (
    Counter,
    EndedProcess,
    EnvironmentBuild,
    Executable,
    LoopLease,
    Run,
    RunEvent,
    Worker,
)
from tests.factories import (
    make_account,
    make_application,
    make_attempt,
    make_build,
    make_executable,
    make_run,
    make_tracked_run,
    make_worker,
)

pytestmark = pytest.mark.django_db
LONG = timedelta(hours=1)


@pytest.fixture
def now() -> datetime:
    return timezone.now()


@pytest.fixture
def application(db):
    return make_application(make_account("demo"))


def move(run: Run, before: Status, after: Status) -> None:
    RunEvent.objects.create(run=run, kind=RunEvent.MOVED, before=before, after=after)


def succeeded(application, *, attempts: int = 1, **fields) -> Run:
    """A run as it is when all went well, after so many attempts."""
    run = make_run(application, status=Status.SUCCEEDED, attempt_number=attempts, **fields)
    for number in range(1, attempts + 1):
        last = number == attempts
        outcome = EndReason.EXITED if last else EndReason.WORKER_LOST
        make_attempt(run, number=number, token=new_id(), outcome=outcome, ended_at=timezone.now())
        move(run, Status.QUEUED, Status.RUNNING)
        move(run, Status.RUNNING, Status.SUCCEEDED if last else Status.QUEUED)
    return run


def running(application, **fields) -> Run:
    """A run that a worker of the present has."""
    run = make_run(application, status=Status.RUNNING, **fields)
    move(run, Status.QUEUED, Status.RUNNING)
    make_attempt(run)
    return run


def kinds(found: Ledger) -> list[tuple[str, str]]:
    return [(one.kind, one.run_id) for one in found.findings]


def test_an_empty_installation_adds_up(now):
    found = read_ledger(now)
    assert found.balanced
    assert (found.runs, found.attempts, found.since, found.older) == (0, 0, None, "")
    assert found.oldest is None


def test_runs_and_attempts_are_counted(application, now):
    succeeded(application)
    succeeded(application, attempts=2)
    succeeded(application, attempts=2, retries_made=1)
    make_run(application)
    running(application)
    Counter.add("reaped", "given_back", by=2)
    attempt = application.runs.order_by("pk")[1].attempts.order_by("number")[0]
    EndedProcess.objects.create(attempt=attempt, pid=1, how="held", signal="SIGKILL")
    found = read_ledger(now)
    assert kinds(found) == []
    assert found.runs == 5
    assert found.by_status == {
        "queued": 1,
        "running": 1,
        "succeeded": 3,
        "failed": 0,
        "canceled": 0,
    }
    assert found.attempts == 6
    assert found.by_outcome == {"exited": 3, "worker_lost": 2, "": 1}
    assert (found.repeated, found.given_back, found.retried, found.accepted) == (2, 2, 1, 3)
    assert found.ended_processes == {"SIGKILL": 1}
    assert found.counters == {"reaped given_back": 2}


def test_a_run_executed_elsewhere_adds_up_without_an_attempt_of_a_worker(
    application, now, settings, tmp_path
):
    settings.RUNSITE_DATA_DIR = tmp_path
    succeeded(application)
    for status in ("succeeded", "failed", "canceled"):
        make_tracked_run(application, status)
    found = read_ledger(now + LONG, account=application.account)
    assert kinds(found) == []
    assert (found.runs, found.recorded, found.attempts) == (4, 3, 1)
    assert found.by_outcome == {"exited": 1}
    assert (found.accepted, found.repeated, found.given_back) == (2, 0, 0)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda run: run.events.all().delete(), "ends with “nothing”"),
        (lambda run: run.events.update(after="running"), "after “”"),
        (lambda run: run.events.update(after="failed"), "ends with “failed”"),
        (lambda run: move(run, Status.SUCCEEDED, Status.RUNNING), "after “succeeded”"),
        (lambda run: run.attempts.all().delete(), "1 by its history, 0 recorded"),
    ],
)
def test_a_recorded_run_that_contradicts_itself_is_found(
    application, now, settings, tmp_path, harm, words: str
):
    settings.RUNSITE_DATA_DIR = tmp_path
    run = make_tracked_run(application)
    harm(run)
    found = read_ledger(now)
    assert kinds(found) == [("history", run.run_id)]
    assert words in found.findings[0].text


def test_a_result_accepted_twice_is_found(application, now):
    run = succeeded(application, attempts=2)
    run.attempts.update(outcome=EndReason.EXITED)
    found = read_ledger(now)
    assert kinds(found) == [("result twice", run.run_id)]
    assert found.accepted == 0


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda run: run.events.filter(kind="submitted").delete(), "after “”"),
        (lambda run: run.events.filter(after="running").delete(), "after “queued”"),
        (lambda run: run.events.filter(after="succeeded").delete(), "ends with “running”"),
        (lambda run: run.events.all().delete(), "ends with “nothing”"),
        (lambda run: move(run, Status.SUCCEEDED, Status.RUNNING), "after “succeeded”"),
        (lambda run: run.attempts.all().delete(), "1 by its history, 0 recorded"),
        (lambda run: run.attempts.update(outcome="exit_code"), "none of its attempts"),
        (lambda run: type(run).objects.update(attempt_number=2), "1 recorded, 2 counted"),
    ],
)
def test_a_history_that_contradicts_is_found(application, now, harm, words: str):
    run = succeeded(application)
    harm(run)
    found = read_ledger(now)
    assert kinds(found) == [("history", run.run_id)]
    assert words in found.findings[0].text


def test_a_result_of_a_run_that_did_not_succeed_is_found(application, now):
    run = succeeded(application)
    run.events.filter(after="succeeded").update(after="failed")
    Run.objects.update(status=Status.FAILED, end_reason=EndReason.EXIT_CODE)
    found = read_ledger(now)
    assert kinds(found) == [("history", run.run_id)]
    assert "an attempt of it has a result" in found.findings[0].text


def test_a_run_that_moves_while_it_is_read_does_not_contradict_itself(
    application, now, monkeypatch
):
    run = make_run(application)

    def claimed_meanwhile(*words):
        Run.objects.filter(pk=run.pk).update(
            status=Status.RUNNING, token="t", attempt_number=1, phase="preparing"
        )
        make_attempt(run, token="t", number=1)
        move(run, Status.QUEUED, Status.RUNNING)
        return events(*words)

    from runs.actions import ledger

    events = ledger._events
    monkeypatch.setattr(ledger, "_events", claimed_meanwhile)
    assert kinds(read_ledger(now)) == []


def test_orphans_are_found_once_the_scheduler_should_have_seen_them(application, now):
    lonely = make_run(application, status=Status.RUNNING)
    move(lonely, Status.QUEUED, Status.RUNNING)
    ended = succeeded(application)
    make_attempt(ended, number=2, token=new_id(), claimed_at=now)
    young, old = read_ledger(now), read_ledger(now + LONG)
    assert not young.orphans
    assert {(one.kind, one.run_id) for one in old.orphans} == {
        ("run without an attempt", lonely.run_id),
        ("attempt without a run", ended.run_id),
    }
    assert old.oldest is not None


def overdue(now) -> list[str]:
    return [one.kind for one in read_ledger(now).overdue]


def test_runs_of_a_silent_worker_are_overdue_and_of_a_living_one_are_not(application, now):
    worker = make_worker(seen_at=now)
    run = make_run(application, status=Status.RUNNING)
    make_attempt(run, worker=worker, claimed_at=now - LONG)
    assert overdue(now) == []
    Worker.objects.update(seen_at=now - LONG)
    assert overdue(now) == ["worker silent", "silent worker"]
    Worker.objects.update(seen_at=now, boot_id="another")
    assert overdue(now) == ["worker gone"]


@pytest.mark.parametrize(
    ("columns", "kind"),
    [
        ({"cancel_requested_at": -LONG}, "cancel"),
        ({"stop_requested_at": -LONG}, "stop"),
        ({"time_limit_s": 60}, "time limit"),
    ],
)
def test_what_should_have_ended_is_overdue(application, now, columns, kind: str):
    given = {
        name: now + value if isinstance(value, timedelta) else value
        for name, value in columns.items()
    }
    run = make_run(application, status=Status.RUNNING, **given)
    make_attempt(run, worker=make_worker(seen_at=now), started_at=now - LONG)
    assert overdue(now) == [kind]
    assert overdue(now - LONG) == []


@pytest.mark.parametrize(
    ("columns", "kind"),
    [
        ({"expires_at": -LONG}, "queue limit"),
        ({"hold": Run.WAITS_FOR_RETRY, "held_until": -LONG}, "retry"),
    ],
)
def test_what_should_not_wait_any_more_is_overdue(application, now, columns, kind: str):
    given = {
        name: now + value if isinstance(value, timedelta) else value
        for name, value in columns.items()
    }
    run = make_run(application, **given)
    found = read_ledger(now).overdue
    assert [(one.kind, one.run_id) for one in found] == [(kind, run.run_id)]
    assert overdue(now - 2 * LONG) == []


def test_a_run_that_is_still_held_although_its_executable_is_checked_is_overdue(application, now):
    executable = make_executable(application)
    run = make_run(application, executable=executable, hold=Run.WAITS_FOR_EXECUTABLE)
    assert overdue(now) == []
    Executable.objects.filter(pk=executable.pk).update(checked_at=now - LONG)
    [found] = read_ledger(now).overdue
    assert (found.kind, found.run_id, found.since) == ("executable", run.run_id, now - LONG)
    assert overdue(now - 2 * LONG) == []


def test_a_scheduler_or_a_build_that_stands_still_is_overdue(now):
    LoopLease.objects.create(name="scheduler", seen_at=now - LONG)
    started = now - timedelta(seconds=settings.RUNSITE_BUILD_LIMIT_S) - LONG
    make_build(state=EnvironmentBuild.BUILDING, started_at=started)
    found = read_ledger(now)
    assert [one.kind for one in found.overdue] == ["build", "no scheduler"]
    assert found.oldest == found.overdue[0]


def test_an_account_sees_its_own_only(application, now):
    other = make_application(make_account("other"))
    run = succeeded(other)
    run.events.all().delete()
    make_run(other, expires_at=now - LONG)
    make_run(other, status=Status.RUNNING)
    succeeded(application)
    found = read_ledger(now + LONG, account=application.account)
    assert found.balanced
    assert (found.runs, found.attempts, found.accepted, found.counters) == (1, 1, 1, {})
    assert not read_ledger(now + LONG, account=other.account).balanced
    # The id of a foreign run is as good as none.
    assert read_ledger(now, account=application.account, before=run.run_id).runs == 0


def test_it_goes_on_before_the_last_run_looked_at(application, now):
    runs = [succeeded(application) for _ in range(5)]
    first = read_ledger(now, most=2)
    assert (first.runs, first.older) == (2, runs[3].run_id)
    second = read_ledger(now, most=2, before=first.older)
    assert (second.runs, second.older) == (2, runs[1].run_id)
    last = read_ledger(now, most=2, before=second.older)
    assert (last.runs, last.older) == (1, "")
    assert read_ledger(now, before="unknown").runs == 0


def test_it_asks_as_little_of_many_runs_as_of_few(application, now):
    def asked(account) -> int:
        with CaptureQueriesContext(connection) as queries:
            read_ledger(now, account=account)
        return len(queries)

    succeeded(application).events.all().delete()
    running(application)
    few = asked(application.account), asked(None)
    for _ in range(10):
        succeeded(application, attempts=2).events.all().delete()
        running(application)
    assert (asked(application.account), asked(None)) == few
    assert few[0] <= 8
    assert few[1] <= 13
