"""One poller for a web process: looks at the runs that are watched and tells all who watch them.

A tick costs the same few queries however many watch. Rows of a log are drawn once and shared by all
streams; who is not where the shared rows are reads the missing stretch itself (`next_lines`).
"""

from __future__ import annotations

import logging
import threading
import time
import zlib
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import reduce
from operator import or_

from django.db import DatabaseError, connection
from django.db.models import Max, Q

from runs.actions.results import LogPiece, Sample, read_log
from runs.domain.status import FINAL, Status
from runs.models import Attempt, LogChunk, Run, UsageSample
from runs.storage import StorageError
from runs.web.live_lines import (
    LONGEST_PENDING,
    STEP_BYTES,
    Segment,
    line_style,
    next_lines,
    segments_of,
)
from runs.web.log_lines import render_partial

log = logging.getLogger(__name__)

TICK_S = 0.1
USAGE_S = 2.0
WAITING_S = 3.0
"""How often a run that waits is told about anew: its place moves without a change of its row."""
KEPT_BYTES = 1024 * 1024

RUN_COLUMNS = (
    *("pk", "run_id", "status", "phase", "end_reason", "attempt_number", "priority"),
    *("cancel_requested_at", "stop_requested_at", "hold", "held_until", "open_waits"),
    *("expires_at", "retries_made", "name"),
)


@dataclass(frozen=True)
class RunState:
    """What the parts of a run page depend on, as one row of a tick."""

    run_id: str
    status: str
    attempt_number: int
    fingerprint: str

    @property
    def is_final(self) -> bool:
        """Whether the run has ended for good."""
        return Status(self.status) in FINAL


@dataclass(frozen=True)
class _Row:
    first_byte: int
    size: int
    at: datetime
    key: str
    data: bytes


@dataclass
class Watch:
    """What is known of one watched run; changes only under `changed`, each adds to `serial`."""

    run_pk: int
    watchers: int = 0
    log_watchers: int = 0
    state: RunState | None = None
    gone: bool = False
    usage: Sample | None = None
    waits: int = 0
    attempt: Attempt | None = None
    attempt_number: int = 0
    position: int = 0
    line: int | None = None
    pending: bytes = b""
    partial: str = ""
    log_done: bool = False
    segments: deque[Segment] = field(default_factory=deque)
    segments_bytes: int = 0
    serial: int = 0
    parts: dict[object, list[tuple[str, str]]] = field(default_factory=dict)
    parts_lock: threading.Lock = field(default_factory=threading.Lock)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def take(self, position: int) -> list[Segment] | None:
        """The shared rows from `position` on; None when they do not begin there."""
        if position >= self.position:
            return []
        found = [segment for segment in self.segments if segment.start >= position]
        return found if found and found[0].start == position else None

    def next_start(self, position: int) -> int:
        """Where the shared rows after `position` begin."""
        starts = (segment.start for segment in self.segments if segment.start > position)
        return next(starts, self.position)


class Hub:
    """All watched runs of this process, and the thread that looks at them."""

    def __init__(self, every_s: float = TICK_S) -> None:
        self._every_s = every_s
        self._watches: dict[int, Watch] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._usage_at = 0.0
        self._usage_pk: int | None = None
        self._waiting_at = 0.0
        self._failing = False
        self.closed = False
        self.streams = 0

    def join(self, run_pk: int, *, attempt: int, position: int, with_log: bool) -> Watch:
        """Watch a run, its log from `position` on if nobody watches it yet."""
        with self._lock:
            watch = self._watches.setdefault(run_pk, Watch(run_pk))
            watch.watchers += 1
            self.streams += 1
            if with_log:
                if not watch.log_watchers:
                    _restart(watch, attempt, position)
                watch.log_watchers += 1
        return watch

    def leave(self, watch: Watch, *, with_log: bool) -> None:
        """Watch it no more."""
        with self._lock:
            watch.watchers -= 1
            self.streams -= 1
            if with_log:
                watch.log_watchers -= 1
            if watch.watchers <= 0:
                self._watches.pop(watch.run_pk, None)

    def start(self) -> None:
        """Make sure that the thread runs, and wake it."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._loop, name="live", daemon=True)
                self._thread.start()
        self._wake.set()

    def close(self) -> None:
        """End the thread and all streams: the process stops."""
        self.closed = True
        self._wake.set()
        for watch in self._all():
            with watch.changed:
                watch.changed.notify_all()

    def tick(self) -> None:
        """Look once at all watched runs and tell those who watch."""
        watches = {watch.run_pk: watch for watch in self._all()}
        if not watches:
            return
        rows = Run.objects.filter(pk__in=watches).values(*RUN_COLUMNS)
        states = {row["pk"]: state_of(row) for row in rows}
        with_log = [watch for watch in watches.values() if watch.log_watchers]
        attempts = _attempts(watch.run_pk for watch in with_log)
        for watch in with_log:
            _follow_attempt(watch, attempts.get(watch.run_pk, {}), states.get(watch.run_pk))
        chunks = _new_chunks(with_log)
        for watch in with_log:
            try:
                _advance(watch, chunks.get(watch.attempt.pk, []) if watch.attempt else [])
            except StorageError as error:
                log.warning("the log of a watched run cannot be read: %s", error)
        if time.monotonic() - self._usage_at >= USAGE_S:
            self._usage_at = time.monotonic()
            self._usage_pk = _look_at_usage(watches, states, self._usage_pk)
        if time.monotonic() - self._waiting_at >= WAITING_S:
            self._waiting_at = time.monotonic()
            _remind_waiting(watches, states)
        for watch in watches.values():
            _set_state(watch, states.get(watch.run_pk))

    def _all(self) -> list[Watch]:
        with self._lock:
            return list(self._watches.values())

    def _loop(self) -> None:
        while not self.closed:
            if not self._all():
                connection.close()
                self._wake.wait(30)
                self._wake.clear()
                continue
            try:
                self.tick()
                self._failing = False
            except DatabaseError as error:
                if not self._failing:
                    log.warning("watched runs cannot be looked at: %s", error)
                self._failing = True
                connection.close()
            # The pace of the poller; closing wakes it.
            self._wake.wait(1.0 if self._failing else self._every_s)
            self._wake.clear()
        connection.close()


def state_of(row: dict[str, object]) -> RunState:
    """The state in a row of `RUN_COLUMNS`."""
    seen = "|".join(str(row[name]) for name in RUN_COLUMNS[2:])
    return RunState(
        run_id=str(row["run_id"]),
        status=str(row["status"]),
        attempt_number=int(str(row["attempt_number"])),
        fingerprint=f"{zlib.crc32(seen.encode()):08x}",
    )


def load_state(run_pk: int) -> RunState | None:
    """The state of one run now; None when it was deleted."""
    row = Run.objects.filter(pk=run_pk).values(*RUN_COLUMNS).first()
    return state_of(row) if row else None


def _restart(watch: Watch, attempt: int, position: int) -> None:
    with watch.changed:
        watch.attempt, watch.attempt_number = None, attempt
        watch.position, watch.line, watch.pending, watch.partial = position, None, b"", ""
        watch.log_done, watch.segments_bytes = False, 0
        watch.segments.clear()


def _attempts(run_pks: Iterable[int]) -> dict[int, dict[int, Attempt]]:
    wanted = list(run_pks)
    found: dict[int, dict[int, Attempt]] = {}
    if wanted:
        for attempt in Attempt.objects.filter(run__in=wanted).select_related("run"):
            found.setdefault(attempt.run_id, {})[attempt.number] = attempt
    return found


def _follow_attempt(watch: Watch, attempts: dict[int, Attempt], state: RunState | None) -> None:
    """Take the attempt whose log is watched as it is now; the next one when that is read."""
    newest = state.attempt_number if state else 0
    moves_on = watch.log_done or watch.attempt_number not in attempts
    if newest > watch.attempt_number and moves_on:
        following = min((number for number in attempts if number > watch.attempt_number), default=0)
        if following:
            _restart(watch, following, 0)
    watch.attempt = attempts.get(watch.attempt_number)
    if watch.attempt is None and state is not None and state.is_final and not watch.log_done:
        _finish_log(watch)  # it ended before anything began


def _new_chunks(watches: list[Watch]) -> dict[int, list[_Row]]:
    """What was added to the rows of the attempts that run, in one query."""
    wanted = []
    for watch in watches:
        attempt = watch.attempt
        if attempt is not None and attempt.ended_at is None and watch.line is not None:
            tail = watch.position + len(watch.pending)
            wanted.append(
                Q(attempt=attempt.pk, first_byte__gte=tail, first_byte__lt=tail + STEP_BYTES)
            )
    found: dict[int, list[_Row]] = {}
    for start in range(0, len(wanted), 100):
        rows = LogChunk.objects.filter(reduce(or_, wanted[start : start + 100]))
        columns = ("attempt_id", "first_byte", "size", "at", "key", "data")
        for attempt_pk, byte, size, at, key, data in rows.order_by(
            "attempt_id", "first_byte"
        ).values_list(*columns):
            row = _Row(byte, size, at, key, bytes(data or b""))
            found.setdefault(attempt_pk, []).append(row)
    return found


def _advance(watch: Watch, rows: list[_Row]) -> None:
    """Draw what is new in a log and add it to the shared rows."""
    attempt = watch.attempt
    if attempt is None or watch.log_done:
        return
    tail = watch.position + len(watch.pending)
    plain = bool(rows) and attempt.ended_at is None and watch.line is not None
    expected = tail
    for row in rows:
        plain = plain and not row.key and row.first_byte == expected
        expected = row.first_byte + row.size
    if expected - tail >= STEP_BYTES - LONGEST_PENDING:
        plain = False  # perhaps far behind: look where the end is
    if plain:
        piece = LogPiece(
            data=watch.pending + b"".join(row.data for row in rows),
            first_byte=watch.position,
            next_cursor=expected,
            first_line=(watch.line or 0) + 1,
            # A line that was unfinished gets the time at which it went on.
            times=((watch.position, rows[0].at), *((row.first_byte, row.at) for row in rows)),
        )
        whole = piece.whole_lines()
        if not whole.data and len(piece.data) >= LONGEST_PENDING:
            whole = piece
        _add(watch, whole, cut=False, pending=piece.data[len(whole.data) :])
    elif rows or attempt.ended_at is not None or watch.line is None:
        if watch.line is None and not _begins_a_line(watch, attempt):
            return
        step = next_lines(attempt, watch.position)
        _add(watch, step.piece, cut=step.cut, pending=step.pending)
        if step.piece.ended:
            _finish_log(watch)


def _begins_a_line(watch: Watch, attempt: Attempt) -> bool:
    """Move the beginning of the shared rows to a line start; False while there is none yet.

    A page may ask from the middle of a line; that must not cut the line for others.
    """
    if not watch.position:
        return True
    piece = read_log(attempt=attempt, cursor=watch.position - 1, limit=LONGEST_PENDING)
    at = piece.data.find(b"\n")
    if at < 0:
        return piece.ended or not piece.data or len(piece.data) >= LONGEST_PENDING
    with watch.changed:
        watch.position = max(watch.position, piece.first_byte + at + 1)
    return True


def _add(watch: Watch, piece: LogPiece, *, cut: bool, pending: bytes) -> None:
    attempt = watch.attempt
    assert attempt is not None
    style = line_style(attempt.run.run_id, attempt.number)
    partial = ""
    if pending:
        partial = render_partial(LogPiece(pending, piece.next_cursor, 0))
    fresh = segments_of(piece, style=style, cut=cut)
    with watch.changed:
        if fresh and fresh[0].start > watch.position:
            # Lines are missing between: who stands at the old place is led over the gap.
            first = fresh[0]
            fresh[0] = Segment(watch.position, first.end, first.html, first.cut)
        watch.segments.extend(fresh)
        watch.segments_bytes += sum(segment.end - segment.start for segment in fresh)
        while watch.segments_bytes > KEPT_BYTES and len(watch.segments) > 1:
            gone = watch.segments.popleft()
            watch.segments_bytes -= gone.end - gone.start
        watch.position = max(watch.position, piece.next_cursor)
        watch.line = piece.first_line - 1 + piece.data.count(b"\n")
        watch.pending = pending
        if fresh or partial != watch.partial:
            watch.partial = partial
            watch.serial += 1
            watch.changed.notify_all()


def _finish_log(watch: Watch) -> None:
    with watch.changed:
        watch.log_done = True
        watch.serial += 1
        watch.changed.notify_all()


def _look_at_usage(
    watches: dict[int, Watch], states: dict[int, RunState], known: int | None
) -> int:
    """Take the samples that came since row `known`; the newest row there is now."""
    if known is None:
        return UsageSample.objects.aggregate(newest=Max("pk"))["newest"] or 0
    running = [pk for pk, state in states.items() if state.status == Status.RUNNING]
    if not running:
        return known
    rows = UsageSample.objects.filter(attempt__run__in=running, pk__gt=known).order_by("pk")
    columns = ("attempt__run_id", "pk", "at_s", "cpu_s", "memory_bytes", "processes")
    for run_pk, pk, *values in rows.values_list(*columns)[:10_000]:
        known = pk
        watch = watches[run_pk]
        with watch.changed:
            watch.usage = Sample(*values)
            watch.serial += 1
            watch.changed.notify_all()
    return known


def _remind_waiting(watches: dict[int, Watch], states: dict[int, RunState]) -> None:
    for pk, state in states.items():
        if state.status == Status.QUEUED:
            watch = watches[pk]
            with watch.changed:
                watch.waits += 1
                watch.serial += 1
                watch.changed.notify_all()


def _set_state(watch: Watch, state: RunState | None) -> None:
    if state == watch.state and (state is not None or watch.gone):
        return
    with watch.changed:
        watch.state, watch.gone = state, state is None
        watch.serial += 1
        watch.changed.notify_all()


hub = Hub()
