"""What is known before a run: its usual duration, and whether the same was solved already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from runs.domain.options import ResolvedOption, to_wire
from runs.domain.status import Status
from runs.models import Application, Executable, InputData, Run

ENOUGH_RUNS = 10
LOOKED_AT = 50
SAME_LOOKED_AT = 20


@dataclass(frozen=True)
class UsualDuration:
    """The median execution time of the last succeeded runs, in seconds, and of how many.

    `seconds` is None while there are fewer than `ENOUGH_RUNS`.
    """

    seconds: float | None
    runs: int


def usual_duration(application: Application) -> UsualDuration:
    """How long runs of it take, from the last `LOOKED_AT` that succeeded; one query."""
    times = [
        seconds
        for seconds in Run.objects.filter(
            account_id=application.account_id,
            application=application,
            status=Status.SUCCEEDED,
        )
        .order_by("-id")
        .values_list("execution_s", flat=True)[:LOOKED_AT]
        if seconds is not None
    ]
    if len(times) < ENOUGH_RUNS:
        return UsualDuration(None, len(times))
    return UsualDuration(median(times), len(times))


def solved_already(
    *,
    application: Application,
    executable: Executable,
    input_data: InputData,
    options: list[ResolvedOption],
) -> Run | None:
    """The newest succeeded run of this build on the same input with the same options in force.

    Looks at the last `SAME_LOOKED_AT` runs on that input; two queries whatever there is.
    """
    wanted = in_force(options)
    runs = (
        Run.objects.filter(
            account_id=application.account_id,
            application=application,
            executable=executable,
            input_data=input_data,
            status=Status.SUCCEEDED,
        )
        .order_by("-id")
        .prefetch_related("options")[:SAME_LOOKED_AT]
    )
    for run in runs:
        if {option.name: option.text for option in run.options.all()} == wanted:
            return run
    return None


def in_force(options: list[ResolvedOption]) -> Mapping[str, str]:
    """Options as texts by name, as runs keep them."""
    return {
        option.name: "" if option.value is None else to_wire(option.value) for option in options
    }
