"""Promise: 200 runs at once, 4 slots, at least half the rate of a bare loop with 4 threads."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.report import Report, bounded, parser, rounded


def main() -> None:
    """Print one JSON line: runs a second, and how many a bare loop makes of the same program."""
    from bench.consoles import add_broker

    arguments_of = parser(__doc__, limit_s=300)
    arguments_of.add_argument("--runs", type=int, default=200, help="runs, all in at once")
    arguments_of.add_argument("--slots", type=int, default=4, help="slots, and threads of the loop")
    add_broker(arguments_of)
    arguments = arguments_of.parse_args()
    with bounded(arguments.limit):
        _measure(arguments.runs, arguments.slots, arguments.broker, arguments.redis)


def _measure(count: int, slots: int, broker: str, redis: str) -> None:
    from bench.consoles import console
    from bench.programs import NOTHING

    report = Report("throughput", promise="ratio at least 0.5", unit="runs/s")
    with console(slots=slots, broker=broker, redis=redis) as one:
        from runs.actions.actors import product
        from runs.actions.queues import pause_queue, resume_queue

        folder = one.add_application("nothing", NOTHING)
        empty = one.empty_input()
        one.start()
        warm = [one.submit("nothing", input_data=empty) for _ in range(slots)]
        one.wait_until_ended(warm, every_s=0.1)
        interpreter = one.interpreter()
        queue, bench = one.account.queues.get(name="default"), product("bench")
        pause_queue(queue=queue, actor=bench)
        # All are in before the first starts: what is measured is the worker, not this process.
        runs = [one.submit("nothing", input_data=empty) for _ in range(count)]
        # Half of the bare loop before and half after, as the load of a machine changes.
        bare_s = _loop(folder, interpreter, count - count // 2, slots)
        begin = time.perf_counter()
        resume_queue(queue=queue, actor=bench)
        spent_s = one.wait_until_ended(runs, every_s=0.05, limit_s=240) - begin
        bare_s += _loop(folder, interpreter, count // 2, slots)
    report.say(
        floor=count / bare_s,
        figure=count / spent_s,
        seconds=rounded(spent_s),
        slots=slots,
        broker=broker,
        runs=count,
    )


def _loop(folder: Path, interpreter: Path, count: int, threads: int) -> float:
    """Seconds for `count` bare programs over `threads` threads."""
    from bench.programs import bare_run_s

    begin = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda _: bare_run_s(folder, interpreter), range(count)))
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
