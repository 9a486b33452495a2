"""Runs that meet a limit, are stopped to keep their result, or are tried again by rule."""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from runs.actions.logs import read_log
from runs.domain.concurrency import REPLACED_BY
from runs.domain.status import EndReason, Status
from runs.execution.spec import Stop
from runs.models import Application, Attempt, Run, RunFile, UsageSample
from runs.storage import keys, object_store
from runs.worker import conduct
from runs.worker.held import Held
from tests.processes import until
from tests.worker.worlds import Bench, make_app

pytestmark = pytest.mark.django_db(transaction=True)
LAST_WORDS = """trap 'echo "{\\"best\\": 7}"; exit 0' INT
touch %s
while :; do sleep 0.02; done"""
SPEECHLESS = """trap 'exit 0' INT
touch %s
while :; do sleep 0.02; done"""


@pytest.fixture
def bench(data_dir: Path, settings: Any) -> Bench:
    settings.RUNSITE_DATA_DIR = data_dir
    settings.RUNSITE_GRACE_S = 5.0
    return Bench(data_dir)


def _submit(bench: Bench, app: Application, **columns: Any) -> Run:
    run = bench.submit(app)
    if columns:
        Run.objects.filter(pk=run.pk).update(**columns)
    return run


def _make(bench: Bench, app: Application, **columns: Any) -> Run:
    """Submit a run with these columns, claim and conduct it; as it is then."""
    run = _submit(bench, app, **columns)
    bench.conductor(bench.claim())
    run.refresh_from_db()
    return run


def _stopped(bench: Bench, app: Application, ready: Path, **columns: Any) -> Run:
    """Conduct a run and ask it to stop and keep its result once its program is `ready`."""
    run = _submit(bench, app, **columns)
    held = bench.claim()
    asked = {"stop_requested_at": timezone.now(), "stop_actor": "ann@example.org"}

    def ask() -> None:
        until(ready.exists)
        Run.objects.filter(pk=run.pk).update(**asked)
        connection.close()
        held.ask(Stop.KEEP)

    asking = threading.Thread(target=ask)
    asking.start()
    bench.conductor(held)
    asking.join(60)
    run.refresh_from_db()
    return run


def test_a_run_that_is_stopped_keeps_what_it_writes_at_the_end(
    bench: Bench, tmp_path: Path
) -> None:
    app = make_app(tmp_path / "app", LAST_WORDS % (tmp_path / "ready"))
    run = _stopped(bench, app, tmp_path / "ready")
    assert (run.status, run.end_reason) == (Status.SUCCEEDED, EndReason.STOPPED_EARLY)
    assert run.error == ""
    assert run.detail.startswith("Stopped by ann@example.org. ")
    [file] = RunFile.objects.filter(run=run)
    assert json.loads(object_store().read_range(file.key, 0, 100)) == {"best": 7}
    assert Attempt.objects.get().outcome == EndReason.STOPPED_EARLY


def test_a_run_that_is_stopped_without_a_result_fails_and_says_what_to_do(
    bench: Bench, tmp_path: Path
) -> None:
    app = make_app(tmp_path / "app", SPEECHLESS % (tmp_path / "ready"))
    columns = {"retries": 3, "retry_on": "no_result", "stop_grace_s": 30.0}
    run = _stopped(bench, app, tmp_path / "ready", **columns)
    assert (run.status, run.end_reason) == (Status.FAILED, EndReason.NO_RESULT)
    assert run.error == "stopped without a result"
    assert "when it gets SIGINT; it has 30 s" in run.detail


def test_a_run_may_keep_its_result_at_its_time_limit(bench: Bench, tmp_path: Path) -> None:
    app = make_app(tmp_path / "app", LAST_WORDS % (tmp_path / "ready"))
    run = _make(bench, app, time_limit_s=2, keep_at_time_limit=True)
    assert (run.status, run.end_reason) == (Status.SUCCEEDED, EndReason.STOPPED_EARLY)
    assert run.detail.startswith("Stopped at its time limit. ")


def test_a_run_that_is_stopped_while_it_is_prepared_is_not_started(
    bench: Bench, tmp_path: Path
) -> None:
    app = make_app(tmp_path / "app", f"touch {tmp_path}/ready")
    run = _make(bench, app, stop_requested_at=timezone.now(), stop_actor="ann")
    assert (run.status, run.end_reason) == (Status.FAILED, EndReason.NO_RESULT)
    assert run.error == "stopped before it started"
    assert not (tmp_path / "ready").exists()


def test_the_stronger_wish_wins(bench: Bench, tmp_path: Path) -> None:
    app = make_app(tmp_path / "app", "true")
    bench.submit(app)
    held = bench.claim()
    heard = []
    for wish in (
        Stop.KEEP,
        Stop.WORKER_STOP,
        Stop.KEEP,
        Stop.LOG_LIMIT,
        Stop.CANCEL,
        Stop.WORKER_STOP,
        Stop.KILL,
        Stop.CANCEL,
    ):
        held.ask(wish)
        heard.append(held.should_stop())
    assert heard == [
        Stop.KEEP,
        Stop.WORKER_STOP,
        Stop.WORKER_STOP,
        Stop.LOG_LIMIT,
        Stop.CANCEL,
        Stop.CANCEL,
        Stop.KILL,
        Stop.KILL,
    ]


def test_a_log_above_its_limit_is_cut_or_ends_the_run(bench: Bench, tmp_path: Path) -> None:
    script = 'while :; do echo "a line of some length" >&2; [ -e %s ] && exit 0; done'
    endless = make_app(tmp_path / "endless", script % (tmp_path / "never"))
    failed = _make(bench, endless, log_limit_bytes=100_000, log_limit_action="fail")
    assert (failed.status, failed.end_reason) == (Status.FAILED, EndReason.LOG_TOO_LARGE)
    assert failed.log_bytes > 100_000

    script = 'head -c 300000 /dev/zero | tr "\\0" x >&2; echo "{}"'
    long = make_app(tmp_path / "long", script)
    cut = _make(bench, long, log_limit_bytes=100_000, log_limit_action="truncate")
    assert (cut.status, cut.log_bytes) == (Status.SUCCEEDED, 300_000)
    assert any("dropped" in warning for warning in cut.warnings)


def test_an_output_above_its_limit_fails_or_is_cut(bench: Bench, tmp_path: Path) -> None:
    app = make_app(tmp_path / "app", 'head -c 300000 /dev/zero | tr "\\0" x')
    failed = _make(bench, app, output_limit_bytes=1000)
    assert (failed.status, failed.end_reason) == (Status.FAILED, EndReason.OUTPUT_TOO_LARGE)
    cut = _make(bench, app, output_limit_bytes=1000, output_limit_action="truncate")
    assert cut.status == Status.SUCCEEDED
    assert any("limit" in warning for warning in cut.warnings)


def test_too_many_processes_end_the_run_with_the_figures(bench: Bench, tmp_path: Path) -> None:
    app = make_app(tmp_path / "app", "for n in 1 2 3 4 5 6; do sleep 60 & done; wait")
    run = _make(bench, app, process_limit=3)
    assert (run.status, run.end_reason) == (Status.FAILED, EndReason.PROCESS_LIMIT)
    assert "more processes than are allowed" in run.detail


def test_an_exit_code_that_the_rule_names_is_tried_again(bench: Bench, tmp_path: Path) -> None:
    app = make_app(tmp_path / "app", 'echo "attempt" >&2; echo "{}"; exit 3')
    rule = {"retries": 1, "retry_on": "exit_code:3", "retry_delay_s": 10.0, "max_attempts": 1}
    run = _make(bench, app, **rule)
    assert (run.status, run.hold, run.retries_made) == (Status.QUEUED, "retry", 1)
    assert (run.error, run.exit_code, run.log_bytes, run.result_kind) == ("", None, 0, "")
    assert run.held_until is not None
    assert run.held_until > timezone.now() + timedelta(seconds=1)
    event = run.events.order_by("-id")[0]
    assert event.text.startswith("Attempt 1 ended: exit code 3")
    assert event.text.endswith("(retry 1 of 1)")
    attempt = Attempt.objects.get()
    assert (attempt.outcome, attempt.exit_code) == (EndReason.EXIT_CODE, 3)
    assert attempt.ended_at is not None
    assert read_log(attempt=attempt, cursor=0).data == b"attempt\n"
    assert not RunFile.objects.exists()
    assert not object_store().exists(keys.stdout(run.run_id, 1))

    Run.objects.filter(pk=run.pk).update(hold="", held_until=None)
    bench.conductor(bench.claim())
    run.refresh_from_db()
    assert (run.status, run.end_reason, run.attempt_number) == (Status.FAILED, "exit_code", 2)
    assert run.exit_code == 3
    assert RunFile.objects.get().run == run


def test_other_ends_are_not_tried_again(bench: Bench, tmp_path: Path) -> None:
    app = make_app(tmp_path / "app", "exit 4")
    run = _make(bench, app, retries=5, retry_on="exit_code:3 signal")
    assert (run.status, run.retries_made) == (Status.FAILED, 0)


def test_a_run_that_never_started_is_tried_again_by_its_rule(bench: Bench, tmp_path: Path) -> None:
    app = make_app(tmp_path / "app", "true")
    object_store().delete(app.executable.archive_key)  # type: ignore[union-attr]
    run = _make(bench, app, retries=2, retry_on="not_started")
    assert (run.status, run.hold) == (Status.QUEUED, "retry")
    assert "archive missing" in run.events.order_by("-id")[0].text


def test_a_run_that_was_to_be_canceled_is_not_tried_again(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program fails in the same moment as somebody cancels, and before the worker hears it."""
    app = make_app(tmp_path / "app", "exit 3")
    run = _submit(bench, app, retries=3, retry_on="exit_code")
    held = bench.claim()
    execute = conduct.execute

    def cancel_late(*args: Any, **words: Any) -> Any:
        outcome = execute(*args, **words)
        Run.objects.filter(pk=run.pk).update(cancel_requested_at=timezone.now())
        return outcome

    monkeypatch.setattr(conduct, "execute", cancel_late)
    bench.conductor(held)
    run.refresh_from_db()
    assert (run.status, run.end_reason, run.retries_made) == (Status.FAILED, "exit_code", 0)


def test_a_run_that_another_one_replaces_is_superseded(bench: Bench, tmp_path: Path) -> None:
    app = make_app(tmp_path / "app", "sleep 60")
    asked = {"cancel_requested_at": timezone.now(), "cancel_actor": f"{REPLACED_BY}other"}
    run = _submit(bench, app)
    held: Held = bench.claim()
    Run.objects.filter(pk=run.pk).update(**asked)
    bench.conductor(held)
    run.refresh_from_db()
    assert (run.status, run.end_reason) == (Status.CANCELED, EndReason.SUPERSEDED)
    assert (run.error, run.detail[:22]) == ("superseded", "Replaced by run other ")


def test_a_run_that_ends_with_its_worker_tells_how_long_its_log_is(
    bench: Bench, tmp_path: Path
) -> None:
    app = make_app(tmp_path / "app", f"printf 12345 >&2; touch {tmp_path}/ready; exec sleep 60")
    run = _submit(bench, app, max_attempts=1)
    held = bench.claim()

    def stop() -> None:
        until((tmp_path / "ready").exists)
        held.ask(Stop.WORKER_STOP)

    stopping = threading.Thread(target=stop)
    stopping.start()
    bench.conductor(held)
    stopping.join(60)
    run.refresh_from_db()
    assert (run.end_reason, run.log_bytes) == (EndReason.WORKER_STOPPED, 5)


def test_the_memory_of_a_run_does_not_fall_to_nothing_at_its_end(
    bench: Bench, tmp_path: Path
) -> None:
    app = make_app(tmp_path / "app", "sleep 0.6")
    run = _make(bench, app)
    key = Attempt.objects.get(run=run).usage_key
    samples = json.loads(object_store().read_range(key, 0, 10_000))
    assert samples
    assert all(memory > 0 for _, _, memory, _ in samples)
    assert not UsageSample.objects.exists()
