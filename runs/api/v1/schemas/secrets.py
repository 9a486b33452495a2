"""The shapes of secrets: values come in and never go out."""

from __future__ import annotations

from typing import Literal

from ninja import Schema
from pydantic import Field

from runs.api.times import Instant
from runs.api.v1.schemas.base import Body


class SecretIn(Body):
    """One secret: an environment variable, or a file of the run."""

    type: Literal["env", "file"]
    location: str = Field(description="The name of the variable, or a path in the run's folder.")
    value: str = Field(repr=False)


class SecretOut(Schema):
    """One secret; `value` is a mask."""

    type: str
    location: str
    value: str


class SecretsSummary(Schema):
    """A collection of secrets without its secrets."""

    id: str
    application_id: str
    name: str
    description: str
    created_at: Instant
    updated_at: Instant


class SecretsOut(SecretsSummary):
    """A collection of secrets; their values are masks."""

    secrets: list[SecretOut]


class SecretsPage(Schema):
    """A page of collections."""

    items: list[SecretsSummary]
    next_page_token: str | None = None


class SecretsIn(Body):
    """A new collection."""

    id: str
    name: str | None = ""
    description: str | None = ""
    secrets: list[SecretIn] | None = None


class SecretOperationIn(Body):
    """One change of a collection; a deletion has no value."""

    op: Literal["create", "update", "delete"]
    type: Literal["env", "file"]
    location: str
    value: str | None = Field(None, repr=False)


class SecretsChange(Body):
    """Changes of a collection: all are made, or none."""

    name: str | None = None
    description: str | None = None
    operations: list[SecretOperationIn] | None = None
