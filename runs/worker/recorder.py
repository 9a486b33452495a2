"""Records the log and the use of resources of one attempt while its program runs.

The program's log goes to a spool on disk at once. A flusher shared by all recorders of the worker
copies what is new into `LogChunk` rows every 50 ms, so that pages see it; rows that grow old are
joined into objects of the store. Positions are byte offsets in all that the program has written.
When the database is away nothing is lost: the spool has it, and the rows follow later.
"""

from __future__ import annotations

import io
import logging
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from django.db import DatabaseError, transaction
from django.utils import timezone

from runs.execution.spec import Usage
from runs.models import Attempt, LogChunk, UsageSample
from runs.storage import StorageError, keys, object_store
from runs.worker.spool import Spool

log = logging.getLogger(__name__)

ROW_BYTES = 64 * 1024
"""A row of a live log holds at most this much."""
ROWS_BYTES = 2 * 1024 * 1024
"""Rows hold the newest of a log up to about twice this much; older ones are joined."""
PART_BYTES = 4 * 1024 * 1024
"""What comes faster than rows are sensible goes into an object of this size at once."""
INDEX_ENTRIES = 200_000
"""The index of an ended log has at most twice as many entries."""
ENTRY = struct.Struct("<QQd")
"""An entry of the index: byte offset, number of the line that stands there, seconds since start."""
MARK_S = 0.2
"""The age of what waits to be flushed is known to within this."""
USAGE_SAMPLES = 20_000
"""So many samples of an attempt are kept, evenly over its time, and half as many at least."""


@dataclass(frozen=True)
class LogTotals:
    """What is known of a log once it has ended."""

    written: int
    lines: int
    cut_at: int | None
    cut_bytes: int


class Recorder:
    """The log sink of one attempt. `write` and `usage` are called by the execution."""

    def __init__(
        self,
        attempt: Attempt,
        run_id: str,
        spool: Spool,
        *,
        on_overflow: Callable[[], None] | None = None,
    ) -> None:
        """`on_overflow` is called once, when the log grows above the limit of its spool."""
        self.attempt_pk = attempt.pk
        self.number = attempt.number
        self.run_id = run_id
        self.spool = spool
        self.started = time.monotonic()
        self.flushed = 0
        self.flushed_lines = 0
        self.index: list[tuple[int, int, float]] = []
        self._marks: deque[tuple[int, float]] = deque()  # when the byte at an offset came
        self._usage: deque[Usage] = deque()
        self._rows: deque[tuple[int, int]] = deque()  # first byte and size of rows with bytes
        self._rows_bytes = 0
        self._times: deque[tuple[int, int, float]] = deque()  # entries of those rows
        self.all_usage: list[Usage] = []
        self.flushing = threading.Lock()
        """Held by the flusher while it flushes this recorder."""
        self.failing = False
        self.has_usage_rows = False
        self._on_overflow = on_overflow

    def restart_clock(self) -> None:
        """The program starts now: times of log and usage count from here."""
        self.started = time.monotonic()

    def write(self, data: bytes) -> None:
        """Take a piece of the log; quick, and never waits for anything but the local disk."""
        at = time.monotonic()
        if not self._marks or at - self._marks[-1][1] >= MARK_S:
            self._marks.append((self.spool.written, at))
        self.spool.write(data)
        if self._on_overflow is not None and self.spool.written > self.spool.limit_bytes:
            act, self._on_overflow = self._on_overflow, None
            act()

    def usage(self, sample: Usage) -> None:
        """Take a sample of the process tree; one from after its end says nothing of its use."""
        if sample.processes:
            self._usage.append(sample)

    def keep_usage(self) -> None:
        """Keep the samples that wait without rows: they are about to be stored as one object."""
        while self._usage:
            self.all_usage.append(self._usage.popleft())

    @property
    def has_news(self) -> bool:
        """Whether something waits to be flushed."""
        return self.spool.written > self.flushed or bool(self._usage)

    @property
    def lag_s(self) -> float:
        """The age of the oldest part of the log that is in no row yet; 0 when all is."""
        if self.spool.written <= self.flushed:
            return 0.0
        came = [at for first, at in tuple(self._marks) if first <= self.flushed]
        return time.monotonic() - came[-1] if came else 0.0

    def flush(self, now: datetime) -> bool:
        """Copy one piece of what is new to where pages see it; whether there is more.

        Raises `DatabaseError` or `StorageError`; nothing is then lost, and the call may be
        repeated.
        """
        self._flush_usage()
        waiting = self.spool.written - self.flushed
        if waiting <= 0:
            return False
        at_s = time.monotonic() - self.started
        if waiting >= PART_BYTES:
            self._flush_part(now, at_s)
        else:
            self._flush_row(now, at_s)
        return self.spool.written > self.flushed

    def totals(self) -> LogTotals:
        """Sizes of the whole log; right once the program has ended and all is flushed."""
        missing = self.spool.missing
        cut = self.spool.head_bytes if missing else None
        return LogTotals(self.spool.written, self.flushed_lines, cut, missing)

    def _flush_usage(self) -> None:
        samples = [self._usage[number] for number in range(len(self._usage))]
        if not samples:
            return
        UsageSample.objects.bulk_create(
            UsageSample(
                attempt_id=self.attempt_pk,
                at_s=sample.at_s,
                cpu_s=sample.cpu_s,
                memory_bytes=sample.memory_bytes,
                processes=sample.processes,
            )
            for sample in samples
        )
        self.has_usage_rows = True
        for _ in samples:
            self._usage.popleft()
        self.all_usage.extend(samples)
        if len(self.all_usage) > USAGE_SAMPLES:
            self.all_usage = self.all_usage[::2]

    def _flush_row(self, now: datetime, at_s: float) -> None:
        first, data = self.spool.read(self.flushed, ROW_BYTES)
        if not data:
            return
        lines = data.count(b"\n")
        self._write_chunk(
            first_byte=first,
            size=len(data),
            first_line=self.flushed_lines,
            lines=lines,
            at=now,
            data=data,
        )
        self._note(first, len(data), lines, at_s)
        self._rows.append((first, len(data)))
        self._rows_bytes += len(data)
        self._times.append((first, self.flushed_lines - lines, at_s))
        if self._rows_bytes > 2 * ROWS_BYTES:
            self._join_rows(now)

    def _flush_part(self, now: datetime, at_s: float) -> None:
        first, data = self.spool.read(self.flushed, PART_BYTES)
        if not data:
            return
        key = keys.log_part(self.run_id, self.number, first)
        object_store().put_bytes(key, data)
        lines = data.count(b"\n")
        self._write_chunk(
            first_byte=first,
            size=len(data),
            first_line=self.flushed_lines,
            lines=lines,
            at=now,
            key=key,
            times=[[first, self.flushed_lines, round(at_s, 3)]],
        )
        self._note(first, len(data), lines, at_s)
        self._drop_pruned()

    def _write_chunk(self, **columns: Any) -> None:
        """Add a row, or write it anew: an error may have come after the commit of the first try."""
        LogChunk.objects.bulk_create(
            [LogChunk(attempt_id=self.attempt_pk, **columns)],
            update_conflicts=True,
            unique_fields=["attempt", "first_byte"],
            update_fields=["size", "first_line", "lines", "at", "data", "key", "times"],
        )

    def _join_rows(self, now: datetime) -> None:
        """Join the older half of the rows into one object, so that rows stay few."""
        first = self._rows[0][0]
        taken: list[tuple[int, int]] = []
        size = 0
        while self._rows and size < ROWS_BYTES and self._rows[0][0] == first + size:
            taken.append(self._rows.popleft())
            size += taken[-1][1]
        self._rows_bytes -= size
        times = [self._times.popleft() for _ in taken]
        rows = LogChunk.objects.filter(
            attempt_id=self.attempt_pk, first_byte__gte=first, first_byte__lt=first + size
        ).order_by("first_byte")
        found = list(rows)
        if sum(row.size for row in found) != size:
            return  # somebody has tidied up: this attempt was lost
        data = b"".join(bytes(row.data or b"") for row in found)
        key = keys.log_part(self.run_id, self.number, first)
        object_store().put(key, io.BytesIO(data))
        with transaction.atomic():
            rows.delete()
            LogChunk.objects.create(
                attempt_id=self.attempt_pk,
                first_byte=first,
                size=len(data),
                first_line=found[0].first_line,
                lines=sum(row.lines for row in found),
                at=now,
                key=key,
                times=[[byte, line, round(at, 3)] for byte, line, at in times],
            )
        self._drop_pruned()

    def _drop_pruned(self) -> None:
        """Remove parts whose bytes the spool no longer keeps, so that all agree on the gap."""
        if not self.spool.missing:
            return
        gone = LogChunk.objects.filter(
            attempt_id=self.attempt_pk,
            first_byte__gte=self.spool.head_bytes,
            first_byte__lt=self.spool.tail_start - PART_BYTES,
        ).exclude(key="")
        for chunk in gone.defer("data"):
            object_store().delete(chunk.key)
            chunk.delete()

    def _note(self, first: int, size: int, lines: int, at_s: float) -> None:
        self.index.append((first, self.flushed_lines, at_s))
        if len(self.index) > 2 * INDEX_ENTRIES:
            self.index = self.index[::2]
        self.flushed = first + size
        self.flushed_lines += lines
        while len(self._marks) > 1 and self._marks[1][0] <= self.flushed:
            self._marks.popleft()


def packed_index(recorder: Recorder, totals: LogTotals) -> bytes:
    """The index of an ended log: `ENTRY`s with byte offsets in what is kept, ascending."""
    shift, cut_at = totals.cut_bytes, totals.cut_at
    entries: list[tuple[int, int, float]] = []
    for first, line, at_s in recorder.index:
        if cut_at is not None and first >= cut_at:
            if first < cut_at + shift:
                continue
            first -= shift
        entries.append((first, line, at_s))
    ascending = entries[:1] + [b for a, b in pairwise(entries) if b[0] > a[0]]
    return b"".join(ENTRY.pack(*entry) for entry in ascending)


class Flusher:
    """One thread that flushes all recorders of a worker, every `every_s` seconds."""

    def __init__(self, every_s: float = 0.05) -> None:
        self._every_s = every_s
        self._recorders: set[Recorder] = set()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stop = False
        self._thread = threading.Thread(target=self._loop, name="flusher", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what is not flushed by then stays in the spools."""
        self._stop = True
        self._wake.set()
        self._thread.join(5)

    def add(self, recorder: Recorder) -> None:
        """Flush this recorder from now on."""
        with self._lock:
            self._recorders.add(recorder)
        self._wake.set()

    def lag_s(self) -> float:
        """The age of the oldest part of a log that is in no row yet, over all recorders."""
        with self._lock:
            recorders = list(self._recorders)
        return max((recorder.lag_s for recorder in recorders), default=0.0)

    def remove(self, recorder: Recorder, tick: Callable[[], None] = lambda: None) -> None:
        """Do not flush it any more; the caller flushes the rest. Returns when it is not in use."""
        with self._lock:
            self._recorders.discard(recorder)
        while not recorder.flushing.acquire(timeout=1.0):
            tick()
        recorder.flushing.release()

    def _loop(self) -> None:
        while not self._stop:
            with self._lock:
                recorders = list(self._recorders)
            if not recorders:
                self._wake.wait(5)
                self._wake.clear()
                continue
            failed = False
            for recorder in recorders:
                failed |= not self._flush(recorder)
            # A pause, not a busy wait: this is the pace of rows, whatever the program writes.
            self._wake.wait(1.0 if failed else self._every_s)
            self._wake.clear()
        _close_connection()

    def _flush(self, recorder: Recorder) -> bool:
        """Flush what one recorder has; whether that went well. It is tried again anyway."""
        with recorder.flushing:
            with self._lock:
                if recorder not in self._recorders:
                    return True
            try:
                now = timezone.now()
                for _ in range(8):
                    if not recorder.has_news or not recorder.flush(now):
                        break
            except Exception as error:  # no log may stop those of other runs
                if not recorder.failing:
                    known = isinstance(error, DatabaseError | StorageError | OSError)
                    words = "run %s: its log waits on disk: %s"
                    log.warning(words, recorder.run_id, error, exc_info=None if known else error)
                recorder.failing = True
                _close_connection()
                return False
            recorder.failing = False
            return True


def _close_connection() -> None:
    from django.db import connection

    connection.close()
