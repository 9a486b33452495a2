"""A rolling upgrade: the tables widen and every process is restarted, while runs go on."""

from __future__ import annotations

import contextlib
import secrets
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.consoles import FINAL, ROOT, Driver, carriers, free_port, small_environment
from tests.journeys.tally import MANIFEST
from tests.journeys.test_services import empty_redis
from tests.processes import until
from tests.services import new_postgres_database

pytestmark = pytest.mark.process

# An execution that lasts long enough to be met by every restart.
PROGRAM = """\
#!/bin/sh
: >"$2/$RUN_ID.$$"
sleep 2
echo '{}'
"""
# What a migration of ours does: a column with a default in the database, and an index.
WIDEN = """\
import django
django.setup()
from django.db import connection, models
from runs.models import Run
column = models.CharField(max_length=16, default="", db_default="")
column.set_attributes_from_name("of_the_next_release")
column.model = Run
with connection.schema_editor() as editor:
    editor.add_field(Run, column)
    editor.execute("CREATE INDEX of_the_next_release ON runs_run (of_the_next_release)")
"""


class Fleet:
    """The processes of an installation by name; each can be replaced by a new one."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = environment
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, command: str) -> None:
        """Start `manage.py COMMAND`; a worker gets the name."""
        with (self.folder / f"{name}.txt").open("ab") as output:
            self.processes[name] = subprocess.Popen(
                [sys.executable, str(ROOT / "manage.py"), command],
                env={**self.environment, "RUNSITE_WORKER_NAME": name},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def stop(self, name: str) -> int:
        """Ask it to leave, as systemd does, and wait until it has."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGTERM)
        return process.wait(120)

    def end(self) -> None:
        """End whatever is left."""
        for process in self.processes.values():
            process.kill()
            process.wait(60)


@contextlib.contextmanager
def submitting(driver: Driver, options: dict[str, str], run_ids: list[str]) -> Iterator[None]:
    """Somebody launches a run now and then, all the time."""
    over = threading.Event()

    def submit() -> None:
        while not over.wait(0.5):
            run_ids.extend(driver.submit(application="steady", options=options))

    thread = threading.Thread(target=submit)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(60)


def test_a_rolling_upgrade_loses_no_run_and_repeats_none(tmp_path):
    marks, data_dir, source = tmp_path / "marks", tmp_path / "data", tmp_path / "steady"
    for folder in (marks, source):
        folder.mkdir()
    data_dir.mkdir(mode=0o700)
    (data_dir / "secret_key").write_text(secrets.token_urlsafe(48))
    (source / "app.yaml").write_text(MANIFEST)
    (source / "main").write_text(PROGRAM)
    (source / "main").chmod(0o755)
    port = free_port()
    with contextlib.ExitStack() as stack:
        environment = small_environment(
            tmp_path / "home",
            RUNSITE_DATA_DIR=str(data_dir),
            RUNSITE_PORT=str(port),
            RUNSITE_SLOTS="2",
            RUNSITE_DATABASE_URL=stack.enter_context(new_postgres_database()),
            RUNSITE_BROKER_URL=stack.enter_context(empty_redis()),
        )
        # One asks while the other submits: a driver does one thing at a time.
        driver, submitter = Driver(environment), Driver(environment)
        stack.callback(driver.close)
        stack.callback(submitter.close)
        driver.prepare()
        driver.add_application(folder=str(source), application_id="steady")
        fleet = Fleet(tmp_path, environment)
        stack.callback(fleet.end)
        for name, command in (
            *(("scheduler", "schedule"), ("one", "worker")),
            *(("two", "worker"), ("web", "web")),
        ):
            fleet.start(name, command)

        def boots() -> dict[str, str]:
            return {
                worker["name"]: worker["boot_id"]
                for worker in driver.workers()
                if worker["state"] == "active"
            }

        def is_ready() -> bool:
            try:
                url = f"http://127.0.0.1:{port}/readyz"
                with urllib.request.urlopen(url, timeout=10) as answer:
                    return answer.status == 200
            except (urllib.error.URLError, OSError):
                return False

        def executing_of(name: str) -> list[str]:
            return [
                one["run__run_id"]
                for one in driver.attempts()
                if one["worker_name"] == name and not one["outcome"]
            ]

        until(lambda: set(boots()) == {"one", "two"}, 180)
        until(is_ready, 180)
        run_ids: list[str] = []
        with submitting(submitter, {"marks": str(marks)}, run_ids):
            until(lambda: executing_of("one") and executing_of("two"), 120)

            # 1. The tables widen while the processes of the former release go on.
            subprocess.run(
                [sys.executable, "-c", WIDEN],
                env={
                    **environment,
                    "DJANGO_SETTINGS_MODULE": "runsite.settings",
                    "PYTHONPATH": str(ROOT),
                },
                cwd=tmp_path,
                check=True,
                timeout=120,
            )
            widened_at = len(run_ids)
            until(lambda: len(run_ids) > widened_at, 120)

            # 2. Workers one by one, each in the middle of something.
            for name in ("one", "two"):
                until(lambda name=name: executing_of(name), 120)
                before = boots()
                assert fleet.stop(name) == 0
                fleet.start(name, "worker")
                until(
                    lambda name=name, before=before: (
                        boots().get(name, before[name]) != before[name]
                    ),
                    180,
                )
            # 3. The scheduler. 4. The web process.
            assert fleet.stop("scheduler") == 0
            fleet.start("scheduler", "schedule")
            fleet.stop("web")
            fleet.start("web", "web")
            until(is_ready, 180)
            after = len(run_ids)
            until(lambda: len(run_ids) > after, 120)

        until(lambda: set(driver.statuses(run_ids=run_ids).values()) <= FINAL, 300)
        assert Counter(driver.statuses(run_ids=run_ids).values()) == {"succeeded": len(run_ids)}
        attempts = driver.attempts()
        assert Counter(one["run__run_id"] for one in attempts) == dict.fromkeys(run_ids, 1)
        assert {one["outcome"] for one in attempts} == {"exited"}
        executed = Counter(mark.name.partition(".")[0] for mark in marks.iterdir())
        assert executed == dict.fromkeys(run_ids, 1)
        for name in ("one", "two", "scheduler"):
            assert fleet.stop(name) == 0
        assert not carriers(f"RUN_DIR={data_dir}/")
