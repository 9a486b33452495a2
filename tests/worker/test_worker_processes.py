"""Real workers that are killed, frozen and told to stop: no run is lost, none has two results."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runsite.console import worker_words
from tests.journeys.consoles import ROOT, Driver, carriers
from tests.journeys.tally import executions, make_tally
from tests.processes import is_running, until

pytestmark = pytest.mark.process

LIMIT_S = 120.0
"""For things that take a second or two on an idle machine."""
MANIFEST = """\
type: binary
files: [main]
configuration:
  options:
    items:
      - {name: marks, option_type: string}
      - {name: mode, option_type: string}
"""
# `-marks FOLDER -mode waits`: ends when somebody says go. `stubborn`: notes SIGTERM and goes on.
PROGRAM = """\
#!/bin/sh
marks=$2
if [ "$4" = stubborn ]; then
    trap ': >"$marks/asked"' TERM
    echo "begun" >&2
    while :; do sleep 0.1; done
fi
echo "begun" >&2
while [ ! -e "$marks/go" ]; do sleep 0.1; done
echo '{}'
"""


class Site:
    """An installation on SQLite with workers, which the test starts and stops."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self.data_dir.mkdir(mode=0o700)
        self.marks = folder  # where apps of the test leave their marks
        (self.data_dir / "tmp").mkdir(mode=0o700)
        self.env = {
            **{name: value for name, value in os.environ.items() if "RUNSITE_" not in name},
            "DJANGO_SETTINGS_MODULE": "runsite.settings",
            "RUNSITE_DATA_DIR": str(self.data_dir),
            "RUNSITE_SECRET_KEY": "only-for-tests-" + "0" * 32,
            "RUNSITE_SLOTS": "1",
            "RUNSITE_FREE_SPACE": "0",
            "RUNSITE_WORKER_SCHEDULES": "1",
            # A slow machine may lose a worker that is only slow: it gets more attempts.
            "RUNSITE_MAX_ATTEMPTS": "9",
            "TMPDIR": str(self.data_dir / "tmp"),
        }
        self.driver = Driver(self.env)
        self.workers: list[subprocess.Popen[bytes]] = []
        self.driver.prepare()
        for app in (make_tally(folder / "tally"), _make_app(folder / "app")):
            self.driver.add_application(folder=str(app), application_id=app.name)

    def start(self, name: str = "w1", **words: str) -> subprocess.Popen[bytes]:
        """Start a worker and wait until it serves."""
        number = len(list(self.folder.glob("worker-*.txt")))
        with (self.folder / f"worker-{number:02}.txt").open("wb") as output:
            worker = subprocess.Popen(
                worker_words(),
                env={**self.env, "RUNSITE_WORKER_NAME": name, **words},
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.workers.append(worker)

        def serves() -> bool:
            assert worker.poll() is None, self.said
            return any(
                (row["name"], row["state"], row["pid"]) == (name, "active", worker.pid)
                for row in self.driver.workers()
            )

        self.wait(serves)
        return worker

    def freeze(self, worker: subprocess.Popen[bytes]) -> None:
        """Stop a worker, though not while it writes: a file locked for ever is another accident."""

        def frozen() -> bool:
            worker.send_signal(signal.SIGSTOP)
            stat = Path(f"/proc/{worker.pid}/stat")
            until(lambda: stat.read_text().rsplit(")", 1)[1].split()[0] == "T")
            database = sqlite3.connect(self.data_dir / "runsite.sqlite3", timeout=10)
            try:
                database.execute("BEGIN IMMEDIATE")
                return True
            except sqlite3.OperationalError:
                worker.send_signal(signal.SIGCONT)
                return False
            finally:
                database.close()

        self.wait(frozen)

    def state(self, worker: subprocess.Popen[bytes]) -> str:
        """What the table says of a worker."""
        [row] = [row for row in self.driver.workers() if row["pid"] == worker.pid]
        return str(row["state"])

    @property
    def said(self) -> str:
        """What the workers printed."""
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("worker-*.txt")))

    def wait(self, condition: Any) -> Any:
        """Wait for something; what the workers said goes into the message when it never comes."""
        try:
            return until(condition, LIMIT_S)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.said}") from None

    def submit(self, application_id: str, **options: str) -> str:
        """Submit a run; its id."""
        options = {"marks": str(self.marks), **options}
        [run_id] = self.driver.submit(application=application_id, options=options)
        return str(run_id)

    def wait_until_executing(self, run_id: str) -> list[int]:
        """Wait until the app has said its first line; its processes."""

        def executes() -> bool:
            found = self.driver.look(run_id=run_id)
            return bool(found["phase"] == "executing" and found["chunks"])

        self.wait(executes)
        return carriers(f"RUN_ID={run_id}")

    def wait_for(self, run_id: str, status: str) -> dict[str, Any]:
        """Wait for a status; everything about the run then."""
        self.wait(lambda: self.driver.statuses(run_ids=[run_id])[run_id] == status)
        found: dict[str, Any] = self.driver.look(run_id=run_id)
        return found

    def wait_until_gone(self, pids: list[int]) -> None:
        """Wait until none of these executes any more."""
        assert pids
        self.wait(lambda: not [pid for pid in pids if is_running(pid)])

    def wait_for_exit(self, worker: subprocess.Popen[bytes]) -> None:
        """Wait until a worker has left by itself and in order."""
        try:
            code = worker.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it did not leave\n{self.said}") from None
        assert code == 0, self.said
        assert self.state(worker) == "stopped"

    def clear(self) -> None:
        """End what a test left: its workers in any state, and its runs."""
        for worker in self.workers:
            if worker.poll() is None:
                worker.kill()
                worker.send_signal(signal.SIGCONT)
            worker.wait(60)
        for pid in carriers(f"RUN_DIR={self.data_dir}/"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for run_id, status in self.driver.statuses().items():
            if status in {"queued", "running"}:
                self.driver.cancel(run_id=run_id)
        self.workers.clear()


def _make_app(folder: Path) -> Path:
    folder.mkdir()
    (folder / "app.yaml").write_text(MANIFEST)
    (folder / "main").write_text(PROGRAM)
    (folder / "main").chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    found = Site(tmp_path_factory.mktemp("site"))
    yield found
    found.driver.close()


@pytest.fixture
def site(installation: Site, tmp_path: Path) -> Iterator[Site]:
    """The installation without workers and waiting runs, and an empty folder for marks."""
    installation.marks = tmp_path
    try:
        yield installation
    finally:
        installation.clear()


def check_one_result(site: Site, run_id: str) -> dict[str, Any]:
    """The run succeeded once, in its last attempt; everything about it."""
    found = site.wait_for(run_id, "succeeded")
    outcomes = [attempt["outcome"] for attempt in found["attempts"]]
    assert outcomes == ["worker_lost"] * (len(outcomes) - 1) + ["exited"]
    assert len(outcomes) >= 2
    assert found["metrics"] == {"first": "no"}
    assert found["files"]
    assert all(f"/{len(outcomes)}/" in file["key"] for file in found["files"])
    ends = [event for event in found["events"] if event["after"] == "succeeded"]
    assert len(ends) == 1
    return found


def test_a_killed_worker_takes_its_apps_along_and_its_next_boot_makes_the_run(site: Site) -> None:
    worker = site.start()
    run_id = site.submit("tally", hold="first")
    apps = site.wait_until_executing(run_id)
    worker.kill()
    worker.wait(60)
    # The guardian ends them, nobody else is there.
    site.wait_until_gone(apps)
    assert site.driver.statuses(run_ids=[run_id]) == {run_id: "running"}
    site.start()
    found = check_one_result(site, run_id)
    assert executions(site.marks, run_id) == len(found["attempts"])
    # What the rows had of the lost log becomes an object.
    site.wait(lambda: site.driver.look(run_id=run_id)["chunks"] == 0)
    first = site.driver.look(run_id=run_id)["attempts"][0]
    assert site.driver.text_of(key=first["log_key"]) == f"execution of {run_id}, first: yes\n"
    assert list(site.data_dir.glob("worker/*/runs/*")) == []


def test_a_frozen_worker_changes_nothing_when_it_comes_back(site: Site) -> None:
    quick = {"RUNSITE_HEARTBEAT_S": "0.5", "RUNSITE_LEASE_S": "3", "RUNSITE_REAP_S": "0.5"}
    frozen = site.start("w1", **quick)
    run_id = site.submit("tally", hold="first")
    apps = site.wait_until_executing(run_id)
    site.start("w2", **quick)
    site.freeze(frozen)
    before = check_one_result(site, run_id)
    # It was lost, not dead: its app has not noticed anything.
    assert [pid for pid in apps if is_running(pid)]
    frozen.send_signal(signal.SIGCONT)
    site.wait_until_gone(apps)
    key = f"runs/{run_id}/1/log"
    site.wait(lambda: site.driver.look(run_id=run_id)["attempts"][0]["log_key"] == key)
    site.wait(lambda: site.driver.look(run_id=run_id)["chunks"] == 0)
    site.wait(lambda: site.state(frozen) == "active")
    after = site.driver.look(run_id=run_id)
    for name in ("status", "end_reason", "ended_at", "files", "metrics", "events", "log"):
        assert after[name] == before[name], name
    first = after["attempts"][0]
    assert first["outcome"] == "worker_lost"
    assert site.driver.text_of(key=key).startswith(f"execution of {run_id}, first: yes\n")
    assert executions(site.marks, run_id) == len(after["attempts"])


def test_the_first_signal_lets_runs_finish_and_takes_nothing_new(site: Site) -> None:
    worker = site.start()
    run_id = site.submit("app", mode="waits")
    site.wait_until_executing(run_id)
    waiting = site.submit("app", mode="waits")
    worker.terminate()
    site.wait(lambda: site.state(worker) == "draining")
    (site.marks / "go").touch()
    site.wait_for_exit(worker)
    assert site.driver.statuses(run_ids=[run_id, waiting]) == {
        run_id: "succeeded",
        waiting: "queued",
    }
    assert site.driver.look(run_id=waiting)["attempts"] == []


@pytest.mark.parametrize("how", ["two signals", "quit", "drain limit"])
def test_the_second_signal_ends_the_runs_and_gives_them_back(site: Site, how: str) -> None:
    limit = {"RUNSITE_DRAIN_LIMIT_S": "0"} if how == "drain limit" else {}
    worker = site.start(RUNSITE_GRACE_S="1", **limit)
    run_id = site.submit("app", mode="stubborn")
    apps = site.wait_until_executing(run_id)
    if how == "two signals":
        worker.terminate()
        worker.send_signal(signal.SIGINT)
    else:
        worker.send_signal(signal.SIGQUIT if how == "quit" else signal.SIGTERM)
    site.wait_for_exit(worker)
    assert not [pid for pid in apps if is_running(pid)]
    assert (site.marks / "asked").exists()
    found = site.driver.look(run_id=run_id)
    assert found["status"] == "queued"
    assert [attempt["outcome"] for attempt in found["attempts"]] == ["worker_stopped"]
    assert found["log"].startswith("begun\n")
    assert "SIGKILL" in {one["signal"] for one in found["ended"]}
    assert found["chunks"] == 0


def test_the_third_signal_kills_at_once(site: Site) -> None:
    worker = site.start(RUNSITE_GRACE_S="3000")
    run_id = site.submit("app", mode="stubborn")
    apps = site.wait_until_executing(run_id)
    worker.terminate()
    site.wait(lambda: site.state(worker) == "draining")
    worker.terminate()
    site.wait(lambda: (site.marks / "asked").exists())
    assert [pid for pid in apps if is_running(pid)]
    worker.terminate()
    site.wait_for_exit(worker)
    assert not [pid for pid in apps if is_running(pid)]
    found = site.driver.look(run_id=run_id)
    assert found["status"] == "queued"
    assert [attempt["outcome"] for attempt in found["attempts"]] == ["worker_stopped"]
