"""How a run ends, and in which words: from what the execution says and what was found."""

from __future__ import annotations

from dataclasses import dataclass
from signal import Signals

from runs.domain.errors import RunsiteError
from runs.domain.status import EndReason, Status
from runs.execution.output import Collected
from runs.execution.spec import Outcome, Reason, RunSpec, Stop


class CannotStage(RunsiteError):
    """A run that cannot be prepared; `end_reason` and `short` say why in the run's columns."""

    def __init__(self, message: str, end_reason: EndReason, short: str) -> None:
        super().__init__(message)
        self.end_reason = end_reason
        self.short = short


@dataclass(frozen=True)
class Verdict:
    """How a run ends: status, end reason, one short line, one sentence of cause and remedy."""

    status: Status
    reason: EndReason
    error: str = ""
    detail: str = ""
    given_back: str = ""
    """Why its worker gives the run back, as "The disk of worker w1 is full"; empty for a stop."""


def verdict_of(outcome: Outcome) -> Verdict:
    """The verdict that follows from how the program ended.

    On a program that was stopped early `judged_result` decides, which knows what it has written.
    """
    if outcome.reason == Reason.CANCELED:
        return Verdict(Status.CANCELED, EndReason.CANCELED, "canceled", outcome.detail)
    if outcome.reason == Reason.STOPPED_EARLY:
        return Verdict(Status.FAILED, EndReason.NO_RESULT, "stopped without a result")
    if outcome.reason is not None:
        reason = EndReason(str(outcome.reason))
    elif outcome.signal is not None:
        reason = EndReason.SIGNAL
    elif outcome.exit_code:
        reason = EndReason.EXIT_CODE
    else:
        return Verdict(Status.SUCCEEDED, EndReason.EXITED)
    return Verdict(Status.FAILED, reason, outcome.error[:500], outcome.detail)


def judged_result(
    outcome: Outcome, collected: Collected, *, spec: RunSpec, output_format: str, stopped_by: str
) -> Verdict:
    """The verdict on a program that ended, in view of what it has written.

    `stopped_by` names who wanted it stopped and its result kept, if somebody did.
    """
    verdict = verdict_of(outcome)
    if outcome.reason == Reason.STOPPED_EARLY:
        who = "at its time limit" if outcome.stopped_at_limit else f"by {stopped_by or 'somebody'}"
        verdict = (
            Verdict(
                Status.SUCCEEDED,
                EndReason.STOPPED_EARLY,
                detail=f"Stopped {who}. {outcome.detail}".strip(),
            )
            if has_result(collected, output_format)
            else _without_result(who, spec)
        )
    if collected.too_large and verdict.status is Status.SUCCEEDED:
        return Verdict(
            Status.FAILED, EndReason.OUTPUT_TOO_LARGE, "output too large", collected.too_large
        )
    return verdict


def has_result(collected: Collected, output_format: str) -> bool:
    """Whether a program that was stopped has written something that is worth keeping."""
    kinds = {"json", "files", "text"} if output_format == "text" else {"json", "files"}
    return (
        collected.result_kind in kinds
        or collected.metrics is not None
        or collected.statistics is not None
    )


def _without_result(who: str, spec: RunSpec) -> Verdict:
    grace_s = spec.grace_s if spec.stop_grace_s is None else spec.stop_grace_s
    return Verdict(
        Status.FAILED,
        EndReason.NO_RESULT,
        "stopped without a result",
        f"Stopped {who}, but the program had written no result. Let it write the best one so far"
        f" when it gets {Signals(spec.stop_signal).name}; it has {grace_s:g} s for that.",
    )


def cannot_be_staged(error: RunsiteError) -> Verdict:
    """The verdict on a run that could not be prepared."""
    reason = getattr(error, "end_reason", EndReason.NOT_STARTED)
    short = getattr(error, "short", "") or "not started"
    return Verdict(Status.FAILED, reason, short, error.message)


def stopped_before_start(stop: Stop | None) -> Verdict:
    """The verdict on a run that was stopped while it was prepared."""
    if stop is Stop.CANCEL:
        return Verdict(Status.CANCELED, EndReason.CANCELED, "canceled", "")
    if stop is Stop.KEEP:
        return Verdict(
            Status.FAILED,
            EndReason.NO_RESULT,
            "stopped before it started",
            "Somebody wanted it stopped and its result kept, but its program had not started."
            " Launch it again if you want a result.",
        )
    return Verdict(Status.FAILED, EndReason.WORKER_STOPPED, "worker stopped", "")


def disk_failed(fault: str, worker_name: str) -> Verdict:
    """The verdict on an attempt that the worker's own disk has ended; `fault` as `disk_fault`."""
    what = f"The disk of worker {worker_name} {fault}"
    return Verdict(
        Status.FAILED,
        EndReason.WORKER_STOPPED,
        f"disk of worker {worker_name} {fault}",
        f"{what}. Free space in its data directory, or mend its disk.",
        given_back=what,
    )


def no_workspace(error: OSError, worker_name: str) -> Verdict:
    """The verdict on a run for which not even a folder could be made."""
    words = error.strerror or "disk error"
    return Verdict(
        Status.FAILED,
        EndReason.NOT_STARTED,
        f"not started: {words}"[:200],
        f"The worker could not make a workspace for the run: {words}. Free space in the data"
        f" directory of worker {worker_name}, or mend its disk, then launch the run again.",
    )


def internal_error(error: Exception) -> Verdict:
    """The verdict on a run that an error of ours broke."""
    return Verdict(
        Status.FAILED,
        EndReason.INTERNAL_ERROR,
        "internal error",
        f"Runsite itself failed on this run ({type(error).__name__}). It is not the application's"
        " fault: run it again, and show the worker's log to your administrator.",
    )
