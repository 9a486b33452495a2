"""Promise: submit to process start 60/120 ms embedded, 10/25 ms on Redis. Floor: a bare Popen."""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.report import Report, bounded, median_ms, p95_ms, parser


def main() -> None:
    """Print one JSON line: milliseconds from submit to start, median and p95, idle worker."""
    from bench.consoles import add_broker

    arguments_of = parser(__doc__, limit_s=300)
    arguments_of.add_argument("--runs", type=int, default=100, help="runs, one after the other")
    add_broker(arguments_of)
    arguments = arguments_of.parse_args()
    with bounded(arguments.limit):
        _measure(arguments.runs, arguments.broker, arguments.redis)


def _measure(count: int, broker: str, redis: str) -> None:
    from bench.consoles import console
    from bench.programs import STAMP, bare_start_s

    promise = "median 10 ms, p95 25 ms" if broker == "redis" else "median 60 ms, p95 120 ms"
    report = Report("submit_to_start", promise=promise, unit="ms")
    with console(slots=2, broker=broker, redis=redis) as one:
        folder = one.add_application("stamp", STAMP)
        one.start()
        submits, figures, floors = [], [], []
        for number in range(count + 3):
            before = time.time()
            run = one.submit("stamp")
            submitted = time.time()
            one.wait_until_ended([run], every_s=0.02)
            started = float(one.result_of(run)["started"])
            bare = bare_start_s(folder)
            # Not in step with anything that looks at intervals.
            time.sleep(random.uniform(0.05, 0.25))
            if number >= 3:  # the first ones load modules and open connections
                submits.append(submitted - before)
                figures.append(started - before)
                floors.append(bare)
    report.say(
        floor=median_ms(floors),
        figure=median_ms(figures),
        p95=p95_ms(figures),
        submit_itself=median_ms(submits),
        broker=broker,
        runs=count,
    )


if __name__ == "__main__":
    main()
