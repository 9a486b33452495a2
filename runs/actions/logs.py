"""Reads logs by byte position: for live pages, windows, searches and downloads alike.

A position counts all bytes the program has written, also those that were dropped from the middle of
a very large log. While an attempt runs its log is in rows and parts of the store; once it has ended
it is one object with an index. Callers see no difference.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from runs.actions.log_sources import KeptLog, LiveLog, source_of
from runs.models import Attempt
from runs.storage import ObjectMissing

PIECE_BYTES = 256 * 1024
SEARCH_PIECE_BYTES = 1024 * 1024
SEARCH_LIMIT_BYTES = 1536 * 1024 * 1024
"""One search looks at this much and then says how far it came."""
LONGEST_NEEDLE = 200


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
    source = source_of(attempt)
    try:
        first, data = source.read(cursor, limit)
    except ObjectMissing:
        if attempt.log_key:
            raise
        first, data = cursor, b""  # its parts became one object in this moment
    if (
        not data
        and not attempt.log_key
        and attempt.ended_at is None
        and _has_ended_meanwhile(attempt)
    ):
        source = source_of(attempt)
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
    return source_of(attempt).end()


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
    source = source_of(attempt)
    end = source.end()
    if not needle:
        return Found(None, start, True)
    any_case = not any(letter.isupper() for letter in text)
    if forward:
        return _find_forward(source, needle, max(0, start), end, limit, any_case)
    return _find_backward(source, needle, min(start, end), limit, any_case)


def _has_ended_meanwhile(attempt: Attempt) -> bool:
    attempt.refresh_from_db()
    return attempt.ended_at is not None


def _find_forward(
    source: KeptLog | LiveLog, needle: bytes, start: int, end: int, limit: int, any_case: bool
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
    source: KeptLog | LiveLog, needle: bytes, start: int, limit: int, any_case: bool
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


def _stretch(source: KeptLog | LiveLog, low: int, high: int) -> list[tuple[int, bytes]]:
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
