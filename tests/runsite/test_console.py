"""The console from outside: what it refuses, what it leaves behind, how it ends."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runsite import leftovers
from tests.processes import is_running, until

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    """A port on which nobody listens, out of the range from which the system takes its own."""
    while True:
        port = random.randrange(12000, 32000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Console:
    """One `manage.py serve` with a data directory and a port of its own."""

    def __init__(self, folder: Path, outside: Path, **variables: str) -> None:
        self.data_dir = folder
        self.port = int(variables.pop("RUNSITE_PORT", 0) or free_port())
        self.output_path = outside / f"console-{time.monotonic_ns()}.txt"
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(outside),
            "RUNSITE_DATA_DIR": str(folder),
            "RUNSITE_PORT": str(self.port),
            **variables,
        }
        with self.output_path.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(ROOT / "manage.py"), "serve"],
                env=environment,
                cwd=outside,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self.output_path.read_text(errors="replace")

    @property
    def pids(self) -> list[int]:
        """The processes that belong to it, itself included once it manages."""
        return leftovers.marked(f"RUNSITE_CONSOLE_OF={self.data_dir}")

    def wait_until_open(self) -> None:
        """Wait until it has said where to open it."""

        def said() -> bool:
            if self.process.poll() is not None:
                raise AssertionError(f"it ended with {self.process.returncode}: {self.output}")
            return "answers at" in self.output

        try:
            until(said, 120)
        except AssertionError:
            logs = (path.read_text()[-2000:] for path in (self.data_dir / "log").glob("*.log"))
            raise AssertionError("\n".join([self.output, *logs])) from None

    def get(self, path: str) -> tuple[int, str]:
        """Status and text of a page."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        finally:
            connection.close()

    def refuse(self) -> str:
        """Wait for it to end without having started; its one line."""
        assert self.process.wait(60) == 2, self.output
        lines = self.output.splitlines()
        assert len(lines) == 1, self.output
        assert lines[0].startswith("runsite: ")
        return lines[0]


@pytest.fixture
def start(tmp_path):
    """Start consoles; every process of theirs is ended afterwards."""
    started: list[Console] = []
    outside = tmp_path / "outside"
    outside.mkdir()

    def _start(folder: Path | None = None, **variables: str) -> Console:
        started.append(Console(folder or tmp_path / "data", outside, **variables))
        return started[-1]

    yield _start
    for console in started:
        if console.process.poll() is None:
            console.process.kill()
            console.process.wait(60)
        leftovers.end(f"RUNSITE_CONSOLE_OF={console.data_dir}", limit_s=0)


def test_a_taken_port_is_said_and_nothing_is_made(start, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = start(RUNSITE_PORT=str(port)).refuse()
    assert f"Port {port}" in line
    assert "RUNSITE_PORT=" in line
    assert not (tmp_path / "data").exists()


def test_a_port_shared_by_so_reuseport_counts_as_taken(start, tmp_path):
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        line = start(RUNSITE_PORT=str(taken.getsockname()[1])).refuse()
    assert "is taken" in line


def test_a_host_that_is_no_address_of_this_machine_is_refused(start, tmp_path):
    # 192.0.2.0/24 is kept for documentation: no machine has it
    line = start(RUNSITE_HOST="192.0.2.1").refuse()
    assert "192.0.2.1" in line
    assert not (tmp_path / "data").exists()


def test_a_file_in_place_of_the_data_directory_is_refused(start, tmp_path):
    (tmp_path / "data").write_text("mine")
    line = start().refuse()
    assert str(tmp_path / "data") in line
    assert "RUNSITE_DATA_DIR" in line
    assert (tmp_path / "data").read_text() == "mine"


def test_a_file_above_the_data_directory_is_refused(start, tmp_path):
    (tmp_path / "file").write_text("mine")
    line = start(tmp_path / "file" / "data").refuse()
    assert str(tmp_path / "file") in line


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_directory_that_may_not_be_written_is_refused(start, tmp_path):
    (tmp_path / "data").mkdir(mode=0o500)
    assert "cannot be written" in start().refuse()


def test_a_data_directory_in_use_is_refused(start, tmp_path):
    (tmp_path / "data").mkdir()
    with (tmp_path / "data" / "console.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write("process 4711, http://127.0.0.1:9999\n")
        file.flush()
        line = start().refuse()
    assert "already uses" in line
    assert "4711" in line


def test_what_a_killed_console_left_is_found_by_its_mark_and_ended(tmp_path):
    mark = f"RUNSITE_CONSOLE_OF={tmp_path}"
    name, _, value = mark.partition("=")
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); "
    stubborn = subprocess.Popen(
        [sys.executable, "-c", code + "signal.pause()"],
        env={**os.environ, name: value},
        stdout=subprocess.PIPE,
    )
    other = subprocess.Popen(
        [sys.executable, "-c", "import signal; signal.pause()"],
        env={**os.environ, name: f"{value}/other"},
    )
    try:
        assert stubborn.stdout is not None
        stubborn.stdout.readline()
        until(lambda: leftovers.marked(mark) == [stubborn.pid])
        assert leftovers.end(mark, limit_s=0.2) == 1
        assert not is_running(stubborn.pid)
        assert is_running(other.pid)
        assert leftovers.end(mark, limit_s=0.2) == 0
    finally:
        for process in (stubborn, other):
            process.kill()
            process.wait(60)
        stubborn.stdout.close()


@pytest.mark.process
def test_the_console_starts_says_where_and_ends_whole(start, tmp_path):
    console = start()
    console.wait_until_open()
    assert f"http://127.0.0.1:{console.port}" in console.output
    assert "admin@localhost" in console.output
    assert "password" in console.output
    assert console.get("/healthz")[0] == 200
    assert console.get("/readyz")[0] == 200

    link = re.search(r"http://127\.0\.0\.1:\d+(/\S+)", console.output.split("Sign in", 1)[1])
    assert link is not None
    assert console.get(link[1])[0] in {200, 302}

    # a second console on the same directory is refused and does no harm
    assert "already uses" in start(console.data_dir).refuse()
    assert console.get("/healthz")[0] == 200

    data = console.data_dir
    assert data.stat().st_mode & 0o777 == 0o700
    for private in (data / "secret_key", data / "runsite.sqlite3", data / "run/manager.conf"):
        assert private.stat().st_mode & 0o077 == 0, private

    pids = console.pids
    assert len(pids) >= 3  # manager, web, worker
    begin = time.monotonic()
    console.process.send_signal(signal.SIGTERM)
    assert console.process.wait(60) == 0
    took_s = time.monotonic() - begin
    assert not [pid for pid in pids if is_running(pid)]
    assert "Stopped." in console.output
    # The promise is 15 s; a busy machine may be late.
    assert took_s < 40


@pytest.mark.process
def test_a_second_start_uses_what_is_there(start, tmp_path):
    first = start()
    first.wait_until_open()
    key = (first.data_dir / "secret_key").read_text()
    first.process.send_signal(signal.SIGINT)
    assert first.process.wait(60) == 0

    second = start()
    second.wait_until_open()
    assert "Preparing" not in second.output
    assert "password" not in second.output
    assert (second.data_dir / "secret_key").read_text() == key


@pytest.mark.process
def test_a_killed_console_is_cleared_away_by_the_next(start, tmp_path):
    first = start()
    first.wait_until_open()
    first.process.kill()
    first.process.wait(60)
    left = first.pids
    assert left  # granian and the worker outlive their manager

    second = start(RUNSITE_PORT=str(first.port))
    second.wait_until_open()
    assert not [pid for pid in left if is_running(pid)]


@pytest.mark.process
def test_a_process_that_died_is_started_again(start, tmp_path):
    console = start()
    console.wait_until_open()
    before = set(console.pids)
    web = [
        pid
        for pid in before
        if b"granian" in Path(f"/proc/{pid}/cmdline").read_bytes() and is_running(pid)
    ]
    for pid in web:
        os.kill(pid, signal.SIGKILL)

    def answers_again() -> bool:
        try:
            return console.get("/readyz")[0] == 200
        except OSError:
            return False

    until(answers_again, 120)


@pytest.mark.process
def test_a_directory_with_every_odd_character_works(start, tmp_path):
    console = start(tmp_path / "o'dd %(x)s ;#\" päth")
    console.wait_until_open()
    assert console.get("/readyz")[0] == 200
