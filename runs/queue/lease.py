"""Leases: who holds which run, renewed by heartbeats and watched by a monotonic clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from django.db import transaction
from django.db.models import F

from runs.models import Attempt, Worker

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class WorkerIdentity:
    """One life of a worker: its row, the name it keeps, and what it serves (empty: all queues)."""

    worker_id: int
    name: str
    boot_id: str
    host: str
    queues: tuple[str, ...] = ()


def renew(
    identity: WorkerIdentity,
    tokens: Collection[str],
    *,
    now: datetime,
    slots: int,
    slots_used: int,
    state: str = Worker.ACTIVE,
    load: float = 0.0,
    memory_bytes: int = 0,
    free_bytes: int = 0,
    log_lag_s: float = 0.0,
    note: str = "",
) -> set[str]:
    """One heartbeat: the worker's row, and the leases of the attempts with these `tokens`.

    Returns the tokens that this worker still holds; an attempt whose token is missing was taken
    away, and its process must end. One update for the worker, one for all leases, and one query,
    in one transaction: what it says holds for all of them or for none. A worker whose name was
    taken over by a newer boot changes nothing. `load` is the load average of the machine,
    `log_lag_s` the age of the oldest part of a log that is not in a row yet, `note` says why the
    worker takes nothing, if so.
    """
    columns: dict[str, Any] = {
        "beat": F("beat") + 1,
        "seen_at": now,
        "slots": slots,
        "slots_used": slots_used,
        "state": state,
        "load": load,
        "memory_bytes": memory_bytes,
        "free_bytes": free_bytes,
        "log_lag_s": log_lag_s,
        "note": note[:300],
    }
    mine = Worker.objects.filter(pk=identity.worker_id, boot_id=identity.boot_id)
    if not tokens:
        mine.update(**columns)
        return set()
    held = Attempt.objects.filter(
        token__in=list(tokens), boot_id=identity.boot_id, ended_at__isnull=True
    )
    with transaction.atomic(savepoint=False):
        mine.update(**columns)
        held.update(beat=F("beat") + 1)
        return set(held.values_list("token", flat=True))


@dataclass
class _Seen:
    beat: int
    quiet_s: float


class BeatWatch(Generic[Key]):
    """Counts how long beats have not changed, by a monotonic clock of its own.

    Wall clocks play no part. Time in which nobody looked counts little (a third of the lease at
    most per look), so a watcher that was stopped, or a machine that slept, loses nobody at once.
    """

    def __init__(self, lease_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._lease_s = lease_s
        self._clock = clock
        self._looked_at: float | None = None
        self._seen: dict[Key, _Seen] = {}

    def saw(self, beats: Mapping[Key, int]) -> frozenset[Key]:
        """Take note of all beats there are; those that have been quiet for the whole lease."""
        at = self._clock()
        step = 0.0 if self._looked_at is None else at - self._looked_at
        step = min(max(step, 0.0), self._lease_s / 3)
        self._looked_at = at
        seen: dict[Key, _Seen] = {}
        for key, beat in beats.items():
            before = self._seen.get(key)
            same = before is not None and before.beat == beat
            seen[key] = _Seen(beat, before.quiet_s + step if before and same else 0.0)
        self._seen = seen
        return frozenset(key for key, one in seen.items() if one.quiet_s >= self._lease_s)

    def was_blind(self) -> None:
        """The table could not be read or written: everybody gets a whole lease again."""
        self._looked_at = None
        self._seen = {}
