"""The log of a run: one window of it, wherever it is looked at; search on the server."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.http import HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_GET

from runs.actions.results import LogPiece, find_in_log, log_end, read_before, read_log
from runs.models import Attempt, Run
from runs.web.access import AccountRequest, member
from runs.web.live_lines import line_style
from runs.web.log_lines import render_lines
from runs.web.run_pages import attempt_of, find_run, run_page

WINDOW_BYTES = 256 * 1024
WINDOW_LINES = 2000
BEFORE_HIT = 16 * 1024
LONGEST_SEARCH = 200


@require_GET
@member("view")
def run_log(request: AccountRequest, run_id: str) -> HttpResponse:
    """A window of the log: its end, what follows a byte (`at`), what ends at one (`before`), or
    the surroundings of what was searched (`q` with `from` and `direction`)."""
    run = find_run(request, run_id)
    number = request.GET.get("attempt", "")
    newest = attempt_of(run)
    attempt = attempt_of(run, number) if number and newest else newest
    context: dict[str, Any] = {"attempt": attempt, "run": run, "rows": "", "chosen": bool(number)}
    if attempt is None:
        return _page(request, run, context, live_log=(run.attempt_number, 0))
    window = _Window(request, attempt)
    piece = window.piece
    is_newest = newest is not None and attempt.number == newest.number
    live = is_newest and not run.is_final and window.at_end
    if live and not piece.ended:
        piece = piece.whole_lines()  # the rest of the line comes with the stream
    style = line_style(run.run_id, attempt.number, window.needle)
    address = reverse("run-log", args=[run.run_id])
    base = {"attempt": attempt.number} if number else {}
    context |= {
        "rows": render_lines(piece, style).html,
        "is_newest": is_newest,
        "live": live,
        "needle": window.needle,
        "found": window.found,
        "searched": window.searched,
        "not_found": window.not_found,
        "at_start": piece.first_byte == 0,
        "at_end": window.at_end,
        "size_bytes": window.end,
        "attempts": range(1, (newest.number if newest else attempt.number) + 1),
        "first_url": f"{address}?{urlencode({**base, 'at': 0})}",
        "last_url": f"{address}?{urlencode(base)}" if base else address,
        "earlier_url": f"{address}?{urlencode({**base, 'before': piece.first_byte})}",
        "later_url": f"{address}?{urlencode({**base, 'at': piece.next_cursor})}",
        "next_url": window.search_url(address, base, "next"),
        "previous_url": window.search_url(address, base, "previous"),
    }
    return _page(
        request, run, context, live_log=(attempt.number, piece.next_cursor) if live else None
    )


class _Window:
    """Which part of a log a request asks for."""

    def __init__(self, request: AccountRequest, attempt: Attempt) -> None:
        asked = request.GET
        self.needle = asked.get("q", "")[:LONGEST_SEARCH].strip("\r\n")
        self.end = log_end(attempt=attempt)
        self.found: int | None = None
        self.searched: int | None = None
        self.not_found = ""
        self.piece = LogPiece(b"", 0, 0, ended=attempt.ended_at is not None)
        if self.end:
            searched = self._search(attempt, asked.get("from"), asked.get("direction", ""))
            at, before = _number(asked.get("at")), _number(asked.get("before"))
            self.piece = searched or _chosen(attempt, at=at, before=before, end=self.end)
        # More may have been written since: what follows the window then comes with the stream.
        self.at_end = self.piece.next_cursor >= self.end

    def search_url(self, address: str, base: dict[str, int], direction: str) -> str:
        """Where the next or previous hit is shown."""
        if not self.needle:
            return ""
        query: dict[str, object] = {**base, "q": self.needle, "direction": direction}
        if self.found is not None:
            query["from"] = self.found + (1 if direction == "next" else 0)
        elif self.searched is not None:
            query["from"] = self.searched
        return f"{address}?{urlencode(query)}"

    def _search(self, attempt: Attempt, start: str | None, direction: str) -> LogPiece | None:
        if not self.needle:
            return None
        forward = direction != "previous"
        position = _number(start)
        if position is None:
            position = 0 if forward else self.end
        result = find_in_log(attempt=attempt, text=self.needle, start=position, forward=forward)
        if result.position is None:
            self.searched = result.looked_to
            where = "after" if forward else "before"
            self.not_found = (
                f"Not found {where} here." if result.complete else "Not found so far: search on."
            )
            if start is None and result.complete:
                self.not_found = "Not found in this log."
            return None
        self.found = result.position
        before = read_before(attempt=attempt, position=result.position, limit=BEFORE_HIT)
        return _following(attempt, before.first_byte if before.data else result.position)


def _chosen(attempt: Attempt, *, at: int | None, before: int | None, end: int) -> LogPiece:
    if at is not None:
        return _following(attempt, at)
    position = end if before is None else before
    piece = read_before(attempt=attempt, position=position, limit=WINDOW_BYTES)
    return piece.last_lines(WINDOW_LINES)


def _following(attempt: Attempt, position: int) -> LogPiece:
    return read_log(attempt=attempt, cursor=position, limit=WINDOW_BYTES).first_lines(WINDOW_LINES)


def _page(
    request: AccountRequest, run: Run, context: dict[str, Any], live_log: tuple[int, int] | None
) -> HttpResponse:
    if run.is_final:
        live_log = None
    return run_page(
        request, run, tab="log", template="runs/log.html", context=context, live_log=live_log
    )


def _number(text: str | None) -> int | None:
    if text and text.isascii() and text.isdecimal() and len(text) <= 15:
        return int(text)
    return None
