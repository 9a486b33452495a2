"""The processes of a run, found in /proc; standard library only, as the guardian uses it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from typing import NamedTuple

MARK = "RUNSITE_MARK"
"""The variable by which a process is recognised as part of a run."""

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

_ENVIRON_BYTES = 256 * 1024
_SETTLED_S = 5.0
_PATIENCE_S = 0.1
_MARK_BYTES = MARK.encode() + b"="


class Proc(NamedTuple):
    """One process as `/proc/<pid>/stat` shows it."""

    pid: int
    ppid: int
    group: int
    session: int
    state: str
    start: int
    """Clock ticks from boot to its start: with the pid it names a process for good."""
    cpu_ticks: int
    """Its own time and that of the children it has waited for."""
    rss_pages: int

    @property
    def alive(self) -> bool:
        """A zombie has ended, whoever has yet to reap it."""
        return self.state not in "ZXx"

    @property
    def key(self) -> tuple[int, int]:
        """What tells it from a later process with the same number."""
        return (self.pid, self.start)


def read_process(pid: int) -> Proc | None:
    """The process with this number now, or None."""
    raw = _read(f"/proc/{pid}/stat", 2048)
    if not raw:
        return None
    # The name may hold spaces and brackets: what follows its last bracket is safe to split.
    fields = raw[raw.rindex(b")") + 2 :].split()
    return Proc(
        pid=pid,
        ppid=int(fields[1]),
        group=int(fields[2]),
        session=int(fields[3]),
        state=fields[0].decode("ascii", "replace"),
        start=int(fields[19]),
        cpu_ticks=int(fields[11]) + int(fields[12]) + int(fields[13]) + int(fields[14]),
        rss_pages=int(fields[21]),
    )


def still_runs(proc: Proc) -> bool:
    """Whether this very process, not a later one with its number, executes."""
    now = read_process(proc.pid)
    return now is not None and now.start == proc.start and now.alive


def command_line(pid: int, limit: int = 200) -> str:
    """What the process was started as, at most `limit` characters; its name when unreadable."""
    raw = _read(f"/proc/{pid}/cmdline", 8 * limit) or b""
    text = raw.rstrip(b"\0").replace(b"\0", b" ").decode("utf-8", "replace").strip()
    if not text:
        text = f"[{short_name(pid)}]"
    text = "".join(char if char.isprintable() else " " for char in text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def short_name(pid: int) -> str:
    """The name of the program it executes; unlike `command_line` this never waits for it."""
    return (_read(f"/proc/{pid}/comm", 64) or b"?").decode("utf-8", "replace").strip()


def now_ticks() -> float:
    """The present on the scale of `Proc.start`."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) * TICKS_PER_S


def last_pid() -> int | None:
    """The number given to the youngest process or thread of the machine; None when unknown.

    Numbers go up, so the difference of two readings bounds from above how many were born between
    them; a smaller second reading means that the numbers began anew.
    """
    words = (_read("/proc/loadavg", 200) or b"").split()
    return int(words[4]) if len(words) == 5 and words[4] != b"0" else None


class Snapshot:
    """All processes at one moment, with the ways to look them up."""

    def __init__(self, procs: Iterable[Proc], marks: dict[tuple[int, int], str | None]) -> None:
        self.at = time.monotonic()
        self.complete = True
        """Whether every mark was read, however long that took."""
        self.last_pid: int | None = None
        """`last_pid()` from before anything was read."""
        self.procs: dict[int, Proc] = {}
        self.by_parent: dict[int, list[Proc]] = {}
        self.by_session: dict[int, list[Proc]] = {}
        self.by_mark: dict[str, list[Proc]] = {}
        self.marks = marks
        for proc in procs:
            self.procs[proc.pid] = proc
            self.by_parent.setdefault(proc.ppid, []).append(proc)
            self.by_session.setdefault(proc.session, []).append(proc)
            mark = marks.get(proc.key)
            if mark:
                self.by_mark.setdefault(mark, []).append(proc)

    def same(self, proc: Proc) -> Proc | None:
        """`proc` as it is in this snapshot, or None when it has gone."""
        found = self.procs.get(proc.pid)
        return found if found is not None and found.start == proc.start else None


class Scanner:
    """Reads /proc once for many readers and remembers the mark of each process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: Snapshot | None = None
        self._last_quick: Snapshot | None = None
        self._marks: dict[tuple[int, int], str | None] = {}
        self._reader = _Reader()

    def snapshot(self, max_age_s: float = 0.0, patience_s: float | None = None) -> Snapshot:
        """All processes, at most `max_age_s` old; 0 reads them after this call began.

        Reading the mark of a process waits while it forks. With `patience_s` new ones whose mark
        was not read within that time have none in this snapshot.
        """
        asked = time.monotonic()
        with self._lock:
            last = self._last
            enough = last is not None and (last.complete or patience_s is not None)
            if last and enough and (last.at >= asked or asked - last.at < max_age_s):
                return last
            self._last = self._scan(patience_s)
            return self._last

    def quick_snapshot(self, max_age_s: float = 0.0) -> Snapshot:
        """All processes, at most `max_age_s` old. New marks are not read but inherited from the
        parents, so that no process is waited for.
        """
        asked = time.monotonic()
        with self._lock:
            for last in (self._last, self._last_quick):
                if last is not None and (last.at >= asked or asked - last.at < max_age_s):
                    return last
            self._last_quick = self._scan(0.0)
            return self._last_quick

    def _scan(self, patience_s: float | None) -> Snapshot:
        # The instant is taken before reading, so that nobody takes it for younger than it is.
        at = time.monotonic()
        youngest = last_pid()
        procs: list[Proc] = []
        for name in os.listdir("/proc"):  # noqa: PTH208 - names only, many times a minute
            proc = read_process(int(name)) if name.isdigit() else None
            if proc is not None:
                procs.append(proc)
        marks = self._marks_of(procs, patience_s)
        self._marks = marks
        snapshot = Snapshot(procs, marks)
        snapshot.at = at
        snapshot.last_pid = youngest
        snapshot.complete = patience_s is None
        return snapshot

    def _marks_of(
        self, procs: list[Proc], patience_s: float | None
    ) -> dict[tuple[int, int], str | None]:
        """The mark of each process: None without one, empty when it must be read again."""
        # A process keeps the mark it was seen with: it can erase its environment later.
        marks = {proc.key: self._marks.get(proc.key, "") for proc in procs}
        fresh = [proc for proc in procs if marks[proc.key] == "" and proc.alive]
        if patience_s is None:
            marks |= read_marks(fresh)
        elif patience_s > 0 and fresh:
            marks |= self._reader.read(fresh, patience_s)
        if patience_s is not None:
            of_pid: dict[int, str | None] = {os.getpid(): ""}
            for proc in sorted(procs, key=lambda one: one.start):
                marks[proc.key] = marks[proc.key] or of_pid.get(proc.ppid) or marks[proc.key]
                of_pid.setdefault(proc.pid, marks[proc.key])
        return marks


class _Reader:
    """Reads marks in a thread of its own, as whoever reads them may have to wait for long."""

    def __init__(self) -> None:
        self._busy: threading.Thread | None = None

    def read(self, procs: list[Proc], patience_s: float) -> dict[tuple[int, int], str | None]:
        """The marks that could be read in time."""
        if self._busy is not None and self._busy.is_alive():
            return {}
        found: dict[tuple[int, int], str | None] = {}

        def read_all() -> None:
            for proc in procs:
                found.update(read_marks([proc]))

        self._busy = threading.Thread(target=read_all, name="marks", daemon=True)
        self._busy.start()
        self._busy.join(patience_s)
        return dict(found)


def read_marks(procs: list[Proc]) -> dict[tuple[int, int], str | None]:
    """The marks of processes: None without one, empty for one so young that it may still come."""
    # Between fork and exec a process shows the environment of its parent.
    settled = now_ticks() - _SETTLED_S * TICKS_PER_S
    marks: dict[tuple[int, int], str | None] = {}
    for proc in procs:
        mark = read_mark(proc.pid)
        marks[proc.key] = "" if mark is None and proc.start > settled else mark
    return marks


def read_mark(pid: int) -> str | None:
    """The mark in the environment of a process; None without one or when unreadable."""
    raw = _read(f"/proc/{pid}/environ", _ENVIRON_BYTES)
    if not raw:
        return None
    at = 0 if raw.startswith(_MARK_BYTES) else raw.find(b"\0" + _MARK_BYTES) + 1
    if at == 0 and not raw.startswith(_MARK_BYTES):
        return None
    value = raw[at + len(_MARK_BYTES) :].split(b"\0", 1)[0]
    return value.decode("utf-8", "replace") or None


class Tree:
    """The processes of one run: by mark, by descent and by session, and once found, for good."""

    def __init__(self, scanner: Scanner, *, mark: str, main: Proc | None) -> None:
        self.mark = mark
        self.main = main
        self.members: dict[tuple[int, int], Proc] = {}
        if main is not None:
            self.members[main.key] = main
        self._scanner = scanner
        self._own_session = os.getsid(0)
        self._own_pid = os.getpid()

    def living(self, max_age_s: float = 0.0) -> list[Proc]:
        """Its processes that execute (zombies do not), as of at most `max_age_s` ago."""
        return self.within(self._scanner.snapshot(max_age_s))

    def glimpse(self, max_age_s: float) -> Snapshot:
        """All processes of the machine, as of at most `max_age_s` ago; waits for none of them.

        It may lack an orphan that nothing but its mark betrays.
        """
        return self._scanner.snapshot(max_age_s, _PATIENCE_S)

    def within(self, snapshot: Snapshot) -> list[Proc]:
        """Its processes that execute in `snapshot`; remembers those it had not seen before."""
        waiting = [now for known in self.members.values() if (now := snapshot.same(known))]
        waiting += self.seeds(snapshot)
        found: dict[int, Proc] = {}
        sessions: set[int] = set()
        while waiting:
            proc = waiting.pop()
            if proc.pid in found or proc.pid == self._own_pid:
                continue
            found[proc.pid] = self.members[proc.key] = proc
            waiting += snapshot.by_parent.get(proc.pid, ())
            # A session is left only by opening another: all in it descend from its leader.
            if proc.session not in sessions and proc.session not in (0, self._own_session):
                sessions.add(proc.session)
                if self._owns_session(proc.session):
                    waiting += snapshot.by_session.get(proc.session, ())
        return [proc for proc in found.values() if proc.alive]

    def living_quickly(self) -> list[Proc]:
        """As `living`, but waits for no process; finds no orphan that only its mark betrays."""
        return self.within(self._scanner.quick_snapshot())

    def quick_snapshot(self, max_age_s: float) -> Snapshot:
        """All processes of the machine; see `Scanner.quick_snapshot`."""
        return self._scanner.quick_snapshot(max_age_s)

    def seeds(self, snapshot: Snapshot) -> list[Proc]:
        """Processes from which the others are found by descent."""
        return snapshot.by_mark.get(self.mark, [])

    def _owns_session(self, session: int) -> bool:
        """Whether all of a session in which a process of ours was found is ours."""
        return True


class Marked(Tree):
    """The processes of all runs whose mark starts with a prefix."""

    def __init__(self, scanner: Scanner, prefix: str) -> None:
        if not prefix:
            raise ValueError("an empty prefix would mark every run of the machine")
        super().__init__(scanner, mark=prefix, main=None)

    def seeds(self, snapshot: Snapshot) -> list[Proc]:
        """Every process whose mark starts with the prefix."""
        return [
            proc
            for mark, procs in snapshot.by_mark.items()
            if mark.startswith(self.mark)
            for proc in procs
        ]

    def _owns_session(self, session: int) -> bool:
        # Nobody saw how these were started: a marked process may live in the session of a shell.
        return any(pid == session for pid, _start in self.members)


def _read(path: str, limit: int) -> bytes | None:
    """The first `limit` bytes of a file of /proc; None when it has gone or is not ours to read."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(handle, limit)
    except OSError:
        return None
    finally:
        os.close(handle)
