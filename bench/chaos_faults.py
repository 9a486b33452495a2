"""The faults of the chaos test: kills, freezes, restarts, a full disk, a cut network."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.chaos_members import Member, freeze, thaw
from bench.chaos_site import Site

LONGEST_DATABASE_OUTAGE_S = 12.0


@dataclass(frozen=True)
class Fault:
    """Something bad: `act` does it and says to whom, or nothing when there is nobody to do it to.

    `share` says how often it is chosen among all.
    """

    name: str
    share: int
    act: Callable[[Chaos], str]


class Chaos:
    """Does faults by chance, heals what has to be healed, and starts again what is down."""

    def __init__(
        self, site: Site, *, seed: int, every_s: float, say: Callable[[str], None]
    ) -> None:
        self.site = site
        self.chance = random.Random(f"faults {seed}")
        self.every_s = every_s
        self.say = say
        self.done: Counter[str] = Counter()
        self.starts: Counter[str] = Counter()
        self._heals: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._next = time.monotonic() + every_s
        self._busy: set[str] = set()
        self._faults = [f for f in FAULTS if f.name not in site.skipped and _fits(f, site)]

    def turn(self, *, faults: bool) -> None:
        """What is due now: heals, restarts, and with `faults` a new fault."""
        at = time.monotonic()
        while self._heals and self._heals[0][0] <= at:
            heapq.heappop(self._heals)[2]()
        for member in self.site.members.values():
            if not member.is_up() and at >= member.down_until:
                self.starts[member.name] += 1
                # One that cannot start yet, as its port is taken, is not started in a busy loop.
                member.down_until = at + 1.0
                member.frozen.clear()
                member.start()
        if faults and at >= self._next:
            self._next = at + self.chance.expovariate(1 / self.every_s)
            self._do(self.chance.choices(self._faults, [f.share for f in self._faults])[0])

    def calm(self) -> None:
        """Heal everything now; what is down comes up with the next turns."""
        while self._heals:
            heapq.heappop(self._heals)[2]()
        for member in self.site.members.values():
            member.down_until = 0.0

    def later(self, seconds: float, heal: Callable[[], None]) -> None:
        """Call `heal` then."""
        at = time.monotonic() + seconds
        heapq.heappush(self._heals, (at, next(self._numbers), heal))

    def claim(self, what: str, seconds: float) -> bool:
        """Whether nothing is done to `what` now; if so, nothing else is until then."""
        if what in self._busy:
            return False
        self._busy.add(what)
        self.later(seconds, lambda: self._busy.discard(what))
        return True

    def pick_worker(self) -> Member | None:
        """A process that holds a worker alone, if there is one that is up."""
        found = [self.site.members[name] for name in self.site.workers()]
        up = [member for member in found if member.is_up() and not member.frozen]
        return self.chance.choice(up) if up else None

    def down_s(self) -> float:
        """How long something stays down: mostly short, sometimes longer than a lease."""
        if self.chance.random() < 0.15:
            return self.chance.uniform(1.1, 1.6) * self.site.lease_s
        return self.chance.uniform(0.0, 3.0)

    def _do(self, fault: Fault) -> None:
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            if words := fault.act(self):
                self.done[fault.name] += 1
                self.say(f"{fault.name}: {words}")


# --- workers ------------------------------------------------------------------------------------


def _kill_worker(chaos: Chaos) -> str:
    found = _worker_process(chaos)
    if found is None:
        return ""
    member, process = found
    down_s = chaos.down_s()
    member.down_until = time.monotonic() + down_s
    process.kill()
    return f"{member.name}, back after {down_s:.1f} s"


def _kill_worker_and_guardian(chaos: Chaos) -> str:
    found = _worker_process(chaos)
    if found is None:
        return ""
    member, process = found
    guardians = [p for p in process.children() if "guardian.py" in " ".join(p.cmdline())]
    member.down_until = time.monotonic() + chaos.chance.uniform(0.0, 3.0)
    for guardian in guardians:
        guardian.kill()
    process.kill()
    return f"{member.name} with {len(guardians)} guardian"


def _kill_guardian(chaos: Chaos) -> str:
    found = _worker_process(chaos)
    if found is None:
        return ""
    for guardian in found[1].children():
        if "guardian.py" in " ".join(guardian.cmdline()):
            guardian.kill()
            return f"that of {found[0].name}"
    return ""


def _freeze_worker(chaos: Chaos) -> str:
    found = _worker_process(chaos)
    if found is None:
        return ""
    member, process = found
    longer = chaos.chance.random() < 0.6
    span = chaos.chance.uniform(1.3, 1.8) if longer else chaos.chance.uniform(0.1, 0.8)
    seconds = span * chaos.site.lease_s
    if not chaos.claim(f"freeze {member.name}", seconds + 1):
        return ""
    # Only the worker: its apps go on and do not notice.
    process.suspend()
    chaos.later(seconds, lambda: _resume(process))
    return f"{member.name} for {seconds:.1f} s ({'longer' if longer else 'shorter'} than a lease)"


def _restart_worker(chaos: Chaos) -> str:
    found = _worker_process(chaos)
    if found is None:
        return ""
    member, process = found
    hurry = chaos.chance.choice(["", "SIGTERM again", "SIGQUIT"])
    process.send_signal(signal.SIGTERM)
    if hurry:
        number = signal.SIGTERM if hurry == "SIGTERM again" else signal.SIGQUIT
        chaos.later(chaos.chance.uniform(0.0, 2.0), lambda: _send(process, number))
    return f"{member.name} by SIGTERM{f', then {hurry}' if hurry else ''}"


# --- web, scheduler, console --------------------------------------------------------------------


def _kill_web(chaos: Chaos) -> str:
    main = _web_process(chaos)
    if main is None:
        return ""
    main.kill()
    return "its main process"


def _kill_web_child(chaos: Chaos) -> str:
    main = _web_process(chaos)
    children = main.children() if main else []
    if not children:
        return ""
    chaos.chance.choice(children).kill()
    return "its child"


def _freeze_web(chaos: Chaos) -> str:
    main = _web_process(chaos)
    seconds = chaos.chance.uniform(1.0, 8.0)
    if main is None or not chaos.claim("freeze web", seconds + 1):
        return ""
    for process in (main, *main.children()):
        process.suspend()
        chaos.later(seconds, lambda process=process: _resume(process))
    return f"for {seconds:.1f} s"


def _restart_web(chaos: Chaos) -> str:
    main = _web_process(chaos)
    if main is None:
        return ""
    main.send_signal(signal.SIGTERM)
    return "by SIGTERM"


def _kill_scheduler(chaos: Chaos) -> str:
    return _to_scheduler(chaos, signal.SIGKILL)


def _restart_scheduler(chaos: Chaos) -> str:
    return _to_scheduler(chaos, signal.SIGTERM)


def _to_scheduler(chaos: Chaos, number: signal.Signals) -> str:
    member = chaos.site.members[chaos.chance.choice(["s1", "s2"])]
    if not member.is_up():
        return ""
    member.down_until = time.monotonic() + chaos.down_s()
    member.signal(number)
    return member.name


def _freeze_scheduler(chaos: Chaos) -> str:
    member = chaos.site.members[chaos.chance.choice(["s1", "s2"])]
    seconds = chaos.chance.uniform(0.2, 1.8) * chaos.site.lease_s
    if not member.is_up() or not chaos.claim(f"freeze {member.name}", seconds + 1):
        return ""
    freeze(member)
    chaos.later(seconds, lambda: thaw(member))
    return f"{member.name} for {seconds:.1f} s"


def _kill_console(chaos: Chaos) -> str:
    """The process manager alone, or with all that stands directly below it."""
    member = chaos.site.members["console"]
    if not _is_worth_it(chaos, member):
        return ""
    tree = member.tree()
    parents = [p for p in tree if p.ppid() == member.pid] if chaos.chance.random() < 0.5 else []
    down_s = chaos.chance.uniform(0.0, 5.0)
    member.down_until = time.monotonic() + down_s
    for process in (tree[0], *parents):
        process.kill()
    return f"manager and {len(parents)} below it, back after {down_s:.1f} s"


def _restart_console(chaos: Chaos) -> str:
    member = chaos.site.members["console"]
    if not _is_worth_it(chaos, member):
        return ""
    member.signal(signal.SIGTERM)
    return "by SIGTERM"


def _is_worth_it(chaos: Chaos, member: Member) -> bool:
    """Mostly a console that has come up: on a slow machine it would else never come up."""
    return member.is_up() and (chaos.site.is_open() or chaos.chance.random() < 0.1)


# --- broker -------------------------------------------------------------------------------------


def _kill_broker(chaos: Chaos) -> str:
    return _down(chaos, "broker", signal.SIGKILL, chaos.down_s())


def _restart_broker(chaos: Chaos) -> str:
    return _down(chaos, "broker", signal.SIGTERM, chaos.chance.uniform(0, 2))


def _freeze_broker(chaos: Chaos) -> str:
    return _freeze_server(chaos, "broker", chaos.down_s())


def _lose_messages(chaos: Chaos) -> str:
    """The broker in a folder cannot die; its messages can."""
    count = 0
    for path in (chaos.site.data_dir / "broker").glob("messages/*.msg"):
        path.unlink(missing_ok=True)
        count += 1
    return f"{count} messages"


# --- database -----------------------------------------------------------------------------------


def _kill_database(chaos: Chaos) -> str:
    return _down(chaos, "database", signal.SIGKILL, chaos.chance.uniform(0.0, 6.0))


def _restart_database(chaos: Chaos) -> str:
    # SIGINT is PostgreSQL's fast stop: connections are closed, nothing is waited for.
    return _down(chaos, "database", signal.SIGINT, chaos.chance.uniform(0.0, 2.0))


def _long_outage(chaos: Chaos) -> str:
    seconds = chaos.chance.uniform(6.0, LONGEST_DATABASE_OUTAGE_S)
    return _down(chaos, "database", signal.SIGINT, seconds)


def _freeze_database(chaos: Chaos) -> str:
    return _freeze_server(chaos, "database", chaos.chance.uniform(1.0, LONGEST_DATABASE_OUTAGE_S))


def _lock_database(chaos: Chaos) -> str:
    """SQLite cannot die either; somebody can hold its only lock."""
    seconds = chaos.chance.uniform(0.5, LONGEST_DATABASE_OUTAGE_S)
    if not chaos.claim("database", seconds + 3):
        return ""
    path = chaos.site.data_dir / "runsite.sqlite3"
    holder = sqlite3.connect(path, timeout=5, isolation_level=None)
    try:
        holder.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        holder.close()
        return ""
    chaos.later(seconds, holder.close)
    return f"for {seconds:.1f} s"


# --- one worker's disk and network --------------------------------------------------------------


def _fill_disk(chaos: Chaos) -> str:
    disk = chaos.site.disk
    seconds = chaos.chance.uniform(2.0, 10.0)
    if disk is None or not chaos.claim("disk", seconds + 2):
        return ""
    filler = disk / "filler"
    written = _fill(filler)
    chaos.later(seconds, lambda: filler.unlink(missing_ok=True))
    return f"{written >> 20} MiB on that of {disk.name} for {seconds:.1f} s"


def _fill(filler: Path) -> int:
    written = 0
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            written += file.write(bytes(1 << 20))
    return written


def _cut_network(chaos: Chaos) -> str:
    name = chaos.site.isolated
    longer = chaos.chance.random() < 0.5
    span = chaos.chance.uniform(1.2, 2.0) if longer else chaos.chance.uniform(0.1, 0.8)
    seconds = span * chaos.site.lease_s
    if not name or not chaos.claim("network", seconds + 2):
        return ""
    chaos.site.set_network(up=False)
    chaos.later(seconds, lambda: chaos.site.set_network(up=True))
    return f"that of {name} for {seconds:.1f} s"


FAULTS = (
    Fault("worker killed", 12, _kill_worker),
    Fault("worker killed with its guardian", 4, _kill_worker_and_guardian),
    Fault("guardian killed", 2, _kill_guardian),
    Fault("worker frozen", 8, _freeze_worker),
    Fault("worker restarted", 7, _restart_worker),
    Fault("web killed", 4, _kill_web),
    Fault("web child killed", 3, _kill_web_child),
    Fault("web frozen", 2, _freeze_web),
    Fault("web restarted", 2, _restart_web),
    Fault("scheduler killed", 3, _kill_scheduler),
    Fault("scheduler frozen", 3, _freeze_scheduler),
    Fault("scheduler restarted", 2, _restart_scheduler),
    Fault("console killed", 4, _kill_console),
    Fault("console restarted", 3, _restart_console),
    Fault("broker killed", 4, _kill_broker),
    Fault("broker restarted", 2, _restart_broker),
    Fault("broker frozen", 3, _freeze_broker),
    Fault("broker's messages lost", 4, _lose_messages),
    Fault("database killed", 4, _kill_database),
    Fault("database restarted", 3, _restart_database),
    Fault("database away", 2, _long_outage),
    Fault("database frozen", 2, _freeze_database),
    Fault("database locked", 5, _lock_database),
    Fault("a full disk", 4, _fill_disk),
    Fault("a network down", 5, _cut_network),
)


def _fits(fault: Fault, site: Site) -> bool:
    """Whether the installation has what the fault is done to."""
    only = {
        "scheduler": "s1",
        "console": "console",
        "broker killed": "broker",
        "broker restarted": "broker",
        "broker frozen": "broker",
    }
    if fault.name in {"broker's messages lost"}:
        return "broker" not in site.members
    if fault.name == "database locked":
        return "database" not in site.members
    if fault.name.startswith("database"):
        return "database" in site.members
    for start, member in only.items():
        if fault.name.startswith(start):
            return member in site.members
    return True


def _worker_process(chaos: Chaos) -> tuple[Member, psutil.Process] | None:
    """A worker that is up, and its main process; that of the console is one of them."""
    names = chaos.site.workers()
    if "console" in chaos.site.members:
        names = [*names, "console"]
    member = chaos.site.members[chaos.chance.choice(names)]
    tree = member.tree()
    if not tree:
        return None
    if member.name != "console":
        return member, tree[0]
    for process in tree[1:]:
        if process.ppid() == member.pid and "celery" in " ".join(process.cmdline()):
            return member, process
    return None


def _web_process(chaos: Chaos) -> psutil.Process | None:
    """The main process of the web server."""
    member = chaos.site.members.get("web") or chaos.site.members["console"]
    tree = member.tree()
    if member.name == "web":
        return tree[0] if tree else None
    for process in tree[1:]:
        if process.ppid() == member.pid and "granian" in " ".join(process.cmdline()):
            return process
    return None


def _down(chaos: Chaos, name: str, number: signal.Signals, seconds: float) -> str:
    member = chaos.site.members[name]
    if not member.is_up() or not chaos.claim(name, seconds + 4):
        return ""
    member.down_until = time.monotonic() + seconds
    # RabbitMQ's main process is a script; killed alone, the server below it would go on.
    below = member.tree()[1:] if name == "broker" and number == signal.SIGKILL else []
    member.signal(number)
    for process in below:
        _send(process, number)
    return f"{number.name}, back after {seconds:.1f} s"


def _freeze_server(chaos: Chaos, name: str, seconds: float) -> str:
    member = chaos.site.members[name]
    if not member.is_up() or not chaos.claim(name, seconds + 4):
        return ""
    freeze(member)
    chaos.later(seconds, lambda: thaw(member))
    return f"for {seconds:.1f} s"


def _resume(process: psutil.Process) -> None:
    _send(process, signal.SIGCONT)


def _send(process: psutil.Process, number: int) -> None:
    with contextlib.suppress(psutil.Error):
        process.send_signal(number)
