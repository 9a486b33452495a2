"""A run above its limits is ended, whole, and the evidence is told."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runs.execution.limits import LimitWatch, own_memory, twins
from runs.execution.process import processes_with_mark
from runs.execution.spec import Stop
from runs.execution.tree import Proc, Scanner, Tree, now_ticks, read_process
from tests.execution.programs import PREFIX, TELL, Log, make_spec, run, stop_when, written_pids
from tests.processes import is_running, until

MIB = 1024**2


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """Whatever a test does, no process of its runs may outlive the call of `execute`."""
    yield
    left = processes_with_mark(PREFIX)
    for proc in left:
        os.kill(proc.pid, signal.SIGKILL)
    assert left == []


def eat(size_mib: int) -> str:
    """A statement that takes memory and uses it."""
    return f"block = bytearray(b'x') * ({size_mib} * 1024 * 1024)\n"


def test_a_program_above_its_memory_limit_is_ended_with_evidence(tmp_path: Path) -> None:
    program = TELL + eat(300) + "tell()\nwait()"
    outcome = run(make_spec(tmp_path, program, memory_limit_bytes=128 * MIB))
    assert outcome.reason == "memory_limit"
    told = re.fullmatch(
        r"memory limit: 128 MiB allowed, ([\d.]+) MiB used by 1 process", outcome.error
    )
    assert told is not None, outcome.error
    assert float(told[1]) > 128
    assert f"main.py` had {told[1]} MiB)" in outcome.detail
    assert outcome.peak_memory_bytes > 128 * MIB
    assert {one.how for one in outcome.ended} == {"memory limit"}


def test_starting_others_all_the_time_does_not_count_twice(tmp_path: Path) -> None:
    # Between vfork and exec each child shows all the memory of the program as its own.
    program = TELL + (
        "import subprocess\n" + eat(150) + "began = time.monotonic()\n"
        "while time.monotonic() < began + 4:\n    subprocess.run(['/bin/true'])\n"
    )
    outcome = run(make_spec(tmp_path, program, memory_limit_bytes=220 * MIB))
    assert (outcome.reason, outcome.exit_code) == (None, 0), outcome.error
    assert outcome.peak_memory_bytes < 220 * MIB


def test_one_young_child_of_each_may_have_borrowed_the_memory_of_its_parent() -> None:
    now = int(now_ticks())

    def proc(pid: int, ppid: int, start: int) -> Proc:
        return Proc(pid, ppid, 10, 10, "S", start, 0, 0)

    main, old = proc(10, 1, now - 9000), proc(11, 10, now - 8000)
    first, second, small = proc(12, 10, now), proc(13, 10, now + 1), proc(14, 10, now + 2)
    used = dict.fromkeys((main, old, first, second), 100 * MIB) | {small: MIB}
    assert twins(used) == [second]


def test_memory_counts_over_all_processes_and_the_largest_is_named(tmp_path: Path) -> None:
    program = TELL + (
        "for size in (60, 60, 90):\n"
        "    if os.fork() == 0:\n"
        "        block = bytearray(b'x') * (size * 1024 * 1024)\n"
        "        tell()\n"
        "        wait()\n"
        "wait()"
    )
    spec = make_spec(tmp_path, program, memory_limit_bytes=180 * MIB)
    outcome = run(spec)
    assert outcome.reason == "memory_limit"
    assert "180 MiB allowed" in outcome.error
    assert outcome.error.endswith("processes")
    assert " MiB)" in outcome.detail
    assert [pid for pid in written_pids(spec.cwd) if is_running(pid)] == []


def test_memory_that_processes_share_counts_once(tmp_path: Path) -> None:
    # As of a pool of workers that got their data by fork.
    program = TELL + (
        eat(150) + "for number in range(4):\n"
        "    if os.fork() == 0:\n"
        "        tell()\n"
        "        time.sleep(2)\n"
        "        os._exit(0)\n"
        "for number in range(4):\n"
        "    os.wait()\n"
    )
    spec = make_spec(tmp_path, program, memory_limit_bytes=300 * MIB)
    outcome = run(spec)
    assert len(written_pids(spec.cwd)) == 4
    assert (outcome.reason, outcome.exit_code) == (None, 0)


def test_pages_of_a_mapped_file_are_no_memory_of_the_program(tmp_path: Path) -> None:
    program = TELL + (
        "import mmap\n"
        "with open('data', 'wb') as handle:\n"
        "    for number in range(200):\n"
        "        handle.write(b'x' * 1024 * 1024)\n"
        "with open('data', 'rb') as handle:\n"
        "    mapped = mmap.mmap(handle.fileno(), 0, prot=mmap.PROT_READ)\n"
        "total = sum(mapped[at] for at in range(0, len(mapped), 4096))\n"
        "time.sleep(1.5)\n"
        "print(total > 0)\n"
    )
    outcome = run(make_spec(tmp_path, program, memory_limit_bytes=100 * MIB))
    assert (outcome.reason, outcome.exit_code) == (None, 0)


def test_a_program_that_goes_on_eating_is_not_given_its_grace(tmp_path: Path) -> None:
    program = TELL + (
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "blocks = []\n"
        "while len(blocks) < 400:\n"
        "    blocks.append(bytearray(b'x') * (10 * 1024 * 1024))\n"
        "    time.sleep(0.02)\n"
        "wait()"
    )
    outcome = run(make_spec(tmp_path, program, memory_limit_bytes=100 * MIB, grace_s=3600.0))
    assert outcome.reason == "memory_limit"
    assert outcome.signal == signal.SIGKILL


def test_a_program_within_its_limits_is_left_alone(tmp_path: Path) -> None:
    program = TELL + "if os.fork() == 0:\n    time.sleep(1)\n    os._exit(0)\nos.wait()"
    outcome = run(
        make_spec(tmp_path, program, memory_limit_bytes=200 * MIB, process_limit=2),
    )
    assert (outcome.reason, outcome.exit_code, outcome.ended) == (None, 0, ())


def test_a_program_that_was_canceled_is_not_said_to_be_above_a_limit(tmp_path: Path) -> None:
    spec = make_spec(tmp_path, TELL + "tell()\nwait()", memory_limit_bytes=200 * MIB)
    outcome = run(spec, should_stop=stop_when(lambda: written_pids(spec.cwd)))
    assert outcome.reason == "canceled"


# Every process forks again and again. The bounds keep a failing test from taking the machine.
FORKS = """
import mmap, os, signal, struct, sys, time
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
born = mmap.mmap(-1, 4096)
until = time.monotonic() + 60
way = sys.argv[1]
while time.monotonic() < until:
    if struct.unpack("i", born[:4])[0] >= 250:
        time.sleep(0.01)
        continue
    born[:4] = struct.pack("i", struct.unpack("i", born[:4])[0] + 1)
    if os.fork() == 0 and way != "plain":
        os.setsid()
        if way == "double" and os.fork():
            os._exit(0)
"""


@pytest.mark.parametrize("way", ["plain", "setsid", "double"])
def test_a_fork_loop_is_ended_whole(tmp_path: Path, way: str) -> None:
    spec = make_spec(tmp_path, FORKS, way, process_limit=20, grace_s=3600.0)
    outcome = run(spec)
    assert outcome.reason == "process_limit"
    assert outcome.error.startswith("process limit: 20 allowed, ")
    assert int(outcome.error.split()[-2]) > 20
    assert "of them `python" in outcome.detail
    assert len(outcome.ended) > 20
    assert processes_with_mark(spec.mark) == []


def test_a_fork_loop_whose_first_process_has_left_is_ended_whole(tmp_path: Path) -> None:
    program = "import os\nif os.fork():\n    os._exit(0)\n" + FORKS
    spec = make_spec(tmp_path, program, "setsid", process_limit=20, pipe_wait_s=3600.0)
    outcome = run(spec)
    assert outcome.exit_code == 0
    assert outcome.reason == "process_limit"
    assert processes_with_mark(spec.mark) == []


def test_a_fork_loop_begun_in_a_grace_period_cuts_it_short(tmp_path: Path) -> None:
    program = FORKS.replace(
        "born = mmap",
        "asked = []\nsignal.signal(signal.SIGTERM, lambda *_: asked.append(1))\n"
        "open('pid-%d' % os.getpid(), 'w').close()\n"
        "while not asked:\n    time.sleep(0.02)\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nborn = mmap",
    )
    spec = make_spec(tmp_path, program, "plain", process_limit=20, grace_s=3600.0)
    outcome = run(spec, should_stop=stop_when(lambda: written_pids(spec.cwd)))
    assert outcome.reason == "canceled"
    assert processes_with_mark(spec.mark) == []


def test_stdout_above_its_limit_is_dropped_where_the_application_wants_that(
    tmp_path: Path,
) -> None:
    program = "print('x' * 5999)\nopen('done', 'w').close()"
    spec = make_spec(tmp_path, program, output_limit_bytes=1000, output_limit_action="truncate")
    outcome = run(spec)
    assert (outcome.reason, outcome.exit_code, outcome.error) == (None, 0, "")
    assert outcome.stdout.read_bytes() == b"x" * 1000
    assert outcome.stdout_bytes == 1000
    assert (spec.cwd / "done").exists()
    [warning] = outcome.warnings
    assert "1000 bytes were kept and 5000 dropped" in warning


def test_a_program_that_writes_on_above_a_cutting_limit_goes_on(tmp_path: Path) -> None:
    program = (
        "import sys, time\n"
        "for number in range(60):\n"
        "    print('y' * 9999, flush=True)\n"
        "    time.sleep(0.01)\n"
    )
    log = Log()
    spec = make_spec(
        tmp_path,
        program,
        output_limit_bytes=1000,
        output_limit_action="truncate",
        stdout_is_log=True,
    )
    outcome = run(spec, log=log)
    assert outcome.exit_code == 0
    assert len(log.data) == 600_000
    assert any("599000 dropped" in warning for warning in outcome.warnings)


def test_a_log_above_its_limit_ends_the_program_politely(tmp_path: Path) -> None:
    program = TELL + (
        "def leave(*_):\n    print('bye', flush=True)\n    os._exit(0)\n"
        "signal.signal(signal.SIGTERM, leave)\n"
        "while True:\n    print('line ' * 20, file=sys.stderr, flush=True)\n    time.sleep(0.01)\n"
    )
    log = Log()
    spec = make_spec(tmp_path, program, grace_s=60.0, log_limit_bytes=1024)
    stop = stop_when(lambda: len(log.data) > 1024, Stop.LOG_LIMIT)
    outcome = run(spec, log=log, should_stop=stop)
    assert outcome.reason == "log_too_large"
    assert outcome.error.startswith("log limit of 1 KiB: ")
    assert outcome.stdout.read_text() == "bye\n"
    assert [one.signal for one in outcome.ended] == ["SIGTERM"]


def test_a_log_limit_counts_also_when_the_program_was_quick(tmp_path: Path) -> None:
    log = Log()
    stop = stop_when(lambda: len(log.data) > 1024, Stop.LOG_LIMIT)
    program = "import sys; sys.stderr.write('x' * 5000)"
    assert run(make_spec(tmp_path, program), log=log, should_stop=stop).reason == "log_too_large"


def test_a_look_sees_processes_as_they_are_born() -> None:
    family = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import os,sys\nfor line in sys.stdin:\n    if os.fork() == 0:\n        os.pause"
            " if 0 else __import__('signal').pause()\n    print('born', flush=True)\n",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert family.stdin is not None
        assert family.stdout is not None
        tree = Tree(Scanner(), mark="nobody:has:this", main=read_process(family.pid))
        watch = LimitWatch(tree, memory_limit_bytes=None, process_limit=2)
        for number in range(3):
            assert watch.look() is None, number
            if number < 2:
                family.stdin.write(b"\n")
                family.stdin.flush()
                assert family.stdout.readline() == b"born\n"
            if number == 1:
                break
        found = until(watch.look)
        assert (found.limit, found.used) == (2, 3)
    finally:
        os.killpg(family.pid, signal.SIGKILL)
        family.communicate()


def test_own_memory_is_what_a_process_has_filled() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", eat(80) + "print('x', flush=True)\ninput()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"x\n"
    proc = read_process(child.pid)
    assert proc is not None
    assert 80 * MIB < own_memory(proc) < 120 * MIB
    child.kill()
    child.communicate()
    assert own_memory(proc) == 0
