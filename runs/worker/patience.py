"""Waits out a database or a store that is away: what a run produced must not be lost to it."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import DatabaseError, InterfaceError, OperationalError, connection
from django.db.models import F

from runs.execution.spec import Stop
from runs.models import Attempt
from runs.models.counters import Counter
from runs.storage import InvalidKey, ObjectMissing, ObjectTooLarge, StorageError
from runs.worker.held import Held

log = logging.getLogger(__name__)

T = TypeVar("T")

PAUSE_S = 0.5
MOST_REFUSALS = 20
"""So often in a row a database that takes other writes may refuse this one."""
BYTES_PER_S = 2 * 1024 * 1024
"""A disk or a network slower than this counts as stuck."""

_FULL = {errno.ENOSPC, errno.EDQUOT}
_AWAY = {
    *_FULL,
    *(errno.EIO, errno.ESTALE, errno.EROFS, errno.ENXIO, errno.ENODEV),
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EBUSY, errno.EINTR),
    *(errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETUNREACH),
    *(errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE),
}
"""What a disk or a network says that may answer again; anything else is a fact about a file."""
_FOR_GOOD = (ObjectMissing, ObjectTooLarge, InvalidKey)


class GaveUp(Exception):
    """The worker is to end at once, and what it waited for still does not answer."""


class Stopped(Exception):
    """Somebody wants the run ended while it waits for something before its program starts."""


def patiently(act: Callable[[], T], *, held: Held, waits_for_space: bool = True) -> T:
    """Do `act`, which may be repeated, as often as it takes; shows life meanwhile.

    Only outages are waited for: what is missing, refused or too large is raised at once, and so is
    a full disk unless `waits_for_space`. Raises `GaveUp` when the worker is killed meanwhile, or
    the run canceled while the store is away.
    """
    said = False
    refusals = 0
    while True:
        held.tick()
        try:
            return act()
        except (OperationalError, InterfaceError) as error:
            connection.close()
            refusals = refusals + 1 if _takes_writes(held) else 0
            if refusals >= MOST_REFUSALS:
                raise
            problem: Exception = error
        except _FOR_GOOD:
            raise
        except StorageError as error:
            problem = error
            if not said:
                Counter.add("store_errors", error.operation)
        except OSError as error:
            if error.errno not in _AWAY or (error.errno in _FULL and not waits_for_space):
                raise
            problem = error
        if not said:
            run_id = held.claimed.run.run_id
            log.warning("run %s: waits for the database or the store: %s", run_id, problem)
        said = True
        database = isinstance(problem, DatabaseError | InterfaceError)
        if held.stop is Stop.KILL or (held.stop is Stop.CANCEL and not database):
            raise GaveUp from problem
        # A pause between two tries at something of others; nobody waits for this thread.
        time.sleep(PAUSE_S)


def wait_for(condition: Callable[[], T], *, held: Held, pause_s: float = 0.05) -> T:
    """Wait until `condition` gives something true; shows life meanwhile.

    Raises `Stopped` as soon as the run is to end: its program has not started.
    """
    while not (found := condition()):
        held.tick()
        if held.stop is not None:
            raise Stopped
        # Something of another thread or process: nobody could wake us.
        time.sleep(pause_s)
    return found


def allow_bytes(held: Held, size: int) -> None:
    """Call before a step that shows no life while it moves `size` bytes."""
    held.allow(30 + size / BYTES_PER_S)


def _takes_writes(held: Held) -> bool:
    """Whether the database is there and takes a write: then an error is no outage."""
    try:
        Attempt.objects.filter(pk=held.claimed.attempt.pk).update(beat=F("beat"))
    except DatabaseError:
        connection.close()
        return False
    return True
