"""The log of a run in lines with their times, from a cursor that goes on over its attempts."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from runs.actions.logs import LogPiece, log_end, read_log, stream_log
from runs.domain.errors import FieldsInvalid
from runs.models import Attempt, Run

PIECE_BYTES = 1024 * 1024
_CURSOR = re.compile(r"([0-9]{1,5})\.([0-9]{1,18})", re.ASCII)


@dataclass(frozen=True)
class Cursor:
    """A byte of the log of an attempt; attempt 0 stands for the beginning of the newest one."""

    attempt: int = 0
    byte: int = 0

    def __str__(self) -> str:
        return f"{self.attempt}.{self.byte}"


@dataclass(frozen=True)
class Line:
    """A line with its end, and when it was read; the last one may have no end yet."""

    at: datetime
    text: str


@dataclass(frozen=True)
class LogPage:
    """Lines that follow each other, and where to go on."""

    lines: tuple[Line, ...]
    cursor: Cursor


def read_cursor(token: str) -> Cursor:
    """The cursor that `str` made a token of; raises `FieldsInvalid` for any other text."""
    if not token:
        return Cursor()
    found = _CURSOR.fullmatch(token)
    if found is None:
        raise FieldsInvalid({"since": ["This is no page token of ours. Leave it out."]})
    return Cursor(int(found[1]), int(found[2]))


def log_pages(run: Run, cursor: Cursor) -> Iterator[LogPage]:
    """All there is of the log after `cursor`, in pages of at most 1 MiB.

    Without a cursor it is that of the newest attempt; then what is left of the cursor's attempt and
    all of those after it. An unfinished last line is left for later while the attempt goes on.
    """
    attempts = list(Attempt.objects.filter(run=run, number__gte=cursor.attempt).order_by("number"))
    if cursor.attempt == 0:
        attempts = attempts[-1:]
    for attempt in attempts:
        attempt.run = run
        position = cursor.byte if attempt.number == cursor.attempt else 0
        while piece := _next_piece(attempt, position, run.is_final):
            yield LogPage(tuple(_lines(piece, attempt)), Cursor(attempt.number, piece.next_cursor))
            position = piece.next_cursor


def whole_log(run: Run) -> Iterator[bytes]:
    """The log of the newest attempt as it is now, in pieces; nothing where there was none."""
    attempt = Attempt.objects.filter(run=run).order_by("-number").first()
    if attempt is None:
        return iter(())
    attempt.run = run
    return stream_log(attempt=attempt, end=log_end(attempt=attempt), limit=PIECE_BYTES)


def _next_piece(attempt: Attempt, position: int, is_final: bool) -> LogPiece | None:
    """The next piece, cut behind a line where it can; None when there is none now."""
    piece = read_log(attempt=attempt, cursor=position, limit=PIECE_BYTES)
    if not piece.data or piece.ended:
        return piece if piece.data else None
    lines = piece.whole_lines()
    if lines.data:
        return lines
    # Part of a line: it may still grow, unless it is too long, or nobody writes any more.
    if len(piece.data) < PIECE_BYTES and not (is_final or attempt.ended_at is not None):
        return None
    data = piece.data[: len(piece.data) - _broken_bytes(piece.data)]
    return replace(piece, data=data, next_cursor=piece.first_byte + len(data)) if data else piece


def _broken_bytes(data: bytes) -> int:
    """How many bytes at the end are the beginning of a character that is cut in two."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte < 0x80:
            return 0
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return back if length > back else 0
    return 0


def _lines(piece: LogPiece, attempt: Attempt) -> Iterator[Line]:
    times = list(piece.times)
    at = times[0][1] if times else attempt.started_at or attempt.claimed_at
    if piece.missing:
        yield Line(at, f"[{piece.missing} bytes were dropped here]\n")
    position, mark = piece.first_byte, 0
    for data in io.BytesIO(piece.data):
        while mark < len(times) and times[mark][0] <= position:
            at = max(at, times[mark][1])  # a clock that was set back mixes nothing up
            mark += 1
        yield Line(at, data.decode("utf-8", "replace"))
        position += len(data)
