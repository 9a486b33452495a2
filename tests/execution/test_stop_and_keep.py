"""A program can be asked to stop and to keep what it has found so far."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runs.execution.process import processes_with_mark
from runs.execution.spec import Outcome, RunSpec, Stop
from tests.execution.programs import PREFIX, TELL, Log, make_spec, run, stop_when, written_pids
from tests.processes import is_running


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """Whatever a test does, no process of its runs may outlive the call of `execute`."""
    yield
    left = processes_with_mark(PREFIX)
    for proc in left:
        os.kill(proc.pid, signal.SIGKILL)
    assert left == []


def kept(spec: RunSpec, *, started: int = 1, log: Log | None = None) -> Outcome:
    """Run until `started` processes have told of themselves, then stop and keep."""
    stop = stop_when(lambda: len(written_pids(spec.cwd)) >= started, Stop.KEEP)
    return run(spec, should_stop=stop, log=log)


WRITES = TELL + (
    "def write(*_):\n"
    "    time.sleep(0.3)\n"
    "    print('{\"best\": 1}', flush=True)\n"
    "    os._exit(0)\n"
    "signal.signal(signal.SIGINT, write)\n"
    "tell()\nwait()"
)


def test_a_program_writes_its_result_when_it_is_asked_to_stop(tmp_path: Path) -> None:
    outcome = kept(make_spec(tmp_path, WRITES, grace_s=60.0))
    assert outcome.reason == "stopped_early"
    assert (outcome.exit_code, outcome.signal) == (0, None)
    assert outcome.stdout.read_text() == '{"best": 1}\n'
    assert [(one.how, one.signal) for one in outcome.ended] == [("stopped early", "SIGINT")]
    assert not outcome.stopped_at_limit
    assert outcome.error == "stopped early"
    assert "told to stop (SIGINT), as somebody wanted the result" in outcome.detail


def test_a_cancel_goes_first_also_while_the_program_is_ended_by_force(tmp_path: Path) -> None:
    program = TELL + (
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "def told(*_):\n    open('told', 'w').close()\n    time.sleep(1)\n    os._exit(0)\n"
        "signal.signal(signal.SIGTERM, told)\n"
        "tell()\nwait()"
    )
    spec = make_spec(tmp_path, program, stop_grace_s=0.2, grace_s=60.0)

    def wish() -> Stop | None:
        if (spec.cwd / "told").exists():
            return Stop.CANCEL
        return Stop.KEEP if written_pids(spec.cwd) else None

    assert run(spec, should_stop=wish).reason == "canceled"


def test_what_is_left_of_the_group_is_not_waited_for_in_a_busy_loop(tmp_path: Path) -> None:
    # The program has ended and nobody holds its pipes: only the group says that somebody saves.
    program = TELL + (
        "if os.fork() == 0:\n"
        "    for number in range(3):\n        os.close(number)\n"
        "    signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "    tell()\n    time.sleep(3)\n    os._exit(0)\n"
        "signal.signal(signal.SIGINT, lambda *_: os._exit(0))\n"
        "tell()\nwait()"
    )
    spec = make_spec(tmp_path, program, grace_s=60.0)
    stop = stop_when(lambda: len(written_pids(spec.cwd)) >= 2, Stop.KEEP)
    ticks: list[float] = []
    outcome = run(spec, should_stop=stop, tick=lambda: ticks.append(time.monotonic()))
    assert outcome.reason == "stopped_early"
    assert len(ticks) <= 25 * outcome.duration_s


def test_the_signal_is_the_one_that_the_application_names(tmp_path: Path) -> None:
    spec = make_spec(
        tmp_path, WRITES.replace("SIGINT", "SIGUSR1"), stop_signal=signal.SIGUSR1, grace_s=60.0
    )
    outcome = kept(spec)
    assert outcome.stdout.read_text() == '{"best": 1}\n'
    assert [one.signal for one in outcome.ended] == ["SIGUSR1"]


def test_the_time_limit_can_keep_the_result(tmp_path: Path) -> None:
    spec = make_spec(tmp_path, WRITES, time_limit_s=4.0, keep_at_time_limit=True, grace_s=60.0)
    outcome = run(spec)
    assert outcome.reason == "stopped_early"
    assert outcome.stopped_at_limit
    assert outcome.error == "stopped early at the time limit"
    assert outcome.stdout.read_text() == '{"best": 1}\n'


def test_an_interpreter_that_dies_of_the_signal_leaves_its_solver_time_to_write(
    tmp_path: Path,
) -> None:
    # The wrapper ends at once; the solver in its group got the signal as well and is saving.
    program = TELL + (
        "if os.fork() == 0:\n"
        "    os.close(1)\n    os.close(2)\n"
        "    def write(*_):\n"
        "        time.sleep(4)\n"
        "        pathlib.Path('result').write_text('best')\n"
        "        os._exit(0)\n"
        "    signal.signal(signal.SIGINT, write)\n"
        "    tell()\n    wait()\n"
        "while not list(pathlib.Path('.').glob('pid-*')):\n    time.sleep(0.02)\n"
        "tell()\nwait()"
    )
    spec = make_spec(tmp_path, program, grace_s=0.5, stop_grace_s=60.0, pipe_wait_s=0.1)
    outcome = kept(spec, started=2)
    assert outcome.reason == "stopped_early"
    assert (spec.cwd / "result").read_text() == "best"
    assert {one.signal for one in outcome.ended} == {"SIGINT"}


def test_a_stopped_program_goes_on_to_write(tmp_path: Path) -> None:
    program = WRITES.replace(
        "tell()\nwait()", "tell()\nos.kill(os.getpid(), signal.SIGSTOP)\nwait()"
    )
    spec = make_spec(tmp_path, program, grace_s=60.0)

    def stopped() -> bool:
        return any(
            Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"
            for pid in written_pids(spec.cwd)
        )

    outcome = run(spec, should_stop=stop_when(stopped, Stop.KEEP))
    assert (outcome.reason, outcome.exit_code) == ("stopped_early", 0)
    assert outcome.stdout.read_text() == '{"best": 1}\n'


IGNORES = TELL + (
    "for number in (signal.SIGINT, signal.SIGTERM):\n"
    "    signal.signal(number, signal.SIG_IGN)\n"
    "print('so far', flush=True)\n"
)


def test_a_program_that_ignores_every_signal_is_ended_and_what_it_wrote_is_there(
    tmp_path: Path,
) -> None:
    program = IGNORES + (
        "if os.fork() == 0:\n    os.setsid()\n    tell()\n    wait()\ntell()\nwait()"
    )
    spec = make_spec(tmp_path, program, grace_s=0.3, stop_grace_s=0.5)
    outcome = kept(spec, started=2)
    assert outcome.reason == "stopped_early"
    assert outcome.signal == signal.SIGKILL
    assert outcome.stdout.read_text() == "so far\n"
    assert {one.pid: one.signal for one in outcome.ended} == dict.fromkeys(
        written_pids(spec.cwd), "SIGKILL"
    )
    assert [pid for pid in written_pids(spec.cwd) if is_running(pid)] == []
    assert "ignores SIGINT, did not end within 0.5 s" in outcome.detail


def test_a_program_that_ends_by_itself_before_it_is_asked_has_simply_ended(
    tmp_path: Path,
) -> None:
    spec = make_spec(tmp_path, TELL + "tell()\nprint('whole')")

    def should_stop() -> Stop | None:
        pids = written_pids(spec.cwd)
        return Stop.KEEP if pids and not is_running(pids[0]) else None

    outcome = run(spec, should_stop=should_stop)
    assert (outcome.reason, outcome.exit_code, outcome.error) == (None, 0, "")
    assert outcome.stdout.read_text() == "whole\n"


def test_a_run_that_is_stopped_before_its_start_starts_nothing(tmp_path: Path) -> None:
    spec = make_spec(tmp_path, TELL + "tell()")
    outcome = run(spec, should_stop=lambda: Stop.KEEP)
    assert outcome.reason == "stopped_early"
    assert written_pids(spec.cwd) == []
    assert "before the program had begun" in outcome.detail


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        (Stop.CANCEL, "canceled"),
        (Stop.WORKER_STOP, "worker_stopped"),
        (Stop.KILL, "worker_stopped"),
        (Stop.LOG_LIMIT, "log_too_large"),
    ],
)
def test_another_wish_takes_over_while_the_result_is_waited_for(
    tmp_path: Path, wish: Stop, reason: str
) -> None:
    program = TELL + (
        "signal.signal(signal.SIGINT, lambda *_: print('asked', file=sys.stderr, flush=True))\n"
        "tell()\nwait()"
    )
    log = Log()
    spec = make_spec(tmp_path, program, stop_grace_s=3600.0, grace_s=5.0)

    def should_stop() -> Stop | None:
        if b"asked" in log.data:
            return wish
        return Stop.KEEP if written_pids(spec.cwd) else None

    outcome = run(spec, log=log, should_stop=should_stop)
    assert outcome.reason == reason
    assert outcome.signal == (signal.SIGKILL if wish is Stop.KILL else signal.SIGTERM)
    assert not outcome.stopped_at_limit
    assert len(outcome.ended) == 1


def test_the_time_limit_does_not_cut_the_time_to_write_the_result(tmp_path: Path) -> None:
    program = WRITES.replace("time.sleep(0.3)", "time.sleep(5)")
    spec = make_spec(tmp_path, program, time_limit_s=4.0, grace_s=60.0)
    outcome = kept(spec)
    assert outcome.reason == "stopped_early"
    assert not outcome.stopped_at_limit
    assert outcome.stdout.read_text() == '{"best": 1}\n'


def test_a_program_that_eats_memory_while_it_stops_is_above_its_limit(tmp_path: Path) -> None:
    program = TELL + (
        "def eat(*_):\n"
        "    block = bytearray(b'x') * (300 * 1024 * 1024)\n"
        "    wait()\n"
        "signal.signal(signal.SIGINT, eat)\ntell()\nwait()"
    )
    spec = make_spec(
        tmp_path, program, memory_limit_bytes=128 * 1024**2, stop_grace_s=3600.0, grace_s=5.0
    )
    assert kept(spec).reason == "memory_limit"


def test_what_a_program_leaves_when_it_has_kept_its_result_is_ended(tmp_path: Path) -> None:
    program = TELL + (
        "if os.fork() == 0:\n    os.setsid()\n    tell()\n    wait()\n"
        "signal.signal(signal.SIGINT, lambda *_: os._exit(0))\ntell()\nwait()"
    )
    spec = make_spec(tmp_path, program, pipe_wait_s=0.2, grace_s=60.0)
    outcome = kept(spec, started=2)
    assert (outcome.reason, outcome.exit_code) == ("stopped_early", 0)
    assert {one.how for one in outcome.ended} == {"stopped early", "held the output open"}
    assert [pid for pid in written_pids(spec.cwd) if is_running(pid)] == []
