"""Signals hit the very process that was meant, whatever has its number now."""

from __future__ import annotations

import subprocess
import sys
from signal import SIGTERM

import pytest

from runs.execution import ending
from runs.execution.ending import Ending, _send
from runs.execution.tree import read_process
from tests.processes import is_running, until

SLEEP = [sys.executable, "-S", "-c", "import time; time.sleep(3600)"]


@pytest.mark.parametrize("handles", [True, False])
def test_a_number_that_another_process_has_now_is_not_hit(
    handles: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(pid: int) -> int:
        raise OSError("no process handles here")

    if not handles:
        monkeypatch.setattr(ending.os, "pidfd_open", refuse)
    stranger = subprocess.Popen(SLEEP)
    try:
        meant = read_process(stranger.pid)
        assert meant is not None
        former = meant._replace(start=meant.start - 1)
        _send(former, SIGTERM, Ending())
        assert stranger.poll() is None
        assert is_running(stranger.pid)
        _send(meant, SIGTERM, Ending())
        assert until(lambda: stranger.poll() is not None)
    finally:
        stranger.kill()
        stranger.wait()
