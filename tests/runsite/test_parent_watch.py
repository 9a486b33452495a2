"""A child of a web server ends with the process that started it; nobody else is watched."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runsite.parent_watch import EXIT_CODE, wait_for_end, watch_parent
from tests.processes import is_running, until

ROOT = Path(__file__).resolve().parents[2]
SERVER = """\
import multiprocessing, sys, time
from runsite.parent_watch import watch_parent

def serve():
    assert watch_parent() is not None
    print(multiprocessing.current_process().pid, flush=True)
    time.sleep(600)

if __name__ == "__main__":
    multiprocessing.get_context(sys.argv[1]).Process(target=serve).start()
    time.sleep(600)
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_child_leaves_when_its_parent_was_killed(tmp_path: Path, method: str):
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    parent = subprocess.Popen(
        [sys.executable, str(script), method],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_running(child)
    finally:
        parent.kill()
        parent.wait(60)
        parent.stdout.close()
    until(lambda: not is_running(child))


def test_who_was_not_started_as_a_child_is_not_watched():
    assert multiprocessing.parent_process() is None
    assert watch_parent() is None


class Gone:
    """A parent that has ended and whose pipe somebody closed."""

    pid = 2**22 + 1

    @property
    def sentinel(self) -> int:
        raise OSError("Bad file descriptor")


def test_a_parent_that_cannot_be_waited_for_is_looked_for(caplog):
    wait_for_end(Gone())
    assert "cannot be waited for" in caplog.text
    assert EXIT_CODE != 0
