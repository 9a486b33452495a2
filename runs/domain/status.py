"""The statuses of a run, the legal moves between them, and the reasons why runs end."""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType

from runs.domain.errors import IllegalMove


class Status(StrEnum):
    """Where a run is. The words are those of the wire and of the run folder."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


class Phase(StrEnum):
    """What a worker does with a running run; empty when no worker has it."""

    NONE = ""
    PREPARING = "preparing"
    EXECUTING = "executing"
    COLLECTING = "collecting"


class EndReason(StrEnum):
    """Why a run ended as it did; beside the status, never instead of it."""

    NONE = ""
    EXITED = "exited"
    STOPPED_EARLY = "stopped_early"
    EXIT_CODE = "exit_code"
    SIGNAL = "signal"
    OUT_OF_MEMORY = "out_of_memory"
    MEMORY_LIMIT = "memory_limit"
    PROCESS_LIMIT = "process_limit"
    TIMED_OUT = "timed_out"
    NO_RESULT = "no_result"
    CANCELED = "canceled"
    SUPERSEDED = "superseded"
    SKIPPED = "skipped"
    QUEUE_LIMIT = "queue_limit"
    WAIT_FAILED = "wait_failed"
    INPUT_REJECTED = "input_rejected"
    NOT_STARTED = "not_started"
    ENVIRONMENT_NOT_BUILT = "environment_not_built"
    OUTPUT_TOO_LARGE = "output_too_large"
    LOG_TOO_LARGE = "log_too_large"
    WORKER_LOST = "worker_lost"
    WORKER_STOPPED = "worker_stopped"
    FAILED_ELSEWHERE = "failed_elsewhere"
    INTERNAL_ERROR = "internal_error"


MOVES: MappingProxyType[Status, frozenset[Status]] = MappingProxyType(
    {
        Status.QUEUED: frozenset({Status.RUNNING, Status.FAILED, Status.CANCELED}),
        Status.RUNNING: frozenset(
            {Status.QUEUED, Status.SUCCEEDED, Status.FAILED, Status.CANCELED}
        ),
        Status.SUCCEEDED: frozenset(),
        Status.FAILED: frozenset(),
        Status.CANCELED: frozenset(),
    }
)
"""From a status to those that may follow it. `running → queued` is another attempt."""

INITIAL = Status.QUEUED
FINAL = frozenset(status for status, following in MOVES.items() if not following)
ACTIVE = frozenset(MOVES) - FINAL
CANCELABLE = frozenset(status for status in MOVES if Status.CANCELED in MOVES[status])

_SUCCEEDED = frozenset({EndReason.EXITED, EndReason.STOPPED_EARLY})
_CANCELED = frozenset({EndReason.CANCELED, EndReason.SUPERSEDED, EndReason.SKIPPED})

END_REASONS: MappingProxyType[Status, frozenset[EndReason]] = MappingProxyType(
    {
        Status.QUEUED: frozenset({EndReason.NONE}),
        Status.RUNNING: frozenset({EndReason.NONE}),
        Status.SUCCEEDED: _SUCCEEDED,
        Status.CANCELED: _CANCELED,
        Status.FAILED: frozenset(EndReason) - _SUCCEEDED - _CANCELED - {EndReason.NONE},
    }
)
"""The end reasons that may stand beside a status."""

WORDS: MappingProxyType[EndReason, str] = MappingProxyType(
    {
        EndReason.NONE: "",
        EndReason.EXITED: "ended by itself",
        EndReason.STOPPED_EARLY: "stopped early",
        EndReason.EXIT_CODE: "exit code",
        EndReason.SIGNAL: "killed by a signal",
        EndReason.OUT_OF_MEMORY: "out of memory",
        EndReason.MEMORY_LIMIT: "memory limit",
        EndReason.PROCESS_LIMIT: "too many processes",
        EndReason.TIMED_OUT: "timed out",
        EndReason.NO_RESULT: "stopped without a result",
        EndReason.CANCELED: "canceled",
        EndReason.SUPERSEDED: "superseded",
        EndReason.SKIPPED: "skipped",
        EndReason.QUEUE_LIMIT: "waited too long",
        EndReason.WAIT_FAILED: "awaited run failed",
        EndReason.INPUT_REJECTED: "input rejected",
        EndReason.NOT_STARTED: "not started",
        EndReason.ENVIRONMENT_NOT_BUILT: "environment not built",
        EndReason.OUTPUT_TOO_LARGE: "output too large",
        EndReason.LOG_TOO_LARGE: "log too large",
        EndReason.WORKER_LOST: "worker lost",
        EndReason.WORKER_STOPPED: "worker stopped",
        EndReason.FAILED_ELSEWHERE: "failed elsewhere",
        EndReason.INTERNAL_ERROR: "internal error",
    }
)
"""Each end reason as pages say it."""


def check_move(before: Status, after: Status) -> None:
    """Raise `IllegalMove` unless a run in `before` may be moved to `after`."""
    if after not in MOVES[before]:
        raise IllegalMove(f"A run that is {before} cannot become {after}.")


def sources_of(after: Status) -> frozenset[Status]:
    """The statuses from which a run may be moved to `after`."""
    return frozenset(before for before, following in MOVES.items() if after in following)


def _check_tables() -> None:
    """Fail on import when the tables contradict each other."""
    for table in (MOVES, END_REASONS):
        if set(table) != set(Status):
            raise AssertionError("each table needs a line for every status")
    if set(WORDS) != set(EndReason):
        raise AssertionError("every end reason needs its words")
    reached = {INITIAL}
    while more := {after for before in reached for after in MOVES[before]} - reached:
        reached |= more
    if reached != set(Status):
        raise AssertionError("a status that no run can reach")
    if not FINAL or INITIAL in FINAL:
        raise AssertionError("a run must be able to start and to end")


_check_tables()
