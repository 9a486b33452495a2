"""One page that follows a run: what it has, what is new for it, and its parts as HTML."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

from django.template.loader import render_to_string
from django.utils.html import format_html

from runs.domain.status import Status
from runs.models import Attempt, Run
from runs.web.live_hub import Hub, RunState, Watch
from runs.web.live_lines import BEHIND_BYTES, Segment, line_style, next_lines, segments_of
from runs.web.outputs import output_context
from runs.web.run_pages import Viewer, usage_part
from runs.web.run_waiting import waiting_part
from runs.web.runs import header_parts, history_context, summary_context
from runs.web.visuals_pages import visuals_context

_TABS = {
    "summary": ("run-summary", "runs/_summary.html"),
    "output": ("run-output", "runs/_output.html"),
    "visuals": ("run-visuals", "runs/_visuals.html"),
    "history": ("run-history", "runs/_history.html"),
}


@dataclass(frozen=True)
class Cursor:
    """What a page has: attempt and byte of the log, and the state that its parts show."""

    attempt: int = 0
    position: int = 0
    fingerprint: str = ""

    def __str__(self) -> str:
        return f"{self.attempt}.{self.position}.{self.fingerprint}"


@dataclass(frozen=True)
class Event:
    """One event for the page; `cursor` is where to go on after it."""

    name: str
    data: dict[str, Any]
    cursor: Cursor

    def encode(self) -> bytes:
        """The event as the stream has it."""
        data = json.dumps(self.data, separators=(",", ":"))
        return f"event: {self.name}\nid: {self.cursor}\ndata: {data}\n\n".encode()


def render_parts(run_pk: int, tab: str, viewer: Viewer) -> list[tuple[str, str]]:
    """The parts of the page with this tab as they are now, as (id, HTML); none when it is gone."""
    run = (
        Run.objects.filter(pk=run_pk)
        .select_related("account", "application", "version", "instance__version", "executable")
        .select_related("submitted_by", "input_data", "managed_input", "cloned_from", "queue")
        .select_related("api_key")
        .first()
    )
    if run is None:
        return []
    parts = list(header_parts(run, viewer).items())
    if tab not in _TABS:
        return parts
    context: dict[str, Any] = {"run": run, "viewer": viewer}
    if tab == "summary":
        context |= summary_context(run, viewer)
    elif tab == "output":
        context |= output_context(run)
    elif tab == "visuals":
        context |= visuals_context(run, None)
    else:
        context |= history_context(run)
    name, template = _TABS[tab]
    return [*parts, (name, render_to_string(template, context))]


class Follower:
    """One page that follows a run: knows what it has, and collects what is new for it."""

    def __init__(
        self, hub: Hub, run_pk: int, cursor: Cursor, *, tab: str, with_log: bool, viewer: Viewer
    ) -> None:
        self._hub = hub
        self._run_pk = run_pk
        self._tab = tab
        self._with_log = with_log
        self._viewer = viewer
        self._usage = ""
        self._waits = 0
        self._waiting = ""
        self._partial = ""
        self._left = False
        self.cursor = cursor
        self.serial = -1
        self.watch: Watch = hub.join(
            run_pk, attempt=cursor.attempt, position=cursor.position, with_log=with_log
        )

    def leave(self) -> None:
        """Follow no more; harmless when called again."""
        if not self._left:
            self._left = True
            self._hub.leave(self.watch, with_log=self._with_log)

    def wait(self, timeout_s: float) -> bool:
        """Wait for news; whether there are some."""
        watch = self.watch
        with watch.changed:
            return watch.changed.wait_for(
                lambda: watch.serial != self.serial or self._hub.closed, timeout_s
            )

    @property
    def closed(self) -> bool:
        """Whether the process stops."""
        return self._hub.closed

    def collect(self) -> Iterator[Event]:
        """What is new, in order; ends with `end` when nothing will come any more."""
        watch = self.watch
        with watch.changed:
            self.serial, state, gone = watch.serial, watch.state, watch.gone
            waits = watch.waits
        if gone:
            yield Event("end", {}, self.cursor)
            return
        if state is None:
            return
        log_done = True
        if self._with_log:
            log_done = yield from self._log(state)
            yield from self._partial_line()
        if state.fingerprint != self.cursor.fingerprint:
            parts = self._shared_parts(state)
            self.cursor = Cursor(self.cursor.attempt, self.cursor.position, state.fingerprint)
            for name, html in parts:
                yield self._part(name, html)
        elif state.status == Status.QUEUED and waits != self._waits:
            html = self._shared_waiting(waits)
            if html and html != self._waiting:
                self._waiting = html
                yield self._part("run-waiting", html)
        self._waits = waits
        if watch.usage is not None and not state.is_final:
            html = usage_part(watch.usage)
            if html != self._usage:
                self._usage = html
                yield self._part("run-usage", html)
        if state.is_final and log_done:
            yield Event("end", {}, self.cursor)

    def _log(self, state: RunState) -> Generator[Event, None, bool]:
        """Rows that the page does not have; returns whether the log is at its end for good."""
        watch = self.watch
        while True:
            with watch.changed:
                number, position, done = watch.attempt_number, watch.position, watch.log_done
                here = self.cursor.attempt == number
                behind = here and position - self.cursor.position > BEHIND_BYTES
                at = watch.next_start(self.cursor.position) if behind else self.cursor.position
                segments = watch.take(at) if here else None
                target = watch.next_start(self.cursor.position)
            if self.cursor.attempt < number:
                yield from self._earlier_attempt()
                continue
            if not here:
                return False  # the shared rows are still at an earlier attempt
            if segments is None:
                moved = False
                for event in self._own(target - self.cursor.position):
                    moved = True
                    yield event
                if not moved:
                    self._move(target)  # nothing can be read here: go on with the shared rows
                continue
            for segment in segments:
                yield self._rows(segment, cut=behind and segment is segments[0])
            if not segments:
                return done and number >= state.attempt_number

    def _own(self, limit: int) -> Iterator[Event]:
        """Read what the shared rows do not have any more, up to where they begin."""
        attempt = find_attempt(self._run_pk, self.cursor.attempt)
        if attempt is None:
            return
        step = next_lines(attempt, self.cursor.position, limit=max(1, min(limit, 256 * 1024)))
        style = line_style(attempt.run.run_id, attempt.number)
        for segment in segments_of(step.piece, style=style, cut=step.cut):
            yield self._rows(segment)

    def _earlier_attempt(self) -> Iterator[Event]:
        """The rest of an attempt that is over, then the beginning of the next."""
        attempt = find_attempt(self._run_pk, self.cursor.attempt)
        if attempt is not None:
            while True:
                step = next_lines(attempt, self.cursor.position)
                style = line_style(attempt.run.run_id, attempt.number)
                for segment in segments_of(step.piece, style=style, cut=step.cut):
                    yield self._rows(segment)
                if step.piece.ended or not step.piece.data:
                    break
        following = self.cursor.attempt + 1
        had_log = self.cursor.attempt > 0
        self.cursor = Cursor(following, 0, self.cursor.fingerprint)
        if had_log:
            html = format_html('<div class="log-cut">Attempt {} begins here</div>', following)
            yield Event("log", {"id": "log", "html": html, "cut": False}, self.cursor)

    def _partial_line(self) -> Iterator[Event]:
        if self.watch.partial != self._partial:
            self._partial = self.watch.partial
            yield self._part("log-partial", partial_row(self._partial))

    def _rows(self, segment: Segment, *, cut: bool = False) -> Event:
        self._move(max(segment.end, self.cursor.position))
        data = {"id": "log", "html": segment.html, "cut": cut or segment.cut}
        return Event("log", {**data, "cursor": segment.end}, self.cursor)

    def _move(self, position: int) -> None:
        self.cursor = Cursor(self.cursor.attempt, position, self.cursor.fingerprint)

    def _part(self, name: str, html: str) -> Event:
        return Event("part", {"id": name, "html": html}, self.cursor)

    def _shared_parts(self, state: RunState) -> list[tuple[str, str]]:
        """The parts as they are in this state; drawn once for all who may see the same."""
        watch = self.watch
        key = (state.fingerprint, self._tab, self._viewer)
        with watch.parts_lock:
            if key not in watch.parts:
                if len(watch.parts) > 32:
                    watch.parts.clear()
                watch.parts[key] = render_parts(self._run_pk, self._tab, self._viewer)
            return watch.parts[key]

    def _shared_waiting(self, waits: int) -> str:
        """Why it waits and when it should start; drawn once for all who watch it."""
        watch = self.watch
        with watch.parts_lock:
            if ("waiting", waits) not in watch.parts:
                watch.parts.pop(("waiting", waits - 1), None)
                run = find_waiting(self._run_pk)
                parts = [("run-waiting", waiting_part(run))] if run else []
                watch.parts["waiting", waits] = parts
            return next((html for _, html in watch.parts["waiting", waits]), "")


def find_waiting(run_pk: int) -> Run | None:
    """A run that is queued, with what its reasons to wait need."""
    waiting = Run.objects.filter(pk=run_pk, status=Status.QUEUED)
    return waiting.select_related("account", "application", "queue", "version").first()


def partial_row(html: str) -> str:
    """The unfinished line at the end of a live log."""
    if not html:
        return '<div id="log-partial" hidden></div>'
    return (
        '<div id="log-partial" class="log-line log-partial"><span class="log-number">…</span>'
        f'<span class="log-text">{html}</span></div>'
    )


def find_attempt(run_pk: int, number: int) -> Attempt | None:
    """An attempt of a run, its run beside it."""
    attempts = Attempt.objects.filter(run=run_pk, number=number)
    return attempts.select_related("run").first()
