"""Logs: whole, and as they grow."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from typing import Any

from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase
from ninja import Router

from runs.actions.log_pages import Cursor, Line, LogPage, log_pages, read_cursor, whole_log
from runs.actions.run_content import texts_of
from runs.api.auth import ApiRequest, Key
from runs.api.times import wire_time
from runs.api.v1.run_shapes import find_shown_run
from runs.api.v1.schemas.base import FAILURES
from runs.api.v1.schemas.logs import LiveLog, LogOut
from runs.domain.status import Status
from runs.models import Run

router = Router(tags=["logs"])

WAIT_S = {Status.QUEUED: 2}
"""When to ask again; a client that is told nothing, or 0, asks without any pause."""
USUAL_WAIT_S = 1


@router.get(
    "applications/{app_id}/runs/{run_id}/logs",
    auth=Key("view"),
    response={200: LogOut, **FAILURES},
)
def read(request: ApiRequest, app_id: str, run_id: str) -> HttpResponseBase:
    """The log of the newest attempt, as far as there is one by now; sent while it is read."""
    pieces = texts_of(whole_log(find_shown_run(request, app_id, run_id)))
    return _stream(chain([b'{"log": "'], pieces, [b'"}']))


@router.get(
    "applications/{app_id}/runs/{run_id}/logs/live",
    auth=Key("view"),
    response={200: LiveLog, **FAILURES},
)
def live(request: ApiRequest, app_id: str, run_id: str, since: str = "") -> Any:
    """The lines after the token `since`, or all of the newest attempt.

    While the run goes on an answer has at most 1 MiB of them. Once it has ended it has all that is
    left, however much that is, and is sent while it is read.
    """
    cursor = read_cursor(since)
    run = find_shown_run(request, app_id, run_id)
    pages = log_pages(run, cursor)
    if run.is_final:
        return _stream(_last_answer(run, cursor, pages))
    page = next(pages, LogPage((), cursor))
    return {"items": list(map(_item, page.lines)), **_end(run, page.cursor)}


def _last_answer(run: Run, cursor: Cursor, pages: Iterator[LogPage]) -> Iterator[bytes]:
    yield b'{"items": ['
    comma = ""
    for page in pages:
        cursor = page.cursor
        lines = [_item(line) for line in page.lines]
        if lines:
            yield (comma + json.dumps(lines)[1:-1]).encode()
            comma = ", "
    yield f"], {json.dumps(_end(run, cursor))[1:]}".encode()


def _item(line: Line) -> dict[str, str]:
    return {"timestamp": wire_time(line.at), "log": line.text}


def _end(run: Run, cursor: Cursor) -> dict[str, Any]:
    return {
        "status_v2": run.status,
        "next_page_token": str(cursor),
        "next_available_in_seconds": WAIT_S.get(Status(run.status), USUAL_WAIT_S),
    }


def _stream(pieces: Iterator[bytes]) -> HttpResponseBase:
    return StreamingHttpResponse(pieces, content_type="application/json")
