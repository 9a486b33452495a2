"""Who is claimed, in which order, and who is not."""

from __future__ import annotations

from typing import Any

import pytest
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from runs.domain.concurrency import REPLACED_BY
from runs.domain.status import EndReason, Phase, Status
from runs.models import EnvironmentBuild, Queue, Run
from runs.models.runs import rank_of
from runs.queue import claim as claim_module
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
    with django_assert_max_num_queries(13):  # type: ignore[call-arg, arg-type]
        assert _claimed_run(identity) == last


@pytest.mark.parametrize("hold", [Run.WAITS_FOR_RUNS, Run.WAITS_FOR_KEY, Run.WAITS_FOR_RETRY])
def test_a_held_run_is_not_claimed_until_it_is_let_go(hold: str) -> None:
    application = make_application()
    held = make_run(application, priority=1, hold=hold)
    behind = make_run(application)
    assert _claimed_run() == behind
    assert _claim() is None
    Run.objects.filter(pk=held.pk).update(hold="")
    assert _claimed_run() == held


def test_a_run_that_is_held_since_the_look_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run()
    heads = claim_module.next_heads
    looks = []

    def held_meanwhile(**words: Any) -> Any:
        found = heads(**words)
        Run.objects.filter(pk=run.pk).update(hold=Run.WAITS_FOR_KEY)
        looks.append(len(found))
        return found

    monkeypatch.setattr(claim_module, "next_heads", held_meanwhile)
    assert _claim() is None
    assert looks == [1, 0]


def test_a_run_too_large_for_a_worker_is_left_to_a_larger_one() -> None:
    application = make_application()
    large = make_run(application, slots=3)
    small = make_run(application)
    identity = _identity()
    now = timezone.now()
    claimed = claim_next(identity, now=now, free_slots=2, slots=2)
    assert claimed is not None
    assert claimed.run == small
    assert claim_next(identity, now=now, free_slots=2, slots=2) is None
    claimed = claim_next(_identity(), now=now, free_slots=4, slots=4)
    assert claimed is not None
    assert claimed.run == large


def test_slots_are_kept_free_for_a_first_run_that_needs_several() -> None:
    application = make_application()
    large = make_run(application, slots=2)
    small = make_run(application)
    identity = _identity()
    now = timezone.now()
    assert claim_next(identity, now=now, free_slots=1, slots=2) is None
    order = []
    while claimed := claim_next(identity, now=now, free_slots=2, slots=2):
        order.append(claimed.run)
    assert order == [large, small]


def test_a_large_run_that_a_limit_holds_keeps_no_slot_free() -> None:
    make_run(make_application(running_limit=0), slots=2, priority=1)
    small = make_run()
    claimed = claim_next(_identity(), now=timezone.now(), free_slots=1, slots=2)
    assert claimed is not None
    assert claimed.run == small


def test_limits_count_runs_and_not_their_slots() -> None:
    queue = make_queue(running_limit=2)
    application = make_application(queue.account)
    for _ in range(3):
        make_run(application, queue=queue, slots=4)
    assert [_claimed_run().slots for _ in range(2)] == [4, 4]
    assert _claim() is None


def test_those_that_others_wait_for_go_first_at_equal_priority() -> None:
    application = make_application()
    plain = make_run(application)
    awaited = make_run(application, rank=rank_of(6, awaited=True))
    urgent = make_run(application, priority=5)
    assert [_claimed_run() for _ in range(3)] == [urgent, awaited, plain]


def test_a_run_that_was_replaced_is_superseded_and_not_started() -> None:
    run = make_run(cancel_requested_at=timezone.now(), cancel_actor=f"{REPLACED_BY}other")
    assert _claim() is None
    run.refresh_from_db()
    assert (run.status, run.end_reason) == (Status.CANCELED, EndReason.SUPERSEDED)


def test_the_history_counts_attempts_of_both_budgets() -> None:
    run = make_run(attempt_number=1, max_attempts=2, retries=3, retries_made=1)
    assert _claimed_run() == run
    event = run.events.last()
    assert event is not None
    assert event.text.startswith("Attempt 2 of 5 on worker")
