"""The shapes of runs: what submits one, an item of the list, its information and its result."""

from __future__ import annotations

from typing import Any

from ninja import Schema
from pydantic import Field

from runs.api.times import Instant
from runs.api.v1.schemas.base import Body
from runs.api.v1.schemas.formats import FormatIn, FormatOut


class RunTypeIn(Body):
    """What kind of run is wanted; `standard` where nothing is said."""

    type: str | None = None
    definition_id: str | None = None
    reference_id: str | None = None


class QueuingIn(Body):
    """Priority from 1 (first) to 9; `disabled` refuses the run when it cannot start at once."""

    priority: int | None = None
    disabled: bool | None = None


class ConfigurationIn(Body):
    """How a run is executed; everything may be missing."""

    execution_class: str | None = Field(default=None, description="The queue; empty is `default`.")
    format: FormatIn | None = None
    run_type: RunTypeIn | None = None
    secrets_collection_id: str | None = None
    queuing: QueuingIn | None = None
    integration_id: str | None = None


class TrackedIn(Body):
    """What came of a run that was executed elsewhere; each upload was filled before."""

    status: str | None = Field(default=None, description="`succeeded` or `failed`.")
    execution_duration: float | None = Field(default=None, description="Milliseconds.")
    error_message: str | None = None
    output_upload_id: str | None = None
    error_upload_id: str | None = Field(default=None, description="The log.")
    metrics_upload_id: str | None = None
    statistics_upload_id: str | None = None
    assets_upload_id: str | None = None


class TrackingIn(Body):
    """Where a run comes from."""

    cloned_run_id: str | None = None


class RunIn(Body):
    """A run to submit; with `result` one that is only recorded.

    At most one of `input`, `upload_id` and `input_id`. `waits_for`, `wait_policy`, `limits` and
    `time_limit_s` are ours.
    """

    input: Any = Field(default=None, description="Any JSON; an object for a `json` application.")
    upload_id: str | None = None
    input_id: str | None = Field(default=None, description="A managed input.")
    name: str | None = None
    description: str | None = None
    options: dict[str, Any] | None = Field(
        default=None, description="Texts; other values become JSON."
    )
    configuration: ConfigurationIn | None = None
    batch_experiment_id: str | None = None
    result: TrackedIn | None = None
    tracking: TrackingIn | None = None
    waits_for: list[str] | None = Field(
        default=None, description="Ids of runs that must end before."
    )
    wait_policy: str | None = Field(
        default=None, description="`fail` (usual), `skip` or `continue`."
    )
    limits: dict[str, Any] | None = Field(default=None, description="By the names in docs/api.md.")
    time_limit_s: int | None = None


class RunCreated(Schema):
    """The answer to a submit."""

    run_id: str


class RunState(Schema):
    """The answer to cancel and stop: where the run is now."""

    run_id: str
    status_v2: str


class RunTypeOut(Schema):
    """`standard`, or `external` for a run that was executed elsewhere."""

    type: str
    definition_id: str
    reference_id: str


class OptionSummary(Schema):
    """An option in force; `source` is `manifest`, `instance` or `run`."""

    name: str
    value: str
    source: str


class OptionsOut(Schema):
    """The options of a run: in force, asked for, and where each comes from."""

    active_options: dict[str, str]
    request_options: dict[str, str]
    options_summary: list[OptionSummary]


class TrackingOut(Schema):
    """Where a run comes from."""

    cloned_run_id: str | None = None
    input_id: str | None = None


class Metadata(Schema):
    """The state of a run. Durations are milliseconds, sizes bytes.

    `statistics` is there only when the application produced some.
    """

    application_id: str
    application_instance_id: str
    application_version_id: str
    created_at: Instant
    initiated_at: Instant | None = None
    duration: float
    execution_duration: float | None = None
    error: str
    format: FormatOut
    input_size: int
    output_size: int
    status_v2: str
    run_type: RunTypeOut
    execution_class: str
    runtime: str
    queuing_priority: int
    queuing_disabled: bool
    options: OptionsOut
    metrics: dict[str, Any] | None = None
    statistics: dict[str, Any] | None = None
    experiment_id: str | None = None
    experiment_type: str | None = None
    secrets_collection_id: str | None = None
    tracking: TrackingOut | None = None


class RunInformation(Schema):
    """A run without its output. `phase`, `end_reason`, `detail` and `warnings` are ours."""

    id: str
    name: str
    description: str
    user_email: str
    console_url: str
    metadata: Metadata
    phase: str
    end_reason: str
    detail: str
    warnings: list[str]


class ErrorLog(Schema):
    """Why a run did not succeed, and the end of its log."""

    error: str
    stdout: str
    stderr: str


class RunResult(RunInformation):
    """A run with its output, where that is an object and `format=url` was not asked for."""

    output: dict[str, Any] | None = None
    error_log: ErrorLog | None = None
    waits_for: list[str] | None = None


class Indicator(Schema):
    """A metric."""

    name: str
    value: Any


class ItemMetrics(Schema):
    """The metrics of an item of the list."""

    status: str
    indicators: list[Indicator]


class RunItem(Schema):
    """A run in a list."""

    id: str
    user_email: str
    name: str
    description: str
    created_at: Instant
    application_id: str
    application_instance_id: str
    application_version_id: str
    run_type: RunTypeOut
    execution_class: str
    runtime: str
    status_v2: str
    queuing_priority: int
    queuing_disabled: bool
    experiment_id: str | None = None
    input_id: str | None = None
    options: dict[str, str]
    request_options: dict[str, str]
    options_summary: list[OptionSummary]
    metrics: ItemMetrics | None = None


class RunPage(Schema):
    """Runs, the newest first."""

    runs: list[RunItem]
    next_page_token: str | None = None


class Wait(Schema):
    """A run on one side of a wait; `outcome` is how the awaited one ended, once it has."""

    run_id: str
    name: str
    status_v2: str
    open: bool
    outcome: str
    policy: str


class Waits(Schema):
    """For which runs a run waits, and which wait for it."""

    waits_for: list[Wait]
    awaited_by: list[Wait]


class StartRange(Schema):
    """Between which instants 8 of 10 such runs start, and the one before which half of them do."""

    low: Instant
    median: Instant
    high: Instant


class DurationRange(Schema):
    """How long the program usually takes, in seconds, from this many ended runs."""

    low_s: float
    median_s: float
    high_s: float
    runs: int


class Estimate(Schema):
    """What is expected of a run; `reason` says why its start is not known."""

    status_v2: str
    expected_start: StartRange | None = None
    expected_duration: DurationRange | None = None
    reason: str
