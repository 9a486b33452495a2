"""Programs are started, waited for, signalled and reaped; nobody else's are touched."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from runs.execution import process
from runs.execution.tree import MARK, read_process
from tests.execution.programs import PREFIX
from tests.processes import is_running, until

SLEEP = [sys.executable, "-c", "import time; time.sleep(3600)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True);"
    " time.sleep(3600)",
]


def start(command: list[str], mark: str = "") -> process.Child:
    nowhere = os.open(os.devnull, os.O_RDWR)
    try:
        return process.start(
            command,
            cwd=Path("/"),
            env={MARK: mark} if mark else {},
            stdin=nowhere,
            stdout=nowhere,
            stderr=nowhere,
        )
    finally:
        os.close(nowhere)


def test_a_child_is_waited_for_without_being_reaped() -> None:
    child = start([sys.executable, "-c", "raise SystemExit(4)"])
    assert child.wait(60)
    seen = read_process(child.pid)
    assert seen is not None
    assert not seen.alive
    code, cpu_s, maxrss_bytes = child.reap()
    assert code == 4
    assert cpu_s > 0
    assert maxrss_bytes > 0
    assert read_process(child.pid) != seen


def test_waiting_for_a_child_has_a_limit() -> None:
    child = start(SLEEP)
    assert not child.wait(0.05)
    os.kill(child.pid, 9)
    assert child.wait(60)
    assert child.reap()[0] == -9


def test_what_a_former_boot_left_is_ended_by_its_mark() -> None:
    prefix = f"{PREFIX}former:"
    mine = start(SLEEP, prefix + "run-1:1")
    other = start(SLEEP, f"{PREFIX}other:run-2:1")
    stubborn = subprocess.Popen(
        STUBBORN, env={MARK: prefix + "run-3:1"}, stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        assert stubborn.stdout is not None
        assert stubborn.stdout.readline() == b"ready\n"

        ended = process.end_marked(prefix, grace_s=0.2)

        assert {one.pid for one in ended} == {mine.pid, stubborn.pid}
        assert {one.signal for one in ended if one.pid == stubborn.pid} == {"SIGKILL"}
        assert not is_running(mine.pid)
        assert not is_running(stubborn.pid)
        assert is_running(other.pid)
        assert process.end_marked(prefix, grace_s=0.2) == []
    finally:
        for pid in (mine.pid, other.pid, stubborn.pid):
            os.kill(pid, 9)
        assert mine.reap()[0] < 0
        assert other.reap()[0] == -9
        assert stubborn.stdout is not None
        stubborn.stdout.close()
        stubborn.wait()


def test_an_empty_prefix_is_refused() -> None:
    with pytest.raises(ValueError, match="every run"):
        process.end_marked("", grace_s=0)


def test_a_descendant_of_a_marked_process_is_found_without_its_mark() -> None:
    prefix = f"{PREFIX}family:"
    program = (
        "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c',"
        " 'import time; time.sleep(3600)'], env={}); print(p.pid, flush=True); p.wait()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        env={MARK: prefix + "run-1:1"},
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert parent.stdout is not None
    grandchild = int(parent.stdout.readline())
    ended = process.end_marked(prefix, grace_s=5)
    parent.stdout.close()
    parent.wait()
    assert {one.pid for one in ended} == {parent.pid, grandchild}
    assert not is_running(grandchild)


def test_reaping_strays_steals_nothing_from_other_threads() -> None:
    done = threading.Event()

    def reap() -> None:
        while not done.is_set():
            process.reap_strays()

    thread = threading.Thread(target=reap)
    thread.start()
    try:
        for number in range(20):
            ours = start([sys.executable, "-S", "-c", f"raise SystemExit({number})"])
            command = [sys.executable, "-S", "-c", f"raise SystemExit({number})"]
            # Code that knows nothing of us, in our session and in one of its own.
            same = subprocess.Popen(command)
            apart = subprocess.Popen(command, start_new_session=True)
            assert ours.wait(60)
            assert ours.reap()[0] == number
            assert same.wait(60) == number
            assert apart.wait(60) == number
    finally:
        done.set()
        thread.join()


STRAYS = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
from runs.execution import process
process._STRAY_ZOMBIE_S = 0.2
assert process.become_subreaper()
pid = os.fork()
if pid == 0:
    os.setsid()
    stray = os.fork()
    if stray == 0:
        time.sleep(0.2)
        os._exit(0)
    os._exit(0)
os.waitpid(pid, 0)
until = time.monotonic() + 60
while process.reap_strays() == 0:
    assert time.monotonic() < until
    time.sleep(0.02)
print("reaped")
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    print("no child left")
"""


def test_adopted_orphans_are_reaped() -> None:
    root = str(Path(__file__).parents[2])
    ran = subprocess.run(
        [sys.executable, "-c", STRAYS, root],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.stdout.splitlines() == ["reaped", "no child left"], ran.stderr


def test_a_program_is_sacrificed_before_the_worker() -> None:
    child = start(SLEEP)
    process.sacrifice(child)
    own = int(Path("/proc/self/oom_score_adj").read_text())
    theirs = int(Path(f"/proc/{child.pid}/oom_score_adj").read_text())
    os.kill(child.pid, 9)
    child.reap()
    assert theirs > own or own >= 300


def test_processes_with_a_mark_are_listed() -> None:
    prefix = f"{PREFIX}listed:"
    child = start(SLEEP, prefix + "1")
    found = until(lambda: process.processes_with_mark(prefix))
    os.kill(child.pid, 9)
    child.reap()
    assert [proc.pid for proc in found] == [child.pid]
    assert process.processes_with_mark(prefix) == []
