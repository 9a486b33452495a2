"""The shape of an application."""

from __future__ import annotations

from ninja import Schema

from runs.api.times import Instant
from runs.api.v1.schemas.base import Body


class ApplicationOut(Schema):
    """An application. `default_instance` is empty where runs take the newest push."""

    id: str
    name: str
    description: str
    type: str
    default_instance: str
    default_experiment_instance: str
    locked: bool
    created_at: Instant
    updated_at: Instant


class ApplicationPage(Schema):
    """A page of applications."""

    items: list[ApplicationOut]
    next_page_token: str | None = None


class ApplicationIn(Body):
    """A new application."""

    id: str
    name: str
    description: str | None = ""
    is_pipeline: bool | None = False
    default_instance: str | None = ""
    default_experiment_instance: str | None = ""


class ApplicationChange(Body):
    """An application with changes; what is missing stays, `id` and times are ignored."""

    name: str | None = None
    description: str | None = None
    default_instance: str | None = None
    default_instance_id: str | None = None
    default_experiment_instance: str | None = None
