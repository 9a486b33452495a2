"""CPU time and memory of a program and all its descendants."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from runs.execution.limits import twins
from runs.execution.spec import Usage
from runs.execution.tree import PAGE_BYTES, TICKS_PER_S, Proc, Tree

SCAN_AGE_S = 1.0
"""Samples of parallel runs share one look at /proc when it is at most this old."""

_EARLY_S = (0.0, 0.01, 0.04)
"""When the main process alone is looked at, as most of a short run would else not be seen."""
_FIRST_S = 0.2


class Meter:
    """Samples one tree: once early, then at an interval, and at the end."""

    def __init__(
        self, tree: Tree, report: Callable[[Usage], None], *, every_s: float, own_peak_bytes: int
    ) -> None:
        """`own_peak_bytes` is the largest memory of this process when the program was started."""
        self.peak_memory_bytes = 0
        self.cpu_s = 0.0
        self._tree = tree
        self._report = report
        self._every_s = every_s
        self._own_peak_bytes = own_peak_bytes
        self._started = time.monotonic()
        self._early = list(_EARLY_S)
        self._next_s = _FIRST_S
        self._lost_ticks = 0
        self._last: dict[tuple[int, int], Proc] = {}

    def due_in(self) -> float:
        """Seconds until `sample` has something to do; not above the interval."""
        due = self._early[0] if self._early else self._next_s
        return max(0.0, due - (time.monotonic() - self._started))

    def sample(self) -> None:
        """Look, if it is time to."""
        at_s = time.monotonic() - self._started
        if self._early and at_s >= self._early[0]:
            self._early = [due for due in self._early if due > at_s]
            self._look_at_main()
        if at_s >= self._next_s:
            self._next_s = max(self._every_s, at_s + self._every_s - at_s % self._every_s)
            self.sample_now()

    def sample_now(self, max_age_s: float = SCAN_AGE_S) -> None:
        """Look at the whole tree and report it."""
        # A look from before the start would show nothing.
        age_s = min(max_age_s, time.monotonic() - self._started)
        living = self._tree.within(self._tree.glimpse(age_s))
        self._look_at_main()
        self._count(living)
        used = {proc: _memory(proc) for proc in living}
        own = {proc: size for proc, (size, _) in used.items()}
        shared = max((common for _, common in used.values()), default=0)
        memory = sum(own.values()) - sum(own[proc] for proc in twins(own)) + shared
        self.peak_memory_bytes = max(self.peak_memory_bytes, memory)
        self._report(
            Usage(
                at_s=round(time.monotonic() - self._started, 3),
                cpu_s=round(self.cpu_s, 3),
                memory_bytes=memory,
                processes=len(living),
            )
        )

    def finish(self, cpu_s: float, maxrss_bytes: int) -> None:
        """Take in what the system says of the ended main process and what it waited for."""
        self.cpu_s = max(self.cpu_s, cpu_s + self._lost_ticks / TICKS_PER_S)
        # The figure starts at that of this process, see `Child.reap`.
        if maxrss_bytes > self._own_peak_bytes:
            self.peak_memory_bytes = max(self.peak_memory_bytes, maxrss_bytes)
        self._report(
            Usage(
                at_s=round(time.monotonic() - self._started, 3),
                cpu_s=round(self.cpu_s, 3),
                memory_bytes=0,
                processes=0,
            )
        )

    def _look_at_main(self) -> None:
        if self._tree.main is not None:
            peak = peak_memory(self._tree.main.pid)
            self.peak_memory_bytes = max(self.peak_memory_bytes, peak)

    def _count(self, living: list[Proc]) -> None:
        now = {proc.key: proc for proc in living}
        pids = {proc.pid for proc in self._last.values()}
        for key, proc in self._last.items():
            # Time of a process whose parent is no member is counted by nobody else.
            if key not in now and proc.ppid not in pids:
                is_main = self._tree.main is not None and key == self._tree.main.key
                self._lost_ticks += 0 if is_main else proc.cpu_ticks
        self._last = now
        ticks = self._lost_ticks + sum(proc.cpu_ticks for proc in living)
        self.cpu_s = max(self.cpu_s, ticks / TICKS_PER_S)


def peak_memory(pid: int | str) -> int:
    """Largest resident memory of a process since it executed its program, in bytes; 0 unknown."""
    try:
        text = Path(f"/proc/{pid}/status").read_bytes()
    except OSError:
        return 0
    at = text.find(b"VmHWM:")
    return int(text[at + 6 :].split(maxsplit=1)[0]) * 1024 if at >= 0 else 0


def _memory(proc: Proc) -> tuple[int, int]:
    """Bytes that are the process's own, and bytes it shares with files in memory."""
    try:
        words = Path(f"/proc/{proc.pid}/statm").read_bytes().split()
        resident, shared = int(words[1]), int(words[2])
    except (OSError, IndexError, ValueError):
        return proc.rss_pages * PAGE_BYTES, 0
    return (resident - shared) * PAGE_BYTES, shared * PAGE_BYTES
