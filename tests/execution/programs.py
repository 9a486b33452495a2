"""Small programs for the tests of the execution room, and what is needed to run them."""

from __future__ import annotations

import itertools
import os
import sys
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runs.execution.environment import child_environment
from runs.execution.executor import execute
from runs.execution.spec import Outcome, RunSpec, Stop
from runs.execution.workspace import Workspace

STRESS = Path(__file__).parents[2] / "examples" / "stress" / "main.py"

_numbers = itertools.count(1)
PREFIX = f"test-{os.getpid()}-{uuid.uuid4().hex[:8]}:"


class Log:
    """A log kept in memory."""

    def __init__(self) -> None:
        self.data = b""
        self.chunks: list[bytes] = []
        self._lock = threading.Lock()

    def write(self, data: bytes) -> None:
        with self._lock:
            self.data += data
            self.chunks.append(data)

    @property
    def text(self) -> str:
        return self.data.decode()


def make_spec(tmp_path: Path, program: str | Path, *arguments: str, **changes: Any) -> RunSpec:
    """The spec of a Python program, given as source or as a file, in a new workspace."""
    number = next(_numbers)
    workspace = Workspace(tmp_path / f"run-{number}")
    workspace.create()
    if isinstance(program, str):
        path = workspace.work / "main.py"
        path.write_text(program)
    else:
        path = program
    mark = f"{PREFIX}{number}:1"
    values: dict[str, Any] = {
        "run_id": f"run-{number}",
        "attempt": 1,
        "workspace": workspace.root,
        "command": (sys.executable, str(path), *arguments),
        "cwd": workspace.work,
        "env": child_environment(
            run_id=f"run-{number}", run_dir=workspace.work, tmp=workspace.tmp, mark=mark
        ),
        "mark": mark,
    }
    return RunSpec(**values | changes)


def run(spec: RunSpec, *, log: Log | None = None, **calls: Any) -> Outcome:
    """Execute with nobody who wants it to stop."""
    calls.setdefault("should_stop", lambda: None)
    return execute(spec, log=log if log is not None else Log(), **calls)


def stop_when(condition: Callable[[], object], stop: Stop = Stop.CANCEL) -> Callable[[], Any]:
    """Answers `stop` from the moment at which `condition` first held."""
    held = threading.Event()

    def should_stop() -> Stop | None:
        if not held.is_set() and condition():
            held.set()
        return stop if held.is_set() else None

    return should_stop


def written_pids(folder: Path) -> list[int]:
    """The numbers that programs wrote as names of files `pid-<number>` into `folder`."""
    return [int(path.name.removeprefix("pid-")) for path in folder.glob("pid-*")]


TELL = """
import os, pathlib, signal, subprocess, sys, time
def tell(name=None):
    pathlib.Path(os.environ["RUN_DIR"], "pid-%d" % os.getpid()).touch()
def wait():
    while True:
        time.sleep(0.05)
"""
"""Head of a program: `tell()` leaves its pid in the working directory, `wait()` never returns."""
