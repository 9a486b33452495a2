"""Outages of what Runsite stands on: its broker, its database, its parents, the clock of a host.

Servers are the tests' own. RUNSITE_TEST_LONG=true makes outages as long as the promises say.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from bench import chaos_servers
from bench.chaos_members import Member
from runsite.console import worker_words
from tests.journeys.consoles import (
    ROOT,
    RUN_LIMIT_S,
    Console,
    carriers,
    free_port,
    is_ready,
    serving,
)
from tests.journeys.tally import executions, make_tally
from tests.processes import is_running, until

pytestmark = pytest.mark.process

LONG = os.environ.get("RUNSITE_TEST_LONG") == "true"
LINES = 600
PRINTER = f"""\
#!/bin/sh
# `-marks FOLDER`: prints {LINES} numbered lines, 20 a second.
number=0
while [ $number -lt {LINES} ]; do
    echo "line $number"
    number=$((number + 1))
    sleep 0.05
done >&2
echo '{{}}'
"""
LEAVER = """\
#!/bin/sh
# `-marks FOLDER`: the first execution leaves a child of a session of its own, and waits for ever.
marks=$2
first=yes
for mark in "$marks/$RUN_ID".*; do
    [ -e "$mark" ] && first=no
done
: >"$marks/$RUN_ID.$$"
if [ "$first" = yes ]; then
    setsid sh -c 'trap "" TERM HUP; sleep 3600 & sleep 3600; wait' >/dev/null 2>&1 </dev/null &
    echo begun >&2
    sleep 3600
fi
echo '{}'
"""
MANIFEST = """\
type: binary
files: [main]
configuration:
  options:
    items:
      - {name: marks, option_type: string}
"""


def make_app(folder: Path, program: str) -> Path:
    """Write an application into `folder`."""
    folder.mkdir(parents=True)
    (folder / "app.yaml").write_text(MANIFEST)
    (folder / "main").write_text(program)
    (folder / "main").chmod(0o755)
    return folder


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    """Where apps leave a mark for each execution."""
    folder = tmp_path / "marks"
    folder.mkdir()
    return folder


@pytest.fixture
def applications(tmp_path: Path) -> dict[str, Path]:
    """The apps of these tests."""
    return {
        "tally": make_tally(tmp_path / "apps" / "tally"),
        "printer": make_app(tmp_path / "apps" / "printer", PRINTER),
        "leaver": make_app(tmp_path / "apps" / "leaver", LEAVER),
    }


@contextlib.contextmanager
def own_server(make: Callable[[int], Member]) -> Iterator[tuple[Member, int]]:
    """A server of this test alone, and its port; required where CI=true, else skipped."""
    port = free_port()
    try:
        made = make(port)
    except chaos_servers.NoServer as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{error} With CI=true it is required.")
        pytest.skip(str(error))
    with chaos_servers.server_of_own(made, port):
        yield made, port


def outage(server: Member, port: int, number: signal.Signals, seconds: float) -> None:
    """Stop a server for so long, then start it again."""
    server.signal(number)
    until(lambda: not server.is_up())
    begin = time.monotonic()
    until(lambda: time.monotonic() - begin >= seconds, seconds + 60)
    chaos_servers.start_and_wait(server, port)


# --- broker and database --------------------------------------------------------------------------


def test_runs_go_on_while_redis_is_stopped(tmp_path: Path, marks: Path, applications) -> None:
    count, seconds = (500, 60.0) if LONG else (100, 8.0)
    with own_server(lambda port: chaos_servers.redis(tmp_path, "own", port=port)) as (server, port):
        url = f"redis://127.0.0.1:{port}/0"
        words = {"applications": applications, "RUNSITE_BROKER_URL": url, "RUNSITE_SLOTS": "4"}
        with serving(tmp_path / "console", **words) as console:
            options = {"marks": str(marks)}
            runs = console.driver.submit(
                application="tally", options=options, count=count * 6 // 10
            )
            until(lambda: "succeeded" in console.driver.statuses(run_ids=runs).values())
            server.signal(signal.SIGKILL)
            until(lambda: not server.is_up())
            # Submitting does not wait for a broker that is away.
            while len(runs) < count:
                runs += console.driver.submit(application="tally", options=options)
            outage(server, port, signal.SIGKILL, seconds)
            limit_s = RUN_LIMIT_S * (5 if LONG else 1)
            until(lambda: set(console.driver.statuses().values()) == {"succeeded"}, limit_s)
            made = console.driver.attempts()
            assert sorted(attempt["run__run_id"] for attempt in made) == sorted(runs)
            assert {executions(marks, run_id) for run_id in runs} == {1}


def test_no_run_fails_and_no_line_is_missing_while_postgresql_is_stopped(
    tmp_path: Path, marks: Path, applications
) -> None:
    seconds = 20.0 if LONG else 8.0
    with own_server(lambda port: chaos_servers.postgres(tmp_path, "own", port=port)) as (
        server,
        port,
    ):
        chaos_servers.wait_for_postgres(port)
        url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        words = {"applications": applications, "RUNSITE_DATABASE_URL": url, "RUNSITE_SLOTS": "10"}
        with serving(tmp_path / "console", **words) as console:
            options = {"marks": str(marks)}
            runs = console.driver.submit(application="printer", options=options, count=10)
            for run_id in runs:
                console.wait_until_executing(run_id)
            outage(server, port, signal.SIGINT, seconds)
            chaos_servers.wait_for_postgres(port)
            for run_id in runs:
                found = console.wait_for(run_id)
                assert (found["status"], found["end_reason"]) == ("succeeded", "exited"), found
                assert [attempt["outcome"] for attempt in found["attempts"]] == ["exited"]
                assert found["log"] == "".join(f"line {number}\n" for number in range(LINES))


# --- the death of parents -------------------------------------------------------------------------


@contextlib.contextmanager
def second_worker(console: Console, name: str, **words: str) -> Iterator[subprocess.Popen[bytes]]:
    """One more worker of that console, as on another terminal; killed at the end."""
    environment = {**console.environment, "DJANGO_SETTINGS_MODULE": "runsite.settings"}
    environment |= {"PYTHONPATH": str(ROOT), "TMPDIR": str(console.data_dir / "tmp"), **words}
    with (console.folder / f"{name}.txt").open("wb") as output:
        worker = subprocess.Popen(
            worker_words(),
            env={**environment, "RUNSITE_WORKER_NAME": name},
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        until(lambda: name in active_workers(console))
        yield worker
    finally:
        worker.kill()
        worker.wait(60)


def active_workers(console: Console) -> set[str]:
    """The names of the workers that are active."""
    return {row["name"] for row in console.driver.workers() if row["state"] == "active"}


def the_pid_of(console: Console, name: str) -> int:
    """The process of a worker."""
    [row] = [row for row in console.driver.workers() if row["name"] == name]
    return int(row["pid"])


def wait_until_gone(pids: list[int]) -> float:
    """Wait until none of these executes any more; the seconds that took."""
    assert pids
    begin = time.monotonic()
    # The promise is 5 s; a busy machine may be late.
    until(lambda: not [pid for pid in pids if is_running(pid)], 30)
    return time.monotonic() - begin


def test_all_that_a_killed_worker_ran_ends_and_the_run_is_made_elsewhere(
    tmp_path: Path, marks: Path, applications
) -> None:
    words = {"applications": applications, "RUNSITE_SLOTS": "1", "RUNSITE_WORKER_NAME": "w1"}
    with serving(tmp_path / "console", **words) as console:
        run_id = console.submit("leaver", options={"marks": str(marks)})
        console.wait_until_executing(run_id)
        until(lambda: len(carriers(f"RUN_ID={run_id}")) >= 4)
        apps = carriers(f"RUN_ID={run_id}")
        # Its scheduler stands by until that of the first worker is silent.
        with second_worker(console, "w2", RUNSITE_WORKER_SCHEDULES="1"):
            assert console.process is not None
            manager = psutil.Process(console.process.pid)
            # It may not bring the worker back before the other one has taken the run.
            manager.suspend()
            try:
                begin = time.monotonic()
                os.kill(the_pid_of(console, "w1"), signal.SIGKILL)
                gone_s = wait_until_gone(apps)
                found = console.wait_for(run_id, "succeeded")
                made_s = time.monotonic() - begin
            finally:
                manager.resume()
            print(f"apps gone after {gone_s:.1f} s, made elsewhere after {made_s:.1f} s")
            assert [a["worker_name"] for a in found["attempts"]] == ["w1", "w2"]
            assert [a["outcome"] for a in found["attempts"]] == ["worker_lost", "exited"]
            assert executions(marks, run_id) == 2
            page = console.sign_in().get(f"/runs/{run_id}/history/").text
            assert re.findall(r"<h2>(Attempt \d)</h2>", page) in (
                ["Attempt 1", "Attempt 2"],
                ["Attempt 2", "Attempt 1"],
            )


def started_by(manager: psutil.Process) -> list[psutil.Process]:
    """What the manager of a console keeps up; not the announcer, which is about to leave."""
    return [one for one in manager.children() if {"granian", "celery"} & words_of(one)]


def words_of(process: psutil.Process) -> set[str]:
    """The words it was started with; none when it is gone, or has ended and is not reaped yet."""
    try:
        return set(Path(f"/proc/{process.pid}/cmdline").read_text().split("\0"))
    except OSError:
        return set()


def serves_pages(process: psutil.Process) -> bool:
    """Whether this is the main process of the web server."""
    return "granian" in words_of(process)


def test_nothing_outlives_the_parents_of_a_console(
    tmp_path: Path, marks: Path, applications
) -> None:
    with serving(tmp_path / "console", applications=applications) as console:
        run_id = console.submit("leaver", options={"marks": str(marks)})
        console.wait_until_executing(run_id)
        until(lambda: len(carriers(f"RUN_ID={run_id}")) >= 4)
        apps = carriers(f"RUN_ID={run_id}")
        assert console.process is not None
        manager = psutil.Process(console.process.pid)
        # Worker, then the manager, then the main process of the web server.
        parents = sorted(started_by(manager), key=serves_pages)
        assert len(parents) == 2
        [serves] = parents[1].children()
        for process in (parents[0], manager, parents[1]):
            process.kill()
        console.process.wait(60)
        gone_s = wait_until_gone([*apps, serves.pid])
        until(lambda: not console.pids)
        print(f"all gone after {gone_s:.1f} s")
        console.process = None
        console.start()
        found = console.wait_for(run_id, "succeeded")
        assert [a["outcome"] for a in found["attempts"]] == ["worker_lost", "exited"]


def test_a_web_server_without_its_main_process_serves_no_longer(tmp_path: Path) -> None:
    with serving(tmp_path / "console") as console:
        assert console.process is not None
        [main] = filter(serves_pages, started_by(psutil.Process(console.process.pid)))
        [serves] = main.children()
        main.kill()
        wait_until_gone([serves.pid])
        # Its manager brings it back, and nobody else is on that port.
        until(lambda: is_ready(console))
        assert console.sign_in().get("/").status == 200


# --- the clock of a host --------------------------------------------------------------------------

BEATS = 24
"""So many heartbeats after a jump of the clock are more than twice a lease."""


SHIM = """\
#include <errno.h>
#include <time.h>
#include <sys/syscall.h>
#include <unistd.h>
int clock_nanosleep(clockid_t clock, int flags, const struct timespec *end, struct timespec *left)
{ return syscall(SYS_clock_nanosleep, clock, flags, end, left) ? errno : 0; }
"""
# libfaketime refuses sleeps until a moment of the monotonic clock, which Python's are.


@pytest.fixture(scope="session")
def faketime(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What to preload so that the wall clock jumps; skips where it cannot be had."""

    def found() -> list[Path]:
        return sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))

    if not found() and os.geteuid() == 0:
        words = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "faketime"]
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(words, capture_output=True, timeout=120, check=False)
    compiler = shutil.which("cc")
    if not found() or compiler is None:
        pytest.skip("No clock can jump here: libfaketime (faketime) or a C compiler is missing.")
    folder = tmp_path_factory.mktemp("faketime")
    (folder / "sleep.c").write_text(SHIM)
    words = [compiler, "-shared", "-fPIC", "-o", str(folder / "sleep.so"), str(folder / "sleep.c")]
    subprocess.run(words, check=True, timeout=60)
    return f"{folder / 'sleep.so'} {found()[0]}"


def beats(console: Console) -> dict[str, int]:
    """Name of a worker → how many heartbeats it has sent."""
    database = sqlite3.connect(console.data_dir / "runsite.sqlite3", timeout=20)
    try:
        return dict(database.execute("SELECT name, beat FROM runs_worker").fetchall())
    finally:
        database.close()


@pytest.mark.parametrize("host", ["of the scheduler", "of a worker alone"])
def test_a_jump_of_the_clock_of_one_host_loses_nothing(
    tmp_path: Path, marks: Path, applications, faketime: str, host: str
) -> None:
    clock = tmp_path / "clock"
    clock.write_text("+0\n")
    jumping = {
        "LD_PRELOAD": faketime,
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    quick = {"RUNSITE_HEARTBEAT_S": "0.4", "RUNSITE_LEASE_S": "4", "RUNSITE_REAP_S": "0.4"}
    console_words = {**quick, "RUNSITE_SLOTS": "1", "RUNSITE_WORKER_NAME": "w1"}
    if host == "of the scheduler":
        console_words |= jumping
    with serving(tmp_path / "console", applications=applications, **console_words) as console:
        still = {} if host == "of the scheduler" else jumping
        without = dict.fromkeys(jumping, "") if host == "of the scheduler" else {}
        with second_worker(console, "w2", **still, **without):
            options = {"marks": str(marks), "hold": "first"}
            runs = [console.submit("tally", options=options) for _ in range(2)]
            for run_id in runs:
                console.wait_until_executing(run_id)
            for jump in ("+3600", "-3600", "+0"):
                clock.write_text(f"{jump}\n")
                before = beats(console)
                until(
                    lambda before=before: all(
                        beats(console)[name] >= beat + BEATS for name, beat in before.items()
                    )
                )
                assert active_workers(console) == {"w1", "w2"}
            found = [console.look(run_id) for run_id in runs]
            assert {one["status"] for one in found} == {"running"}
            assert [len(one["attempts"]) for one in found] == [1, 1]
            assert {one["attempts"][0]["worker_name"] for one in found} == {"w1", "w2"}
            for run_id in runs:
                console.driver.cancel(run_id=run_id)
            for run_id in runs:
                assert console.wait_for(run_id)["status"] == "canceled"
