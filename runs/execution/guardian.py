"""Ends what a dead worker left behind: a small process of its own that outlives it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runs.execution.process import Child

_GRACE_S = 0.5
_GIVE_UP_S = 60.0
_DISMISS = b"q"
_READY = b"r"


class Guardian:
    """The guardian of this worker, as the worker sees it."""

    def __init__(self, child: Child, pipe: int) -> None:
        self.process = child.popen
        """The `Popen` of the guardian; its `pid` is of interest, waiting is done by `close`."""
        self._child = child
        self._pipe = pipe

    def is_alive(self) -> bool:
        """Whether it still watches. A worker that finds it gone starts another."""
        return self._pipe >= 0 and not self._child.wait(0)

    def close(self) -> None:
        """Dismiss it: it leaves and ends nobody. Waits for its end; may be called again."""
        if self._pipe < 0:
            return
        try:
            os.write(self._pipe, _DISMISS)
        except BrokenPipeError:
            pass  # it has gone already
        finally:
            os.close(self._pipe)
            self._pipe = -1
        self._child.reap()


def start_guardian(prefix: str) -> Guardian:
    """Start the guardian of all runs of this worker.

    When this process ends without `Guardian.close`, killed or not, the guardian ends every process
    whose mark starts with `prefix`, within about a second. Two workers of one host must not share
    a prefix. Returns when it is on guard. Raises ValueError for an empty prefix, and RuntimeError
    when the guardian cannot be started.
    """
    from runs.execution import process  # the guardian itself does without it

    if not prefix:
        raise ValueError("an empty prefix would mark every run of the machine")
    read, write = os.pipe()
    ready_read, ready_write = os.pipe()
    nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        child = process.start(
            [sys.executable, "-I", "-S", str(Path(__file__).resolve()), prefix],
            cwd=Path("/"),
            env={"LANG": "C.UTF-8"},
            stdin=read,
            stdout=ready_write,
            stderr=nowhere,
        )
    except BaseException:
        os.close(write)
        os.close(ready_read)
        raise
    finally:
        os.close(read)
        os.close(ready_write)
        os.close(nowhere)
    guardian = Guardian(child, write)
    try:
        if not os.read(ready_read, 1):
            guardian.close()
            raise RuntimeError(f"the guardian could not be started with {sys.executable}")
    finally:
        os.close(ready_read)
    return guardian


def main(prefix: str) -> int:
    """The guardian itself: wait for the end of fd 0, then end the runs of the dead worker."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    os.closerange(3, 256)
    if os.getsid(0) != os.getpid():
        os.setsid()
    with contextlib.suppress(OSError):
        os.write(1, _READY)
    os.dup2(2, 1)  # the worker sees the end of the pipe
    while True:
        word = os.read(0, 1)
        if word == _DISMISS:
            return 0
        if not word:
            break
    from runs.execution.ending import end_processes
    from runs.execution.tree import Marked, Scanner

    marked = Marked(Scanner(), prefix)
    end_processes(marked.living, grace_s=_GRACE_S, give_up_s=_GIVE_UP_S)
    return 0


if __name__ == "__main__":
    # Started by path and isolated from the environment, which makes it start fast and stay small.
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    if len(sys.argv) != 2 or not sys.argv[1]:
        sys.exit("usage: guardian.py PREFIX")
    sys.exit(main(sys.argv[1]))
