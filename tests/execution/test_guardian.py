"""The guardian ends what a dead worker left, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runs.execution.guardian import start_guardian
from runs.execution.process import processes_with_mark
from runs.execution.tree import MARK
from tests.execution.programs import PREFIX
from tests.processes import is_running, until

ROOT = str(Path(__file__).parents[2])

WORKER = """
import subprocess, sys, time
sys.path.insert(0, sys.argv[1])
from runs.execution.guardian import start_guardian
guardian = start_guardian(sys.argv[2])
stubborn = (
    "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True);"
    " time.sleep(3600)"
)
child = subprocess.Popen(
    [sys.executable, "-c", stubborn],
    env={"RUNSITE_MARK": sys.argv[2] + "run-1:1"},
    stdout=subprocess.PIPE,
    start_new_session=True,
)
child.stdout.readline()
print(guardian.process.pid, child.pid, flush=True)
if sys.stdin.readline() == "close\\n":
    guardian.close()
    print("closed", flush=True)
"""


class Worker:
    """A process with a guardian and one run."""

    def __init__(self, prefix: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, ROOT, prefix],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self.guardian, self.run = map(int, self.process.stdout.readline().split())

    def end(self) -> None:
        for pid in (self.guardian, self.run):
            if is_running(pid):
                os.kill(pid, signal.SIGKILL)
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    return f"{PREFIX}{request.node.name}:"


@pytest.fixture
def worker(prefix: str) -> Iterator[Worker]:
    made = Worker(prefix)
    yield made
    made.end()


def test_the_runs_of_a_killed_worker_are_ended(worker: Worker) -> None:
    bystander = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(3600)"],
        env={MARK: f"{PREFIX}somebody-else:1"},
        start_new_session=True,
    )
    worker.process.kill()
    until(lambda: not is_running(worker.run))
    until(lambda: not is_running(worker.guardian))
    assert is_running(bystander.pid)
    bystander.kill()
    bystander.wait()


def test_it_outlives_signals_to_the_group_of_the_worker(worker: Worker) -> None:
    os.killpg(worker.process.pid, signal.SIGINT)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(worker.guardian, number)
    os.killpg(worker.process.pid, signal.SIGKILL)
    until(lambda: not is_running(worker.run))
    until(lambda: not is_running(worker.guardian))


def test_a_dismissed_guardian_ends_nobody(worker: Worker) -> None:
    assert worker.process.stdin is not None
    assert worker.process.stdout is not None
    worker.process.stdin.write("close\n")
    worker.process.stdin.flush()
    assert worker.process.stdout.readline() == "closed\n"
    assert not is_running(worker.guardian)
    worker.process.wait(60)
    assert is_running(worker.run)


def test_it_is_small_and_alone(prefix: str) -> None:
    guardian = start_guardian(prefix)
    pid = guardian.process.pid
    try:
        assert os.getsid(pid) == pid
        modules = Path(f"/proc/{pid}/maps").read_text()
        assert "psutil" not in modules
        assert guardian.is_alive()
        assert {int(fd.name) for fd in Path(f"/proc/{pid}/fd").iterdir()} == {0, 1, 2}
    finally:
        guardian.close()
    assert not guardian.is_alive()
    assert not is_running(pid)
    guardian.close()
    assert processes_with_mark(prefix) == []


def test_an_empty_prefix_is_refused() -> None:
    with pytest.raises(ValueError, match="empty prefix"):
        start_guardian("")


def test_a_guardian_that_was_killed_is_noticed(prefix: str) -> None:
    guardian = start_guardian(prefix)
    os.kill(guardian.process.pid, signal.SIGKILL)
    until(lambda: not guardian.is_alive())
    guardian.close()
