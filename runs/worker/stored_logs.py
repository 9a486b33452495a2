"""Puts the log of an ended attempt into the store as one object, and keeps that of a lost one."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from django.db import DatabaseError, connection
from django.utils import timezone

from runs.domain.status import FINAL
from runs.models import Attempt, LogChunk, Run
from runs.storage import StorageError, keys, object_store
from runs.worker.held import Held
from runs.worker.patience import allow_bytes, patiently
from runs.worker.recorder import LogTotals, Recorder, packed_index

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredLog:
    """Where the log of an ended attempt is, and what is known of it."""

    key: str
    totals: LogTotals
    warning: str = ""


NO_LOG = StoredLog("", LogTotals(0, 0, None, 0))
"""Of a run that never came so far."""


def store_log(held: Held, recorder: Recorder, *, waits_for_space: bool = True) -> StoredLog:
    """Flush what is left, store the whole log as one object with its index, and the usage.

    A full disk under the store is waited for, or raises `OSError` unless `waits_for_space`.
    """
    run_id, number = recorder.run_id, recorder.number
    recorder.keep_usage()

    def flush() -> bool:
        return recorder.flush(timezone.now())

    while patiently(flush, held=held, waits_for_space=waits_for_space):
        pass
    totals = recorder.totals()
    if not totals.written:
        return StoredLog("", totals)
    key = keys.log(run_id, number)

    def store() -> None:
        allow_bytes(held, totals.written - totals.cut_bytes)
        with _Pieces(recorder, held) as stream:
            object_store().put(key, stream)  # type: ignore[arg-type]  # only read() is used
        object_store().put_bytes(keys.log_index(run_id, number), packed_index(recorder, totals))

    patiently(store, held=held, waits_for_space=waits_for_space)
    return StoredLog(key, totals, recorder.spool.failed)


def keep_evidence(held: Held, recorder: Recorder) -> None:
    """Keep the log of an attempt that was taken from this worker; nothing else of it counts."""
    run, attempt = held.claimed.run, held.claimed.attempt
    stored = store_log(held, recorder)
    if not stored.key:
        return

    def note() -> bool:
        # Not that of an attempt which this worker ended itself, an answer having got lost.
        left = Attempt.objects.filter(pk=attempt.pk, ended_at__isnull=False)
        if not left.exclude(log_key=stored.key).update(**log_columns(stored)):
            return False
        ended = Run.objects.filter(pk=run.pk, attempt_number=attempt.number, status__in=FINAL)
        ended.update(log_bytes=stored.totals.written)
        return True

    if patiently(note, held=held):
        if not patiently(lambda: object_store().exists(stored.key), held=held):
            # A worker that stood still for hours between storing and noting: it was tidied away.
            store_log(held, recorder)
        object_store().delete(keys.found_log(run.run_id, attempt.number))
        object_store().delete(keys.found_log_index(run.run_id, attempt.number))
    elif not Attempt.objects.filter(pk=attempt.pk).exists():
        object_store().delete_prefix(keys.attempt_prefix(run.run_id, attempt.number))
    remove_live_log(attempt, stored)


def remove_live_log(attempt: Attempt, stored: StoredLog) -> None:
    """Remove the rows and parts of a log that is kept as one object now.

    Should that fail, the scheduler does it later: the run has ended, and nothing waits for it.
    """
    if not stored.key:
        return
    try:
        LogChunk.objects.filter(attempt=attempt).delete()
        object_store().delete_prefix(keys.log_parts_prefix(attempt.run.run_id, attempt.number))
    except (DatabaseError, StorageError, OSError) as error:
        log.warning("run %s: its live log is removed later: %s", attempt.run.run_id, error)
        connection.close()


def log_columns(stored: StoredLog) -> dict[str, Any]:
    """The columns of an attempt that tell of its log."""
    totals = stored.totals
    return {
        "log_bytes": totals.written,
        "log_lines": totals.lines,
        "log_cut_at": totals.cut_at,
        "log_cut_bytes": totals.cut_bytes,
        "log_key": stored.key,
    }


class _Pieces:
    """What the spool keeps, as a stream that the store reads; shows life while it is read."""

    def __init__(self, recorder: Recorder, held: Held) -> None:
        self._pieces = recorder.spool.pieces()
        self._held = held
        self._rest = b""

    def __enter__(self) -> _Pieces:
        return self

    def __exit__(self, *_: object) -> None:
        self._pieces.close()  # type: ignore[attr-defined]  # a generator

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes; all of them when it is negative."""
        if size < 0:
            return self._rest + b"".join(self._pieces)
        while len(self._rest) < size and (piece := next(self._pieces, b"")):
            self._rest += piece
        data, self._rest = self._rest[:size], self._rest[size:]
        return data
