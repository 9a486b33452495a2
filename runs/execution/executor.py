"""Executes one program: start, watch, end, and tell what came of it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from signal import SIGKILL, Signals

from runs.execution import process
from runs.execution.demands import HOW, REASONS, Demand, demand_of
from runs.execution.limits import LimitWatch
from runs.execution.outcomes import never_ran, stream_warnings, told_end
from runs.execution.pump import Pump
from runs.execution.spec import (
    Asked,
    Breach,
    CannotStart,
    Ended,
    LogSink,
    Outcome,
    Reason,
    RunSpec,
    Stop,
    Usage,
)
from runs.execution.start_failures import check_start, words_for
from runs.execution.tree import MARK, TICKS_PER_S, Proc, still_runs
from runs.execution.urgency import urgent
from runs.execution.usage import Meter, peak_memory

LOOK_EVERY_S = 0.15
"""How often `should_stop` and `tick` are called at least."""

_GROUP_LOOK_S = 0.05
_LEFT_GRACE_S = 1.0
_SLOW_SINK_S = 10.0
_RUNAWAY = 1.5
"""A run that goes on growing beyond this part of its memory limit is killed at once."""


def execute(
    spec: RunSpec,
    *,
    log: LogSink,
    should_stop: Callable[[], Stop | None],
    on_start: Callable[[int, float], None] = lambda pid, started: None,
    on_usage: Callable[[Usage], None] = lambda usage: None,
    tick: Callable[[], None] = lambda: None,
) -> Outcome:
    """Run the program of `spec` to its end and return when nothing of it is alive.

    `should_stop` is asked at least five times a second and `tick` called as often, also while
    processes are being ended. `on_start` gets the pid and the start of the process in seconds since
    boot. `log.write` is called from another thread. A program that cannot be started is an
    `Outcome` with reason `not_started`; an exception of a callback ends the program and is raised.
    """
    execution = _Execution(spec, log, should_stop, on_usage, tick)
    wish = should_stop()
    if wish is not None:
        execution.reason = REASONS[wish]
        spec.workspace.joinpath("stdout").touch()
        return execution.outcome(exit_code=None, signal=None)
    try:
        check_start(spec)
        execution.start()
    except CannotStart as problem:
        return execution.not_started(str(problem))
    except BaseException:
        execution.abandon()
        raise
    try:
        on_start(execution.child.pid, execution.child.proc.start / TICKS_PER_S)
        execution.watch()
    except BaseException:
        execution.abandon()
        raise
    return execution.finish()


@dataclass
class _Execution:
    """The state of one call of `execute`."""

    spec: RunSpec
    log: LogSink
    should_stop: Callable[[], Stop | None]
    on_usage: Callable[[Usage], None]
    tick: Callable[[], None]
    reason: Reason | None = None
    ended: list[Ended] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    started: float = field(default_factory=time.monotonic)
    child: process.Child = field(init=False)
    tree: process.RunTree = field(init=False)
    pump: Pump = field(init=False)
    meter: Meter | None = None
    limits: LimitWatch = field(init=False)
    breach: Breach | None = None
    asked: Asked | None = None
    runaway: bool = False
    ended_by_itself: bool = False
    ooms: int = 0
    inodes: set[int] = field(default_factory=set)
    group: list[Proc] = field(default_factory=list)

    @property
    def stdout(self) -> Path:
        """Where stdout is kept."""
        return self.spec.workspace / "stdout"

    def start(self) -> None:
        """Start the program with its pipes. Raises CannotStart."""
        spec = self.spec
        self.ooms = _oom_kills()
        with contextlib.ExitStack() as files:
            try:
                stdin = os.open(spec.stdin or os.devnull, os.O_RDONLY | os.O_CLOEXEC)
                files.callback(os.close, stdin)
                read_out, write_out = os.pipe()
                files.callback(os.close, write_out)
                on_failure = files.enter_context(contextlib.ExitStack())
                on_failure.callback(os.close, read_out)
                read_err, write_err = os.pipe()
                files.callback(os.close, write_err)
                on_failure.callback(os.close, read_err)
                self.inodes = {os.fstat(read_out).st_ino, os.fstat(read_err).st_ino}
                self.pump = Pump(
                    stdout=read_out,
                    stderr=read_err,
                    path=self.stdout,
                    log=self.log,
                    limit_bytes=spec.output_limit_bytes,
                    stdout_is_log=spec.stdout_is_log,
                )
                self.started_at = datetime.now(UTC)
                self.started = time.monotonic()
                self.child = process.start(
                    spec.command,
                    cwd=spec.cwd,
                    env={MARK: spec.mark} | _without_mark(spec.env),
                    stdin=stdin,
                    stdout=write_out,
                    stderr=write_err,
                )
            except (OSError, ValueError) as problem:
                raise CannotStart(words_for(problem, spec)) from problem
            on_failure.pop_all()
        process.sacrifice(self.child)
        self.tree = process.RunTree(self.child, mark=spec.mark, workspace=spec.workspace)
        self.meter = Meter(
            self.tree,
            self.on_usage,
            every_s=spec.usage_every_s,
            own_peak_bytes=peak_memory("self"),  # after the start: it may have grown meanwhile
        )
        self.limits = LimitWatch(
            self.tree,
            memory_limit_bytes=spec.memory_limit_bytes,
            process_limit=spec.process_limit,
        )
        self.pump.start()

    def watch(self) -> None:
        """Wait for the end of the program, or bring it about; then end what it left."""
        assert self.meter is not None
        while not self._has_ended_within(min(LOOK_EVERY_S, self.meter.due_in(), self._time_left())):
            demand = self._demand()
            if demand is None:
                self.tick()
                self.meter.sample()
            elif demand.reason is not Reason.STOPPED_EARLY:
                self._end_all(demand)
                return
            elif not self.child.wait(0):
                self._stop_and_keep()
                return
        self.ended_by_itself = True
        self._end_left()

    def _has_ended_within(self, wait_s: float) -> bool:
        """Wait for the program; not so long if meanwhile it breaks a limit."""
        until = time.monotonic() + wait_s
        while not self.child.wait(min(wait_s, self.limits.due_in_s)):
            wait_s = until - time.monotonic()
            self.breach = self.limits.look()
            if wait_s <= 0 or self.breach is not None:
                return False
        return True

    def finish(self) -> Outcome:
        """Collect what is known once nothing is alive."""
        assert self.meter is not None
        if not self.pump.finished.is_set():
            self.pump.stop()
            self.warnings.append(
                "The output was still open in a process that could not be found or ended; what it"
                " wrote later is not kept."
            )
        self.pump.close()
        self.tree.sweep()
        self.tree.close()
        code, cpu_s, maxrss_bytes = self.child.reap()
        self.meter.finish(cpu_s, maxrss_bytes)
        signal = -code if code < 0 else None
        if signal == SIGKILL and self.ended_by_itself and _oom_kills() > self.ooms:
            self.reason = Reason.OUT_OF_MEMORY
        if self.reason is None and self.pump.disk_failed:
            self.reason = Reason.WORKER_STOPPED  # what it wrote is not whole, however it ended
        if self.reason is None and self._output_is_too_large():
            self.reason = Reason.OUTPUT_TOO_LARGE  # it ended before it could be ended for it
        if self.reason is None and self.should_stop() is Stop.LOG_LIMIT:
            self.reason = Reason.LOG_TOO_LARGE
        return self.outcome(exit_code=code if code >= 0 else None, signal=signal)

    def abandon(self) -> None:
        """A fault of ours: leave nothing alive and nothing open."""
        if not hasattr(self, "child"):
            return
        if not hasattr(self, "tree"):
            self.tree = process.RunTree(
                self.child, mark=self.spec.mark, workspace=self.spec.workspace
            )
        process.end_tree(self.tree, how="", grace_s=0, tick=lambda: None)
        self.tree.sweep()
        if self.pump.ident is not None and not self.pump.finished.is_set():
            self.pump.stop()
        self.pump.close()
        self.tree.close()
        self.child.reap()

    def not_started(self, words: str) -> Outcome:
        """The outcome of a program that never ran."""
        self.stdout.touch()
        self.reason = Reason.NOT_STARTED
        return never_ran(self.outcome(exit_code=None, signal=None), words)

    def outcome(self, *, exit_code: int | None, signal: int | None) -> Outcome:
        """What came of it, as far as it got."""
        pump = self.pump if hasattr(self, "pump") else None
        told = told_end(
            self.spec,
            pump,
            exit_code=exit_code,
            signal=signal,
            reason=self.reason,
            breach=self.breach,
            asked=self.asked,
        )
        return Outcome(
            exit_code=exit_code,
            signal=signal,
            reason=str(self.reason) if self.reason else None,
            error=told.error,
            detail=told.detail,
            started_at=self.started_at,
            ended_at=datetime.now(UTC),
            duration_s=time.monotonic() - self.started,
            cpu_s=self.meter.cpu_s if self.meter else 0.0,
            peak_memory_bytes=self._peak_memory(),
            stdout=self.stdout,
            stdout_bytes=pump.stdout_bytes if pump else 0,
            ended=tuple(self.ended),
            warnings=(*self.warnings, *(stream_warnings(self.spec, pump) if pump else ())),
            disk_failed=self._disk_failed(),
            stopped_at_limit=bool(
                self.reason is Reason.STOPPED_EARLY and self.asked and self.asked.at_limit
            ),
        )

    def _demand(self) -> Demand | None:
        """Whether the program must end; what asks it to stop early comes after all else."""
        self.breach = self.breach or self.limits.look()
        return demand_of(
            self.spec,
            breach=self.breach,
            wish=self.should_stop(),
            too_large=self._output_is_too_large(),
            disk_failed=bool(self.pump.disk_failed),
            time_is_up=self._time_left() <= 0,
        )

    def _disk_failed(self) -> str:
        """What is wrong with the worker's disk, if that is why the program was ended."""
        if self.reason is not Reason.WORKER_STOPPED:
            return ""
        if hasattr(self, "pump") and self.pump.disk_failed:
            return self.pump.disk_failed
        return "does not take the log" if self.should_stop() is Stop.DISK_FAILED else ""

    def _output_is_too_large(self) -> bool:
        fails = self.spec.output_limit_action == "fail" and self.pump.over_limit.is_set()
        return fails or bool(self.pump.store_failure)

    def _time_left(self) -> float:
        if self.spec.time_limit_s is None:
            return float("inf")
        return max(0.0, self.spec.time_limit_s - (time.monotonic() - self.started))

    def _stop_and_keep(self) -> None:
        """Ask the program to write its result and to end; after its time, end it as others."""
        assert self.meter is not None
        spec = self.spec
        number = Signals(spec.stop_signal)
        grace_s = spec.grace_s if spec.stop_grace_s is None else spec.stop_grace_s
        asked, warnings, ignored = process.ask_tree(
            self.tree, number, how=HOW[Reason.STOPPED_EARLY]
        )
        self.ended += asked
        self.warnings += warnings
        since = time.monotonic()
        self.asked = Asked(
            signal=number.name,
            grace_s=grace_s,
            at_limit=self.should_stop() is not Stop.KEEP,
            ignored=ignored,
        )
        demand: Demand | None = None
        while not self._group_has_ended(max(0.0, since + grace_s - time.monotonic())):
            self.tick()
            self.meter.sample()
            demand = self._demand()
            if demand is not None and demand.reason is not Reason.STOPPED_EARLY:
                self._end_all(demand)
                return
            if time.monotonic() >= since + grace_s:
                self.asked = replace(self.asked, forced=True)
                break
        self.asked = replace(self.asked, took_s=time.monotonic() - since)
        if self.asked.forced:
            reason = Reason.STOPPED_EARLY
            self._end_all(Demand(reason, HOW[reason], spec.grace_s))
            if self.should_stop() is Stop.CANCEL:  # while it was ended by force
                self.reason = REASONS[Stop.CANCEL]
            return
        self.reason = Reason.STOPPED_EARLY
        self._end_left()

    def _group_has_ended(self, wait_s: float) -> bool:
        """Whether the program and all in its group have: who got the signal may be busy saving."""
        assert self.meter is not None
        wait_s = min(wait_s, LOOK_EVERY_S, self.meter.due_in())
        if not self.child.wait(wait_s):
            return False
        # Those known to be left are looked at alone, and all of /proc when they are gone.
        self.group = [proc for proc in self.group if still_runs(proc)] or [
            proc for proc in self.tree.living() if proc.group == self.child.pid
        ]
        if self.group:
            time.sleep(min(wait_s, _GROUP_LOOK_S))  # not on its pipes: they may be closed already
        return not self.group

    def _end_all(self, demand: Demand) -> None:
        """Signals, grace, SIGKILL to everything of the run."""
        self.reason = demand.reason
        with urgent() if demand.reason is Reason.PROCESS_LIMIT else contextlib.nullcontext():
            self._end(demand.how, demand.grace_s)
        while not self.child.wait(LOOK_EVERY_S):
            self.tick()  # only a program of another user is still there: nothing else can be done
        self._end_holders()

    def _end_left(self) -> None:
        """The program has ended: give its pipes a moment, then end what it left behind."""
        self._await_pipes(self.spec.pipe_wait_s, self._is_wanted_gone)
        self.breach = self.breach or self.limits.look()
        if self.breach is not None:
            self.reason = self.breach.reason
            with urgent():
                self._end(HOW[self.reason], 0)
            self._end_holders()
            return
        held = not self.pump.finished.is_set()
        if not held and self.tree.none_left():
            return
        grace_s = min(_LEFT_GRACE_S, self.spec.grace_s)
        self._end("held the output open" if held else "left running", grace_s)
        self._end_holders()

    def _is_wanted_gone(self) -> bool:
        """Whether there is no time for what the ended program left."""
        self.breach = self.breach or self.limits.look()
        return self.breach is not None or self.should_stop() not in {None, Stop.KEEP}

    def _end_holders(self) -> None:
        """End what keeps the pipes open although it was not found as part of the run."""
        self._await_pipes(0.5)
        if self.pump.finished.is_set():
            return
        ended, warnings = process.end_found(
            lambda: [] if self.pump.finished.is_set() else process.pipe_holders(self.inodes),
            how="held the output open",
            grace_s=min(_LEFT_GRACE_S, self.spec.grace_s),
            tick=self.tick,
            hurry=self._hurried,
        )
        self.ended += ended
        self.warnings += warnings
        # Nobody writes any more: what is waited for is a slow sink or a slow disk of ours.
        self._await_pipes(_SLOW_SINK_S)

    def _end(self, how: str, grace_s: float) -> None:
        ended, warnings = process.end_tree(
            self.tree, how=how, grace_s=grace_s, tick=self._tick_and_sample, hurry=self._hurried
        )
        again = {one.pid for one in ended}
        self.ended = [one for one in self.ended if one.pid not in again] + ended
        self.warnings += warnings
        # What forks and exits faster than anybody looks is met in the group it cannot leave.
        self.tree.sweep()

    def _tick_and_sample(self) -> None:
        self.tick()
        if self.meter is not None:
            self.meter.sample()

    def _hurried(self) -> bool:
        more = self.limits.look()
        if more is not None and (
            more.reason is Reason.PROCESS_LIMIT or more.used > _RUNAWAY * more.limit
        ):
            self.runaway = True
        return self.runaway or self.should_stop() is Stop.KILL

    def _peak_memory(self) -> int:
        if self.meter is None:
            return 0
        return max(self.meter.peak_memory_bytes, self.limits.peak_memory_bytes)

    def _await_pipes(self, limit_s: float, cut: Callable[[], bool] = lambda: False) -> None:
        """Wait for the end of both streams, until `cut` says that there is no time for it."""
        until = time.monotonic() + limit_s
        while not self.pump.finished.wait(min(LOOK_EVERY_S, max(0.0, until - time.monotonic()))):
            self.tick()
            if time.monotonic() >= until or cut():
                return


def _without_mark(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name != MARK}


def _oom_kills() -> int:
    """How often the system has killed a process for memory since boot."""
    with contextlib.suppress(OSError), open("/proc/vmstat", "rb") as handle:  # noqa: PTH123
        for line in handle:
            if line.startswith(b"oom_kill "):
                return int(line.split()[1])
    return 0
