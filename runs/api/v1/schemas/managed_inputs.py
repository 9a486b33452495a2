"""The shape of a managed input."""

from __future__ import annotations

from ninja import Schema

from runs.api.times import Instant
from runs.api.v1.schemas.base import Body
from runs.api.v1.schemas.formats import FormatIn, FormatOut


class ManagedInputOut(Schema):
    """A named input. What it was made of may be gone: its bytes are its own."""

    id: str
    name: str
    description: str
    run_id: str | None = None
    upload_id: str | None = None
    format: FormatOut
    created_at: Instant
    updated_at: Instant


class ManagedInputPage(Schema):
    """A page of managed inputs."""

    items: list[ManagedInputOut]
    next_page_token: str | None = None


class ManagedInputIn(Body):
    """A new input, made of an upload or of the input of a run."""

    id: str
    name: str | None = ""
    description: str | None = ""
    upload_id: str | None = ""
    run_id: str | None = ""
    format: FormatIn | None = None


class ManagedInputChange(Body):
    """An input with changes; all but name and description is ignored."""

    name: str | None = None
    description: str | None = None
