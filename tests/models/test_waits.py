"""What the end of a run does to those that wait for it, and to those that wait for its key."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from runs.domain.status import EndReason, Status
from runs.models import Application, Run, RunEvent, RunWait
from tests.factories import make_application, make_run

pytestmark = pytest.mark.django_db


def waiting_for(*awaited: Run, policy: str = "fail", **fields) -> Run:
    """A queued run that waits for these."""
    run = make_run(
        awaited[0].application,
        hold=Run.WAITS_FOR_RUNS,
        open_waits=len(awaited),
        wait_policy=policy,
        **fields,
    )
    RunWait.objects.bulk_create(RunWait(run=run, awaited=one) for one in awaited)
    return run


def end(run: Run, status: Status) -> None:
    """End a running run."""
    reason = {
        Status.SUCCEEDED: EndReason.EXITED,
        Status.FAILED: EndReason.EXIT_CODE,
        Status.CANCELED: EndReason.CANCELED,
    }[status]
    assert run.move_to(status, now=timezone.now(), reason=reason)


def test_the_last_of_the_awaited_lets_a_run_start():
    first, second = make_run(status=Status.RUNNING), make_run(status=Status.RUNNING)
    run = waiting_for(first, second)
    end(first, Status.SUCCEEDED)
    run.refresh_from_db()
    assert (run.hold, run.open_waits) == (Run.WAITS_FOR_RUNS, 1)
    assert run not in Run.objects.claimable()
    end(second, Status.SUCCEEDED)
    run.refresh_from_db()
    assert (run.status, run.hold, run.open_waits) == (Status.QUEUED, Run.NO_HOLD, 0)
    assert run in Run.objects.claimable()
    assert [wait.outcome for wait in run.waits.all()] == ["succeeded", "succeeded"]


@pytest.mark.parametrize("outcome", [Status.FAILED, Status.CANCELED])
@pytest.mark.parametrize(
    ("policy", "status", "reason"),
    [
        ("fail", Status.FAILED, EndReason.WAIT_FAILED),
        ("skip", Status.CANCELED, EndReason.SKIPPED),
        ("continue", Status.QUEUED, EndReason.NONE),
    ],
)
def test_a_run_obeys_its_policy_when_an_awaited_one_does_not_succeed(
    outcome, policy, status, reason
):
    awaited = make_run(status=Status.RUNNING)
    run = waiting_for(awaited, policy=policy)
    end(awaited, outcome)
    run.refresh_from_db()
    assert (run.status, run.end_reason, run.hold) == (status, reason, Run.NO_HOLD)
    if status is not Status.QUEUED:
        assert awaited.run_id in run.detail
        assert RunEvent.objects.filter(run=run, after=status, end_reason=reason).count() == 1


def test_a_long_chain_ends_with_its_first():
    first = make_run(status=Status.RUNNING)
    chain = [first]
    for _ in range(300):
        chain.append(waiting_for(chain[-1]))
    end(first, Status.FAILED)
    assert not Run.objects.filter(status=Status.QUEUED).exists()
    assert Run.objects.filter(end_reason=EndReason.WAIT_FAILED).count() == 300


def test_a_run_that_was_canceled_is_not_released_later():
    awaited = make_run(status=Status.RUNNING)
    run = waiting_for(awaited)
    assert run.move_to(Status.CANCELED, now=timezone.now(), reason=EndReason.CANCELED)
    end(awaited, Status.SUCCEEDED)
    run.refresh_from_db()
    assert (run.status, run.end_reason) == (Status.CANCELED, EndReason.CANCELED)
    assert not run.waits.filter(open=True).exists()


def test_the_time_to_give_up_counts_from_the_release():
    awaited = make_run(status=Status.RUNNING)
    run = waiting_for(awaited, queue_limit_s=60)
    assert run.expires_at is None
    now = timezone.now()
    assert awaited.move_to(Status.SUCCEEDED, now=now, reason=EndReason.EXITED)
    run.refresh_from_db()
    assert run.expires_at == now + timedelta(seconds=60)


def keyed(application: Application, status: Status = Status.QUEUED, **fields) -> Run:
    """A run of the key `north`."""
    return make_run(application, status=status, concurrency_key="north", **fields)


def test_the_end_of_a_run_admits_the_next_of_its_key_in_order():
    app = make_application(concurrency_limit=1)
    going = keyed(app, Status.RUNNING)
    late = keyed(app, hold=Run.WAITS_FOR_KEY, priority=9)
    soon = keyed(app, hold=Run.WAITS_FOR_KEY, priority=1)
    other = make_run(app, concurrency_key="south", hold=Run.WAITS_FOR_KEY)
    end(going, Status.FAILED)
    holds = {run.pk: run.hold for run in Run.objects.filter(status=Status.QUEUED)}
    assert holds == {soon.pk: "", late.pk: Run.WAITS_FOR_KEY, other.pk: Run.WAITS_FOR_KEY}


def test_a_released_run_waits_for_its_key():
    app = make_application(concurrency_limit=1)
    awaited = make_run(app, status=Status.RUNNING)
    going = keyed(app, Status.RUNNING)
    run = waiting_for(awaited, concurrency_key="north")
    end(awaited, Status.SUCCEEDED)
    run.refresh_from_db()
    assert run.hold == Run.WAITS_FOR_KEY
    end(going, Status.SUCCEEDED)
    run.refresh_from_db()
    assert run.hold == Run.NO_HOLD


def test_a_skipped_run_admits_the_next_of_its_key():
    app = make_application(concurrency_limit=1)
    awaited = make_run(app, status=Status.RUNNING)
    first = waiting_for(awaited, policy="skip", concurrency_key="north")
    second = keyed(app, hold=Run.WAITS_FOR_KEY)
    end(awaited, Status.FAILED)
    first.refresh_from_db()
    second.refresh_from_db()
    assert first.end_reason == EndReason.SKIPPED
    assert second.hold == Run.NO_HOLD


def test_a_run_that_is_not_queued_holds_nothing():
    run = make_run(hold=Run.WAITS_FOR_RETRY, held_until=timezone.now(), expires_at=timezone.now())
    assert run.move_to(
        Status.RUNNING, now=timezone.now(), changes={"token": "t", "attempt_number": 1}
    )
    run.refresh_from_db()
    assert (run.hold, run.held_until, run.expires_at) == ("", None, None)
