"""Runs outlive their workers: killed, stopped, canceled at the worst moment."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.consoles import Console, assert_nothing_left, carriers, serving
from tests.journeys.tally import executions, make_tally
from tests.processes import is_running, until

pytestmark = pytest.mark.process


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    """Where the tally app leaves its marks."""
    folder = tmp_path / "marks"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """A console for the tests of this file alone, with the tally app."""
    folder = tmp_path_factory.mktemp("accidents")
    applications = {"tally": make_tally(folder / "tally")}
    with serving(folder / "console", applications=applications, RUNSITE_GRACE_S="2") as found:
        yield found


@pytest.fixture
def console(started: Console) -> Console:
    """That console, started again if a failed test has left it stopped."""
    if started.process is None:
        started.start()
    return started


def hold(console: Console, marks: Path) -> str:
    """Submit a run whose first execution lasts until it is ended, and wait until it executes."""
    run_id = console.submit("tally", options={"marks": str(marks), "hold": "first"})
    found = console.wait_until_executing(run_id)
    assert found["attempt_number"] == 1
    until(lambda: len(carriers(f"RUN_ID={run_id}")) == 2)
    return run_id


def check_made_again(console: Console, run_id: str, marks: Path, outcome: str) -> None:
    """Two attempts, one result; the history says why."""
    found = console.wait_for(run_id)
    assert found["status"] == "succeeded", found
    assert [attempt["outcome"] for attempt in found["attempts"]] == [outcome, "exited"]
    assert found["metrics"] == {"first": "no"}
    assert all("/2/" in file["key"] for file in found["files"])
    assert [(event["before"], event["after"]) for event in found["events"]] == [
        ("", "queued"),
        ("queued", "running"),
        ("running", "queued"),
        ("queued", "running"),
        ("running", "succeeded"),
    ]
    assert executions(marks, run_id) == 2
    assert_nothing_left(console, found)


def test_a_killed_worker_takes_its_runs_with_it_and_they_are_made_again(console, marks):
    run_id = hold(console, marks)
    apps = carriers(f"RUN_ID={run_id}")
    [worker] = console.driver.workers()
    os.kill(worker["pid"], signal.SIGKILL)
    # Its guardian ends them, whether or not anybody reaps them.
    until(lambda: not [pid for pid in apps if is_running(pid)])
    check_made_again(console, run_id, marks, "worker_lost")
    [again] = console.driver.workers()
    assert (again["name"], again["state"]) == (worker["name"], "active")
    assert again["pid"] != worker["pid"]
    assert again["boot_id"] != worker["boot_id"]


def test_a_stopped_console_gives_its_runs_back_and_the_next_start_makes_them(console, marks):
    run_id = hold(console, marks)
    apps = carriers(f"RUN_ID={run_id}")
    took_s = console.stop()
    assert not [pid for pid in apps if is_running(pid)]
    # The promise is 15 s; a busy machine may be late.
    assert took_s <= 30
    found = console.look(run_id)
    assert found["status"] == "queued"
    assert [attempt["outcome"] for attempt in found["attempts"]] == ["worker_stopped"]
    assert {one["how"] for one in found["ended"]} == {"worker stopped"}
    assert found["log"].startswith(f"execution of {run_id}, first: yes")
    assert console.workspaces == []
    console.start()
    check_made_again(console, run_id, marks, "worker_stopped")


def test_a_run_canceled_while_its_worker_is_gone_stays_canceled(console, marks):
    run_id = hold(console, marks)
    console.stop()
    assert console.driver.cancel(run_id=run_id)
    console.start()
    assert console.make("tally", options={"marks": str(marks)})["status"] == "succeeded"
    found = console.look(run_id)
    assert (found["status"], found["end_reason"]) == ("canceled", "canceled")
    assert len(found["attempts"]) == 1
    assert executions(marks, run_id) == 1


def test_a_run_canceled_between_claim_and_start_is_never_started(console, marks):
    assert console.make("tally", options={"marks": str(marks)})["status"] == "succeeded"
    [lock] = console.data_dir.glob("worker/*/executables/.*.lock")
    with lock.open("ab") as handle:
        # While somebody makes or removes the executable, staging waits.
        fcntl.flock(handle, fcntl.LOCK_EX)
        run_id = console.submit("tally", options={"marks": str(marks)})
        found = console.wait_for(run_id, "running")
        assert found["phase"] == "preparing"
        assert console.driver.cancel(run_id=run_id)
    found = console.wait_for(run_id)
    assert (found["status"], found["end_reason"]) == ("canceled", "canceled")
    assert found["error"] == "canceled by tests"
    assert [attempt["pid"] for attempt in found["attempts"]] == [None]
    assert executions(marks, run_id) == 0
    assert_nothing_left(console, found)


def test_a_queued_run_is_canceled_at_once(console, marks):
    person = console.sign_in()
    person.get("/queue/")
    person.post("/queue/pause/", {"queue": "default"})
    try:
        run_id = person.launch("tally", {"marks": str(marks)}, source="none")
        person.cancel(run_id)
        found = console.look(run_id)
        assert (found["status"], found["end_reason"]) == ("canceled", "canceled")
        assert found["error"] == "canceled by admin@localhost"
    finally:
        person.post("/queue/resume/", {"queue": "default"})
    assert console.make("tally", options={"marks": str(marks)})["status"] == "succeeded"
    assert console.look(run_id)["attempts"] == []
    assert executions(marks, run_id) == 0
