"""How the end of a program is told: its words and its warnings."""

from __future__ import annotations

from dataclasses import replace

from runs.execution.exit_codes import Explanation, Figures, explain
from runs.execution.pump import Pump
from runs.execution.spec import Asked, Breach, Outcome, Reason, RunSpec


def told_end(
    spec: RunSpec,
    pump: Pump | None,
    *,
    exit_code: int | None,
    signal: int | None,
    reason: Reason | None,
    breach: Breach | None,
    asked: Asked | None,
) -> Explanation:
    """The error and its detail; `pump` is None when the program was never started."""
    if pump is not None and pump.store_failure and reason is Reason.OUTPUT_TOO_LARGE:
        return Explanation(
            f"output not stored: {pump.store_failure}",
            "The worker could not write the output of the program to its disk; free space in"
            " its data directory and run it again.",
        )
    return explain(
        exit_code,
        signal,
        reason=reason,
        time_limit_s=spec.time_limit_s,
        output_limit_bytes=spec.output_limit_bytes,
        figures=Figures(
            breach=breach,
            asked=asked,
            log_limit_bytes=spec.log_limit_bytes,
            logged_bytes=pump.logged_bytes if pump else 0,
        ),
    )


def stream_warnings(spec: RunSpec, pump: Pump) -> list[str]:
    """What of stdout and of the log was not kept."""
    warnings = []
    if pump.over_limit.is_set() and spec.output_limit_action == "truncate":
        warnings.append(
            f"stdout was cut at its limit: {pump.stdout_bytes} bytes were kept and"
            f" {pump.dropped_bytes} dropped. Write less, or raise the output limit."
        )
    elif pump.dropped_bytes:
        warnings.append(f"{pump.dropped_bytes} bytes of stdout were not kept.")
    if pump.log_failure:
        warnings.append(f"Part of the log was not kept: {pump.log_failure}.")
    return warnings


def never_ran(outcome: Outcome, words: str) -> Outcome:
    """The outcome of a program that could not be started; `words` are those of `CannotStart`."""
    cause, _colon, remedy = words.partition(": ")
    return replace(
        outcome,
        error=f"not started: {cause.rstrip('.')}",
        detail=words if remedy else f"{words} Upload the application again.",
    )
