"""Where the bytes of a log are: one object once its attempt has ended, rows and parts before.

Both answer the same questions: where it ends, bytes from a position, lines before one, and times.
"""

from __future__ import annotations

import struct
from datetime import datetime, timedelta

from django.db.models import Subquery
from django.db.models.functions import Coalesce

from runs.models import Attempt, LogChunk
from runs.storage import ObjectMissing, keys, object_store

ENTRY = struct.Struct("<QQd")
"""An entry of a kept log's index, as the recorder packs it: byte in what is kept, line ends before
it, seconds since the start."""

_MOST_ENTRIES = 20_000
_COUNT_BYTES = 4 * 1024 * 1024
_COLUMNS = ("first_byte", "size", "first_line", "at", "key")


class KeptLog:
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


class LiveLog:
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


def source_of(attempt: Attempt) -> KeptLog | LiveLog:
    """Where the log of `attempt` is now."""
    return KeptLog(attempt) if attempt.log_key else LiveLog(attempt)
