"""Finds and ends what a killed console left running, by a mark in its environment."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path


def marked(mark: str) -> list[int]:
    """The processes that have `mark` ("NAME=value") in their environment; zombies have ended.

    This process and its ancestors are left out. Processes of other users cannot be read and
    therefore are not found.
    """
    wanted = b"\0" + os.fsencode(mark) + b"\0"
    own = _ancestors()
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208 (names are enough)
        if not name.isdecimal() or int(name) in own:
            continue
        try:
            environment = Path(f"/proc/{name}/environ").read_bytes()
        except OSError:
            continue  # it has ended, or is not ours
        if wanted in b"\0" + environment and _is_running(int(name)):
            found.append(int(name))
    return found


def end(mark: str, *, limit_s: float) -> int:
    """End every process with `mark`: SIGTERM, and SIGKILL after `limit_s`; how many there were."""
    count = _signal(mark, signal.SIGTERM)
    if count == 0:
        return 0
    limit = time.monotonic() + limit_s
    while marked(mark):
        if time.monotonic() > limit:
            _signal(mark, signal.SIGKILL)
        if time.monotonic() > limit + 5:
            break  # stuck in the kernel; the checks that follow say what is in the way
        time.sleep(0.05)
    return count


def _signal(mark: str, number: signal.Signals) -> int:
    pids = marked(mark)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    return len(pids)


def _ancestors() -> set[int]:
    found = {os.getpid()}
    pid = os.getppid()
    while pid > 0 and pid not in found:
        found.add(pid)
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        except OSError:
            break
        pid = int(stat.rsplit(")", 1)[1].split()[1])
    return found


def _is_running(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return False
    return stat.rsplit(")", 1)[1].split()[0] not in {"Z", "X"}
