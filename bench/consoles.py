"""Starts the console that a script measures, and submits runs to it; ends it whatever happens."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # a script finds only its own folder

from bench.programs import write  # noqa: E402
from bench.report import TookTooLong  # noqa: E402
from runsite import leftovers  # noqa: E402

if TYPE_CHECKING:
    import argparse

    from runs.models import Account, Application, InputData, Run

REDIS = "redis://127.0.0.1:6379/13"
START_LIMIT_S = 120.0
STOP_LIMIT_S = 40.0


def add_broker(parser: argparse.ArgumentParser) -> None:
    """The options that choose the broker."""
    parser.add_argument("--broker", choices=("embedded", "redis"), default="embedded")
    parser.add_argument(
        "--redis", default=REDIS, metavar="URL", help=f"a database that nobody else uses ({REDIS})"
    )


class Console:
    """One console in a data directory of its own; this process submits to it."""

    def __init__(self, folder: Path, *, slots: int, broker_url: str = "") -> None:
        """Prepare it without starting it: database, account, administrator."""
        self.folder = folder
        self.data_dir = folder / "data"
        self.port = _free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.apps: dict[str, Application] = {}
        self._database: sqlite3.Connection | None = None
        self._workers: list[subprocess.Popen[bytes]] = []
        for name in [name for name in os.environ if name.startswith("RUNSITE_")]:
            del os.environ[name]
        os.environ |= {
            "RUNSITE_DATA_DIR": str(self.data_dir),
            "RUNSITE_PORT": str(self.port),
            "RUNSITE_SLOTS": str(slots),
            "RUNSITE_SECRET_KEY": "only-for-bench-" + "0" * 32,
            "DJANGO_SETTINGS_MODULE": "runsite.settings",
        }
        if broker_url:
            os.environ["RUNSITE_BROKER_URL"] = broker_url
        self.data_dir.mkdir(mode=0o700)
        self.account = self._prepare()

    def _prepare(self) -> Account:
        from runsite import preparation

        preparation.call("migrate", interactive=False, verbosity=0)
        preparation.make_admin()
        from runs.models import Account, Membership, Queue, User

        account = Account.objects.create(slug="demo", name="Demo")
        Queue.objects.create(account=account, name="default")
        for user in User.objects.filter(is_superuser=True):
            Membership.objects.create(account=account, user=user, role="admin")
        # The first start finds its data there, as a later one would.
        preparation._write_stamp(preparation._schema_stamp())
        return account

    # --- processes --------------------------------------------------------------------------

    def start(self, path: str = "/readyz") -> float:
        """Start everything; seconds until `path` answers with 200."""
        begin = time.perf_counter()
        with (self.folder / "output.txt").open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(ROOT / "manage.py"), "serve"],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.wait_for_page(path)
        return time.perf_counter() - begin

    def wait_for_page(self, path: str) -> None:
        """Wait until `path` answers with 200."""
        end = time.monotonic() + START_LIMIT_S
        while self.status_of(path) != 200:
            assert self.process is not None
            if self.process.poll() is not None or time.monotonic() > end:
                raise TookTooLong(f"the console does not answer:\n{self.logs}")
            time.sleep(0.02)

    def status_of(self, path: str, cookie: str = "") -> int:
        """The status with which `path` answers; 0 when nobody does."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path, headers={"Cookie": cookie} if cookie else {})
            answer = connection.getresponse()
            answer.read()
            return answer.status
        except OSError:
            return 0
        finally:
            connection.close()

    def processes(self) -> list[psutil.Process]:
        """Everything that runs of this console."""
        pids = set(leftovers.marked(f"RUNSITE_CONSOLE_OF={self.data_dir}"))
        if self.process is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                main = psutil.Process(self.process.pid)
                pids |= {main.pid, *(child.pid for child in main.children(recursive=True))}
        found = []
        for pid in sorted(pids):
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                if process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def add_worker(self, name: str) -> subprocess.Popen[bytes]:
        """Start one more worker on the same data; wait for it with `wait_for_workers`."""
        with (self.folder / f"{name}.txt").open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, str(ROOT / "manage.py"), "worker"],
                cwd=self.folder,
                env=os.environ
                | {"RUNSITE_WORKER_NAME": name, "RUNSITE_CONSOLE_OF": str(self.data_dir)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._workers.append(process)
        return process

    def wait_for_workers(self, count: int) -> None:
        """Wait until so many workers have sent a heartbeat."""
        end = time.monotonic() + START_LIMIT_S
        while self.ask("SELECT count(*) FROM runs_worker WHERE state = 'active'")[0][0] < count:
            if time.monotonic() > end:
                raise TookTooLong(f"not all of {count} workers are there:\n{self.logs}")
            time.sleep(0.1)

    def ask(self, question: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """The rows that answer a question in SQL; it asks the database directly."""
        return self._connection().execute(question, values).fetchall()

    def stop(self) -> None:
        """End everything of it, in any state."""
        for worker in self._workers:
            worker.terminate()
        if self._database is not None:
            self._database.close()
            self._database = None
        process, self.process = self.process, None
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(STOP_LIMIT_S)
        leftovers.end(f"RUNSITE_CONSOLE_OF={self.data_dir}", limit_s=5)
        for worker in self._workers:
            worker.wait(STOP_LIMIT_S)

    @property
    def logs(self) -> str:
        """What its processes said, for errors."""
        paths = [self.folder / "output.txt", *sorted((self.data_dir / "log").glob("*.log"))]
        return "\n".join(path.read_text(errors="replace")[-2000:] for path in paths)

    # --- runs -------------------------------------------------------------------------------

    def add_application(self, name: str, files: dict[str, str]) -> Path:
        """Upload a small application; its folder, so that it can be started bare as well."""
        from runs.actions.actors import product
        from runs.actions.builds import build_from_folder
        from runs.actions.executables import create_with_build

        folder = write(files, self.folder / name)
        with build_from_folder(folder=folder) as build:
            self.apps[name] = create_with_build(
                account=self.account, build=build, actor=product("bench"), application_id=name
            )
        return folder

    def empty_input(self) -> InputData:
        """The input `{}`."""
        from runs.actions.inputs import store_text_input

        return store_text_input(account=self.account, content_format="json", data=b"{}")

    def submit(
        self,
        name: str,
        *,
        input_data: InputData | None = None,
        options: Mapping[str, object] | None = None,
    ) -> Run:
        """Submit one run of an application, as a page does."""
        from runs.actions.actors import product
        from runs.actions.runs import submit_run

        return submit_run(
            account=self.account,
            application=self.apps[name],
            actor=product("bench"),
            input_data=input_data,
            options=options,
        )

    def wait_until_ended(
        self, runs: Sequence[Run], *, every_s: float, limit_s: float = 120.0
    ) -> float:
        """Wait until all of them have ended well; the moment on the scale of `perf_counter`.

        It asks the database directly: one small question, so that asking often costs little.
        """
        keys = [run.pk for run in runs]
        marks = ",".join("?" * len(keys))
        question = f"SELECT status, count(*) FROM runs_run WHERE id IN ({marks}) GROUP BY status"
        end = time.perf_counter() + limit_s
        while True:
            found: dict[str, int] = dict(self.ask(question, keys))
            at = time.perf_counter()
            if found.get("succeeded", 0) == len(keys):
                return at
            if found.get("failed") or found.get("canceled") or at > end:
                raise TookTooLong(f"of {len(keys)} runs: {found}\n{self.logs}")
            time.sleep(every_s)

    def _connection(self) -> sqlite3.Connection:
        if self._database is None:
            self._database = sqlite3.connect(self.data_dir / "runsite.sqlite3", timeout=20)
        return self._database

    def result_of(self, run: Run) -> Any:
        """What a run wrote to stdout, read as JSON."""
        import json

        from runs.models import RunFile
        from runs.storage import object_store

        stored = RunFile.objects.get(run=run, role=RunFile.STDOUT)
        with object_store().open(stored.key) as stream:
            return json.load(stream)

    def interpreter(self) -> Path:
        """The Python with which runs of this console are started."""
        [found] = self.data_dir.glob("environments/*/bin/python")
        return found

    def cookie(self) -> str:
        """The cookie of the administrator, signed in."""
        from django.conf import settings
        from django.test import Client

        from runs.models import User

        client = Client()
        client.force_login(User.objects.filter(is_superuser=True)[0])
        name = settings.SESSION_COOKIE_NAME
        return f"{name}={client.cookies[name].value}"


@contextlib.contextmanager
def console(*, slots: int, broker: str = "embedded", redis: str = REDIS) -> Iterator[Console]:
    """A console that is prepared but not started; it is ended and removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="runsite-bench-"))
    made: Console | None = None
    url = redis if broker == "redis" else ""
    try:
        if url:
            _empty(url, wanted=True)
        made = Console(folder, slots=slots, broker_url=url)
        yield made
    finally:
        if made is not None:
            made.stop()
            if url:
                _empty(url, wanted=False)
        shutil.rmtree(folder, ignore_errors=True)


def _empty(url: str, *, wanted: bool) -> None:
    """Refuse a database in which something lies already, or (not `wanted`) empty it."""
    from redis import Redis

    client = Redis.from_url(url)
    try:
        if not wanted:
            client.flushdb()
        elif client.dbsize():
            raise SystemExit(f"{url} is not empty; name a free database with --redis.")
    finally:
        client.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
