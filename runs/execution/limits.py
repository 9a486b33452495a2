"""Holds a run to its limits of memory and processes: quick looks, with the evidence."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from runs.execution.spec import Breach, Reason
from runs.execution.tree import (
    PAGE_BYTES,
    TICKS_PER_S,
    Proc,
    Snapshot,
    Tree,
    command_line,
    last_pid,
    now_ticks,
    short_name,
    still_runs,
)
from runs.execution.urgency import urgent

NEAR = 0.7
"""From this part of the memory limit on, new processes are looked for more often."""

_NEAR_S = 0.25
_FAR_S = 0.5
_FORKS_S = 0.05
_MEMORY_S = 0.1
_COST = 30
_CROWD_COST = 20
_SLACK = 8
_YOUNG_S = 1.0
_ALIKE = 0.05


class LimitWatch:
    """Looks at one tree; says nothing until it is above a limit.

    A look reads one line of each process known so far. All of /proc is read twice a second, four
    times near the memory limit, and whenever enough was born on the machine since the last time
    to break the process limit. Runs of one worker share these readings.
    """

    def __init__(
        self, tree: Tree, *, memory_limit_bytes: int | None, process_limit: int | None
    ) -> None:
        self.peak_memory_bytes = 0
        """The largest memory that was measured exactly, which is done only when it matters."""
        self._tree = tree
        self._memory_limit = memory_limit_bytes
        self._process_limit = process_limit
        self._living: list[Proc] = []
        self._glimpsed_at = float("-inf")
        self._seen_pid: int | None = None
        self._near = False
        self._next = 0.0
        self._crowd_next = 0.0
        self._exact_next = 0.0

    @property
    def due_in_s(self) -> float:
        """How often `look` should be called at least."""
        return float("inf") if self._process_limit is None else _FORKS_S

    def look(self) -> Breach | None:
        """The limit that the tree is above, or None; costs at most some percent of one CPU."""
        now = time.monotonic()
        if self._process_limit is None and self._memory_limit is None:
            return None
        with contextlib.ExitStack() as hurry:
            if now >= self._crowd_next and self._may_be_too_many():
                hurry.enter_context(urgent())  # a fork loop leaves no time for anybody else
                began = time.thread_time()
                self._see(self._tree.quick_snapshot(_FORKS_S / 2))
                self._crowd_next = now + _CROWD_COST * (time.thread_time() - began)
            breach = self._processes()
        return breach or self._look_at_memory(now)

    def _look_at_memory(self, now: float) -> Breach | None:
        if now < self._next:
            return None
        began = time.thread_time()
        if now - self._glimpsed_at >= (_NEAR_S if self._near else _FAR_S):
            self._glimpsed_at = now
            self._see(self._tree.glimpse(_NEAR_S / 2 if self._near else _NEAR_S))
        breach = self._processes() or self._memory(now)
        self._next = now + min(_FAR_S, max(_MEMORY_S, _COST * (time.thread_time() - began)))
        return breach

    def _see(self, snapshot: Snapshot) -> None:
        self._living = self._tree.within(snapshot)
        self._seen_pid = snapshot.last_pid

    def _may_be_too_many(self) -> bool:
        if self._process_limit is None:
            return False
        youngest = last_pid()
        if youngest is None or self._seen_pid is None or youngest < self._seen_pid:
            return True
        return len(self._living) + youngest - self._seen_pid > self._process_limit

    def _processes(self) -> Breach | None:
        limit = self._process_limit
        if limit is None or len(self._living) <= limit:
            return None
        if len(self._living) <= limit + _SLACK:
            # The reading took a while: one of two that followed each other may have ended since.
            self._living = [proc for proc in self._living if still_runs(proc)]
            if len(self._living) <= limit:
                return None
        names = Counter(short_name(proc.pid) for proc in self._living)
        names.pop("?", 0)  # those that have ended meanwhile
        name, times = names.most_common(1)[0] if names else ("", 0)
        return Breach(
            Reason.PROCESS_LIMIT,
            limit=limit,
            used=len(self._living),
            processes=len(self._living),
            largest=name,
            largest_used=times,
        )

    def _memory(self, now: float) -> Breach | None:
        limit = self._memory_limit
        if limit is None:
            return None
        # What processes share is counted for each of them here: the truth is never above it.
        bound = sum(_resident(proc) for proc in self._living)
        if bound <= limit:
            self._near = bound > NEAR * limit
            return None
        if now < self._exact_next:
            return None
        began = time.thread_time()
        used = {proc: own_memory(proc) for proc in self._living if still_runs(proc)}
        for proc in twins(used):
            del used[proc]
        total = sum(used.values())
        self._exact_next = now + min(4 * _FAR_S, _COST * (time.thread_time() - began))
        self._near = total > NEAR * limit
        self.peak_memory_bytes = max(self.peak_memory_bytes, total)
        if total <= limit:
            return None
        largest = max(used, key=lambda proc: used[proc])
        return Breach(
            Reason.MEMORY_LIMIT,
            limit=limit,
            used=total,
            processes=len(used),
            largest=command_line(largest.pid),
            largest_used=used[largest],
        )


def twins(used: Mapping[Proc, int]) -> list[Proc]:
    """Those that seem to use what is their parent's alone; `used` is the memory of each.

    Between vfork and exec a child has the memory of its parent, and each of the two shows all of
    it: a program that starts others all the time would seem to use twice as much. That takes a
    moment, and nobody has two such children at once; whoever is older is counted.
    """
    parents = {proc.pid: proc for proc in used}
    young = now_ticks() - _YOUNG_S * TICKS_PER_S
    found: dict[int, Proc] = {}
    for proc in sorted(used, key=lambda one: one.start):
        parent = parents.get(proc.ppid)
        if parent is None or proc.start < young:
            continue
        if abs(used[proc] - used[parent]) <= _ALIKE * used[parent]:
            found[parent.pid] = proc
    return list(found.values())


def own_memory(proc: Proc) -> int:
    """Bytes that a process uses; what it shares with others counts in equal parts.

    Pages of mapped files are left out: the system can drop those when it needs memory.
    """
    try:
        text = Path(f"/proc/{proc.pid}/smaps_rollup").read_bytes()
    except OSError:
        text = b""
    figures = dict(line.split(b":", 1) for line in text.splitlines()[1:] if b":" in line)
    parts = [figures[name] for name in (b"Pss_Anon", b"Pss_Shmem") if name in figures]
    if not parts:  # an old kernel, or a process that we may not look into
        return max(0, _resident(proc) - _shared(proc))
    return sum(int(part.split()[0]) for part in parts) * 1024


def _resident(proc: Proc) -> int:
    return _statm(proc, 1)


def _shared(proc: Proc) -> int:
    return _statm(proc, 2)


def _statm(proc: Proc, field: int) -> int:
    try:
        return int(Path(f"/proc/{proc.pid}/statm").read_bytes().split()[field]) * PAGE_BYTES
    except (OSError, IndexError):
        return 0
