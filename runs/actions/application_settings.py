"""What the settings of an application say about its runs: limits, slots, key and retry rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from runs.actions.run_limits import MOST_SLOTS, most_allowed
from runs.domain.concurrency import POLICIES, check_expression
from runs.domain.errors import FieldsInvalid
from runs.domain.limits import is_given, limit_errors, manifest_limits
from runs.domain.manifest import Manifest, manifest_from_json
from runs.domain.retry import LONGEST_DELAY_S, MOST_RETRIES, parse_retry_on
from runs.models import Application


@dataclass(frozen=True)
class RunSettings:
    """What holds for all runs of an application; None or empty: as its manifest says.

    The names are those of the columns. Sizes are bytes, times seconds. The time limit is not among
    them: it is older, and a parameter of its own.
    """

    keep_at_time_limit: bool | None = None
    queue_limit_s: int | None = None
    memory_limit_bytes: int | None = None
    process_limit: int | None = None
    log_limit_bytes: int | None = None
    log_limit_action: str = ""
    output_limit_bytes: int | None = None
    output_limit_action: str = ""
    stop_signal: str = ""
    stop_grace_s: float | None = None
    slots: int | None = None
    concurrency_expression: str = ""
    concurrency_limit: int | None = None
    concurrency_policy: str = ""
    retries: int | None = None
    retry_on: str = ""
    retry_delay_s: float | None = None


SETTING_NAMES = tuple(field.name for field in fields(RunSettings))
LIMITS_AMONG = SETTING_NAMES[: SETTING_NAMES.index("slots")]
MOST_OF_KEY = 100_000
CONCURRENCY = ("concurrency_expression", "concurrency_limit", "concurrency_policy")


def settings_of(application: Application) -> RunSettings:
    """What the application's own settings say now: the first values of a form."""
    return RunSettings(**{name: getattr(application, name) for name in SETTING_NAMES})


def settings_of_manifest(manifest: Manifest) -> RunSettings:
    """What the manifest says: what holds where the settings say nothing, for hints in a form."""
    said = manifest.runsite
    limits = manifest_limits(said)
    # Any: as varied as the columns.
    values: dict[str, Any] = {name: limits[name] for name in LIMITS_AMONG if name in limits}
    return RunSettings(
        **values,
        **declared_concurrency(manifest),
        slots=said.slots,
        retries=said.retries,
        retry_on=" ".join(said.retry_on),
        retry_delay_s=said.retry_delay_s,
    )


def declared_concurrency(manifest: Manifest) -> dict[str, Any]:
    """The `concurrency` block of a manifest by the names of the columns; empty without one."""
    said = manifest.runsite.concurrency
    if said.limit is None:
        return {}
    return {
        "concurrency_expression": said.key.strip(),
        "concurrency_limit": min(said.limit, MOST_OF_KEY),
        "concurrency_policy": said.policy,
    }


def adopted_concurrency(application: Application, manifest: Manifest) -> dict[str, Any]:
    """The columns that an application takes over from the manifest of a new executable.

    Whoever admits runs looks at the application alone, so what a manifest declares is copied into
    settings that say nothing of it. From then on the settings hold, whatever later manifests say.
    """
    if any(is_given(getattr(application, name)) for name in CONCURRENCY):
        return {}
    return declared_concurrency(manifest)


def concurrency_warning(application: Application, manifest: Manifest) -> str:
    """In words that the manifest declares another key than the settings hold; empty if not."""
    declared = declared_concurrency(manifest)
    held = {name: getattr(application, name) for name in CONCURRENCY}
    held["concurrency_policy"] = held["concurrency_policy"] or Application.QUEUE
    if not declared or held == declared:
        return ""
    return (
        "`runsite.concurrency` of the manifest differs from the settings of the application, which"
        " hold. Empty them there before an upload to take over what the manifest says."
    )


def settings_columns(application: Application, settings: RunSettings) -> dict[str, Any]:
    """The columns of checked settings. Raises `FieldsInvalid` with the messages of each field."""
    columns = asdict(settings)
    columns["retry_on"] = " ".join(columns["retry_on"].replace(",", " ").split())
    columns["concurrency_expression"] = columns["concurrency_expression"].strip()
    errors = limit_errors({name: columns[name] for name in LIMITS_AMONG}, most=most_allowed())
    for name, least, most in (
        ("slots", 1, MOST_SLOTS),
        ("concurrency_limit", 1, MOST_OF_KEY),
        ("retries", 0, MOST_RETRIES),
        ("retry_delay_s", 0, int(LONGEST_DELAY_S)),
    ):
        value = columns[name]
        if value is not None and not least <= value <= most:
            errors[name] = [f"Give a number from {least} to {most}, or leave it empty."]
    errors |= _concurrency_errors(application, columns)
    try:
        parse_retry_on(columns["retry_on"])
    except FieldsInvalid as error:
        errors |= error.errors
    if errors:
        raise FieldsInvalid(errors)
    return columns


def _concurrency_errors(
    application: Application, columns: Mapping[str, Any]
) -> dict[str, list[str]]:
    errors: dict[str, list[str]] = {}
    policy = columns["concurrency_policy"]
    if policy and policy not in POLICIES:
        errors["concurrency_policy"] = [f"Choose one of {', '.join(POLICIES)}."]
    expression = columns["concurrency_expression"]
    if (expression or policy) and columns["concurrency_limit"] is None:
        errors["concurrency_limit"] = ["Say how many runs of a key may be under way at once."]
    executable = application.executable
    known = None
    if executable is not None:
        declared = manifest_from_json(executable.manifest).options.items
        known = tuple(option.name for option in declared)
    try:
        check_expression(expression, known)
    except FieldsInvalid as error:
        errors |= error.errors
    return errors
