"""Conducting a run: whatever goes wrong, the run ends and says what, or is given back."""

from __future__ import annotations

import errno
import json
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from django.db import DataError, OperationalError, connection
from django.utils import timezone

from runs.actions.logs import read_log
from runs.domain.status import EndReason, Status
from runs.execution import dependencies
from runs.execution.spec import Stop
from runs.models import (
    Attempt,
    Environment,
    EnvironmentBuild,
    Executable,
    InputFile,
    LogChunk,
    Run,
    RunFile,
)
from runs.queue.reaper import give_back
from runs.storage import object_store
from runs.storage.local import LocalStore
from runs.worker import conduct, patience, results, staging
from runs.worker.held import Held
from tests.factories import make_build, make_environment
from tests.processes import until
from tests.worker.worlds import Bench, make_app

pytestmark = pytest.mark.django_db(transaction=True)
ECHO = 'echo "a line of the log" >&2; cat'


@pytest.fixture
def bench(data_dir: Path, settings: Any) -> Bench:
    settings.RUNSITE_DATA_DIR = data_dir
    settings.RUNSITE_GRACE_S = 0.5
    return Bench(data_dir)


@pytest.fixture
def app(bench: Bench, tmp_path: Path) -> Any:
    return make_app(tmp_path / "echo", ECHO)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PAUSE_S", 0.01)


def _log(attempt: Attempt) -> bytes:
    return read_log(attempt=attempt, cursor=0).data


def _input(app: Any, text: bytes = b"{}") -> Any:
    from runs.actions.inputs import store_text_input

    return store_text_input(account=app.account, content_format="json", data=text)


def test_a_run_is_staged_executed_and_recorded(bench: Bench, app: Any) -> None:
    run = bench.make(app, input_data=_input(app, b'{"a": 1}'))
    assert (run.status, run.end_reason, run.token) == (Status.SUCCEEDED, EndReason.EXITED, "")
    attempt = Attempt.objects.get()
    assert attempt.ended_at is not None
    assert _log(attempt) == b"a line of the log\n"
    assert not LogChunk.objects.exists()
    [file] = RunFile.objects.all()
    assert object_store().read_range(file.key, 0, 100) == b'{"a": 1}'
    assert not list(bench.places.runs.iterdir())


def test_warnings_of_the_submission_stay_whatever_the_attempts_find(
    bench: Bench, tmp_path: Path
) -> None:
    found = make_app(tmp_path / "app", "exit 3", manifest="runsite: {retries: 1}\n")
    found.concurrency_expression, found.concurrency_limit = "{zone}", 1
    found.save()
    run = bench.make(found)
    assert (run.status, run.hold) == (Status.QUEUED, Run.WAITS_FOR_RETRY)
    Run.objects.filter(pk=run.pk).update(hold=Run.NO_HOLD)
    bench.conductor(bench.claim())
    run.refresh_from_db()
    assert (run.status, run.attempt_number) == (Status.FAILED, 2)
    assert ["`zone`" in warning for warning in run.warnings] == [True]


def test_a_missing_archive_ends_the_run_and_names_it(bench: Bench, app: Any) -> None:
    object_store().delete(app.executable.archive_key)
    run = bench.make(app)
    assert (run.status, run.end_reason) == (Status.FAILED, EndReason.NOT_STARTED)
    assert run.error == "not started: archive missing"
    assert "build 1" in run.detail


def test_a_broken_archive_ends_the_run_and_says_why(bench: Bench, app: Any) -> None:
    object_store().put_bytes(app.executable.archive_key, b"this is no archive at all")
    run = bench.make(app)
    assert (run.status, run.end_reason) == (Status.FAILED, EndReason.NOT_STARTED)
    assert run.error == "not started: archive refused"
    assert "Upload the application again" in run.detail


def test_nothing_is_made_of_a_build_that_is_not_checked(bench: Bench, app: Any) -> None:
    """A process of an older release submits runs that are not held."""
    run = bench.submit(app)
    Executable.objects.filter(application=app).update(state=Executable.WAITING)
    bench.conductor(bench.claim())
    run.refresh_from_db()
    assert (run.status, run.end_reason) == (Status.FAILED, EndReason.NOT_STARTED)
    assert run.error == "not started: build not checked"
    assert list(bench.places.executables.iterdir()) == []


def test_a_missing_input_ends_the_run_and_names_it(bench: Bench, app: Any) -> None:
    given = _input(app)
    object_store().delete(InputFile.objects.get(input_data=given).key)
    run = bench.make(app, input_data=given)
    assert (run.status, run.end_reason) == (Status.FAILED, EndReason.NOT_STARTED)
    assert run.error == "not started: input missing"
    assert "`input.json`" in run.detail


def test_an_input_below_a_file_of_the_application_is_refused(bench: Bench, tmp_path: Path) -> None:
    from runs.actions.inputs import scratch_file, store_folder_input

    manifest = (
        "configuration:\n  content:\n    format: multi-file\n"
        "    multi-file:\n      input: {path: main}\n"
    )
    app = make_app(tmp_path / "files", "true", manifest=manifest)
    scratch = tmp_path / "one"
    scratch.write_text("1")
    given = store_folder_input(
        account=app.account, content_format="multi-file", files=[scratch_file("one", scratch)]
    )
    run = bench.make(app, input_data=given)
    assert (run.status, run.end_reason) == (Status.FAILED, EndReason.INPUT_REJECTED), run.detail


def test_a_file_that_cannot_be_copied_ends_the_run_and_is_named(
    bench: Bench, app: Any, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: str, target: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", target)

    monkeypatch.setattr("shutil.copy2", refuse)
    run = bench.make(app)
    assert (run.status, run.end_reason) == (Status.FAILED, EndReason.NOT_STARTED)
    assert run.error == "not started: Permission denied"
    assert str(data_dir) not in run.detail
    assert "Free space" in run.detail


def test_a_workspace_that_cannot_be_made_ends_the_run(bench: Bench, app: Any) -> None:
    bench.places.runs.rmdir()
    bench.places.runs.write_text("in the way")
    run = bench.make(app)
    assert (run.status, run.end_reason) == (Status.FAILED, EndReason.NOT_STARTED)
    assert run.error.startswith("not started: ")
    assert Attempt.objects.get().ended_at is not None


class Failing:
    """Raises a few times, then does what it stands for."""

    def __init__(self, act: Any, error: Exception, times: int) -> None:
        self.act, self.error, self.times = act, error, times

    def __call__(self, *args: Any, **words: Any) -> Any:
        if self.times > 0:
            self.times -= 1
            raise self.error
        return self.act(*args, **words)


def test_a_database_that_is_away_while_staging_is_waited_for(
    bench: Bench, app: Any, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    away = Failing(staging._facts_of, OperationalError("server closed the connection"), 5)
    monkeypatch.setattr(staging, "_facts_of", away)
    assert bench.make(app).status == Status.SUCCEEDED
    assert away.times == 0


def test_results_wait_for_space_in_the_store(
    bench: Bench, app: Any, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    full = Failing(LocalStore.put, OSError(errno.ENOSPC, "No space left on device"), 5)
    monkeypatch.setattr(LocalStore, "put", lambda self, *a, **k: full(self, *a, **k))
    assert bench.make(app).status == Status.SUCCEEDED
    assert full.times == 0


def test_an_error_that_is_no_outage_is_not_waited_for(
    bench: Bench, app: Any, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    never = Failing(results.end_run, OperationalError("index row size exceeds maximum"), 20)
    monkeypatch.setattr(results, "end_run", never)
    run = bench.make(app)
    assert (run.status, run.end_reason) == (Status.FAILED, EndReason.INTERNAL_ERROR)
    assert Attempt.objects.get().ended_at is not None


def test_a_log_that_cannot_be_stored_does_not_keep_the_run_running(
    bench: Bench, app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise DataError("never")

    monkeypatch.setattr(results, "store_log", refuse)
    monkeypatch.setattr(conduct, "store_log", refuse)
    run = bench.make(app)
    assert (run.status, run.end_reason) == (Status.FAILED, EndReason.INTERNAL_ERROR)


def test_a_result_file_that_cannot_be_read_is_a_warning(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(
        tmp_path / "out",
        "mkdir -p output; echo 1 > output/one; echo 2 > output/two",
        manifest="configuration:\n  content: {format: csv-archive}\n",
    )
    put_file = LocalStore.put_file

    def refuse_one(self: LocalStore, key: str, path: Path, **words: Any) -> Any:
        if path.name == "one":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return put_file(self, key, path, **words)

    given = _folder_input(app, tmp_path)
    monkeypatch.setattr(LocalStore, "put_file", refuse_one)
    run = bench.make(app, input_data=given)
    assert run.status == Status.SUCCEEDED, run.detail
    assert "`one` could not be kept: Permission denied." in run.warnings
    assert [file.path for file in RunFile.objects.filter(role=RunFile.SOLUTION)] == ["two"]


def _folder_input(app: Any, tmp_path: Path) -> Any:
    from runs.actions.inputs import scratch_file, store_folder_input

    scratch = tmp_path / "given.csv"
    scratch.write_text("1")
    return store_folder_input(
        account=app.account, content_format="csv-archive", files=[scratch_file("a.csv", scratch)]
    )


def test_a_lost_run_leaves_its_log_and_nothing_else(bench: Bench, app: Any) -> None:
    run = bench.submit(app)
    held = bench.claim()
    execute = conduct.execute
    try:

        def lose_it(*args: Any, **words: Any) -> Any:
            outcome = execute(*args, **words)
            give_back(held.claimed.run, held.claimed.attempt, timezone.now())
            held.lost, held.stop = True, Stop.KILL
            return outcome

        conduct.execute = lose_it  # type: ignore[assignment]
        bench.conductor(held)
    finally:
        conduct.execute = execute
    run.refresh_from_db()
    assert run.status == Status.QUEUED
    attempt = Attempt.objects.get()
    assert attempt.outcome == EndReason.WORKER_LOST
    assert _log(attempt) == b"a line of the log\n"
    assert not RunFile.objects.exists()
    assert not LogChunk.objects.exists()


def test_a_lost_answer_of_the_database_ends_the_run_once(
    bench: Bench, app: Any, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    end_run = results.end_run
    calls: list[None] = []

    def committed_but_not_heard(*args: Any) -> None:
        end_run(*args)
        calls.append(None)
        if len(calls) == 1:
            raise OperationalError("connection lost after the commit")

    monkeypatch.setattr(results, "end_run", committed_but_not_heard)
    run = bench.make(app)
    assert run.status == Status.SUCCEEDED
    attempt = Attempt.objects.get()
    assert _log(attempt) == b"a line of the log\n"
    assert attempt.outcome == EndReason.EXITED
    assert len(calls) == 1


def test_a_run_that_is_canceled_while_it_waits_to_be_staged_does_not_wait_on(
    bench: Bench, app: Any
) -> None:
    import fcntl

    run = bench.submit(app)
    held = bench.claim()
    bench.places.executables.mkdir(exist_ok=True)
    lock_file = bench.places.executables / f".{app.executable.executable_id}.lock"
    with lock_file.open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        timer = threading.Timer(0.2, lambda: setattr(held, "stop", Stop.CANCEL))
        timer.start()
        bench.conductor(held)
        timer.join()
    run.refresh_from_db()
    assert run.status == Status.CANCELED


def test_a_killed_worker_gives_back_what_it_cannot_store(
    bench: Bench, app: Any, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    def never(*_: Any, **__: Any) -> Any:
        held.stop = Stop.KILL
        raise OSError(errno.EIO, "Input/output error")

    run = bench.submit(app)
    held = bench.claim()
    bench.conductor.places.executables.mkdir(exist_ok=True)
    monkeypatch.setattr(LocalStore, "put_bytes", never)
    monkeypatch.setattr(LocalStore, "put", never)
    bench.conductor(held)
    run.refresh_from_db()
    assert run.status == Status.QUEUED
    assert Attempt.objects.get().outcome == EndReason.WORKER_STOPPED


def _needing(app: Any, bench: Bench, state: str) -> Environment:
    environment = make_environment()
    make_build(environment, host=bench.places.host, state=state)
    Executable.objects.filter(pk=app.executable.pk).update(environment=environment)
    return environment


def _build(folder: Path) -> None:
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    (folder / ".complete").write_text(json.dumps({"python_version": "3", "packages": []}))


def test_an_environment_that_is_gone_from_the_disk_is_waited_for(bench: Bench, app: Any) -> None:
    environment = _needing(app, bench, EnvironmentBuild.READY)
    run = bench.submit(app)
    held = bench.claim()
    thread = threading.Thread(target=_conduct, args=(bench, held))
    thread.start()
    waiting = EnvironmentBuild.objects.filter(state=EnvironmentBuild.WAITING)
    until(waiting.exists)
    _build(bench.places.environments / environment.key)
    waiting.update(state=EnvironmentBuild.READY)
    thread.join(60)
    run.refresh_from_db()
    assert run.status == Status.SUCCEEDED, run.detail


def test_an_environment_that_could_not_be_built_ends_the_run(bench: Bench, app: Any) -> None:
    _needing(app, bench, EnvironmentBuild.FAILED)
    run = bench.make(app)
    assert (run.status, run.end_reason) == (Status.FAILED, EndReason.ENVIRONMENT_NOT_BUILT)


def test_nobody_removes_the_environment_of_a_program_that_runs(
    bench: Bench, app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = _needing(app, bench, EnvironmentBuild.READY)
    folder = bench.places.environments / environment.key
    _build(folder)
    execute, removed = conduct.execute, []

    def look_meanwhile(*args: Any, **words: Any) -> Any:
        removed.append(dependencies.remove_environment(folder))
        return execute(*args, **words)

    monkeypatch.setattr(conduct, "execute", look_meanwhile)
    assert bench.make(app).status == Status.SUCCEEDED
    assert removed == [False]
    assert dependencies.remove_environment(folder)


def _conduct(bench: Bench, held: Held) -> None:
    try:
        bench.conductor(held)
    finally:
        connection.close()


def test_with_one_slot_a_run_and_the_run_that_it_waits_for_both_end(bench: Bench, app: Any) -> None:
    child = bench.submit(app)
    parent = bench.submit(app, waits_for=[child], priority=1)
    for run in (child, parent):
        held = bench.claim()
        assert held.claimed.run.pk == run.pk
        bench.conductor(held)
        run.refresh_from_db()
        assert run.status == Status.SUCCEEDED, run.detail
