"""The shapes of a push: where to send an archive, what it declares, what became of it."""

from __future__ import annotations

from typing import Any

from ninja import Schema

from runs.api.times import Instant
from runs.api.v1.schemas.base import Body


class PushTicket(Schema):
    """Where the archive is sent to by PUT, within 15 minutes and without a key."""

    upload_url: str


class Activation(Body):
    """The manifest of what was uploaded, in the form of the API."""

    requirements: dict[str, Any]


class ExecutableOut(Schema):
    """An uploaded build. `requirements` is its manifest in the form of the API."""

    id: str
    user_email: str
    uploaded_at: Instant
    requirements: dict[str, Any]
