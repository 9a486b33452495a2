"""One program is executed, watched, ended, and told about."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runs.execution.environment import option_arguments
from runs.execution.process import processes_with_mark
from runs.execution.pump import Pump
from runs.execution.spec import Outcome, RunSpec, Stop, Usage
from tests.execution.programs import (
    PREFIX,
    STRESS,
    TELL,
    Log,
    make_spec,
    run,
    stop_when,
    written_pids,
)
from tests.processes import is_running, until


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """Whatever a test does, no process of its runs may outlive the call of `execute`."""
    yield
    left = processes_with_mark(PREFIX)
    for proc in left:
        os.kill(proc.pid, signal.SIGKILL)
    assert left == []


def stress(tmp_path: Path, options: dict[str, object], **changes: object) -> RunSpec:
    return make_spec(tmp_path, STRESS, *option_arguments(options.items()), **changes)


def line_of(log: Log, word: str) -> int:
    """The pid in the log line `word` pid=…"""
    return int(log.text.split(word + "pid=")[1].split()[0])


def names(outcome: Outcome) -> dict[int, str]:
    return {one.pid: one.signal for one in outcome.ended}


def test_a_program_that_ends_well_says_so(tmp_path: Path) -> None:
    source = tmp_path / "input.json"
    source.write_text('{"n": 1}')
    log = Log()
    spec = make_spec(
        tmp_path,
        "import sys\nprint(sys.stdin.read())\nprint('working', file=sys.stderr)",
        stdin=source,
    )
    started: list[tuple[int, float]] = []

    outcome = run(spec, log=log, on_start=lambda pid, at: started.append((pid, at)))

    assert (outcome.exit_code, outcome.signal, outcome.reason) == (0, None, None)
    assert (outcome.error, outcome.detail) == ("", "")
    assert outcome.stdout.read_text() == '{"n": 1}\n'
    assert outcome.stdout_bytes == 9
    assert log.text == "working\n"
    assert outcome.ended == ()
    assert outcome.warnings == ()
    assert outcome.started_at <= outcome.ended_at
    assert outcome.duration_s > 0
    assert outcome.cpu_s > 0
    assert outcome.peak_memory_bytes > 0
    [(pid, at)] = started
    assert pid > 1
    assert at > 0


def test_an_exit_code_is_told(tmp_path: Path) -> None:
    outcome = run(make_spec(tmp_path, "raise SystemExit(3)"))
    assert (outcome.exit_code, outcome.signal, outcome.reason) == (3, None, None)
    assert outcome.error == "exit code 3"
    assert outcome.detail


def test_a_signal_is_told(tmp_path: Path) -> None:
    outcome = run(make_spec(tmp_path, "import os; os.abort()"))
    assert (outcome.exit_code, outcome.signal, outcome.reason) == (None, 6, None)
    assert outcome.error == "killed by signal 6"


def test_a_program_killed_from_outside_is_no_cancel(tmp_path: Path) -> None:
    outcome = run(make_spec(tmp_path, "import os; os.kill(os.getpid(), 9)"))
    assert (outcome.exit_code, outcome.signal) == (None, 9)
    assert outcome.error.startswith("killed by signal 9")
    assert outcome.ended == ()


def test_output_is_the_same_for_a_program_that_reads_nothing(tmp_path: Path) -> None:
    source = tmp_path / "large"
    source.write_bytes(b"x" * 2_000_000)
    outcome = run(make_spec(tmp_path, "print('done')", stdin=source))
    assert outcome.exit_code == 0
    assert outcome.stdout.read_text() == "done\n"


def test_without_an_input_stdin_is_empty(tmp_path: Path) -> None:
    outcome = run(make_spec(tmp_path, "import sys; print(repr(sys.stdin.read()))"))
    assert outcome.stdout.read_text() == "''\n"


def test_the_time_limit_ends_a_program(tmp_path: Path) -> None:
    outcome = run(make_spec(tmp_path, TELL + "wait()", time_limit_s=0.5))
    assert outcome.reason == "timed_out"
    assert outcome.error == "time limit of 0.5 s"
    assert outcome.signal == signal.SIGTERM
    assert [one.how for one in outcome.ended] == ["time limit"]


def test_cancel_lets_a_program_end_in_its_own_way(tmp_path: Path) -> None:
    program = TELL + (
        "def leave(*_):\n"
        "    print('{\"best\": 1}', flush=True)\n"
        "    os._exit(0)\n"
        "signal.signal(signal.SIGTERM, leave)\n"
        "tell()\nwait()"
    )
    spec = make_spec(tmp_path, program, grace_s=60.0)
    outcome = run(spec, should_stop=stop_when(lambda: written_pids(spec.cwd)))
    assert outcome.reason == "canceled"
    assert outcome.error == "canceled"
    assert outcome.exit_code == 0
    assert outcome.stdout.read_text() == '{"best": 1}\n'
    assert [one.signal for one in outcome.ended] == ["SIGTERM"]


def test_cancel_before_the_start_starts_nothing(tmp_path: Path) -> None:
    spec = make_spec(tmp_path, TELL + "tell()")
    outcome = run(spec, should_stop=lambda: Stop.CANCEL)
    assert outcome.reason == "canceled"
    assert (outcome.exit_code, outcome.signal) == (None, None)
    assert written_pids(spec.cwd) == []
    assert outcome.stdout.read_bytes() == b""


def test_cancel_ends_who_ignores_it_and_a_detached_grandchild(tmp_path: Path) -> None:
    log = Log()
    spec = stress(
        tmp_path,
        {
            "sleep": 600,
            "ignore_sigterm": True,
            "grandchild": 600,
            "grandchild_setsid": True,
            "grandchild_pipes": False,
        },
        grace_s=1.0,
    )
    outcome = run(spec, log=log, should_stop=stop_when(lambda: b"line 000001" in log.data))

    main = line_of(log, "")
    grandchild = line_of(log, "grandchild ")
    assert not is_running(main)
    assert not is_running(grandchild)
    assert outcome.reason == "canceled"
    assert outcome.signal == signal.SIGKILL
    assert names(outcome)[main] == "SIGKILL"
    assert grandchild in names(outcome)
    assert all(one.command and len(one.command) <= 200 for one in outcome.ended)


def test_a_stopping_worker_has_a_reason_of_its_own(tmp_path: Path) -> None:
    spec = make_spec(tmp_path, TELL + "tell()\nwait()")
    stop = stop_when(lambda: written_pids(spec.cwd), Stop.WORKER_STOP)
    assert run(spec, should_stop=stop).reason == "worker_stopped"


def test_kill_does_not_ask_first(tmp_path: Path) -> None:
    program = TELL + "signal.signal(signal.SIGTERM, lambda *_: os._exit(5))\ntell()\nwait()"
    spec = make_spec(tmp_path, program)
    outcome = run(spec, should_stop=stop_when(lambda: written_pids(spec.cwd), Stop.KILL))
    assert outcome.reason == "worker_stopped"
    assert outcome.signal == signal.SIGKILL


def test_kill_cuts_a_grace_period_short(tmp_path: Path) -> None:
    program = TELL + (
        "signal.signal(signal.SIGTERM, lambda *_: print('asked', file=sys.stderr, flush=True))\n"
        "tell()\nwait()"
    )
    log = Log()
    spec = make_spec(tmp_path, program, grace_s=3600.0)

    def should_stop() -> Stop | None:
        if b"asked" in log.data:
            return Stop.KILL
        return Stop.CANCEL if written_pids(spec.cwd) else None

    outcome = run(spec, log=log, should_stop=should_stop)
    assert outcome.reason == "canceled"
    assert outcome.signal == signal.SIGKILL


def test_a_stopped_program_hears_the_cancel(tmp_path: Path) -> None:
    program = TELL + (
        "signal.signal(signal.SIGTERM, lambda *_: os._exit(7))\n"
        "tell()\nos.kill(os.getpid(), signal.SIGSTOP)\nwait()"
    )
    spec = make_spec(tmp_path, program, grace_s=60.0)

    def stopped() -> bool:
        return any(
            Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"
            for pid in written_pids(spec.cwd)
        )

    outcome = run(spec, should_stop=stop_when(stopped))
    assert outcome.reason == "canceled"
    assert outcome.exit_code == 7


DOUBLE_FORK = (
    TELL
    + """
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    quiet = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(quiet, number)
    os.chdir("/")
    tell()
    wait()
"""
)


def test_a_double_forked_daemon_does_not_survive_the_cancel(tmp_path: Path) -> None:
    spec = make_spec(tmp_path, DOUBLE_FORK + "tell()\nwait()", grace_s=5.0)
    outcome = run(spec, should_stop=stop_when(lambda: len(written_pids(spec.cwd)) == 2))
    pids = written_pids(spec.cwd)
    assert [pid for pid in pids if is_running(pid)] == []
    assert set(names(outcome)) == set(pids)


def test_a_daemon_left_by_a_program_that_ended_well_is_ended_and_named(tmp_path: Path) -> None:
    program = DOUBLE_FORK + (
        "while not list(pathlib.Path('.').glob('pid-*')):\n    time.sleep(0.02)\n"
    )
    spec = make_spec(tmp_path, program, pipe_wait_s=60.0)
    outcome = run(spec)
    [pid] = written_pids(spec.cwd)
    assert not is_running(pid)
    assert outcome.exit_code == 0
    assert outcome.reason is None
    assert [(one.pid, one.how) for one in outcome.ended] == [(pid, "left running")]


def test_a_grandchild_that_holds_the_pipes_is_ended_after_a_short_wait(tmp_path: Path) -> None:
    log = Log()
    spec = stress(tmp_path, {"sleep": 0, "grandchild": 3600}, pipe_wait_s=0.3)
    outcome = run(spec, log=log)
    grandchild = line_of(log, "grandchild ")
    assert not is_running(grandchild)
    assert outcome.exit_code == 0
    assert [(one.pid, one.how) for one in outcome.ended] == [(grandchild, "held the output open")]
    assert json.loads(outcome.stdout.read_text())["metrics"]


def test_what_a_grandchild_writes_within_the_wait_is_kept(tmp_path: Path) -> None:
    program = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    time.sleep(0.3)\n"
        "    print('late', flush=True)\n"
        "    os._exit(0)\n"
    )
    outcome = run(make_spec(tmp_path, program, pipe_wait_s=60.0))
    assert outcome.stdout.read_text() == "late\n"
    assert outcome.ended == ()


def test_a_process_that_erased_its_mark_is_found_by_the_pipe_it_holds(tmp_path: Path) -> None:
    # Out of reach of every other way: no mark, a session of its own, its parents gone at once.
    inner = "import os,time,pathlib\npathlib.Path(os.environ['AT'],'pid-%d'%os.getpid()).touch()\n"
    program = TELL + (
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork():\n"
        "        os._exit(0)\n"
        f"    code = {inner!r} + 'time.sleep(3600)'\n"
        "    os.chdir('/')\n"
        "    clean = {'AT': os.environ['RUN_DIR']}\n"
        "    os.execve(sys.executable, [sys.executable, '-c', code], clean)\n"
        "os.wait()\n"
        "while not list(pathlib.Path('.').glob('pid-*')):\n    time.sleep(0.02)\n"
    )
    spec = make_spec(tmp_path, program, pipe_wait_s=0.2)
    outcome = run(spec)
    [pid] = written_pids(spec.cwd)
    assert not is_running(pid)
    assert [(one.pid, one.how) for one in outcome.ended] == [(pid, "held the output open")]


def test_a_fork_loop_is_caught(tmp_path: Path) -> None:
    # Every process forks again and again; a bound keeps a failing test from taking the machine.
    program = TELL + (
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "tell()\n"
        "until = time.time() + 120\n"
        "forks = 0\n"
        "while time.time() < until:\n"
        "    if forks < 6:\n"
        "        forks += 1\n"
        "        if os.fork() == 0:\n"
        "            forks = max(forks, 3)\n"
        "    time.sleep(0.02)\n"
    )
    spec = make_spec(tmp_path, program, grace_s=0.2)
    outcome = run(
        spec,
        should_stop=stop_when(lambda: len(processes_with_mark(spec.mark)) > 20),
    )
    assert outcome.reason == "canceled"
    assert len(outcome.ended) > 20
    assert processes_with_mark(spec.mark) == []


def test_a_program_that_forks_and_exits_without_end_is_caught(tmp_path: Path) -> None:
    program = TELL + (
        "until = time.time() + 120\n"
        "tell()\n"
        "while time.time() < until:\n"
        "    if os.fork():\n"
        "        os._exit(0)\n"
    )
    spec = make_spec(tmp_path, program, pipe_wait_s=0.1)
    outcome = run(spec)
    assert outcome.exit_code == 0
    assert processes_with_mark(spec.mark) == []


def test_a_flood_on_stderr_blocks_nobody(tmp_path: Path) -> None:
    log = Log()
    program = (
        "import sys\nfor n in range(200000):\n    sys.stderr.write('%d' % n + '.' * 60 + '\\n')"
    )
    outcome = run(make_spec(tmp_path, program), log=log)
    assert outcome.exit_code == 0
    assert log.data.count(b"\n") == 200000
    assert max(map(len, log.chunks)) <= 64 * 1024


def test_output_above_the_limit_ends_the_program(tmp_path: Path) -> None:
    program = TELL + "while True:\n    sys.stdout.write('x' * 65536)"
    outcome = run(make_spec(tmp_path, program, output_limit_bytes=1_000_000))
    assert outcome.reason == "output_too_large"
    assert outcome.stdout.stat().st_size == outcome.stdout_bytes == 1_000_000
    assert any("were not kept" in warning for warning in outcome.warnings)


def test_output_above_the_limit_counts_also_when_the_program_was_quick(tmp_path: Path) -> None:
    outcome = run(make_spec(tmp_path, "print('x' * 5000)", output_limit_bytes=100))
    assert outcome.reason == "output_too_large"
    assert outcome.stdout_bytes == 100


def test_output_of_exactly_the_limit_is_fine(tmp_path: Path) -> None:
    outcome = run(make_spec(tmp_path, "print('x' * 99)", output_limit_bytes=100))
    assert outcome.reason is None
    assert outcome.stdout_bytes == 100


def test_stdout_is_log_and_kept_where_the_format_says_so(tmp_path: Path) -> None:
    log = Log()
    program = (
        "import sys\n"
        "for n in range(100):\n"
        "    sys.stdout.write('out %d ' % n); sys.stdout.flush()\n"
        "    sys.stderr.write('err %d ' % n); sys.stderr.flush()\n"
        "    sys.stdout.write('end\\n'); sys.stdout.flush()\n"
        "    sys.stderr.write('end\\n'); sys.stderr.flush()\n"
    )
    outcome = run(make_spec(tmp_path, program, stdout_is_log=True), log=log)
    lines = log.text.splitlines()
    assert sorted(lines) == sorted(
        f"{stream} {n} end" for n in range(100) for stream in ("out", "err")
    )
    assert outcome.stdout.read_text().splitlines() == [f"out {n} end" for n in range(100)]


def test_nothing_of_the_server_reaches_a_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTPUT", "/nonexistent/x")
    monkeypatch.setenv("DURATION", "zz")
    program = "import os, json; print(json.dumps(dict(os.environ)))"
    seen = json.loads(run(make_spec(tmp_path, program)).stdout.read_text())
    assert set(seen) == {
        "PATH",
        "HOME",
        "LANG",
        "TMPDIR",
        "PYTHONUNBUFFERED",
        "PYTHONIOENCODING",
        "RUN_ID",
        "RUN_DIR",
        "RUNSITE_MARK",
    }


def test_a_program_leads_a_group_and_session_of_its_own(tmp_path: Path) -> None:
    program = "import os; print(os.getpid() == os.getpgid(0) == os.getsid(0))"
    assert run(make_spec(tmp_path, program)).stdout.read_text() == "True\n"


def test_a_program_finds_nothing_open_but_its_three_streams(tmp_path: Path) -> None:
    program = "import os; print(sorted(map(int, os.listdir('/proc/self/fd')))[:-1])"
    assert run(make_spec(tmp_path, program)).stdout.read_text() == "[0, 1, 2]\n"


def not_started(spec: RunSpec) -> Outcome:
    outcome = run(spec)
    assert outcome.reason == "not_started"
    assert (outcome.exit_code, outcome.signal) == (None, None)
    assert outcome.error.startswith("not started: ")
    assert outcome.stdout.read_bytes() == b""
    return outcome


def test_an_absent_entry_is_told(tmp_path: Path) -> None:
    spec = make_spec(tmp_path, "")
    entry = spec.cwd / "solver.py"
    outcome = not_started(RunSpec(**vars(spec) | {"entry": entry}))
    assert "`solver.py`" in outcome.error
    assert "`files`" in outcome.detail


def test_an_absent_program_is_told(tmp_path: Path) -> None:
    outcome = not_started(make_spec(tmp_path, "", command=("/nonexistent/solver",)))
    assert "/nonexistent/solver" in outcome.error


def test_a_program_that_is_not_executable_is_told(tmp_path: Path) -> None:
    spec = make_spec(tmp_path, "")
    entry = spec.cwd / "main"
    entry.write_text("#!/bin/sh\necho hi\n")
    entry.chmod(0o644)
    outcome = not_started(RunSpec(**vars(spec) | {"command": (str(entry),)}))
    assert "`main` is not executable" in outcome.error
    assert "chmod +x" in outcome.detail


def test_absent_java_is_told(tmp_path: Path) -> None:
    spec = make_spec(
        tmp_path,
        "",
        command=("java", "-jar", "main.jar"),
        env={"PATH": str(tmp_path)},
    )
    outcome = not_started(spec)
    assert "`java` is not installed" in outcome.error
    assert "install" in outcome.detail


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"echo hi\n", "#!/bin/sh"),
        (b"MZ\x90\x00", "Windows"),
        (b"\xcf\xfa\xed\xfe\x00\x00", "macOS"),
        (b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xf3\x00" + bytes(44), "riscv"),
        (b"#!/nonexistent/interpreter\n", "/nonexistent/interpreter"),
        (b"#!/bin/sh\r\necho hi\r\n", "Windows line end"),
    ],
)
def test_a_program_for_another_machine_is_told(tmp_path: Path, content: bytes, words: str) -> None:
    if words == "riscv" and platform.machine().startswith("riscv"):
        pytest.skip("this machine can run it")
    spec = make_spec(tmp_path, "")
    entry = spec.cwd / "main"
    entry.write_bytes(content)
    entry.chmod(0o755)
    outcome = not_started(RunSpec(**vars(spec) | {"command": (str(entry),)}))
    assert words in outcome.detail


def test_an_option_that_no_command_line_can_hold_is_told(tmp_path: Path) -> None:
    outcome = not_started(make_spec(tmp_path, "", "-name", "a\0b"))
    assert "Remove it" in outcome.detail


def test_usage_of_the_tree_is_sampled(tmp_path: Path) -> None:
    program = TELL + (
        "if os.fork() == 0:\n"
        "    block = bytearray(60_000_000)\n"
        "    tell()\n"
        "    wait()\n"
        "x = 0\n"
        "while True:\n    x += 1\n"
    )
    seen: list[Usage] = []
    spec = make_spec(tmp_path, program, usage_every_s=0.1)

    def enough() -> bool:
        last = seen[-1] if seen else None
        return bool(
            last and last.processes == 2 and last.memory_bytes > 60_000_000 and last.cpu_s > 0.2
        )

    outcome = run(spec, on_usage=seen.append, should_stop=stop_when(enough))
    assert [one.cpu_s for one in seen] == sorted(one.cpu_s for one in seen)
    assert outcome.peak_memory_bytes > 60_000_000
    assert outcome.cpu_s > 0.2


def test_a_small_program_is_not_charged_with_the_memory_of_the_worker(tmp_path: Path) -> None:
    ballast = bytearray(300_000_000)
    ballast[::4096] = b"x" * len(ballast[::4096])
    outcome = run(make_spec(tmp_path, "import time; time.sleep(0.3)"))
    assert 0 < outcome.peak_memory_bytes < 200_000_000
    del ballast


def test_a_fault_of_ours_leaves_nothing_alive(tmp_path: Path) -> None:
    spec = make_spec(tmp_path, TELL + "tell()\nwait()")

    def tick() -> None:
        if written_pids(spec.cwd):
            raise RuntimeError("the database went away")

    with pytest.raises(RuntimeError, match="the database went away"):
        run(spec, tick=tick)
    [pid] = written_pids(spec.cwd)
    assert not is_running(pid)


def test_a_log_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    class Broken(Log):
        def write(self, data: bytes) -> None:
            raise OSError("no space")

    outcome = run(make_spec(tmp_path, "import sys; sys.stderr.write('x' * 200000)"), log=Broken())
    assert outcome.exit_code == 0
    assert any("no space" in warning for warning in outcome.warnings)


def test_many_runs_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    together = threading.Barrier(76, timeout=120)
    program = (
        "import os, sys, time\nprint(sys.argv[1], flush=True)\n"
        "print('log', sys.argv[1], file=sys.stderr, flush=True)\nsys.stdin.read()\n"
    )

    def one(number: int) -> bool:
        fifo = tmp_path / f"fifo-{number}"
        os.mkfifo(fifo)
        holder = os.open(fifo, os.O_RDWR)
        log = Log()
        spec = make_spec(
            tmp_path, program.replace("sys.stdin", f"open({str(fifo)!r})"), str(number)
        )
        released = []

        def tick() -> None:
            if log.data and not released:
                released.append(together.wait())
                os.close(holder)

        outcome = run(spec, log=log, tick=tick)
        return outcome.exit_code == 0 and outcome.stdout.read_text() == f"{number}\n"

    with ThreadPoolExecutor(76) as pool:
        assert all(pool.map(one, range(76)))


ADOPTED = """
import os, subprocess, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from runs.execution import process
from tests.execution.programs import TELL, make_spec, run, written_pids
assert process.become_subreaper()
# No mark, a session of its own, no pipe, no working directory, parents that ended at once.
program = TELL + '''
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    quiet = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(quiet, number)
    os.chdir("/")
    code = ("import os,time,pathlib\\\\n"
            "pathlib.Path(os.environ['AT'],'pid-%d'%os.getpid()).touch()\\\\ntime.sleep(3600)")
    os.execve(sys.executable, [sys.executable, '-c', code], {'AT': os.environ['RUN_DIR']})
os.wait()
while not list(pathlib.Path('.').glob('pid-*')):
    time.sleep(0.02)
'''
spec = make_spec(Path(sys.argv[2]), program, pipe_wait_s=60.0)
outcome = run(spec)
[pid] = written_pids(spec.cwd)
print(pid, [(one.pid, one.how) for one in outcome.ended] == [(pid, "left running")])
print(os.path.exists(f"/proc/{pid}"))
# A build that other code of the worker has going is not touched when a run ends.
with process.starting() as own:
    build = subprocess.Popen(["sleep", "3600"], start_new_session=True)
    own(build.pid)
quick = run(make_spec(Path(sys.argv[2]), "print(1)"))
print(quick.exit_code, quick.ended, build.poll())
build.kill()
build.wait()
process.forget(build.pid)
"""


def test_a_worker_that_adopts_orphans_ends_those_that_left_no_trace(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[2])
    ran = subprocess.run(
        [sys.executable, "-c", ADOPTED, root, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    found, exists, quick = ran.stdout.splitlines()
    pid, as_expected = found.split()
    assert as_expected == "True", ran.stdout
    assert exists == "False"  # reaped as well
    assert quick == "0 () None"
    assert not is_running(int(pid))


def test_a_program_can_be_ended_twice_over(tmp_path: Path) -> None:
    # A cancel that comes while the pipes of an ended program are waited for changes no result.
    log = Log()
    spec = stress(tmp_path, {"sleep": 0, "grandchild": 3600}, pipe_wait_s=3600.0)
    stop = stop_when(lambda: b"leaving with code" in log.data and _main_ended(log))
    outcome = run(spec, log=log, should_stop=stop)
    assert outcome.exit_code == 0
    assert outcome.reason is None
    assert len(outcome.ended) == 1


def _main_ended(log: Log) -> bool:
    return not is_running(line_of(log, ""))


def test_the_start_is_told_before_anything_else(tmp_path: Path) -> None:
    order: list[str] = []
    run(
        make_spec(tmp_path, "import time; time.sleep(0.4)", usage_every_s=0.1),
        on_start=lambda pid, at: order.append("start"),
        on_usage=lambda usage: order.append("usage"),
        tick=lambda: order.append("tick"),
    )
    assert order[0] == "start"
    assert {"usage", "tick"} <= set(order)


def test_waiting_for_a_condition_has_a_limit() -> None:
    with pytest.raises(AssertionError, match="not within"):
        until(lambda: False, limit_s=0.1)


def test_a_program_whose_output_cannot_be_read_is_not_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_more_threads(self: Pump) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Pump, "start", no_more_threads)
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names only
    with pytest.raises(RuntimeError, match="new thread"):
        run(stress(tmp_path, {"sleep": 3600}))
    assert processes_with_mark(PREFIX) == []
    assert set(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208 - names only
