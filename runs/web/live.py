"""Live parts of run pages: event streams fed by the hub, and the same by asking again."""

from __future__ import annotations

import atexit
import re
import time
from collections.abc import Callable, Generator

from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase
from django.db import DatabaseError, connection
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_GET

from runs.domain.errors import RunsiteError
from runs.domain.status import Status
from runs.models import Account, Membership, Run, User
from runs.web.access import AccountRequest, member
from runs.web.live_follow import Cursor, Event, Follower, find_attempt, render_parts
from runs.web.live_hub import RunState, hub, load_state
from runs.web.live_lines import line_style, next_lines, segments_of
from runs.web.run_pages import find_run, usage_of, usage_part, viewer_of
from runs.web.run_waiting import waiting_part

COMMENT_S = 5.0
RECHECK_S = 60.0
POLL_SEGMENTS = 4
_CURSOR = re.compile(r"([0-9]{1,5})\.([0-9]{1,15})(?:\.([0-9a-f]{8})?)?", re.ASCII)
atexit.register(hub.close)


@require_GET
@member("view")
def run_live(request: AccountRequest, run_id: str) -> HttpResponseBase:
    """The event stream of a run; 503 when as many are open as the setting allows."""
    run = find_run(request, run_id)
    if hub.streams >= settings.RUNSITE_STREAMS:
        busy = HttpResponse(
            "All event streams are in use; the page asks instead.",
            status=503,
            content_type="text/plain",
        )
        busy["Retry-After"] = "60"
        return busy
    cursor = parse_cursor(request.headers.get("Last-Event-ID") or request.GET.get("after", ""))
    follower = Follower(
        hub,
        run.pk,
        cursor,
        tab=request.GET.get("tab", ""),
        with_log=request.GET.get("log") == "1",
        viewer=viewer_of(request, run),
    )
    stream = EventStream(follower, recheck=_still_allowed(request))
    hub.start()
    response = StreamingHttpResponse(stream, content_type="text/event-stream")
    response["Cache-Control"] = "no-store"
    response["X-Accel-Buffering"] = "no"
    _release_connection()
    return response


@require_GET
@member("view")
def run_poll(request: AccountRequest, run_id: str) -> JsonResponse:
    """What the stream would send since the cursor, at once; for pages without a stream."""
    run = find_run(request, run_id)
    cursor = parse_cursor(request.GET.get("after", ""))
    tab = request.GET.get("tab", "")
    state = load_state(run.pk)
    if state is None:
        return JsonResponse({"events": [], "after": str(cursor), "end": True})
    events: list[Event] = []
    log_done = True
    if request.GET.get("log") == "1":
        events, cursor, log_done = _poll_log(run, state, cursor)
    viewer = viewer_of(request, run)
    if state.fingerprint != cursor.fingerprint:
        cursor = Cursor(cursor.attempt, cursor.position, state.fingerprint)
        parts = render_parts(run.pk, tab, viewer)
        events += [Event("part", {"id": name, "html": html}, cursor) for name, html in parts]
    elif run.status == Status.QUEUED:
        html = waiting_part(run)
        events.append(Event("part", {"id": "run-waiting", "html": html}, cursor))
    elif usage := usage_of(run):
        events.append(Event("part", {"id": "run-usage", "html": usage_part(usage)}, cursor))
    response = JsonResponse(
        {
            "events": [{"event": event.name, "data": event.data} for event in events],
            "after": str(cursor),
            "end": state.is_final and log_done,
        }
    )
    response["Cache-Control"] = "no-store"
    return response


def parse_cursor(text: str) -> Cursor:
    """The cursor that a page sends back; raises `RunsiteError` for anything else."""
    if not text:
        return Cursor()
    found = _CURSOR.fullmatch(text)
    if found is None:
        raise RunsiteError("The page asked from a place that does not exist. Reload it.")
    return Cursor(int(found[1]), int(found[2]), found[3] or "")


class EventStream:
    """The bytes of one event stream; gives its place back however it ends.

    Silent for `comment_s` it sends a comment, by which the server notices who left; each
    `recheck_s` it asks `recheck` whether the person may still see the run.
    """

    def __init__(
        self,
        follower: Follower,
        *,
        recheck: Callable[[], bool],
        comment_s: float = COMMENT_S,
        recheck_s: float = RECHECK_S,
    ) -> None:
        self._follower = follower
        # Not a method: the generator must not keep this object alive.
        self._pieces = _pieces(follower, recheck, comment_s, recheck_s)

    def __iter__(self) -> EventStream:
        return self

    def __next__(self) -> bytes:
        return next(self._pieces)

    def close(self) -> None:
        """Give the place back; the server calls it when the browser has left."""
        self._pieces.close()
        self._follower.leave()

    def __del__(self) -> None:
        self._follower.leave()  # a server may drop what it never began to read


def _pieces(
    follower: Follower, recheck: Callable[[], bool], comment_s: float, recheck_s: float
) -> Generator[bytes, None, None]:
    checked = time.monotonic()
    try:
        yield b"retry: 1000\n\n"
        while not follower.closed:
            if time.monotonic() - checked >= recheck_s:
                checked = time.monotonic()
                if not recheck():
                    return
            if not follower.wait(comment_s):
                yield b": still here\n\n"
                continue
            try:
                for event in follower.collect():
                    yield event.encode()
                    if event.name == "end":
                        return
            except DatabaseError:
                return  # the page comes again, from its cursor
            finally:
                _release_connection()
    finally:
        follower.leave()


def _poll_log(run: Run, state: RunState, cursor: Cursor) -> tuple[list[Event], Cursor, bool]:
    """Rows since the cursor, at most about a mebibyte of HTML, and whether that is all of them."""
    events: list[Event] = []
    if cursor.attempt == 0 and state.attempt_number:
        cursor = Cursor(1, 0, cursor.fingerprint)
    attempt = find_attempt(run.pk, cursor.attempt)
    if attempt is None:
        return events, cursor, state.attempt_number <= cursor.attempt
    step = next_lines(attempt, cursor.position)
    style = line_style(run.run_id, attempt.number)
    segments = segments_of(step.piece, style=style, cut=step.cut)
    for segment in segments[:POLL_SEGMENTS]:
        cursor = Cursor(cursor.attempt, segment.end, cursor.fingerprint)
        data = {"id": "log", "html": segment.html, "cut": segment.cut, "cursor": segment.end}
        events.append(Event("log", data, cursor))
    read = len(segments) <= POLL_SEGMENTS and step.piece.ended
    if read and cursor.attempt < state.attempt_number:
        return events, Cursor(cursor.attempt + 1, 0, cursor.fingerprint), False
    return events, cursor, read


def _still_allowed(request: AccountRequest) -> Callable[[], bool]:
    """Whether the person is still signed in and in the account; asked while a stream is open."""
    session: SessionBase = request.session
    user_pk, account_pk = request.user.pk, request.account.pk

    def look() -> bool:
        try:
            if not session.session_key or not session.exists(session.session_key):
                return False
            user = User.objects.filter(pk=user_pk, is_active=True).first()
            if user is None or not Account.objects.filter(pk=account_pk).exists():
                return False
            members = Membership.objects.filter(user=user_pk, account=account_pk)
            return user.is_superuser or members.exists()
        finally:
            _release_connection()

    return look


def _release_connection() -> None:
    """A stream lives for hours: it must not hold a connection of the database meanwhile."""
    if not connection.in_atomic_block:
        connection.close()
