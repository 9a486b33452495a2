"""Runs the installer in a process group of its own, with limits, and explains its failures."""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Literal

from runs.execution.process import forget, starting

LOOK_S = 0.2

_TAIL_BYTES = 8 * 1024
_GRACE_S = 5.0
_PIPE_WAIT_S = 2.0
_SECRET = re.compile(rb"//[^/@\s]*@")
_UNREACHABLE = re.compile(r"failed to fetch|error sending request|dns error", re.IGNORECASE)
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class BuildFailed(Exception):
    """An environment could not be built: why, what to do, and the last lines of the log."""

    def __init__(
        self, message: str, tail: str, reason: Literal["failed", "timed_out", "stopped"] = "failed"
    ) -> None:
        super().__init__(message)
        self.message = message
        self.tail = tail
        self.reason = reason

    @property
    def is_unreachable(self) -> bool:
        """Whether an index could not be asked at all."""
        return self.reason == "failed" and _UNREACHABLE.search(self.tail) is not None


class Tail:
    """Passes lines on to the log and keeps the last of them."""

    def __init__(self, log: Callable[[bytes], None]) -> None:
        self._log = log
        self._kept = b""
        self._line = b""

    def write(self, data: bytes) -> None:
        """Take a piece as it came (empty at the end); only whole lines can be searched."""
        self._line += data
        whole, newline, self._line = self._line.rpartition(b"\n")
        whole += newline
        if not data or len(self._line) > 65_536:
            whole, self._line = whole + self._line, b""
        if whole:
            shown = _SECRET.sub(b"//***@", whole)
            self._kept = (self._kept + shown)[-_TAIL_BYTES:]
            self._log(shown)

    def text(self) -> str:
        """The last lines, as text."""
        return _ANSI.sub("", self._kept.decode(errors="replace"))


@dataclass(frozen=True)
class Installer:
    """How the programs of one build are run."""

    environ: Mapping[str, str]
    """Their whole environment."""
    tail: Tail
    deadline: float
    """On the monotonic clock."""
    time_limit_s: float
    should_stop: Callable[[], object]

    def run(self, *command: str) -> None:
        """Run one program to its end, with its whole group; raises `BuildFailed`."""
        try:
            with starting() as own:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    # No settings of a project around the data directory are found from there.
                    cwd="/",
                    env=dict(self.environ),
                    start_new_session=True,
                )
                own(process.pid)
        except OSError as error:
            raise BuildFailed(
                f"`{command[0]}` could not be started: {error.strerror}. Install `uv` as"
                " `requirements.txt` says.",
                self.tail.text(),
            ) from None
        try:
            with process:
                assert process.stdout is not None
                try:
                    self._follow(process, process.stdout)
                finally:
                    # Before it is reaped, so that the number of its group cannot be another's.
                    _end_group(process)
        finally:
            forget(process.pid)
        if process.returncode != 0:
            raise BuildFailed(_explained(self.tail.text(), process.returncode), self.tail.text())

    def _follow(self, process: subprocess.Popen[bytes], output: IO[bytes]) -> None:
        """Pass on what `process` prints until it ends; raises if it must not go on."""
        ended_at = 0.0
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            open_pipe = True
            while open_pipe or not ended_at:
                if open_pipe and selector.select(LOOK_S):
                    data = os.read(output.fileno(), 65_536)
                    self.tail.write(data)
                    open_pipe = bool(data)
                elif not open_pipe:
                    time.sleep(0.01)
                self._check()
                if not ended_at and _has_ended(process):
                    ended_at = time.monotonic()
                if ended_at and time.monotonic() - ended_at > _PIPE_WAIT_S:
                    return  # something it left behind holds the pipe

    def _check(self) -> None:
        stop = self.should_stop()
        late = time.monotonic() > self.deadline
        if stop or late:
            self.tail.write(b"")  # also what waits for the end of its line
        if stop:
            raise BuildFailed(
                "The build was stopped. It starts again when a run needs the environment.",
                self.tail.text(),
                "stopped",
            )
        if late:
            raise BuildFailed(
                f"The build took longer than the {self.time_limit_s:g} s allowed. Ask for fewer"
                " packages or for versions that have wheels, or raise the limit.",
                self.tail.text(),
                "timed_out",
            )


def _explained(tail: str, code: int) -> str:
    """One sentence of cause and one of remedy, from what the installer printed."""
    if code < 0:
        return (
            f"The installer was ended by signal {-code}, perhaps for want of memory."
            " Free some, and build again."
        )
    lines = [line.strip(" ×╰─▶├│").strip() for line in tail.splitlines()]  # noqa: RUF001
    starts = [n for n, line in enumerate(lines) if line.startswith(("error:", "cause:"))]
    causes = [lines[n].split(":", 1)[1].strip() for n in starts[:3]]
    if not causes:
        causes = [line for line in lines if line][-1:] or [f"exit code {code}"]
    cause = ": ".join(cause.rstrip(".:") for cause in causes)[:600]
    fitting = (remedy for words, remedy in _REMEDIES if re.search(words, tail, re.IGNORECASE))
    remedy = next(fitting, "See the build log.")
    return f"The packages could not be installed: {cause}. {remedy}"


_REMEDIES = (
    ("no space left", "Free disk space on the worker, and build again."),
    (
        "failed to build|build backend|could not build",
        "Choose a version that has a wheel for this Python and platform.",
    ),
    (
        "dns|connect|timed out|network|tls|certificate|failed to fetch|error sending request",
        "Check that the worker reaches its package index, then build again.",
    ),
    (
        "no solution found|unsatisfiable|not found in the",
        "Correct the requirements, or the package index that is set on the worker.",
    ),
    ("couldn't parse|failed to parse|expected", "Correct the requirements."),
)


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether `process` has ended, without reaping it."""
    flags = os.WEXITED | os.WNOWAIT | os.WNOHANG
    return os.waitid(os.P_PID, process.pid, flags) is not None


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End what is left of the group of `process`: politely, then for certain."""
    if not _has_ended(process):
        os.killpg(process.pid, signal.SIGTERM)
        end = time.monotonic() + _GRACE_S
        while time.monotonic() < end and not _has_ended(process):
            time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
