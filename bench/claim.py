"""Promise: a claim past 100,000 held runs costs what it costs in an empty queue."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

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
    arguments_of.add_argument(
        "--held-by",
        choices=("limit", "key", "runs", "retry"),
        default="limit",
        help="what the queued runs wait for: a limit of their application, their key, a run …",
    )
    arguments_of.add_argument(
        "--postgresql",
        metavar="URL",
        default="",
        help="make a database on this server for the time, instead of SQLite",
    )
    arguments = arguments_of.parse_args()
    with (
        bounded(arguments.limit),
        tempfile.TemporaryDirectory(prefix="runsite-bench-") as folder,
        _database(arguments.postgresql, folder) as url,
    ):
        os.environ["RUNSITE_DATA_DIR"] = folder
        os.environ["RUNSITE_DATABASE_URL"] = url
        os.environ["DJANGO_SETTINGS_MODULE"] = "runsite.settings"
        import django

        django.setup()
        try:
            _measure(arguments.runs, arguments.repeats, arguments.held_by)
        finally:
            from django.db import connection

            connection.close()


@contextmanager
def _database(server: str, folder: str) -> Iterator[str]:
    """The address of an empty database; on a server it is dropped in the end."""
    if not server:
        yield f"sqlite://{folder}/bench.sqlite3"
        return
    import psycopg

    name = f"runsite_bench_{os.getpid()}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        try:
            yield urlsplit(server)._replace(path=f"/{name}").geturl()
        finally:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def _measure(runs: int, repeats: int, held_by: str) -> None:
    from django.core.management import call_command
    from django.db import connection
    from django.utils import timezone

    from runs.domain.status import Status
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
        claimed = claim_next(identity, now=timezone.now(), free_slots=4, slots=4)
        spent = time.perf_counter() - started
        assert claimed is not None
        assert claimed.run.application_id == free.pk
        return spent

    def look() -> float:
        started = time.perf_counter()
        assert next_heads(host="host", slots=4) == []
        return time.perf_counter() - started

    look_floor, claim_floor = _median(look, repeats), _median(claim, repeats)
    held = [
        make_application(
            account,
            running_limit=0 if held_by == "limit" else None,
            concurrency_limit=1 if held_by == "key" else None,
        )
        for _ in range(LANES - 1)
    ]
    columns = _columns(held_by)
    patterns = [make_run(application, queue=queue, **columns) for application in held]
    _fill(patterns, runs, None if held_by != "runs" else make_run(free, status=Status.RUNNING))
    last = patterns[-1]
    if connection.vendor == "postgresql":
        connection.cursor().execute("ANALYZE")

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
        held_by=held_by,
        database=connection.vendor,
    )


def _columns(held_by: str) -> dict[str, Any]:
    """What holds a queued run."""
    from django.utils import timezone

    if held_by == "key":
        return {"hold": "key", "concurrency_key": "region=north"}
    if held_by == "runs":
        return {"hold": "runs", "open_waits": 1}
    if held_by == "retry":
        held_until = timezone.now() + timedelta(hours=1)
        return {"hold": "retry", "held_until": held_until, "retries": 3, "retries_made": 1}
    return {}


def _fill(patterns: list[Any], count: int, awaited: Any) -> None:
    """Make `count` queued runs like these, all held; they wait for `awaited`, if any.

    Within the database: it takes seconds where making rows one by one would take minutes.
    """
    from django.db import connection

    from runs.models import Run, RunWait

    names = [field.column for field in Run._meta.concrete_fields if not field.primary_key]
    copied = ", ".join(f'"{name}"' for name in names)
    values = copied.replace('"run_id"', "run_id || '-' || n.i")
    first, last = patterns[0].pk, patterns[-1].pk
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %s) "
            f"INSERT INTO runs_run ({copied}) SELECT {values} FROM n CROSS JOIN runs_run "
            "WHERE id BETWEEN %s AND %s",
            [max(1, count // len(patterns)), first, last],
        )
    if awaited is not None:
        waiting = Run.objects.filter(hold=Run.WAITS_FOR_RUNS).values_list("pk", flat=True)
        waits = [RunWait(run_id=run, awaited=awaited) for run in waiting]
        RunWait.objects.bulk_create(waits, batch_size=5000)


def _median(measure: Callable[[], float], repeats: int) -> float:
    measure()
    return statistics.median(measure() for _ in range(repeats))


if __name__ == "__main__":
    main()
