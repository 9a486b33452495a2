"""The shape of a version."""

from __future__ import annotations

from ninja import Schema

from runs.api.times import Instant
from runs.api.v1.schemas.base import Body
from runs.api.v1.schemas.executables import ExecutableOut


class VersionOut(Schema):
    """A name for an executable; the words about it may change, what it names never."""

    id: str
    application_id: str
    name: str
    description: str
    executable: ExecutableOut
    created_at: Instant
    updated_at: Instant


class VersionPage(Schema):
    """A page of versions."""

    items: list[VersionOut]
    next_page_token: str | None = None


class VersionIn(Body):
    """A new version of what is in use now."""

    id: str
    name: str | None = ""
    description: str | None = ""


class VersionChange(Body):
    """A version with changes; all but name and description is ignored."""

    name: str | None = None
    description: str | None = None
