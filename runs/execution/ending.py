"""Ends every process of a run, however it hides; the standard library only, as in `tree`."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from typing import NamedTuple

from runs.execution.tree import Proc, command_line, read_process, still_runs
from runs.execution.urgency import urgent

_STOP_ROUNDS = 20
_MANY = 8
_LISTED = 200


class Victim(NamedTuple):
    """A process that was told to end."""

    proc: Proc
    command: str
    signal: str
    """The name of the last one it was sent."""


class Ending:
    """What ending a set of processes came to."""

    def __init__(self) -> None:
        self.victims: dict[tuple[int, int], Victim] = {}
        self._unlisted: set[tuple[int, int]] = set()
        self.refused: dict[tuple[int, int], Victim] = {}
        """Processes that the system did not let us signal."""

    @property
    def unlisted(self) -> int:
        """How many were ended beyond those listed, as a fork bomb has thousands."""
        return len(self._unlisted)

    def note(self, proc: Proc, name: str) -> None:
        """Remember that `proc` was sent the signal `name`."""
        before = self.victims.get(proc.key)
        if before is None and len(self.victims) >= _LISTED:
            self._unlisted.add(proc.key)
            return
        command = before.command if before else command_line(proc.pid)
        self.victims[proc.key] = Victim(proc, command, name)


def end_processes(
    find: Callable[[], list[Proc]],
    *,
    grace_s: float,
    tick: Callable[[], None] = lambda: None,
    hurry: Callable[[], bool] = lambda: False,
    groups: Callable[[list[Proc]], set[int]] = lambda procs: led_groups(procs),
    give_up_s: float | None = None,
    find_quickly: Callable[[], list[Proc]] | None = None,
) -> Ending:
    """End all that `find` returns: SIGTERM, `grace_s` seconds, then SIGKILL until none is left.

    `find` reads the living processes afresh at each call. `tick` is called at least five times a
    second; `hurry` answers whether to skip what remains of the grace period; `groups` says which
    process groups belong to a list of processes as a whole; `find_quickly` may overlook some, but
    must wait for none, which `find` may do in a fork loop. Returns when nothing is left but what
    the system forbids to signal, or after `give_up_s` seconds of killing.
    """
    ending = Ending()
    if grace_s > 0 and not hurry():
        asked = find()
        if not asked:
            return ending
        for proc in asked:
            if still_runs(proc):
                ending.note(proc, "SIGTERM")
            _send(proc, signal.SIGTERM, ending)
            _send(proc, signal.SIGCONT, ending)  # a stopped process hears nothing else
        _wait_for(find, asked, grace_s, tick, hurry)
    _kill(find, find_quickly or find, ending, tick, groups, give_up_s)
    return ending


def ask_group(procs: list[Proc], group: int, number: signal.Signals) -> Ending:
    """Send a signal to a process group, as a terminal does for Ctrl-C; who of `procs` got it.

    Whichever of `procs` is stopped goes on, as it could not react else; those outside of the group
    are asked by those within it, or not at all.
    """
    ending = Ending()
    for proc in procs:
        if proc.group == group:
            ending.note(proc, number.name)
    send_group(group, number)
    for proc in procs:
        _send(proc, signal.SIGCONT, ending)
    return ending


def _wait_for(
    find: Callable[[], list[Proc]],
    asked: list[Proc],
    grace_s: float,
    tick: Callable[[], None],
    hurry: Callable[[], bool],
) -> None:
    """Return when none is left or the grace period is over."""
    until = time.monotonic() + grace_s
    pause = 0.005
    watched = asked
    while watched:
        watched = [proc for proc in watched if still_runs(proc)] or find()
        left = until - time.monotonic()
        if not watched or left <= 0 or hurry():
            return
        tick()
        time.sleep(min(pause, left))
        pause = min(0.1, pause * 1.5)


def _kill(
    find: Callable[[], list[Proc]],
    find_quickly: Callable[[], list[Proc]],
    ending: Ending,
    tick: Callable[[], None],
    groups: Callable[[list[Proc]], set[int]],
    give_up_s: float | None,
) -> None:
    started = time.monotonic()
    empty_looks = 0
    with contextlib.ExitStack() as hurry:
        while True:
            living = _not_refused(find_quickly(), ending) or _not_refused(find(), ending)
            if not living:
                # One that forks and exits all the time can slip through a single look.
                empty_looks += 1
                if empty_looks > 1 or not ending.victims:
                    return
                continue
            empty_looks = 0
            if give_up_s is not None and time.monotonic() - started > give_up_s:
                return
            if len(living) > _MANY:
                hurry.enter_context(urgent())
            if len(living) > 1:
                living = _freeze(find, find_quickly, living, ending, groups)
            _kill_once(living, ending, groups)
            tick()


def _kill_once(
    living: list[Proc], ending: Ending, groups: Callable[[list[Proc]], set[int]]
) -> None:
    """SIGKILL to each, and a moment to end."""
    for proc in living:
        if still_runs(proc):
            ending.note(proc, "SIGKILL")
    for group in groups(living):
        send_group(group, signal.SIGKILL)
    for proc in living:
        _send(proc, signal.SIGKILL, ending)
    until = time.monotonic() + 0.2
    pause = 0.001
    while time.monotonic() < until and any(still_runs(proc) for proc in living):
        time.sleep(pause)
        pause = min(0.02, pause * 1.5)


def _freeze(
    find: Callable[[], list[Proc]],
    find_quickly: Callable[[], list[Proc]],
    living: list[Proc],
    ending: Ending,
    groups: Callable[[list[Proc]], set[int]],
) -> list[Proc]:
    """Stop all first: a process that forks faster than it is killed would never be caught."""
    stopped: dict[tuple[int, int], Proc] = {}
    for _round in range(_STOP_ROUNDS):
        fresh = [proc for proc in living if proc.key not in stopped]
        if not fresh:
            living = find()
            fresh = [proc for proc in living if proc.key not in stopped]
        if not fresh:
            break
        for group in groups(fresh):
            send_group(group, signal.SIGSTOP)
        for proc in fresh:
            _send(proc, signal.SIGSTOP, ending)
            stopped[proc.key] = proc
        living = find_quickly()
    return _not_refused(living, ending)


def _not_refused(procs: list[Proc], ending: Ending) -> list[Proc]:
    return [proc for proc in procs if proc.key not in ending.refused]


def led_groups(procs: list[Proc]) -> set[int]:
    """The process groups whose leaders are among `procs`: they are theirs for certain."""
    own = os.getpgid(0)
    return {proc.group for proc in procs if proc.group == proc.pid and proc.group != own}


def send_group(group: int, number: signal.Signals) -> None:
    """Signal a whole group; that it has gone or is not ours to signal is fine."""
    # A signal to a group reaches children that are being forked at this moment as well.
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return


def _send(proc: Proc, number: signal.Signals, ending: Ending) -> None:
    """Signal this very process; a later one with the same number is never hit."""
    try:
        handle = os.pidfd_open(proc.pid)
    except ProcessLookupError:
        return
    except OSError:
        handle = -1  # a system without pidfd: check and signal one after the other
    try:
        now = read_process(proc.pid)
        if now is None or now.start != proc.start:
            return
        if handle >= 0:
            signal.pidfd_send_signal(handle, number)
        else:
            os.kill(proc.pid, number)
    except ProcessLookupError:
        return
    except PermissionError:
        ending.refused[proc.key] = Victim(proc, command_line(proc.pid), number.name)
    finally:
        if handle >= 0:
            os.close(handle)
