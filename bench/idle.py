"""Promise: the idle console takes 180 MiB and 1 % of a core. Floor: two processes with Django."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.report import Report, bounded, parser, rounded

if TYPE_CHECKING:
    import psutil

MIB = 2**20
PAGES = ("/", "/runs/", "/applications/", "/queue/", "/workers/")
# What a web process and a worker cannot do without, and nothing else; it waits to be looked at.
BARE = "import runsite.wsgi, celery, sys; print('there', flush=True); sys.stdin.read()"
# The least that waits for work: a look into a folder twenty times a second.
LOOKER = "import os, time\nwhile True: os.listdir('.'); time.sleep(0.05)"


def main() -> None:
    """Print one JSON line: MiB (PSS) of all processes, and their share of a core."""
    arguments_of = parser(__doc__, limit_s=300)
    arguments_of.add_argument("--seconds", type=float, default=30, help="how long CPU is counted")
    arguments_of.add_argument("--settle", type=float, default=35, help="seconds to wait before")
    arguments = arguments_of.parse_args()
    with bounded(arguments.limit):
        _measure(arguments.seconds, arguments.settle)


def _measure(seconds: float, settle_s: float) -> None:
    from bench.consoles import ROOT, console

    report = Report("idle", promise="all processes, PSS: 180 MiB; 1 % of a core", unit="MiB")
    with console(slots=2) as one:
        with subprocess.Popen(
            [sys.executable, "-c", BARE], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as bare:
            assert bare.stdout is not None
            bare.stdout.readline()
            floor = 2 * _pss(bare.pid)
            bare.communicate()
        one.start()
        fresh = sum(_pss(process.pid) for process in one.processes())
        cookie = one.cookie()
        for page in PAGES:
            assert one.status_of(page, cookie) == 200, f"{page}\n{one.logs}"
        looker = subprocess.Popen([sys.executable, "-c", LOOKER], cwd=one.folder)
        try:
            time.sleep(settle_s)
            figure, share, floor_share = _watch(one.processes(), looker.pid, seconds)
        finally:
            looker.kill()
            looker.wait()
        parts = {_name(process): rounded(_pss(process.pid) / MIB) for process in one.processes()}
    report.say(
        floor=floor / MIB,
        figure=figure / MIB,
        fresh_mib=rounded(fresh / MIB),
        parts_mib=parts,
        cpu_percent=rounded(share * 100),
        cpu_floor_percent=rounded(floor_share * 100),
        seconds=seconds,
    )


def _watch(
    processes: list[psutil.Process], looker: int, seconds: float
) -> tuple[float, float, float]:
    """Bytes, the share of a core over `seconds`, and the share that `looker` took."""
    begin = time.monotonic()
    before = [_cpu_ns(process.pid) for process in processes]
    looker_before = _cpu_ns(looker)
    time.sleep(seconds)
    spent_ns = (time.monotonic() - begin) * 1e9
    used = sum(_cpu_ns(one.pid) - was for one, was in zip(processes, before, strict=True))
    share = used / spent_ns
    floor = (_cpu_ns(looker) - looker_before) / spent_ns
    return sum(_pss(process.pid) for process in processes), share, floor


def _cpu_ns(pid: int) -> int:
    """Nanoseconds of CPU over all threads; ticks of 10 ms are too coarse for an idle process."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            total += int((task / "schedstat").read_text().split()[0])
        except FileNotFoundError:
            continue
    return total


def _pss(pid: int) -> int:
    """Bytes of memory, shared pages counted in part."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0  # what announced the start has ended by now
    return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line[:4] == "Pss:")


def _name(process: psutil.Process) -> str:
    words = process.cmdline()
    for word in ("granian", "celery", "runsite.process_manager", "guardian"):
        if any(word in each for each in words):
            return f"{word.rpartition('.')[2]} {process.pid}"
    return f"{process.name()} {process.pid}"


if __name__ == "__main__":
    main()
