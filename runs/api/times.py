"""Instants and durations as the client reads them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import Field

Instant = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
"""RFC 3339 with a zone, made by `wire_time`."""


def wire_time(at: datetime) -> str:
    """`at` as `2026-05-01T10:00:00.123456Z`; a missing zone would make the client fail."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def wire_ms(seconds: float | None) -> float:
    """A duration in milliseconds; 0 where there is none yet."""
    return round((seconds or 0.0) * 1000, 3)


def ms_between(begin: datetime | None, end: datetime | None) -> float:
    """The milliseconds between two instants; 0 where one is missing."""
    if begin is None or end is None:
        return 0.0
    return round((end - begin) / timedelta(milliseconds=1), 3)
