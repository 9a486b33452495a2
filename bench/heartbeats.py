"""Promise: the heartbeats of 200 workers with 4 runs each take less than half a core."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.report import Report, bounded, parser, rounded


def main() -> None:
    """Print one JSON line: ms of one heartbeat, and the share of a core that all of them take.

    The floor is the least a heartbeat could be: one update of one row. SQLite; simulated rows.
    """
    arguments_of = parser(__doc__, limit_s=300)
    arguments_of.add_argument("--workers", type=int, default=200)
    arguments_of.add_argument("--runs", type=int, default=4, help="runs of each worker")
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
        _measure(arguments.workers, arguments.runs)


def _measure(count: int, runs: int) -> None:
    from django.conf import settings
    from django.core.management import call_command
    from django.db.models import F
    from django.utils import timezone

    from runs.domain.status import Status
    from runs.models import Worker
    from runs.queue.lease import WorkerIdentity, renew
    from runs.queue.reaper import Reaper
    from tests.factories import make_application, make_attempt, make_run, make_worker

    report = Report("heartbeats", promise="at most 50 percent_of_a_core", unit="ms")
    call_command("migrate", verbosity=0)
    app = make_application()
    fleet = []
    for number in range(count):
        worker = make_worker(name=f"w{number}")
        held = [
            make_attempt(make_run(app, status=Status.RUNNING), worker=worker) for _ in range(runs)
        ]
        identity = WorkerIdentity(worker.pk, worker.name, worker.boot_id, worker.host)
        fleet.append((identity, [attempt.token for attempt in held]))
    floors, beats, looks = [], [], []
    reaper = Reaper()
    for _ in range(3):
        for identity, tokens in fleet:
            begin = time.perf_counter()
            Worker.objects.filter(pk=identity.worker_id).update(beat=F("beat") + 1)
            between = time.perf_counter()
            kept = renew(identity, tokens, now=timezone.now(), slots=runs, slots_used=runs)
            beats.append(time.perf_counter() - between)
            floors.append(between - begin)
            assert kept == set(tokens)
        begin = time.perf_counter()
        assert not reaper.look(timezone.now())
        looks.append(time.perf_counter() - begin)
    a_second = count / settings.RUNSITE_HEARTBEAT_S
    report.say(
        floor=statistics.median(floors) * 1000,
        figure=statistics.median(beats) * 1000,
        percent_of_a_core=rounded(100 * statistics.mean(beats) * a_second),
        reaper_look=rounded(statistics.median(looks) * 1000),
        workers=count,
        runs_each=runs,
    )


if __name__ == "__main__":
    main()
