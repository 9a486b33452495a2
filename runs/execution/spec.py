"""What a run is given and what came of it: RunSpec in, Outcome out."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from signal import SIGINT
from typing import Literal, Protocol


class Stop(enum.Enum):
    """Why, and how quickly, a program shall end; the answer of `should_stop()`."""

    CANCEL = "cancel"
    """Somebody canceled the run: SIGTERM, the grace period, SIGKILL."""
    WORKER_STOP = "worker_stop"
    """The worker ends its runs: the same signals, another end reason."""
    KILL = "kill"
    """SIGKILL at once; asked during a grace period it cuts that short."""
    KEEP = "keep"
    """Somebody wants the result now: the program's stop signal, its own grace period, then as for
    a cancel. Every other answer given meanwhile takes over."""
    LOG_LIMIT = "log_limit"
    """The log is above its limit, and the run shall fail for that."""
    DISK_FAILED = "disk_failed"
    """The worker's own disk takes no more of the log: another worker shall make the run."""


class Reason(enum.StrEnum):
    """Why execution ended a program, in the words of the end reasons of a run."""

    TIMED_OUT = "timed_out"
    CANCELED = "canceled"
    WORKER_STOPPED = "worker_stopped"
    OUTPUT_TOO_LARGE = "output_too_large"
    OUT_OF_MEMORY = "out_of_memory"
    NOT_STARTED = "not_started"
    STOPPED_EARLY = "stopped_early"
    MEMORY_LIMIT = "memory_limit"
    PROCESS_LIMIT = "process_limit"
    LOG_TOO_LARGE = "log_too_large"


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
    env: Mapping[str, str] = field(repr=False)
    """The whole environment of the child, secrets among it. `RUNSITE_MARK` is added from `mark`."""
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
    output_limit_action: Literal["fail", "truncate"] = "fail"
    """What a stdout above its limit does: end the program, or drop the rest and go on."""
    memory_limit_bytes: int | None = None
    """For all processes together; pages of mapped files do not count."""
    process_limit: int | None = None
    """How many processes may be alive at once, the program itself included."""
    log_limit_bytes: int | None = None
    """Only for the words of an end by `Stop.LOG_LIMIT`: the sink itself keeps the limit."""
    stop_signal: int = SIGINT
    """What asks the program to stop and keep its result."""
    stop_grace_s: float | None = None
    """Seconds it then has to write the result; None is `grace_s`."""
    keep_at_time_limit: bool = False
    """At the time limit stop and keep the result, instead of failing."""


@dataclass(frozen=True)
class Ended:
    """One process that did not end by itself."""

    pid: int
    command: str
    """Its command line, at most 200 characters."""
    how: str
    """Why it was ended: "canceled", "left running", "held the output open" …"""
    signal: str
    """The last signal it was sent: "SIGTERM", "SIGKILL", or the stop signal of the run."""


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
class Breach:
    """Evidence of a run above its memory limit (in bytes) or its process limit."""

    reason: Reason
    limit: int
    used: int
    processes: int
    largest: str
    """The command line of the process with most memory, or the name of most processes."""
    largest_used: int


@dataclass(frozen=True)
class Asked:
    """How a program was asked to stop and keep its result, and what it did."""

    signal: str
    grace_s: float
    at_limit: bool
    """The time limit asked, not a person."""
    took_s: float = 0.0
    forced: bool = False
    """It did not end within the grace period."""
    ignored: bool = False
    """It had told the system to ignore the signal."""


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
    stopped_at_limit: bool = False
    """Stopped early because of the time limit (`RunSpec.keep_at_time_limit`)."""
    disk_failed: str = ""
    """What is wrong with the worker's own disk, as "is full", when that ended the program; the
    reason is then `worker_stopped`."""
