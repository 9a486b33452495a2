"""Lets this process go before all ordinary ones for a moment; the standard library only."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

_lock = threading.Lock()
_users = 0
_raised: dict[int, int] = {}


@contextlib.contextmanager
def urgent() -> Iterator[bool]:
    """Within the block no ordinary process keeps this one waiting; gives whether that is allowed.

    A fork loop has so many processes that everybody else gets next to no time, least of all who
    wants to end it. The system grants this to root, and to others as far as their limit for
    real-time priority (`RLIMIT_RTPRIO`) goes; without it the block runs as ever. What is started
    within the block starts as ordinary.
    """
    global _users
    with _lock:
        _users += 1
        if _users == 1:
            _raise_all()
        allowed = bool(_raised)
    try:
        yield allowed
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _lower_all()


def _raise_all() -> None:
    # All threads: one that holds the interpreter's lock must not be kept waiting either.
    wanted = os.sched_param(os.sched_get_priority_min(os.SCHED_RR))
    threads: list[str] = []
    with contextlib.suppress(OSError):  # as when no more files may be opened
        threads = os.listdir("/proc/self/task")  # noqa: PTH208 - names only
    for thread in map(int, threads):
        with contextlib.suppress(OSError):
            before = os.sched_getscheduler(thread)
            if before & ~os.SCHED_RESET_ON_FORK == os.SCHED_OTHER:
                os.sched_setscheduler(thread, os.SCHED_RR | os.SCHED_RESET_ON_FORK, wanted)
                _raised[thread] = before


def _lower_all() -> None:
    for thread, before in _raised.items():
        # Who is not root may not take back that children start as ordinary: it does no harm.
        for policy in (before, before | os.SCHED_RESET_ON_FORK):
            try:
                os.sched_setscheduler(thread, policy, os.sched_param(0))
            except ProcessLookupError:
                break
            except PermissionError:
                continue
            break
    _raised.clear()
