"""Lines of a log for live pages: what to show next, drawn in parts that fit into an event each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.urls import reverse

from runs.actions.results import LogPiece, log_end, read_before, read_log
from runs.models import Attempt
from runs.web.log_lines import LineStyle, render_lines

SEGMENT_BYTES = 32 * 1024
SEGMENT_LINES = 300
STEP_BYTES = 512 * 1024
"""A tick takes at most this much of one log."""
BEHIND_BYTES = 2 * 1024 * 1024
"""Who is further behind jumps to the newest lines."""
TAIL_BYTES = 128 * 1024
LONGEST_PENDING = 64 * 1024
"""An unfinished line beyond this is shown as it is."""


@dataclass(frozen=True)
class Segment:
    """Some whole lines as HTML, at most about 256 KiB of it; `cut` says that lines before are left
    out."""

    start: int
    end: int
    html: str
    cut: bool = False


@dataclass(frozen=True)
class Step:
    """Lines to show next, whether lines before them are left out, and an unfinished line behind."""

    piece: LogPiece
    cut: bool = False
    pending: bytes = b""


def next_lines(attempt: Attempt, position: int, *, limit: int = STEP_BYTES) -> Step:
    """Whole lines from `position` on; an unfinished one too when it is the last of an ended log.

    When more than 2 MiB is there, only the end of it.
    """
    cut = False
    piece = read_log(attempt=attempt, cursor=position, limit=limit)
    if len(piece.data) >= limit:
        end = log_end(attempt=attempt)
        if end - position > BEHIND_BYTES:
            tail = read_before(attempt=attempt, position=end, limit=TAIL_BYTES)
            if tail.first_byte > position:
                piece, cut = tail, True
    if piece.ended:
        return Step(piece, cut)
    whole = piece.whole_lines()
    if not whole.data and len(piece.data) >= min(limit, LONGEST_PENDING):
        whole = piece  # a line without an end
    return Step(whole, cut, piece.data[len(whole.data) :])


def segments_of(piece: LogPiece, *, style: LineStyle, cut: bool) -> list[Segment]:
    """The lines of `piece` as HTML, in parts that fit into an event each."""
    found: list[Segment] = []
    rest = piece
    while rest.data:
        part = _small(rest)
        html = render_lines(part, style).html
        found.append(Segment(part.first_byte, part.next_cursor, html, cut and not found))
        taken = len(part.data)
        rest = LogPiece(
            data=rest.data[taken:],
            first_byte=rest.first_byte + taken,
            next_cursor=rest.next_cursor,
            first_line=rest.first_line + part.data.count(b"\n"),
            times=_times_from(rest.times, part.next_cursor),
            ended=rest.ended,
        )
    return found


def line_style(run_id: str, attempt_number: int, needle: str = "") -> LineStyle:
    """How rows of this log are drawn."""
    address = reverse("run-log-download", args=[run_id])
    return LineStyle(raw_url=f"{address}?attempt={attempt_number}", needle=needle)


def _small(piece: LogPiece) -> LogPiece:
    part = piece.first_lines(SEGMENT_LINES)
    if len(part.data) <= SEGMENT_BYTES:
        return part
    end = part.data.rfind(b"\n", 0, SEGMENT_BYTES) + 1 or part.data.find(b"\n") + 1
    if not end or end == len(part.data):
        return part  # one long line, which is cut when it is drawn
    lines = part.data.count(b"\n", 0, end)
    return part.first_lines(lines)


def _times_from(
    times: tuple[tuple[int, datetime], ...], position: int
) -> tuple[tuple[int, datetime], ...]:
    before = [entry for entry in times if entry[0] <= position]
    return (*before[-1:], *times[len(before) :])
