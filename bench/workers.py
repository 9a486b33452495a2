"""Promise: more workers make more runs a second, while the programs mostly wait."""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.report import Report, bounded, parser, rounded

SLEEP_S = 0.5


def main() -> None:
    """Print one JSON line: runs a second with the most workers, the floor is one worker.

    The program sleeps half a second, so that slots are what is short, not processor time.
    """
    from bench.consoles import add_broker

    arguments_of = parser(__doc__, limit_s=600)
    arguments_of.add_argument("--runs", type=int, default=200, help="runs, all in at once")
    arguments_of.add_argument("--slots", type=int, default=4, help="slots of each worker")
    arguments_of.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    add_broker(arguments_of)
    arguments = arguments_of.parse_args()
    with bounded(arguments.limit):
        _measure(
            arguments.runs, arguments.slots, arguments.workers, arguments.broker, arguments.redis
        )


def _measure(count: int, slots: int, workers: list[int], broker: str, redis: str) -> None:
    from bench.consoles import console
    from bench.programs import SLEEPER

    report = Report("workers", promise="grows with the workers", unit="runs/s")
    rates: dict[int, float] = {}
    with console(slots=slots, broker=broker, redis=redis) as one:
        from runs.actions.actors import product
        from runs.actions.queues import pause_queue, resume_queue

        one.add_application("sleeper", SLEEPER)
        one.start()
        queue, bench = one.account.queues.get(name="default"), product("bench")
        there = 1
        for number in sorted(workers):
            while there < number:
                there += 1
                one.add_worker(f"worker-{there}")
            one.wait_for_workers(number)
            _round(one, slots * number)
            pause_queue(queue=queue, actor=bench)
            runs = [one.submit("sleeper", options={"sleep": SLEEP_S}) for _ in range(count)]
            begin = time.perf_counter()
            resume_queue(queue=queue, actor=bench)
            rates[number] = count / (one.wait_until_ended(runs, every_s=0.05) - begin)
    fewest, most = min(rates), max(rates)
    report.say(
        floor=rates[fewest],
        figure=rates[most],
        rates={str(number): rounded(rate) for number, rate in rates.items()},
        ideal={str(number): number * slots / SLEEP_S for number in rates},
        slots=slots,
        runs=count,
        broker=broker,
    )


def _round(one, count: int) -> None:  # type: ignore[no-untyped-def]
    """Let every worker have met the application once."""
    warm = [one.submit("sleeper", options={"sleep": SLEEP_S}) for _ in range(count)]
    one.wait_until_ended(warm, every_s=0.1)


if __name__ == "__main__":
    main()
