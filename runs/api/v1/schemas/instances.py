"""The shape of an instance and its configuration."""

from __future__ import annotations

from typing import Any

from ninja import Schema

from runs.api.times import Instant
from runs.api.v1.schemas.base import Body
from runs.api.v1.schemas.formats import ContentTypeOut, FormatIn


class InstanceQueuingIn(Body):
    """How runs wait: priority 1 (first) to 9, and whether they may wait at all."""

    priority: int | None = None
    disabled: bool | None = None


class QueuingOut(Schema):
    """How runs wait; a priority that is missing is the usual one."""

    priority: int | None = None
    disabled: bool


class InstanceFormat(Schema):
    """The formats that runs of an instance have unless they say otherwise."""

    input: ContentTypeOut
    output: ContentTypeOut | None = None


class InstanceLimits(Schema):
    """Limits of runs of an instance; ours, unknown to the published client."""

    time_limit_s: int


class ConfigurationOut(Schema):
    """What runs of an instance start from; only what was said."""

    execution_class: str | None = None
    format: InstanceFormat | None = None
    options: dict[str, str] | None = None
    secrets_collection_id: str | None = None
    queuing: QueuingOut | None = None
    limits: InstanceLimits | None = None


class LimitsIn(Body):
    """Limits of runs of an instance; null takes one away."""

    time_limit_s: int | None = None


class InstanceConfigurationIn(Body):
    """What runs of an instance start from. It replaces what there was, but for `limits`.

    Values of options are texts; others are taken as their JSON.
    """

    execution_class: str | None = ""
    format: FormatIn | None = None
    options: dict[str, Any] | None = None
    secrets_collection_id: str | None = ""
    queuing: InstanceQueuingIn | None = None
    integration_id: str | None = ""
    limits: LimitsIn | None = None


class InstanceOut(Schema):
    """An instance. `version_id` is `latest` where it runs whatever was pushed last."""

    id: str
    application_id: str
    version_id: str
    name: str
    description: str
    configuration: ConfigurationOut
    locked: bool
    created_at: Instant
    updated_at: Instant


class InstancePage(Schema):
    """A page of instances."""

    items: list[InstanceOut]
    next_page_token: str | None = None


class InstanceIn(Body):
    """A new instance of a version, or of `latest`."""

    id: str
    version_id: str
    name: str | None = ""
    description: str | None = ""
    configuration: InstanceConfigurationIn | None = None


class InstanceChange(Body):
    """An instance with changes; what is missing stays."""

    version_id: str | None = None
    name: str | None = None
    description: str | None = None
    configuration: InstanceConfigurationIn | None = None


class Lock(Body):
    """Whether an instance is protected from changes and deletion."""

    locked: bool
