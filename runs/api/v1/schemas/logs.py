"""The shapes of logs."""

from __future__ import annotations

from ninja import Schema

from runs.api.times import Instant


class LogOut(Schema):
    """The whole log as one text."""

    log: str


class LogItem(Schema):
    """A line with its end, and when it was read."""

    timestamp: Instant
    log: str


class LiveLog(Schema):
    """What came after the token. With a final status there is nothing more."""

    items: list[LogItem]
    status_v2: str
    next_page_token: str
    next_available_in_seconds: int
