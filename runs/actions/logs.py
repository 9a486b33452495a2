"""Reads logs by byte position: for live pages, windows, searches and downloads alike.

A position counts all bytes the program has written, also those that were dropped from the middle of
a very large log. While an attempt runs its log is in rows and parts of the store; once it has ended
it is one object with an index. Callers see no difference.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from django.db.models import Subquery
from django.db.models.functions import Coalesce

from runs.models import Attempt, LogChunk
from runs.storage import ObjectMissing, keys, object_store

PIECE_BYTES = 256 * 1024
SEARCH_PIECE_BYTES = 1024 * 1024
SEARCH_LIMIT_BYTES = 1536 * 1024 * 1024
"""One search looks at this much and then says how far it came."""
LONGEST_NEEDLE = 200
ENTRY = struct.Struct("<QQd")
"""An entry of a kept log's index, as the recorder packs it: byte in what is kept, line ends before
it, seconds since the start."""

_MOST_ENTRIES = 20_000
_COUNT_BYTES = 4 * 1024 * 1024
_COLUMNS = ("first_byte", "size", "first_line", "at", "key")


@dataclass(frozen=True)
class LogPiece:
    """Bytes of a log without a gap in them.

    `first_byte` is the position of `data`, beyond the cursor by `missing` bytes where they were
    dropped. `first_line` is the number, from 1, of the line that `data` begins in. `times` are
    (position, instant), ascending: each holds until the next. `ended` says that nothing follows.
    """

    data: bytes
    first_byte: int
    next_cursor: int
    first_line: int = 1
    times: tuple[tuple[int, datetime], ...] = ()
    ended: bool = False
    missing: int = 0

    def from_line_start(self) -> LogPiece:
        """Without the rest of a line at its beginning; itself when there is no line end in it."""
        at = self.data.find(b"\n") + 1
        return self._without_beginning(at, lines=1) if 0 < at < len(self.data) else self

    def whole_lines(self) -> LogPiece:
        """Without an unfinished line at its end; the cursor then is where that line begins."""
        return self._up_to(self.data.rfind(b"\n") + 1)

    def first_lines(self, count: int) -> LogPiece:
        """At most the first `count` lines."""
        at = -1
        for _ in range(count):
            at = self.data.find(b"\n", at + 1)
            if at < 0:
                return self
        return self._up_to(at + 1)

    def last_lines(self, count: int) -> LogPiece:
        """At most the last `count` lines."""
        at = len(self.data) - 1 if self.data.endswith(b"\n") else len(self.data)
        for _ in range(count):
            at = self.data.rfind(b"\n", 0, at)
            if at < 0:
                return self
        return self._without_beginning(at + 1, lines=self.data.count(b"\n", 0, at + 1))

    def _up_to(self, size: int) -> LogPiece:
        if size >= len(self.data):
            return self
        return replace(self, data=self.data[:size], next_cursor=self.first_byte + size, ended=False)

    def _without_beginning(self, size: int, *, lines: int) -> LogPiece:
        if not size:
            return self
        return replace(
            self,
            data=self.data[size:],
            first_byte=self.first_byte + size,
            first_line=self.first_line + lines,
            missing=0,
        )


@dataclass(frozen=True)
class Found:
    """Where a text stands, or None; `looked_to` is where the search came to an end."""

    position: int | None
    looked_to: int
    complete: bool


def read_log(*, attempt: Attempt, cursor: int, limit: int = PIECE_BYTES) -> LogPiece:
    """The log from byte `cursor`, at most `limit` bytes; an empty piece when there is none yet.

    A cursor beyond the end is moved to the end. `attempt` is read anew when it seems to have ended
    since it was loaded. At most four queries while it runs, none afterwards.
    """
    cursor = max(0, cursor)
    source = _source(attempt)
    try:
        first, data = source.read(cursor, limit)
    except ObjectMissing:
        if attempt.log_key:
            raise
        first, data = cursor, b""  # its parts became one object in this moment
    if not data and not attempt.log_key and attempt.ended_at is None:
        if _has_ended_meanwhile(attempt):
            source = _source(attempt)
            first, data = source.read(cursor, limit)
    if not data:
        end = source.end()
        first = min(max(cursor, first), end) if end else 0
    return LogPiece(
        data=data,
        first_byte=first,
        next_cursor=first + len(data),
        first_line=source.lines_before(first) + 1,
        times=source.times(first, first + len(data)) if data else (),
        ended=attempt.ended_at is not None and first + len(data) >= source.end(),
        missing=max(0, first - cursor),
    )


def read_tail(*, attempt: Attempt, limit: int = PIECE_BYTES) -> LogPiece:
    """The end of the log, at most `limit` bytes, from a line start where there is one."""
    end = log_end(attempt=attempt)
    return read_before(attempt=attempt, position=end, limit=limit, beyond=limit)


def read_before(*, attempt: Attempt, position: int, limit: int, beyond: int = 0) -> LogPiece:
    """Up to `limit` bytes that end at `position`, and up to `beyond` bytes after it.

    The piece begins at a line start where it can. It lies on one side of a gap, the later one.
    """
    start = max(0, position - limit)
    # One byte more shows whether the start is the beginning of a line.
    piece = read_log(attempt=attempt, cursor=max(0, start - 1), limit=position - start + 1 + beyond)
    while piece.data and piece.next_cursor < position:
        following = read_log(attempt=attempt, cursor=piece.next_cursor, limit=limit + beyond)
        if not following.data:
            break
        piece = following
    return piece.from_line_start() if start > 0 and not piece.missing else piece


def log_end(*, attempt: Attempt) -> int:
    """The position after the last byte of the log as it is now."""
    return _source(attempt).end()


def stream_log(
    *, attempt: Attempt, start: int = 0, end: int | None = None, limit: int = PIECE_BYTES
) -> Iterator[bytes]:
    """The bytes of a log as they are now, in pieces; a line says where bytes were dropped."""
    position = start
    while end is None or position < end:
        wanted = limit if end is None else min(limit, end - position)
        piece = read_log(attempt=attempt, cursor=position, limit=wanted)
        if not piece.data:
            return
        if piece.missing and position > start:
            yield f"\n[{piece.missing} bytes were dropped here]\n".encode()
        yield piece.data
        position = piece.next_cursor


def find_in_log(
    *,
    attempt: Attempt,
    text: str,
    start: int,
    forward: bool = True,
    limit: int = SEARCH_LIMIT_BYTES,
) -> Found:
    """The next place of `text` at or after `start`, or with `forward=False` the last before it.

    Capital letters count only when `text` has some. Looks at `limit` bytes at most.
    """
    needle = text[:LONGEST_NEEDLE].encode("utf-8", "surrogatepass")
    source = _source(attempt)
    end = source.end()
    if not needle:
        return Found(None, start, True)
    any_case = not any(letter.isupper() for letter in text)
    if forward:
        return _find_forward(source, needle, max(0, start), end, limit, any_case)
    return _find_backward(source, needle, min(start, end), limit, any_case)


class _Kept:
    """The log of an ended attempt: one object, its index, and perhaps a gap."""

    def __init__(self, attempt: Attempt) -> None:
        self._key = attempt.log_key
        self._cut_at = attempt.log_cut_at
        self._cut = attempt.log_cut_bytes if attempt.log_cut_at is not None else 0
        self._started = attempt.started_at or attempt.claimed_at
        self._index = _Index(keys.index_of(attempt.log_key))
        self._size: int | None = None

    def end(self) -> int:
        if self._size is None:
            self._size = object_store().size(self._key)
        return self._size + self._cut

    def read(self, position: int, limit: int) -> tuple[int, bytes]:
        if self._cut_at is not None and self._cut_at <= position < self._cut_at + self._cut:
            position = self._cut_at + self._cut
        kept = self._kept(position)
        if self._cut_at is not None and kept < self._cut_at:
            limit = min(limit, self._cut_at - kept)
        return position, object_store().read_range(self._key, kept, limit)

    def lines_before(self, position: int) -> int:
        kept = self._kept(position)
        byte, line, _ = self._index.entry_before(kept)
        while byte < kept:
            data = object_store().read_range(self._key, byte, min(_COUNT_BYTES, kept - byte))
            if not data:
                break
            line += data.count(b"\n")
            byte += len(data)
        return line

    def times(self, start: int, end: int) -> tuple[tuple[int, datetime], ...]:
        shift = start - self._kept(start)
        return tuple(
            (max(start, byte + shift), self._started + timedelta(seconds=at_s))
            for byte, _, at_s in self._index.entries(self._kept(start), end - shift)
        )

    def _kept(self, position: int) -> int:
        return position - self._cut if self._cut and position >= (self._cut_at or 0) else position


class _Index:
    """The packed index of a kept log, looked at by range reads: it may have many entries."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._count: int | None = None

    def entry_before(self, kept: int) -> tuple[int, int, float]:
        """The last entry at or before byte `kept`."""
        place = self._place_before(kept)
        return self._entry(place) if place is not None else (0, 0, 0.0)

    def entries(self, start: int, end: int) -> list[tuple[int, int, float]]:
        """The entries that say something of bytes `start` to `end`; `_MOST_ENTRIES` at most."""
        place = self._place_before(start)
        if place is None:
            return []
        found: list[tuple[int, int, float]] = []
        while len(found) < _MOST_ENTRIES:
            data = object_store().read_range(self._key, place * ENTRY.size, 512 * ENTRY.size)
            entries = list(ENTRY.iter_unpack(data[: len(data) // ENTRY.size * ENTRY.size]))
            found += [entry for entry in entries if entry[0] < end]
            if len(entries) < 512 or entries[-1][0] >= end:
                break
            place += 512
        return found

    def _place_before(self, kept: int) -> int | None:
        low, high = 0, self._entries_count()
        while low < high:
            middle = (low + high) // 2
            if self._entry(middle)[0] <= kept:
                low = middle + 1
            else:
                high = middle
        return low - 1 if low else None

    def _entry(self, place: int) -> tuple[int, int, float]:
        data = object_store().read_range(self._key, place * ENTRY.size, ENTRY.size)
        byte, line, at_s = ENTRY.unpack(data)
        return byte, line, at_s

    def _entries_count(self) -> int:
        if self._count is None:
            try:
                self._count = object_store().size(self._key) // ENTRY.size
            except ObjectMissing:
                self._count = 0
        return self._count


class _Live:
    """The log of an attempt that runs, or whose worker was lost: rows and parts."""

    def __init__(self, attempt: Attempt) -> None:
        self._rows = LogChunk.objects.filter(attempt=attempt)
        self._started = attempt.started_at or attempt.claimed_at
        self._found: list[tuple[int, int, int, datetime, str]] = []
        self._held: dict[int, bytes] = {}

    def end(self) -> int:
        last = self._rows.order_by("-first_byte").values_list("first_byte", "size").first()
        return last[0] + last[1] if last else 0

    def read(self, position: int, limit: int) -> tuple[int, bytes]:
        self._found = self._chunks(position, limit)
        if not self._found:
            return position, b""
        position = first = max(position, self._found[0][0])
        self._held = {}
        if any(not key for *_, key in self._found):
            self._held = {
                byte: bytes(data or b"")
                for byte, data in self._rows.filter(
                    first_byte__gte=self._found[0][0], first_byte__lte=self._found[-1][0], key=""
                ).values_list("first_byte", "data")
            }
        pieces: list[bytes] = []
        for byte, size, _, _, key in self._found:
            if byte > position or limit <= 0:
                break  # a gap, or enough
            wanted = min(limit, byte + size - position)
            if key:
                data = object_store().read_range(key, position - byte, wanted)
            elif byte in self._held:
                data = self._held[byte][position - byte :][:wanted]
            else:
                break  # it was joined with others since we looked
            pieces.append(data)
            position += len(data)
            limit -= len(data)
        return first, b"".join(pieces)

    def lines_before(self, position: int) -> int:
        row = next((row for row in self._found if row[0] <= position < row[0] + row[1]), None)
        row = row or self._row_before(position)
        if row is None:
            return 0
        byte, _, line, _, key = row
        if byte >= position:
            return line
        if not key:
            data = self._held.get(byte)
            if data is None:
                held = self._rows.filter(first_byte=byte).values_list("data", flat=True).first()
                data = bytes(held or b"")
            return line + data.count(b"\n", 0, position - byte)
        known = [entry for entry in self._entries(byte) if entry[0] <= position]
        start, line = (known[-1][0], known[-1][1]) if known else (byte, line)
        return line + object_store().read_range(key, start - byte, position - start).count(b"\n")

    def times(self, start: int, end: int) -> tuple[tuple[int, datetime], ...]:
        times: list[tuple[int, datetime]] = []
        for byte, _, _, at, key in self._found:
            if byte >= end:
                break
            if not key:
                times.append((max(start, byte), at))
                continue
            entries = [(b, self._started + timedelta(seconds=s)) for b, _, s in self._entries(byte)]
            earlier = [entry for entry in entries if entry[0] <= start]
            later = [entry for entry in entries if start < entry[0] < end]
            times += [(start, earlier[-1][1])] if earlier and not times else earlier[-1:]
            times += later
        return tuple(times)

    def _chunks(self, position: int, limit: int) -> list[tuple[int, int, int, datetime, str]]:
        """The chunks with bytes `position` to `position + limit`, else the next one behind."""
        before = self._rows.filter(first_byte__lte=position).order_by("-first_byte")
        begin = Coalesce(Subquery(before.values("first_byte")[:1]), 0)
        rows = self._rows.order_by("first_byte").values_list(*_COLUMNS)
        near = rows.filter(first_byte__gte=begin, first_byte__lt=position + limit)
        found = [row for row in near[:20_000] if row[0] + row[1] > position]
        return found or list(rows.filter(first_byte__gt=position)[:1])

    def _row_before(self, position: int) -> tuple[int, int, int, datetime, str] | None:
        rows = self._rows.filter(first_byte__lte=position).order_by("-first_byte")
        return rows.values_list(*_COLUMNS).first()

    def _entries(self, byte: int) -> list[tuple[int, int, float]]:
        times = self._rows.filter(first_byte=byte).values_list("times", flat=True).first()
        return [(int(b), int(line), float(at_s)) for b, line, at_s in times or ()]


def _has_ended_meanwhile(attempt: Attempt) -> bool:
    attempt.refresh_from_db()
    return attempt.ended_at is not None


def _source(attempt: Attempt) -> _Kept | _Live:
    return _Kept(attempt) if attempt.log_key else _Live(attempt)


def _find_forward(
    source: _Kept | _Live, needle: bytes, start: int, end: int, limit: int, any_case: bool
) -> Found:
    position, stop = start, min(end, start + limit)
    rest = b""
    while position < stop:
        first, data = source.read(position, SEARCH_PIECE_BYTES)
        if not data:
            break
        if first > position:
            rest = b""  # a text does not reach over a gap
        if any_case:
            data = data.lower()
        # The seam to the piece before is looked at by itself: joining whole pieces costs time.
        at = (rest + data[: len(needle) - 1]).find(needle) if rest else -1
        place = first - len(rest) + at
        if at < 0:
            at = data.find(needle)
            place = first + at
        if at >= 0:
            return Found(place, place, True)
        joined = data if len(data) >= len(needle) else rest + data
        rest = joined[max(0, len(joined) - len(needle) + 1) :]
        position = first + len(data)
    return Found(None, position, position >= end)


def _find_backward(
    source: _Kept | _Live, needle: bytes, start: int, limit: int, any_case: bool
) -> Found:
    high, stop = start, max(0, start - limit)
    while high > stop:
        low = max(0, high - SEARCH_PIECE_BYTES)
        # The needle may begin before `high` and end behind it.
        for first, data in reversed(_stretch(source, low, min(start, high + len(needle) - 1))):
            at = (data.lower() if any_case else data).rfind(needle)
            if at >= 0:
                return Found(first + at, first + at, True)
        high = low
    return Found(None, high, high <= 0)


def _stretch(source: _Kept | _Live, low: int, high: int) -> list[tuple[int, bytes]]:
    """The bytes from `low` to `high`, as pieces between gaps."""
    found: list[tuple[int, bytes]] = []
    while low < high:
        first, data = source.read(low, high - low)
        if not data or first >= high:
            break
        data = data[: high - first]
        if found and found[-1][0] + len(found[-1][1]) == first:
            found[-1] = (found[-1][0], found[-1][1] + data)
        else:
            found.append((first, data))
        low = first + len(data)
    return found
