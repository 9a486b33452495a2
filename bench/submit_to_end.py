"""Promise: submit to final status at most 1.6 times the bare program on Redis. It does nothing."""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.report import Report, bounded, median_ms, p95_ms, parser


def main() -> None:
    """Print one JSON line: milliseconds from submit to final status, and of the bare program."""
    from bench.consoles import add_broker

    arguments_of = parser(__doc__, limit_s=300)
    arguments_of.add_argument("--runs", type=int, default=100, help="runs, one after the other")
    add_broker(arguments_of)
    arguments = arguments_of.parse_args()
    with bounded(arguments.limit):
        _measure(arguments.runs, arguments.broker, arguments.redis)


def _measure(count: int, broker: str, redis: str) -> None:
    from bench.consoles import console
    from bench.programs import NOTHING, bare_run_s

    promise = "1.6 times the bare program" if broker == "redis" else "none; on Redis 1.6 times"
    report = Report("submit_to_end", promise=promise, unit="ms")
    with console(slots=2, broker=broker, redis=redis) as one:
        folder = one.add_application("nothing", NOTHING)
        empty = one.empty_input()
        one.start()
        # The first run waits until its environment is built.
        one.wait_until_ended([one.submit("nothing", input_data=empty)], every_s=0.1)
        interpreter = one.interpreter()
        figures, programs, floors = [], [], []
        for number in range(count + 3):
            before = time.perf_counter()
            run = one.submit("nothing", input_data=empty)
            ended = one.wait_until_ended([run], every_s=0.001)
            bare = bare_run_s(folder, interpreter)
            run.refresh_from_db()
            time.sleep(random.uniform(0.05, 0.25))
            if number >= 3:
                figures.append(ended - before)
                programs.append(run.execution_s or 0.0)
                floors.append(bare)
    report.say(
        floor=median_ms(floors),
        figure=median_ms(figures),
        p95=p95_ms(figures),
        program_itself=median_ms(programs),
        broker=broker,
        runs=count,
    )


if __name__ == "__main__":
    main()
