"""Runs of lost workers go back to the queue or end, once, and say why."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import IntegrityError, OperationalError, connection
from django.utils import timezone

from runs.domain.concurrency import REPLACED_BY
from runs.domain.status import EndReason, Phase, Status
from runs.models import Attempt, EnvironmentBuild, Executable, LogChunk, Run, Worker
from runs.queue import reaper as reaper_module
from runs.queue.lease import WorkerIdentity, renew
from runs.queue.reaper import Reaper, cancel_waiting, give_back, release_former_boots
from tests.factories import make_attempt, make_build, make_executable, make_run, make_worker

pytestmark = pytest.mark.django_db


class Clock:
    """A monotonic clock that the test turns."""

    def __init__(self) -> None:
        self.at = 50.0

    def __call__(self) -> float:
        return self.at


def _running(worker: Worker | None = None, **fields: object) -> tuple[Run, Attempt]:
    run = make_run(status=Status.RUNNING, **fields)  # type: ignore[arg-type]
    return run, make_attempt(run, worker=worker or make_worker(name="w1"))


def _last_text(run: Run) -> str:
    event = run.events.order_by("-id").first()
    assert event is not None
    return event.text


def _look(reaper: Reaper, clock: Clock, times: int) -> None:
    for _ in range(times):
        reaper.look(timezone.now())
        clock.at += 5


def test_a_run_is_given_back_while_attempts_are_left() -> None:
    run, attempt = _running(max_attempts=2, log_bytes=100, cpu_s=2.0, warnings=["odd"])
    now = timezone.now()
    assert give_back(run, attempt, now) is Status.QUEUED
    assert run.status == Status.QUEUED
    run.refresh_from_db()
    assert (run.status, run.end_reason, run.phase, run.token) == (Status.QUEUED, "", "", "")
    assert (run.attempt_number, run.started_at, run.ended_at) == (1, None, None)
    # What was odd at its submission is so for each attempt.
    assert (run.log_bytes, run.cpu_s, run.warnings) == (0, None, ["odd"])
    assert _last_text(run) == "Worker w1 was lost; given back for attempt 2 of 2"
    attempt.refresh_from_db()
    assert (attempt.ended_at, attempt.outcome) == (now, "worker_lost")


def test_after_the_last_attempt_the_run_fails() -> None:
    run, attempt = _running(max_attempts=2, attempt_number=2)
    assert give_back(run, attempt, timezone.now()) is Status.FAILED
    run.refresh_from_db()
    assert (run.status, run.end_reason) == (Status.FAILED, EndReason.WORKER_LOST)
    assert run.error == "worker lost"
    assert _last_text(run) == "Worker w1 was lost; all 2 attempts are used"


def test_what_is_not_repeatable_fails_at_once() -> None:
    run, attempt = _running(max_attempts=1)
    assert give_back(run, attempt, timezone.now(), EndReason.WORKER_STOPPED) is Status.FAILED
    run.refresh_from_db()
    attempt.refresh_from_db()
    assert run.end_reason == attempt.outcome == EndReason.WORKER_STOPPED
    assert "Worker w1 was stopped" in run.detail
    assert "may not be repeated" in run.detail


def test_attempts_by_rule_do_not_count_as_lost_ones() -> None:
    run, attempt = _running(max_attempts=2, attempt_number=4, retries=5, retries_made=3)
    assert give_back(run, attempt, timezone.now()) is Status.QUEUED
    run.refresh_from_db()
    assert (run.hold, run.retries_made) == ("", 3)
    assert _last_text(run) == "Worker w1 was lost; given back for attempt 5 of 7"


def test_a_rule_that_names_lost_workers_helps_when_the_attempts_are_used() -> None:
    run, attempt = _running(
        max_attempts=1, retries=1, retry_on="exit_code worker_lost", retry_delay_s=100, log_bytes=7
    )
    now = timezone.now()
    assert give_back(run, attempt, now) is Status.QUEUED
    run.refresh_from_db()
    assert (run.hold, run.retries_made, run.log_bytes) == ("retry", 1, 0)
    assert run.held_until is not None
    assert 80 <= (run.held_until - now).total_seconds() <= 120
    assert "Worker w1 was lost; tried again in " in _last_text(run)
    assert _last_text(run).endswith("(retry 1 of 1)")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"retry_on": "exit_code"}, "the run may not be repeated"),
        (
            {"retry_on": "worker_lost", "retries_made": 1, "attempt_number": 2},
            "all 2 attempts are used",
        ),
    ],
)
def test_a_rule_that_is_used_up_or_names_other_ends_repeats_nothing(
    fields: dict[str, object], said: str
) -> None:
    run, attempt = _running(max_attempts=1, retries=1, **fields)
    assert give_back(run, attempt, timezone.now()) is Status.FAILED
    assert _last_text(run) == f"Worker w1 was lost; {said}"


def test_a_lost_run_that_was_to_be_stopped_has_no_result() -> None:
    run, attempt = _running(stop_requested_at=timezone.now(), stop_actor="ann", retries=3)
    assert give_back(run, attempt, timezone.now()) is Status.FAILED
    run.refresh_from_db()
    assert run.end_reason == EndReason.NO_RESULT
    assert run.detail.startswith("Worker w1 was lost while the run was being stopped")


def test_a_lost_run_that_was_replaced_is_superseded() -> None:
    asked = {"cancel_requested_at": timezone.now(), "cancel_actor": f"{REPLACED_BY}another"}
    run, attempt = _running(**asked)
    assert give_back(run, attempt, timezone.now()) is Status.CANCELED
    assert run.end_reason == EndReason.SUPERSEDED


def test_a_run_that_ends_with_its_worker_tells_how_much_of_its_log_is_known() -> None:
    run, attempt = _running(max_attempts=1)
    for first_byte, size in ((0, 10), (10, 32)):
        LogChunk.objects.create(attempt=attempt, first_byte=first_byte, size=size)
    assert give_back(run, attempt, timezone.now()) is Status.FAILED
    run.refresh_from_db()
    assert run.log_bytes == 42


def test_a_stopped_worker_gives_back_what_may_be_repeated() -> None:
    run, attempt = _running()
    assert give_back(run, attempt, timezone.now(), EndReason.WORKER_STOPPED) is Status.QUEUED
    assert _last_text(run) == "Worker w1 was stopped; given back for attempt 2 of 2"
    attempt.refresh_from_db()
    assert attempt.outcome == EndReason.WORKER_STOPPED


def test_a_lost_run_that_was_to_be_canceled_is_canceled() -> None:
    run, attempt = _running(cancel_requested_at=timezone.now(), cancel_actor="ann")
    assert give_back(run, attempt, timezone.now()) is Status.CANCELED
    run.refresh_from_db()
    assert run.end_reason == EndReason.CANCELED
    assert run.ended_at is not None


def test_giving_back_twice_happens_once() -> None:
    run, attempt = _running()
    stale = Run.objects.get(pk=run.pk)
    assert give_back(run, attempt, timezone.now()) is Status.QUEUED
    assert give_back(stale, attempt, timezone.now()) is None
    assert run.events.filter(after=Status.QUEUED, before=Status.RUNNING).count() == 1


def test_a_run_that_another_attempt_holds_is_left_alone() -> None:
    run, attempt = _running()
    stale = Run.objects.get(pk=run.pk)
    give_back(run, attempt, timezone.now())
    Run.objects.filter(pk=run.pk).update(status=Status.RUNNING, token="second")
    assert give_back(stale, attempt, timezone.now()) is None
    run.refresh_from_db()
    assert (run.status, run.token) == (Status.RUNNING, "second")


def test_a_late_worker_changes_nothing() -> None:
    worker = make_worker()
    run, attempt = _running(worker)
    late = Run.objects.get(pk=run.pk)
    give_back(run, attempt, timezone.now())
    identity = WorkerIdentity(worker.pk, worker.name, worker.boot_id, worker.host)
    assert not renew(identity, [attempt.token], now=timezone.now(), slots=1, slots_used=1)
    assert not late.move_to(
        Status.SUCCEEDED, now=timezone.now(), reason=EndReason.EXITED, token=attempt.token
    )
    run.refresh_from_db()
    assert run.status == Status.QUEUED


def test_a_silent_worker_is_lost_after_its_lease_and_not_before() -> None:
    clock = Clock()
    reaper = Reaper(lease_s=20, clock=clock)
    worker = make_worker(name="w1")
    run, _ = _running(worker)
    _look(reaper, clock, 4)
    run.refresh_from_db()
    worker.refresh_from_db()
    assert (run.status, worker.state) == (Status.RUNNING, Worker.ACTIVE)
    _look(reaper, clock, 1)
    run.refresh_from_db()
    worker.refresh_from_db()
    assert (run.status, worker.state) == (Status.QUEUED, Worker.LOST)


def test_a_beating_worker_is_never_lost() -> None:
    clock = Clock()
    reaper = Reaper(lease_s=20, clock=clock)
    worker = make_worker()
    run, attempt = _running(worker)
    identity = WorkerIdentity(worker.pk, worker.name, worker.boot_id, worker.host)
    for _ in range(12):
        _look(reaper, clock, 1)
        renew(identity, [attempt.token], now=timezone.now(), slots=1, slots_used=1)
    run.refresh_from_db()
    assert run.status == Status.RUNNING


def test_one_stuck_run_of_a_lively_worker_is_taken_alone() -> None:
    clock = Clock()
    reaper = Reaper(lease_s=20, clock=clock)
    worker = make_worker()
    (lively, attempt), (stuck, _) = _running(worker), _running(worker)
    identity = WorkerIdentity(worker.pk, worker.name, worker.boot_id, worker.host)
    for _ in range(6):
        _look(reaper, clock, 1)
        renew(identity, [attempt.token], now=timezone.now(), slots=2, slots_used=2)
    lively.refresh_from_db()
    stuck.refresh_from_db()
    worker.refresh_from_db()
    assert (lively.status, stuck.status) == (Status.RUNNING, Status.QUEUED)
    assert worker.state == Worker.ACTIVE


def test_a_wall_clock_that_jumps_loses_nobody() -> None:
    clock = Clock()
    reaper = Reaper(lease_s=20, clock=clock)
    run, _ = _running()
    for days in (0, 400, -400):
        reaper.look(timezone.now() + timedelta(days=days))
        clock.at += 5
    run.refresh_from_db()
    assert run.status == Status.RUNNING


def test_a_database_outage_loses_nobody() -> None:
    clock = Clock()
    reaper = Reaper(lease_s=20, clock=clock)
    run, _ = _running()
    _look(reaper, clock, 4)

    def refuse(*_: object) -> None:
        raise OperationalError("the server is down")

    for _ in range(5):
        with connection.execute_wrapper(refuse), pytest.raises(OperationalError):
            reaper.look(timezone.now())
        clock.at += 5
    _look(reaper, clock, 4)
    run.refresh_from_db()
    assert run.status == Status.RUNNING
    _look(reaper, clock, 1)
    run.refresh_from_db()
    assert run.status == Status.QUEUED


def test_a_standby_that_watched_can_reap_at_once() -> None:
    clock = Clock()
    reaper = Reaper(lease_s=20, clock=clock)
    run, _ = _running()
    for _ in range(5):
        reaper.watch()
        clock.at += 5
    run.refresh_from_db()
    assert run.status == Status.RUNNING
    assert reaper.look(timezone.now()).given_back == 1


def test_two_reapers_take_a_run_once() -> None:
    clock = Clock()
    reapers = [Reaper(lease_s=20, clock=clock) for _ in range(2)]
    run, _ = _running()
    for _ in range(6):
        for reaper in reapers:
            reaper.look(timezone.now())
        clock.at += 5
    assert run.events.filter(after=Status.QUEUED, before=Status.RUNNING).count() == 1


def test_former_boots_of_a_worker_are_released_at_once() -> None:
    worker = make_worker(name="w1", boot_id="new")
    old = make_run(status=Status.RUNNING)
    make_attempt(old, worker=worker, boot_id="old")
    mine = make_run(status=Status.RUNNING)
    make_attempt(mine, worker=worker, boot_id="new")
    others, _ = _running(make_worker(name="w2"))
    identity = WorkerIdentity(worker.pk, "w1", "new", "host")
    assert release_former_boots(identity, now=timezone.now()) == 1
    for run in (old, mine, others):
        run.refresh_from_db()
    assert [run.status for run in (old, mine, others)] == ["queued", "running", "running"]
    assert _last_text(old) == "Worker w1 was restarted; given back for attempt 2 of 2"


def test_a_running_run_without_an_attempt_is_taken_back() -> None:
    run = make_run(status=Status.RUNNING)
    assert Reaper(lease_s=20, clock=Clock()).look(timezone.now()).mended == 1
    run.refresh_from_db()
    assert run.status == Status.QUEUED


def test_an_open_attempt_that_holds_nothing_is_closed() -> None:
    attempt = make_attempt(make_run(status=Status.FAILED))
    holding = make_attempt()
    Reaper(lease_s=20, clock=Clock()).look(timezone.now())
    attempt.refresh_from_db()
    holding.refresh_from_db()
    assert attempt.ended_at is not None
    assert holding.ended_at is None


def test_a_build_whose_builder_is_gone_waits_again() -> None:
    alive = make_worker()
    building = EnvironmentBuild.BUILDING
    # The name of its row may differ, where another machine has a worker of that name.
    kept = make_build(worker_name="named otherwise", boot_id=alive.boot_id, state=building)
    lost = make_build(worker_name=alive.name, boot_id="a former boot", state=building)
    Reaper(lease_s=20, clock=Clock()).look(timezone.now())
    kept.refresh_from_db()
    lost.refresh_from_db()
    assert (kept.state, lost.state) == (EnvironmentBuild.BUILDING, EnvironmentBuild.WAITING)


def test_an_executable_whose_checker_is_gone_waits_again() -> None:
    alive = make_worker()
    checking = Executable.CHECKING
    kept = make_executable(state=checking, worker_name="w", boot_id=alive.boot_id)
    lost = make_executable(state=checking, worker_name=alive.name, boot_id="a former boot")
    ready = make_executable(worker_name=alive.name, boot_id="a former boot")
    assert Reaper(lease_s=20, clock=Clock()).look(timezone.now()).mended == 1
    states = [Executable.objects.get(pk=one.pk).state for one in (kept, lost, ready)]
    assert states == [checking, Executable.WAITING, Executable.READY]


def test_a_quiet_look_changes_nothing_and_is_cheap(django_assert_max_num_queries: object) -> None:
    run, _ = _running()
    assert run.phase == Phase.EXECUTING
    reaper = Reaper(lease_s=20, clock=Clock())
    with django_assert_max_num_queries(5):  # type: ignore[operator]
        assert not reaper.look(timezone.now())


def test_queued_runs_that_were_to_be_canceled_are_canceled() -> None:
    wanted = make_run(cancel_requested_at=timezone.now(), cancel_actor="ann")
    other = make_run()
    assert cancel_waiting(timezone.now()) == 1
    wanted.refresh_from_db()
    other.refresh_from_db()
    assert (wanted.status, other.status) == (Status.CANCELED, Status.QUEUED)


def test_a_run_that_cannot_be_taken_back_does_not_hold_up_the_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = (make_attempt(make_run(status=Status.RUNNING)).run for _ in range(2))
    real = reaper_module.give_back

    def give_back(run: Run, *args: object, **words: object) -> object:
        if run.pk == bad.pk:
            raise IntegrityError("never thought of")
        return real(run, *args, **words)  # type: ignore[arg-type]

    monkeypatch.setattr(reaper_module, "give_back", give_back)
    clock = Clock()
    reaper = Reaper(lease_s=20, clock=clock)
    for _ in range(6):
        reaper.look(timezone.now())
        clock.at += 5
    bad.refresh_from_db()
    good.refresh_from_db()
    assert (bad.status, good.status) == (Status.RUNNING, Status.QUEUED)
    assert bad.run_id in caplog.text


def test_a_key_that_a_lost_run_held_is_free_after_its_last_attempt() -> None:
    """A run that hangs blocks its key only for as long as its worker shows life."""
    from tests.actions.submitting import make_app, submit

    application = make_app(concurrency_expression="{region}", concurrency_limit=1)
    first, second = submit(application), submit(application)
    for number in (1, 2):
        first.refresh_from_db()
        changes = {"token": f"token-{number}", "attempt_number": number}
        assert first.move_to(Status.RUNNING, now=timezone.now(), changes=changes)
        attempt = make_attempt(first, number=number, token=f"token-{number}")
        second.refresh_from_db()
        assert second.hold == Run.WAITS_FOR_KEY
        give_back(first, attempt, timezone.now())
    assert (first.status, first.end_reason) == (Status.FAILED, EndReason.WORKER_LOST)
    second.refresh_from_db()
    assert (second.status, second.hold) == (Status.QUEUED, "")


def test_a_run_that_waits_for_a_lost_one_waits_for_its_next_attempt() -> None:
    """Nothing that waits hangs on a worker: it is released by the end of the run, not before."""
    from tests.actions.submitting import end, make_app, start, submit

    application = make_app()
    awaited = submit(application)
    waiting = submit(application, waits_for=[awaited])
    start(awaited)
    attempt = make_attempt(awaited, token=awaited.token)
    assert give_back(awaited, attempt, timezone.now()) is Status.QUEUED
    waiting.refresh_from_db()
    assert (waiting.status, waiting.hold, waiting.open_waits) == ("queued", Run.WAITS_FOR_RUNS, 1)
    awaited.refresh_from_db()
    changes = {"token": "second", "attempt_number": 2}
    assert awaited.move_to(Status.RUNNING, now=timezone.now(), changes=changes)
    end(awaited)
    waiting.refresh_from_db()
    assert (waiting.hold, waiting.open_waits) == ("", 0)
