"""What all shapes have in common."""

from __future__ import annotations

from ninja import Schema
from pydantic import BaseModel, ConfigDict


class Body(BaseModel):
    """A request: unknown keys are ignored, as the client sends whole objects back.

    No `Schema` of the library: that one reads attributes as well, so it takes a number or a text
    for an object without any of its optional keys.
    """

    model_config = ConfigDict(extra="ignore")


class Failure(Schema):
    """An error: what happened, to which thing, and what to do."""

    error: str
    status: int


FAILURES = dict.fromkeys((400, 401, 403, 404, 409, 413, 429), Failure)
"""The errors that any endpoint may answer."""
