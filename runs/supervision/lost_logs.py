"""Joins what is left of the logs of lost attempts: their workers did not come to do it."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from typing import BinaryIO, cast

from django.db import transaction

from runs.actions.log_sources import ENTRY
from runs.models import Attempt, LogChunk
from runs.storage import StorageError, keys, object_store

logger = logging.getLogger(__name__)

BATCH = 50


def tidy_lost_attempts(now: datetime) -> int:
    """Make one object of the rows and parts of each log whose attempt has ended; how many logs.

    Until then, and whenever this fails, the rows stay readable. Should the worker come back with
    the whole log, that takes the place of what was found. Rows of a log that is an object already
    are removed: its worker was killed in between.
    """
    with_rows = LogChunk.objects.order_by().values("attempt").distinct()
    ended = Attempt.objects.filter(pk__in=with_rows, ended_at__isnull=False).select_related("run")
    count = 0
    for attempt in ended.order_by("pk")[:BATCH]:
        try:
            if not attempt.log_key:
                _join(attempt)
            _remove_rows(attempt)
            count += 1
        except (StorageError, OSError) as error:  # one log must not keep back the others
            logger.warning("The log of attempt %s is joined later: %s", attempt.pk, error)
    return count


def _join(attempt: Attempt) -> None:
    rows = LogChunk.objects.filter(attempt=attempt).order_by("first_byte")
    chunks = [chunk for chunk in rows.defer("data") if _is_there(chunk)]
    gaps = [
        (before.first_byte + before.size, after.first_byte)
        for before, after in pairwise(chunks)
        if before.first_byte + before.size < after.first_byte
    ]
    if chunks and chunks[0].first_byte:
        gaps.insert(0, (0, chunks[0].first_byte))
    cut = (gaps[0][0], gaps[-1][1]) if gaps else None
    if cut:  # an attempt can tell of one gap: what lies between two goes
        chunks = [c for c in chunks if c.first_byte < cut[0] or c.first_byte >= cut[1]]
    if not chunks:
        return
    run_id, number = attempt.run.run_id, attempt.number
    key = keys.found_log(run_id, number)
    shift = cut[1] - cut[0] if cut else 0
    began = attempt.started_at or attempt.claimed_at
    entries = []
    for chunk in chunks:
        moved = shift if cut and chunk.first_byte >= cut[1] else 0
        at_s = max(0.0, (chunk.at - began).total_seconds())
        for byte, line, seconds in chunk.times or [(chunk.first_byte, chunk.first_line, at_s)]:
            entries.append(ENTRY.pack(byte - moved, line, seconds))
    object_store().put(key, cast(BinaryIO, io.BufferedReader(_Pieces(_bytes_of(chunks)))))
    object_store().put_bytes(keys.found_log_index(run_id, number), b"".join(entries))
    last = chunks[-1]
    with transaction.atomic():
        noted = Attempt.objects.filter(pk=attempt.pk, log_key="").update(
            log_key=key,
            log_bytes=last.first_byte + last.size,
            log_lines=last.first_line + last.lines,
            log_cut_at=cut[0] if cut else None,
            log_cut_bytes=shift,
        )
    if not noted:  # its worker came back with the whole log
        object_store().delete(key)
        object_store().delete(keys.found_log_index(run_id, number))


def _remove_rows(attempt: Attempt) -> None:
    if Attempt.objects.filter(pk=attempt.pk).exclude(log_key="").exists():
        LogChunk.objects.filter(attempt=attempt).delete()
        prefix = keys.log_parts_prefix(attempt.run.run_id, attempt.number)
        object_store().delete_prefix(prefix)


def _is_there(chunk: LogChunk) -> bool:
    return not chunk.key or object_store().exists(chunk.key)


def _bytes_of(chunks: list[LogChunk]) -> Iterator[bytes]:
    for chunk in chunks:
        if chunk.key:
            yield from object_store().stream(chunk.key, 0, chunk.size)
        else:
            data = LogChunk.objects.filter(pk=chunk.pk).values_list("data", flat=True).first()
            # A row that has gone meanwhile leaves its place: positions must stay true.
            yield bytes(data or b"").ljust(chunk.size, b" ")


class _Pieces(io.RawIOBase):
    """Pieces as a stream that can be read."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        super().__init__()
        self._pieces = pieces
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # as io calls it
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = piece
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count
