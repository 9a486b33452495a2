"""What a run is given and what came of it: RunSpec in, Outcome out."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol


class Stop(enum.Enum):
    """Why, and how quickly, a program shall end; the answer of `should_stop()`."""

    CANCEL = "cancel"
    """Somebody canceled the run: SIGTERM, the grace period, SIGKILL."""
    WORKER_STOP = "worker_stop"
    """The worker ends its runs: the same signals, another end reason."""
    KILL = "kill"
    """SIGKILL at once; asked during a grace period it cuts that short."""


class Reason(enum.StrEnum):
    """Why execution ended a program, in the words of the end reasons of a run."""

    TIMED_OUT = "timed_out"
    CANCELED = "canceled"
    WORKER_STOPPED = "worker_stopped"
    OUTPUT_TOO_LARGE = "output_too_large"
    OUT_OF_MEMORY = "out_of_memory"
    NOT_STARTED = "not_started"


class CannotStart(Exception):
    """A program that cannot be started; the text names the file and the remedy."""


class LogSink(Protocol):
    """Takes what a program logs. Called from one thread of the execution at a time."""

    def write(self, data: bytes) -> None:
        """Take a chunk as it came. Must be quick: the program waits while its pipe is full."""


@dataclass(frozen=True)
class RunSpec:
    """One program to execute once."""

    run_id: str
    attempt: int
    workspace: Path
    """Root of the workspace; stdout is written to the file `stdout` in it."""
    command: tuple[str, ...]
    """The whole argument vector; the program is an absolute path or looked up in `env["PATH"]`."""
    cwd: Path
    env: Mapping[str, str]
    """The whole environment of the child. `RUNSITE_MARK` is added from `mark`."""
    mark: str
    """Unique per attempt; every process whose environment carries it belongs to this run."""
    content_format: str = "json"
    stdin: Path | None = None
    """File fed to stdin; None is an empty stdin."""
    entry: Path | None = None
    """The file that the command starts, checked before the start; None skips the check."""
    stdout_is_log: bool = False
    time_limit_s: float | None = None
    grace_s: float = 10.0
    """Seconds between SIGTERM and SIGKILL."""
    pipe_wait_s: float = 2.0
    """Seconds that stdout and stderr may stay open after the program has ended."""
    output_limit_bytes: int = 4 * 1024**3
    usage_every_s: float = 2.0


@dataclass(frozen=True)
class Ended:
    """One process that did not end by itself."""

    pid: int
    command: str
    """Its command line, at most 200 characters."""
    how: str
    """Why it was ended: "canceled", "left running", "held the output open" …"""
    signal: str
    """The signal that was the last one sent: "SIGTERM" or "SIGKILL"."""


@dataclass(frozen=True)
class Usage:
    """What the whole process tree uses at one moment."""

    at_s: float
    """Seconds since the start."""
    cpu_s: float
    """CPU seconds of the tree so far, ended children included; never falls."""
    memory_bytes: int
    """Memory of the tree now; pages of shared files are counted once."""
    processes: int


@dataclass(frozen=True)
class Outcome:
    """What came of one execution."""

    exit_code: int | None
    """None when a signal ended the program, or when it was never started."""
    signal: int | None
    reason: str | None
    """A `Reason`, or None when the program ended by itself."""
    error: str
    """One short line, empty when the program ended by itself with code 0."""
    detail: str
    """One sentence of cause and remedy, empty when `error` is."""
    started_at: datetime
    ended_at: datetime
    """When nothing of the run was alive any more."""
    duration_s: float
    """From start to end by the monotonic clock."""
    cpu_s: float
    peak_memory_bytes: int
    """Largest memory seen of the tree; 0 when nothing was started."""
    stdout: Path
    stdout_bytes: int
    ended: tuple[Ended, ...] = field(default=())
    warnings: tuple[str, ...] = field(default=())
