"""Promise: a claim past 100,000 held runs costs what it costs in an empty queue. SQLite."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.report import Report, bounded, parser, rounded

LANES = 100


def main() -> None:
    """Print one JSON line: milliseconds of a look and of a claim, their floors, the ratios."""
    arguments_of = parser(__doc__, limit_s=600)
    arguments_of.add_argument("--runs", type=int, default=100_000, help="queued runs")
    arguments_of.add_argument(
        "--repeats", type=int, default=50, help="measurements, of which the median"
    )
    arguments = arguments_of.parse_args()
    with (
        bounded(arguments.limit),
        tempfile.TemporaryDirectory(prefix="runsite-bench-") as folder,
    ):
        os.environ["RUNSITE_DATA_DIR"] = folder
        os.environ["RUNSITE_DATABASE_URL"] = f"sqlite://{folder}/bench.sqlite3"
        os.environ["DJANGO_SETTINGS_MODULE"] = "runsite.settings"
        import django

        django.setup()
        _measure(arguments.runs, arguments.repeats)


def _measure(runs: int, repeats: int) -> None:
    from django.core.management import call_command
    from django.utils import timezone

    from runs.queue.claim import WorkerIdentity, claim_next
    from runs.queue.order import holds_of, next_heads, waiting_in_order
    from tests.factories import make_account, make_application, make_queue, make_run, make_worker

    report = Report("claim", promise="as in an empty queue", unit="ms")
    call_command("migrate", verbosity=0)
    account = make_account()
    queue = make_queue(account)
    worker = make_worker(slots=4, slots_used=4)
    identity = WorkerIdentity(worker.pk, worker.name, worker.boot_id, worker.host)
    free = make_application(account)

    def claim() -> float:
        make_run(free, queue=queue, priority=9)
        started = time.perf_counter()
        claimed = claim_next(identity, now=timezone.now())
        spent = time.perf_counter() - started
        assert claimed is not None
        assert claimed.run.application_id == free.pk
        return spent

    def look() -> float:
        started = time.perf_counter()
        assert next_heads(host="host") == []
        return time.perf_counter() - started

    look_floor, claim_floor = _median(look, repeats), _median(claim, repeats)
    held = [make_application(account, running_limit=0) for _ in range(LANES - 1)]
    _fill([make_run(application, queue=queue) for application in held], runs)
    last = make_run(held[-1], queue=queue)

    def page() -> float:
        started = time.perf_counter()
        assert len(waiting_in_order(account)) == 50
        return time.perf_counter() - started

    def why() -> float:
        started = time.perf_counter()
        assert holds_of(last)
        return time.perf_counter() - started

    look_full, claim_full = _median(look, repeats), _median(claim, repeats)
    report.say(
        floor=claim_floor * 1000,
        figure=claim_full * 1000,
        look_floor=rounded(look_floor * 1000),
        look=rounded(look_full * 1000),
        queue_page=rounded(_median(page, repeats) * 1000),
        holds=rounded(_median(why, repeats) * 1000),
        queued=runs,
        lanes=LANES,
    )


def _fill(patterns: list[object], count: int) -> None:
    """Make `count` queued runs like these in turn, all held."""
    from runs.domain.ids import new_run_id
    from runs.models import Run

    columns = ("account_id", "application_id", "queue_id", "lane_id", "status", "created_at")
    runs = [
        Run(
            run_id=new_run_id(),
            **{name: getattr(patterns[at % len(patterns)], name) for name in columns},
        )
        for at in range(count)
    ]
    Run.objects.bulk_create(runs, batch_size=2000)


def _median(measure: Callable[[], float], repeats: int) -> float:
    measure()
    return statistics.median(measure() for _ in range(repeats))


if __name__ == "__main__":
    main()
