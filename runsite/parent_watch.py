"""Ends a child of the web server whose main process is gone: it would go on serving unseen.

granian's main process starts the children that answer requests, and restarts and stops them. When
it is killed, a child keeps its socket; the port is shared (SO_REUSEPORT), so the next server would
get only a part of the requests, and the rest an old program would answer.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
import time
from multiprocessing import connection
from typing import Protocol

log = logging.getLogger(__name__)

LOOK_S = 2.0
"""Where the end of the parent cannot be waited for, it is looked for this often."""
EXIT_CODE = 70


class Parent(Protocol):
    """What `multiprocessing.parent_process` gives."""

    @property
    def pid(self) -> int | None:
        """Its number."""

    @property
    def sentinel(self) -> int:
        """A file descriptor that can be read from once it has ended."""


def watch_parent() -> threading.Thread | None:
    """Leave as soon as the process that started this one has ended.

    Only for children that were started with `multiprocessing`; elsewhere (a development server, a
    test) the parent may well end first, and nothing is watched. The thread costs no CPU time.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return None
    thread = threading.Thread(target=_leave_with, args=(parent,), name="parent watch", daemon=True)
    thread.start()
    return thread


def _leave_with(parent: Parent) -> None:
    wait_for_end(parent)
    # Nobody is left to stop this process in order, and what it answers now may be outdated.
    log.warning("the main process of the web server (%s) is gone: this one leaves, too", parent.pid)
    os._exit(EXIT_CODE)


def wait_for_end(parent: Parent) -> None:
    """Return once `parent` has ended."""
    try:
        connection.wait([parent.sentinel])
        return
    except OSError as error:  # somebody closed what was not theirs
        log.warning("the end of the parent cannot be waited for, it is looked for: %s", error)
    while os.getppid() == parent.pid:
        time.sleep(LOOK_S)
