"""Promise: a worker killed with SIGKILL: its processes ended, its runs at another within 30 s."""

from __future__ import annotations

import os
import signal
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.report import Report, TookTooLong, bounded, parser, rounded

if TYPE_CHECKING:
    from bench.consoles import Console
    from runs.models import Run

STEP_LIMIT_S = 90.0


def main() -> None:
    """Print one JSON line: seconds from the kill to the next attempt, median and worst.

    The floor is the lease: nobody may take a run earlier from a worker that does not come back.
    """
    from bench.consoles import add_broker

    arguments_of = parser(__doc__, limit_s=1200)
    arguments_of.add_argument("--kills", type=int, default=9, help="workers killed, one by one")
    add_broker(arguments_of)
    arguments = arguments_of.parse_args()
    with bounded(arguments.limit):
        _measure(arguments.kills, arguments.broker, arguments.redis)


def _measure(kills: int, broker: str, redis: str) -> None:
    from bench.consoles import console
    from bench.programs import SLEEPER

    report = Report("recovery", promise="30 s, slowest", unit="s")
    gone, taken = [], []
    with console(slots=1, broker=broker, redis=redis) as one:
        from django.conf import settings

        one.add_application("sleeper", SLEEPER)
        one.start()
        for number in range(kills):
            # The console's own worker is busy, so that the run is claimed by the one to be killed,
            # and is given back to nobody who starts anew: only the lease helps.
            blocker = one.submit("sleeper")
            _attempt_of(one, blocker, 1)
            victim = one.add_worker(f"victim-{number}")
            run = one.submit("sleeper")
            pid = _attempt_of(one, run, 1)
            _cancel(one, blocker)
            os.killpg(victim.pid, signal.SIGKILL)
            begin = time.monotonic()
            _wait(lambda pid=pid: not _lives(pid))
            gone.append(time.monotonic() - begin)
            _attempt_of(one, run, 2)
            taken.append(time.monotonic() - begin)
            victim.wait(STEP_LIMIT_S)
            _cancel(one, run)
        report.say(
            floor=settings.RUNSITE_LEASE_S,
            figure=statistics.median(taken),
            slowest=rounded(max(taken)),
            processes_gone=rounded(statistics.median(gone)),
            processes_gone_slowest=rounded(max(gone)),
            kills=kills,
            broker=broker,
        )


def _attempt_of(one: Console, run: Run, number: int) -> int:
    """Wait until this attempt has started its program; the pid of that."""
    question = (
        "SELECT pid FROM runs_attempt WHERE run_id = ? AND number = ? AND started_at IS NOT NULL"
    )
    found: list[tuple[int]] = []

    def started() -> bool:
        found[:] = one.ask(question, (run.pk, number))
        return bool(found)

    _wait(started)
    return found[0][0]


def _cancel(one: Console, run: Run) -> None:
    from runs.actions.actors import product
    from runs.actions.runs import cancel_run

    cancel_run(run=run, actor=product("bench"))
    _wait(lambda: one.ask("SELECT status FROM runs_run WHERE id = ?", (run.pk,)) == [("canceled",)])


def _lives(pid: int) -> bool:
    """Whether the process is there, and is no zombie."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def _wait(true) -> None:  # type: ignore[no-untyped-def]
    end = time.monotonic() + STEP_LIMIT_S
    while not true():
        if time.monotonic() > end:
            raise TookTooLong("a step of the measurement did not come")
        time.sleep(0.02)  # a row or a process of others; a tenth of the least that is told


if __name__ == "__main__":
    main()
