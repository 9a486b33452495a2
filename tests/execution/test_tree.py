"""Processes are read from /proc as they are."""

from __future__ import annotations

import os
import subprocess
import sys

from runs.execution.tree import MARK, Scanner, command_line, read_mark, read_process, still_runs
from tests.processes import until

WAIT = "import sys; print('ready', flush=True); sys.stdin.read()"


def start(program: str, *arguments: str, **env: str) -> subprocess.Popen[bytes]:
    child = subprocess.Popen(
        [sys.executable, "-S", "-c", program, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=env,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    return child


def end(child: subprocess.Popen[bytes]) -> None:
    child.communicate(timeout=60)


def test_our_own_process_is_read() -> None:
    own = read_process(os.getpid())
    assert own is not None
    assert own.ppid == os.getppid()
    assert own.group == os.getpgid(0)
    assert own.session == os.getsid(0)
    assert own.alive
    assert own.rss_pages > 0


def test_a_name_with_brackets_and_spaces_does_not_confuse() -> None:
    rename = "open('/proc/self/comm', 'w').write(') Z 1 (x');" + WAIT
    child = start(rename)
    found = read_process(child.pid)
    assert found is not None
    assert found.ppid == os.getpid()
    end(child)


def test_a_missing_process_is_none() -> None:
    child = start(WAIT)
    found = read_process(child.pid)
    end(child)
    assert found is not None
    assert not still_runs(found)


def test_the_mark_is_read_wherever_it_stands() -> None:
    child = start(WAIT, **{"NOT_" + MARK: "wrong", "A": f"{MARK}=wrong", MARK: "a:b:1"})
    assert read_mark(child.pid) == "a:b:1"
    end(child)


def test_a_process_without_a_mark_has_none() -> None:
    child = start(WAIT, **{"NOT_" + MARK: "wrong", "A": f"{MARK}=wrong"})
    assert read_mark(child.pid) is None
    end(child)


def test_a_long_command_line_is_shortened() -> None:
    child = start(WAIT, "x" * 5000, "new\nline")
    text = command_line(child.pid)
    assert len(text) == 200
    assert text.endswith("…")
    assert "\n" not in text
    end(child)


def test_one_look_serves_many_readers() -> None:
    scanner = Scanner()
    first = scanner.snapshot()
    assert scanner.snapshot(max_age_s=3600) is first
    assert scanner.snapshot() is not first
    assert os.getpid() in first.procs


def test_a_process_keeps_the_mark_it_was_seen_with() -> None:
    # Overwrites the memory in which its environment lies, as programs do that set their title.
    program = (
        "import ctypes, sys\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "fields = open('/proc/self/stat').read().rsplit(')', 1)[1].split()\n"
        "start, end = int(fields[47]), int(fields[48])\n"
        "ctypes.memset(start, 0, end - start)\n"
        "print('erased', flush=True); sys.stdin.read()"
    )
    child = start(program, **{MARK: "keeps:1", "PATH": os.defpath})
    scanner = Scanner()
    until(lambda: scanner.snapshot().by_mark.get("keeps:1"))
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(b"go\n")
    child.stdin.flush()
    assert child.stdout.readline() == b"erased\n"
    assert read_mark(child.pid) is None
    assert [proc.pid for proc in scanner.snapshot().by_mark["keeps:1"]] == [child.pid]
    end(child)
