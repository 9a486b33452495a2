"""Promise: queued runs start within their expected range, 8 of 10 or more. Floor: 0.8."""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.report import Report, bounded, parser, rounded

if TYPE_CHECKING:
    from bench.consoles import Console
    from runs.models import Run

SIZES = (5_000, 10_000, 20_000, 40_000)
TOLERANCE_S = 0.1
"""What a claim and the measurement itself take."""

SIZED = {
    "app.yaml": "type: python\nfiles: [main.py]\n",
    "main.py": """\
import random
import sys
import time

size = len(sys.stdin.read())
time.sleep(size / 20_000 * random.lognormvariate(0, 0.4))
print("{}")
""",
}
"""Takes as long as its input is large, more or less: 8 of 10 between 0.6 and 1.7 times that."""


@dataclass(frozen=True)
class Told:
    """What was expected of one run at one moment."""

    run: int
    at: float
    low_s: float
    median_s: float
    high_s: float


def main() -> None:
    """Print one JSON line: how often the range was right, how wide it was, how many had one."""
    arguments_of = parser(__doc__, limit_s=300)
    arguments_of.add_argument("--history", type=int, default=30, help="runs before the first batch")
    arguments_of.add_argument("--batches", type=int, default=8, help="batches of queued runs")
    arguments_of.add_argument("--runs", type=int, default=16, help="runs of a batch")
    arguments_of.add_argument("--slots", type=int, default=2)
    arguments = arguments_of.parse_args()
    with bounded(arguments.limit):
        _measure(arguments.history, arguments.batches, arguments.runs, arguments.slots)


def _measure(history: int, batches: int, runs: int, slots: int) -> None:
    from bench.consoles import console

    report = Report("expected_start", promise="8 of 10 within their range", unit="share")
    at_submit: list[Told] = []
    halfway: list[Told] = []
    queued = 0
    with console(slots=slots) as one:
        one.add_application("sized", SIZED)
        one.start()
        one.wait_until_ended(_submit(one, history), every_s=0.1)
        for _ in range(batches):
            batch = _submit(one, runs)
            told, waiting = _ask(one)
            at_submit += told
            queued += waiting
            _wait_until_started(batch, len(batch) // 2)
            told, waiting = _ask(one)
            halfway += told
            queued += waiting
            one.wait_until_ended(batch, every_s=0.1)
        started = _starts([*at_submit, *halfway])
    told = [*at_submit, *halfway]
    off = [_off(each, started[each.run]) for each in told]
    waits = [started[each.run] - each.at for each in told]
    report.say(
        floor=0.8,
        figure=_share([each == 0 for each in off]),
        at_submit=_share([_off(each, started[each.run]) == 0 for each in at_submit]),
        halfway=_share([_off(each, started[each.run]) == 0 for each in halfway]),
        too_early=_share([each < 0 for each in off]),
        too_late=_share([each > 0 for each in off]),
        median_width_s=rounded(statistics.median(each.high_s - each.low_s for each in told)),
        median_wait_s=rounded(statistics.median(waits)),
        median_error_s=rounded(
            statistics.median(
                abs(wait - each.median_s) for wait, each in zip(waits, told, strict=True)
            )
        ),
        coverage=_share([True] * len(told) + [False] * (queued - len(told))),
        expectations=len(told),
    )


def _submit(one: Console, count: int) -> list[Run]:
    from runs.actions.inputs import store_text_input

    runs = []
    for _ in range(count):
        # Sizes around four usual ones, so that no two inputs are the same.
        size = int(random.choice(SIZES) * random.uniform(0.9, 1.1))
        data = b'{"x": "%s"}' % (b"x" * size)
        stored = store_text_input(account=one.account, content_format="json", data=data)
        runs.append(one.submit("sized", input_data=stored))
    return runs


def _ask(one: Console) -> tuple[list[Told], int]:
    """What is expected now of all queued runs, and how many those are."""
    from runs.actions.estimates import expected_starts
    from runs.queue.order import waiting_in_order

    waiting = waiting_in_order(one.account, limit=500)
    at = time.time()
    found = expected_starts(one.account, waiting)
    told = [
        Told(run, at, each.low_s, each.median_s, each.high_s)
        for run, each in found.items()
        if each.low_s is not None and each.median_s is not None and each.high_s is not None
    ]
    return told, len(waiting)


def _wait_until_started(runs: Sequence[Run], count: int) -> None:
    from runs.domain.status import Status
    from runs.models import Run

    keys = [run.pk for run in runs]
    while Run.objects.filter(pk__in=keys).exclude(status=Status.QUEUED).count() < count:
        time.sleep(0.05)  # a row of another process; `--limit` bounds the whole


def _starts(told: Sequence[Told]) -> dict[int, float]:
    """When each of these runs was claimed."""
    from runs.models import Attempt

    found = Attempt.objects.filter(run__in={each.run for each in told}, number=1)
    return {run: at.timestamp() for run, at in found.values_list("run", "claimed_at")}


def _off(told: Told, started: float) -> float:
    """By how much a start missed its range: negative when it was before it."""
    waited = started - told.at
    if waited < told.low_s - TOLERANCE_S:
        return waited - told.low_s
    if waited > told.high_s + TOLERANCE_S:
        return waited - told.high_s
    return 0.0


def _share(values: Sequence[bool]) -> float:
    return rounded(sum(values) / len(values)) if values else 0.0


if __name__ == "__main__":
    main()
