"""Who is claimed, in which order, and who is not."""

from __future__ import annotations

import pytest
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from runs.domain.status import EndReason, Phase, Status
from runs.models import EnvironmentBuild, Queue, Run
from runs.queue.claim import Claimed, WorkerIdentity, claim_next
from tests.factories import (
    make_account,
    make_application,
    make_build,
    make_environment,
    make_queue,
    make_run,
    make_worker,
)

pytestmark = pytest.mark.django_db


def _identity(*queues: str, host: str = "host") -> WorkerIdentity:
    worker = make_worker(host=host)
    return WorkerIdentity(worker.pk, worker.name, worker.boot_id, host, queues)


def _claim(identity: WorkerIdentity | None = None) -> Claimed | None:
    return claim_next(identity or _identity(), now=timezone.now())


def _claimed_run(identity: WorkerIdentity | None = None) -> Run:
    claimed = _claim(identity)
    assert claimed is not None
    return claimed.run


def test_nothing_is_claimed_from_an_empty_queue() -> None:
    assert _claim() is None


def test_a_claim_opens_an_attempt_that_holds_the_run() -> None:
    run = make_run()
    identity = _identity()
    now = timezone.now()
    claimed = claim_next(identity, now=now)
    assert claimed is not None
    run.refresh_from_db()
    assert claimed.run == run
    assert (run.status, run.phase) == (Status.RUNNING, Phase.PREPARING)
    assert run.attempt_number == 1
    assert run.token == claimed.attempt.token != ""
    attempt = run.attempts.get()
    assert attempt == claimed.attempt
    assert (attempt.number, attempt.claimed_at, attempt.ended_at) == (1, now, None)
    assert (attempt.worker_id, attempt.worker_name) == (identity.worker_id, identity.name)
    assert (attempt.boot_id, attempt.host) == (identity.boot_id, identity.host)
    event = run.events.last()
    assert event is not None
    assert (event.before, event.after, event.attempt_number) == ("queued", "running", 1)
    assert identity.name in event.text


def test_a_claimed_run_is_not_claimed_again() -> None:
    make_run()
    assert _claim() is not None
    assert _claim() is None


def test_priority_goes_before_age() -> None:
    application = make_application()
    runs = [make_run(application, priority=priority) for priority in (9, 6, 1, 6, 1)]
    order = [_claimed_run() for _ in runs]
    assert order == [runs[2], runs[4], runs[1], runs[3], runs[0]]


def test_age_counts_over_all_lanes_and_accounts() -> None:
    first, second = make_application(), make_application()
    runs = [make_run(application) for application in (first, second, second, first)]
    assert [_claimed_run() for _ in runs] == runs


def test_a_paused_queue_is_left_alone_until_it_is_resumed() -> None:
    queue = make_queue(paused_at=timezone.now())
    run = make_run(queue=queue)
    assert _claim() is None
    Queue.objects.update(paused_at=None)
    assert _claimed_run() == run


def test_a_worker_claims_from_the_queues_that_it_lists() -> None:
    account = make_account()
    make_run(queue=make_queue(account))
    gpu = make_run(queue=make_queue(account, name="gpu"))
    identity = _identity("gpu", "big")
    assert _claimed_run(identity) == gpu
    assert _claim(identity) is None


def test_the_limit_of_a_queue_holds_what_is_above_it() -> None:
    queue = make_queue(running_limit=2)
    for _ in range(3):
        make_run(make_application(queue.account), queue=queue)
    other = make_run()
    claimed = [_claimed_run() for _ in range(3)]
    assert claimed[2] == other
    assert _claim() is None
    claimed[0].move_to(Status.SUCCEEDED, now=timezone.now(), reason=EndReason.EXITED)
    assert _claim() is not None
    assert _claim() is None


def test_a_limit_of_zero_holds_everything() -> None:
    make_run(queue=make_queue(running_limit=0))
    make_run(make_application(running_limit=0))
    assert _claim() is None


def test_the_limit_of_an_application_counts_over_its_queues() -> None:
    application = make_application(running_limit=1)
    account = application.account
    make_run(application, queue=make_queue(account))
    make_run(application, queue=make_queue(account, name="gpu"))
    other = make_run(make_application(account))
    assert _claimed_run().application == application
    assert _claimed_run() == other
    assert _claim() is None


def test_a_run_wanted_canceled_is_not_claimed_but_canceled() -> None:
    application = make_application()
    wanted = make_run(application, cancel_requested_at=timezone.now(), cancel_actor="ann")
    after = make_run(application)
    assert _claimed_run() == after
    wanted.refresh_from_db()
    assert (wanted.status, wanted.end_reason) == (Status.CANCELED, EndReason.CANCELED)
    assert not wanted.attempts.exists()


def test_a_run_waits_until_its_environment_is_built_on_the_host() -> None:
    environment = make_environment()
    run = make_run(environment=environment)
    build = make_build(environment, host="host", state=EnvironmentBuild.BUILDING)
    make_build(environment, host="other", state=EnvironmentBuild.READY)
    assert _claim() is None
    EnvironmentBuild.objects.filter(pk=build.pk).update(state=EnvironmentBuild.READY)
    assert _claimed_run() == run


def test_a_run_whose_environment_cannot_be_built_is_claimed_to_be_ended() -> None:
    environment = make_environment()
    run = make_run(environment=environment)
    make_build(environment, host="host", state=EnvironmentBuild.FAILED)
    assert _claimed_run() == run


def test_an_idle_worker_looks_with_one_query_and_no_transaction(
    django_assert_num_queries: type[CaptureQueriesContext],
) -> None:
    make_run(queue=make_queue(paused_at=timezone.now()))
    identity = _identity()
    with django_assert_num_queries(1):  # type: ignore[call-arg, arg-type]
        assert _claim(identity) is None


def test_a_claim_costs_the_same_however_many_are_held(
    django_assert_max_num_queries: type[CaptureQueriesContext],
) -> None:
    held = make_application(running_limit=0)
    for _ in range(30):
        make_run(held)
    last = make_run(priority=9)
    identity = _identity()
    with django_assert_max_num_queries(12):  # type: ignore[call-arg, arg-type]
        assert _claimed_run(identity) == last
