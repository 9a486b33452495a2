"""Starts programs, signals them and their descendants, waits, and reaps what the worker adopted."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from runs.execution.ending import Ending, ask_group, end_processes, send_group
from runs.execution.spec import Ended
from runs.execution.tree import (
    Marked,
    Proc,
    Scanner,
    Snapshot,
    Tree,
    now_ticks,
    read_process,
)

SCANNER = Scanner()
"""Shared by all runs of this process, so that /proc is read once for all of them."""

_PR_SET_CHILD_SUBREAPER = 36
_STRAY_ZOMBIE_S = 10.0
_OOM_SCORE = 300
_CHILDREN = Path(f"/proc/self/task/{os.getpid()}/children")

_lock = threading.Lock()
_starting: dict[int, float] = {}
_owned: set[int] = set()
_trees: dict[int, RunTree] = {}
_zombies: dict[tuple[int, int], float] = {}
_subreaper = False


class Child:
    """A program that was started here, until `reap` has taken its exit status.

    Between its end and `reap` it stays a zombie, so that its number, group and session cannot
    come to mean another process.
    """

    def __init__(self, popen: subprocess.Popen[bytes], proc: Proc) -> None:
        self.pid = popen.pid
        self.proc = proc
        self.popen = popen
        try:
            self._handle = os.pidfd_open(popen.pid)
        except OSError:
            self._handle = -1
        self._poll = select.poll()
        if self._handle >= 0:
            self._poll.register(self._handle, select.POLLIN)

    def wait(self, timeout_s: float) -> bool:
        """Whether it has ended, after at most `timeout_s` seconds; it is not reaped."""
        if self._handle >= 0:
            return bool(self._poll.poll(max(0.0, timeout_s) * 1000))
        until = time.monotonic() + timeout_s
        while not self._has_ended():
            left = until - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(0.02, left))
        return True

    def reap(self) -> tuple[int, float, int]:
        """Exit status as `Popen.returncode`, CPU seconds, and `ru_maxrss` in bytes. Blocks.

        The memory figure starts at that of the process which started the program (the kernel
        counts the moments before exec), so it means something only above it.
        """
        _pid, status, rusage = os.wait4(self.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        self.popen.returncode = code
        with _lock:
            _owned.discard(self.pid)
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
        return code, rusage.ru_utime + rusage.ru_stime, rusage.ru_maxrss * 1024

    def _has_ended(self) -> bool:
        flags = os.WEXITED | os.WNOWAIT | os.WNOHANG
        return os.waitid(os.P_PID, self.pid, flags) is not None


def start(
    command: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    stdin: int,
    stdout: int,
    stderr: int,
) -> Child:
    """Start a program in a session and group of its own. Raises what `Popen` raises.

    Never with `preexec_fn`: that forks the whole worker instead of using vfork.
    """
    with starting() as own:
        popen = subprocess.Popen(
            list(command),
            cwd=cwd,
            env=dict(env),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            close_fds=True,
        )
        own(popen.pid)
    # It cannot have been reaped by anybody else: alive or a zombie, it is in /proc.
    proc = read_process(popen.pid)
    if proc is None:
        raise RuntimeError(f"process {popen.pid} is not in /proc: is /proc mounted?")
    return Child(popen, proc)


def sacrifice(child: Child) -> None:
    """When memory runs out, let the system end this program rather than the worker."""
    with contextlib.suppress(OSError):
        Path(f"/proc/{child.pid}/oom_score_adj").write_bytes(str(_OOM_SCORE).encode())


@contextlib.contextmanager
def starting() -> Iterator[Callable[[int], None]]:
    """For code that starts a child in a session of its own and waits for it itself.

    Call what this gives with its pid, within the block, and `forget` when it has been waited for.
    Else the child is taken for an orphan that a run left, and ended with that run.
    """
    thread = threading.get_ident()
    with _lock:
        _starting[thread] = now_ticks()

    def own(pid: int) -> None:
        with _lock:
            _owned.add(pid)

    try:
        yield own
    finally:
        with _lock:
            _starting.pop(thread, None)


def forget(pid: int) -> None:
    """A child that was declared in `starting` has been waited for."""
    with _lock:
        _owned.discard(pid)


class RunTree(Tree):
    """The processes of a run of this worker, also those that reach it by adoption only."""

    def __init__(self, child: Child, *, mark: str, workspace: Path) -> None:
        super().__init__(SCANNER, mark=mark, main=child.proc)
        self._workspace = os.path.realpath(workspace)
        with _lock:
            _trees[child.pid] = self

    def close(self) -> None:
        """The run is over; what it left as zombies is reaped."""
        for proc in list(self.members.values()):
            if self.main is None or proc.key != self.main.key:
                _reap(proc)
        with _lock:
            _trees.pop(self.main.pid if self.main else 0, None)

    def seeds(self, snapshot: Snapshot) -> list[Proc]:
        """Its marked processes, and the adopted ones that must be its own."""
        found = list(super().seeds(snapshot))
        if _subreaper:
            found += [proc for proc in _strays(snapshot) if self._claims(proc, snapshot)]
        return found

    def none_left(self) -> bool:
        """Whether surely nothing but zombies is left once the main process has ended.

        A cheap look that saves reading all of /proc: under a subreaper whatever a run leaves
        hangs below a child of ours. False means only that a real look is needed.
        """
        if not _subreaper or not _CHILDREN.exists():
            return False
        children = _children() | _children()  # a single reading can miss one when another ends
        with _lock:
            children -= _owned
        for pid in children:
            # Also one that has ended or gone counts: it may have forked before.
            proc = read_process(pid)
            if proc is None or proc.session != self._own_session:
                return False
        return True

    def groups(self, procs: list[Proc]) -> set[int]:
        """The process groups of `procs`: all in them descend from this run."""
        return {proc.group for proc in procs if proc.session not in (0, self._own_session)}

    def sweep(self) -> None:
        """Kill what is left in the group of the main process, seen or not.

        Safe until the main process has been reaped: its number cannot mean another group before.
        """
        if self.main is not None:
            send_group(self.main.pid, signal.SIGKILL)

    def _claims(self, stray: Proc, snapshot: Snapshot) -> bool:
        """Whether an adopted process without a mark comes from this run.

        By its working directory; else when no other run was there that can have started it.
        """
        if self.main is None or stray.start < self.main.start or snapshot.marks.get(stray.key):
            return False
        with _lock:
            others = [tree for tree in _trees.values() if tree is not self]
        if any(stray.key in tree.members for tree in others):
            return False
        try:
            folder = Path(f"/proc/{stray.pid}/cwd").readlink()
        except OSError:
            folder = Path("/")
        if folder.is_relative_to(self._workspace):
            return True
        if any(folder.is_relative_to(tree._workspace) for tree in others):
            return False
        return not any(tree.main and tree.main.start <= stray.start for tree in others)


def end_tree(
    tree: RunTree,
    *,
    how: str,
    grace_s: float,
    tick: Callable[[], None],
    hurry: Callable[[], bool] = lambda: False,
) -> tuple[list[Ended], list[str]]:
    """End every process of a run (see `end_processes`); the processes ended, and warnings."""
    ending = end_processes(
        tree.living,
        grace_s=grace_s,
        tick=tick,
        hurry=hurry,
        groups=tree.groups,
        find_quickly=tree.living_quickly,
    )
    return _told(ending, how)


def ask_tree(
    tree: RunTree, number: signal.Signals, *, how: str
) -> tuple[list[Ended], list[str], bool]:
    """Ask the program and those in its group to stop; they are not waited for.

    The processes asked, warnings, and whether the program ignores this signal.
    """
    main = tree.main
    if main is None:
        return [], [], False
    ignored = _ignores(main.pid, number)
    # Until it is reaped, its number can mean no other group.
    ended, warnings = _told(ask_group(tree.living(), main.pid, number), how)
    return ended, warnings, ignored


def end_found(
    find: Callable[[], list[Proc]],
    *,
    how: str,
    grace_s: float,
    tick: Callable[[], None],
    hurry: Callable[[], bool] = lambda: False,
) -> tuple[list[Ended], list[str]]:
    """End what `find` finds (see `end_processes`); the processes ended, and warnings."""
    ending = end_processes(find, grace_s=grace_s, tick=tick, hurry=hurry)
    return _told(ending, how)


def end_marked(prefix: str, grace_s: float) -> list[Ended]:
    """End every process whose mark starts with `prefix`: what a former boot of a worker left.

    Takes `grace_s` seconds plus the time that SIGKILL needs, at most 30 s more.
    """
    marked = Marked(Scanner(), prefix)
    ending = end_processes(marked.living, grace_s=grace_s, give_up_s=30.0)
    return _told(ending, "left by a former worker")[0]


def processes_with_mark(prefix: str) -> list[Proc]:
    """The living processes whose mark starts with `prefix`, and their descendants."""
    return Marked(SCANNER, prefix).living()


def become_subreaper() -> bool:
    """Adopt the orphans of programs started here, so that none escapes; whether it worked.

    Whoever calls this calls `reap_strays` every few seconds from then on.
    """
    global _subreaper
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        _subreaper = libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    except (OSError, AttributeError):
        _subreaper = False
    return _subreaper


def reap_strays() -> int:
    """Reap adopted processes that have ended; how many.

    Takes only zombies in a session that is not ours and that nobody here started; one that no run
    is known to have left must have been there for ten seconds, as other code may be about to wait
    for it. So the exit status of a `Popen` of another thread is not stolen.
    """
    if not _has_zombie():
        return 0  # as nearly always: the table of processes need not be read
    own_session = os.getsid(0)
    own_pid = os.getpid()
    now = time.monotonic()
    reaped = 0
    with _lock:
        # A child that is being started is not in `_owned` yet, but younger than its start.
        before = min(_starting.values(), default=float("inf")) - 1
        seen: dict[tuple[int, int], float] = {}
        for pid in _children() - _owned:
            proc = read_process(pid)
            if proc is None or proc.ppid != own_pid or proc.state != "Z":
                continue
            if proc.session == own_session or proc.start >= before:
                continue
            since = seen[proc.key] = _zombies.get(proc.key, now)
            known = any(proc.key in tree.members for tree in _trees.values())
            if known or now - since >= _STRAY_ZOMBIE_S:
                with contextlib.suppress(ChildProcessError):
                    reaped += os.waitpid(pid, os.WNOHANG)[0] == pid
        _zombies.clear()
        _zombies.update(seen)
    return reaped


def _has_zombie() -> bool:
    """Whether any child has ended and was not waited for; takes no exit status."""
    try:
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False


def pipe_holders(inodes: set[int]) -> list[Proc]:
    """The processes that can write to one of these pipes, however they came by it."""
    own_pid = os.getpid()
    own_words = _command(own_pid)
    found = []
    for proc in SCANNER.snapshot().procs.values():
        if proc.pid == own_pid or not proc.alive or proc.pid in _owned:
            continue
        if not _writes_to(proc.pid, inodes):
            continue
        # A child that another thread is starting holds everything until it executes.
        if proc.ppid == own_pid and _command(proc.pid) == own_words:
            continue
        found.append(proc)
    return found


def _told(ending: Ending, how: str) -> tuple[list[Ended], list[str]]:
    ended = [
        Ended(victim.proc.pid, victim.command, how, victim.signal)
        for victim in ending.victims.values()
        if victim.proc.key not in ending.refused
    ]
    warnings = [
        f"Process {victim.proc.pid} ({victim.command}) could not be ended: it belongs to another"
        " user. End it by hand."
        for victim in ending.refused.values()
    ]
    if ending.unlisted:
        warnings.append(f"{ending.unlisted} more processes were ended; they are not listed.")
    return ended, warnings


def _strays(snapshot: Snapshot) -> list[Proc]:
    """Living children of ours that nobody here started: adopted ones."""
    own_session = os.getsid(0)
    with _lock:
        # A child that is being started is not in `_owned` yet, but younger than its start.
        before = min(_starting.values(), default=float("inf")) - 1
        builds = _owned - _trees.keys()  # what those leave is not a run's
        return [
            proc
            for proc in snapshot.by_parent.get(os.getpid(), ())
            if proc.pid not in _owned
            and proc.session != own_session
            and proc.session not in builds
            and proc.start < before
            and proc.alive
        ]


def _children() -> set[int]:
    """The numbers of our children, zombies included."""
    if not _CHILDREN.exists():  # a kernel built without them
        return {proc.pid for proc in SCANNER.snapshot().by_parent.get(os.getpid(), ())}
    found: set[int] = set()
    for name in os.listdir("/proc/self/task"):  # noqa: PTH208 - names only
        try:
            text = Path(f"/proc/self/task/{name}/children").read_bytes()
        except FileNotFoundError:
            continue  # the thread has ended; its children went to another one
        found.update(int(word) for word in text.split())
    return found


def _reap(proc: Proc) -> None:
    """Take the exit status of an adopted process, if it has ended and is ours to reap."""
    with _lock:
        if proc.pid in _owned:
            return
    now = read_process(proc.pid)
    if now is None or now.start != proc.start or now.ppid != os.getpid() or now.alive:
        return
    with contextlib.suppress(ChildProcessError):
        os.waitpid(proc.pid, os.WNOHANG)


def _writes_to(pid: int, inodes: set[int]) -> bool:
    wanted = {f"pipe:[{inode}]" for inode in inodes}
    folder = f"/proc/{pid}/fd"
    try:
        for name in os.listdir(folder):  # noqa: PTH208 - names only
            with contextlib.suppress(OSError):
                if os.readlink(f"{folder}/{name}") in wanted:  # noqa: PTH115
                    words = Path(f"/proc/{pid}/fdinfo/{name}").read_text().split()
                    if int(words[words.index("flags:") + 1], 8) & os.O_ACCMODE != os.O_RDONLY:
                        return True
    except OSError:
        return False
    return False


def _ignores(pid: int, number: int) -> bool:
    """Whether a process has told the system to ignore a signal."""
    try:
        text = Path(f"/proc/{pid}/status").read_bytes()
        mask = int(text[text.index(b"SigIgn:") + 7 :].split(maxsplit=1)[0], 16)
    except (OSError, ValueError):
        return False
    return bool(mask >> (number - 1) & 1)


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
