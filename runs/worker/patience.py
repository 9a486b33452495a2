"""Waits out a database or a store that is away: what a run produced must not be lost to it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import InterfaceError, OperationalError, connection

from runs.execution.spec import Stop
from runs.storage import StorageError
from runs.worker.slots import Held

log = logging.getLogger(__name__)

T = TypeVar("T")

PAUSE_S = 0.5


class GaveUp(Exception):
    """The worker is to end at once, and what it waited for still does not answer."""


def patiently(act: Callable[[], T], *, held: Held) -> T:
    """Do `act`, which may be repeated, as often as it takes; shows life meanwhile.

    Only outages are waited for. Raises `GaveUp` when the worker is killed meanwhile.
    """
    said = False
    while True:
        held.tick()
        try:
            return act()
        except (OperationalError, InterfaceError, StorageError, OSError) as error:
            run_id = held.claimed.run.run_id
            if not said:
                log.warning("run %s: waits for the database or the store: %s", run_id, error)
            said = True
            if held.stop is Stop.KILL:
                raise GaveUp from error
            if not isinstance(error, StorageError):
                connection.close()
            # A pause between two tries at something of others; nobody waits for this thread.
            time.sleep(PAUSE_S)
