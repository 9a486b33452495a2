"""Why a program must end, and how politely: what weighs more goes first."""

from __future__ import annotations

from types import MappingProxyType
from typing import NamedTuple

from runs.execution.spec import Breach, Reason, RunSpec, Stop

MEMORY_GRACE_S = 2.0
"""The longest grace period of a program above its memory limit: it goes on eating meanwhile."""

HOW: MappingProxyType[Reason, str] = MappingProxyType(
    {
        Reason.CANCELED: "canceled",
        Reason.WORKER_STOPPED: "worker stopped",
        Reason.TIMED_OUT: "time limit",
        Reason.OUTPUT_TOO_LARGE: "output limit",
        Reason.STOPPED_EARLY: "stopped early",
        Reason.MEMORY_LIMIT: "memory limit",
        Reason.PROCESS_LIMIT: "process limit",
        Reason.LOG_TOO_LARGE: "log limit",
    }
)
"""How an ended process is told, by the reason of its run."""

REASONS: MappingProxyType[Stop, Reason] = MappingProxyType(
    {
        Stop.CANCEL: Reason.CANCELED,
        Stop.WORKER_STOP: Reason.WORKER_STOPPED,
        Stop.KILL: Reason.WORKER_STOPPED,
        Stop.KEEP: Reason.STOPPED_EARLY,
        Stop.LOG_LIMIT: Reason.LOG_TOO_LARGE,
        Stop.DISK_FAILED: Reason.WORKER_STOPPED,
    }
)
"""The reason that follows from a wish."""


class Demand(NamedTuple):
    """That a program must end."""

    reason: Reason
    how: str
    grace_s: float
    """Seconds between SIGTERM and SIGKILL."""


def demand_of(
    spec: RunSpec,
    *,
    breach: Breach | None,
    wish: Stop | None,
    too_large: bool,
    disk_failed: bool,
    time_is_up: bool,
) -> Demand | None:
    """What is demanded of a program, None while it may go on.

    Limits go first, as they protect the machine; a stop that keeps the result gives way to all
    others.
    """
    if breach is not None:
        # A fork loop is faster than any politeness.
        most_s = 0.0 if breach.reason is Reason.PROCESS_LIMIT else MEMORY_GRACE_S
        return Demand(breach.reason, HOW[breach.reason], min(spec.grace_s, most_s))
    if wish is Stop.KILL:
        return Demand(REASONS[wish], "killed at once", 0.0)
    if (disk_failed and wish in {None, Stop.KEEP}) or wish is Stop.DISK_FAILED:
        return Demand(REASONS[Stop.DISK_FAILED], "disk of the worker failed", spec.grace_s)
    if wish is not None and wish is not Stop.KEEP:
        return Demand(REASONS[wish], HOW[REASONS[wish]], spec.grace_s)
    reason = None
    if too_large:
        reason = Reason.OUTPUT_TOO_LARGE
    elif wish is Stop.KEEP or (time_is_up and spec.keep_at_time_limit):
        reason = Reason.STOPPED_EARLY
    elif time_is_up:
        reason = Reason.TIMED_OUT
    return Demand(reason, HOW[reason], spec.grace_s) if reason else None
