"""The information file of a run folder, as the published local tool writes and reads it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from runs.domain.content import FORMATS
from runs.domain.errors import InputRejected
from runs.domain.ids import is_chosen_id
from runs.domain.option_values import to_wire
from runs.domain.options import LONGEST_NAME, MOST_OPTIONS
from runs.domain.status import FINAL, Status

LONGEST_LABEL = 200
LONGEST_DESCRIPTION = 10_000
LONGEST_ERROR = 500
LONGEST_S = 10 * 366 * 86_400
UNFINISHED = "imported while unfinished"
"""The error of a run that had not ended where it comes from."""

_UNFINISHED_WORDS = frozenset({"queued", "running", "none"})
_RUN_TYPES = frozenset({"standard", "external", "ensemble", "ensemble-child"})
_OPTION_TYPES = (str, bool, int, float, list, dict)


class InformationInvalid(InputRejected):
    """The information file of a run folder cannot be used; the text says which part, and why."""


@dataclass(frozen=True)
class RunInformation:
    """What `<id>/<id>.json` says of a run. Times are aware, durations seconds, sizes bytes.

    `status` is None for a run that had not ended. `options` are those it was given, as texts.
    `metrics` and `statistics` are what the file itself holds; files of their own go before them.
    """

    run_id: str
    status: Status | None
    created_at: datetime
    input_format: str = "json"
    output_format: str = "json"
    name: str = ""
    description: str = ""
    error: str = ""
    duration_s: float | None = None
    execution_s: float | None = None
    application_id: str = ""
    instance_id: str = ""
    version_id: str = ""
    batch_experiment_id: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    metrics: object = None
    statistics: object = None
    output_size: int | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class WrittenOption:
    """An option as an export names it; `given` when the run or its instance set it."""

    name: str
    value: str
    source: str
    given: bool = True


@dataclass(frozen=True)
class WrittenRun:
    """A run as an export writes it into its information file, see `write_information`."""

    run_id: str
    status: Status
    created_at: datetime
    name: str = ""
    description: str = ""
    user_email: str = ""
    error: str = ""
    duration_s: float | None = None
    execution_s: float | None = None
    started_at: datetime | None = None
    application_id: str = ""
    instance_id: str = ""
    version_id: str = ""
    input_format: str = "json"
    output_format: str = "json"
    input_bytes: int = 0
    output_bytes: int = 0
    options: tuple[WrittenOption, ...] = ()
    requested: Mapping[str, str] = field(default_factory=dict)
    execution_class: str = ""
    runtime: str = ""
    run_type: str = "standard"
    queuing_disabled: bool = False
    priority: int = 0
    cloned_from: str = ""
    managed_input: str = ""
    batch_experiment_id: str = ""


def parse_information(document: object, *, folder: str) -> RunInformation:
    """What the document of `<folder>/<folder>.json` says; raises `InformationInvalid`.

    Id, status, time of creation and formats must be there and right, as nothing can be made up for
    them. Everything else may be missing; what is there and useless is passed over with a warning.
    """
    return _Parser(document, folder).parsed()


@dataclass
class _Parser:
    document: object
    folder: str
    warnings: list[str] = field(default_factory=list)

    def parsed(self) -> RunInformation:
        top = self.document
        if not isinstance(top, Mapping):
            raise self.fault("holds no object", "Write one, as the local tool does.")
        metadata = top.get("metadata")
        if not isinstance(metadata, Mapping):
            raise self.fault("has no object `metadata`", "Add it.")
        run_id = self.run_id(top)
        created_at = self.created_at(metadata)
        status = self.status(metadata)
        formats = metadata.get("format")
        formats = formats if isinstance(formats, Mapping) else {}
        input_format = self.format_of(formats, "input") or ""
        if not input_format:
            raise self.fault("has no `metadata.format.input.type`", f"Give one of {_list()}.")
        return RunInformation(
            run_id=run_id,
            status=status,
            created_at=created_at,
            input_format=input_format,
            output_format=self.format_of(formats, "output") or input_format,
            name=one_line(top.get("name"), LONGEST_LABEL),
            description=self.text(top, "description", LONGEST_DESCRIPTION),
            error=self.error(metadata, status),
            duration_s=self.seconds(metadata, "duration"),
            execution_s=self.seconds(metadata, "execution_duration"),
            application_id=self.id_in(metadata, "application_id"),
            instance_id=self.id_in(metadata, "application_instance_id"),
            version_id=self.id_in(metadata, "application_version_id"),
            batch_experiment_id=self.id_in(metadata, "experiment_id"),
            options=self.options(metadata.get("options")),
            metrics=metadata.get("metrics"),
            statistics=metadata.get("statistics"),
            output_size=self.size(metadata, "output_size"),
            warnings=tuple(self.warnings),
        )

    def fault(self, what: str, remedy: str) -> InformationInvalid:
        return InformationInvalid(f"`{self.folder}.json` {what}. {remedy}")

    def run_id(self, top: Mapping[str, object]) -> str:
        run_id = top.get("id")
        if not isinstance(run_id, str) or not is_chosen_id(run_id):
            raise self.fault(
                "has no `id` that can be one",
                "Use letters, digits, dots, dashes and underscores.",
            )
        if run_id != self.folder:
            raise self.fault(
                f"says that its id is `{run_id}`", "The folder, the file and the id must agree."
            )
        return run_id

    def created_at(self, metadata: Mapping[str, object]) -> datetime:
        given = metadata.get("created_at")
        if not isinstance(given, str) or len(given) > 64:
            raise self.fault("has no `metadata.created_at`", "Give the time as in ISO 8601.")
        try:
            instant = datetime.fromisoformat(given.strip())
            if instant.tzinfo is None:
                self.warnings.append("Its time of creation has no zone and was taken as UTC.")
                instant = instant.replace(tzinfo=UTC)
            instant = instant.astimezone(UTC)
        except (ValueError, OverflowError) as error:
            raise self.fault(
                f"has a `metadata.created_at` that is no time: `{one_line(given, 40)}`",
                "Write it as `2026-05-01T10:00:00Z`.",
            ) from error
        if not 1970 <= instant.year <= 2200:
            raise self.fault(
                f"has a `metadata.created_at` in the year {instant.year}",
                "Give the time at which the run was made.",
            )
        return instant

    def status(self, metadata: Mapping[str, object]) -> Status | None:
        word = metadata.get("status_v2")
        if isinstance(word, str) and word in _UNFINISHED_WORDS:
            return None
        if isinstance(word, str) and word in {status.value for status in FINAL}:
            return Status(word)
        raise self.fault(
            f"has no `metadata.status_v2` that is known, but `{one_line(word, 40)}`",
            "Known are queued, running, succeeded, failed and canceled.",
        )

    def format_of(self, formats: Mapping[str, object], part: str) -> str | None:
        holder = formats.get(part)
        name = holder.get("type") if isinstance(holder, Mapping) else None
        if name in (None, ""):
            return None
        if not isinstance(name, str) or name not in FORMATS:
            raise self.fault(
                f"has the unknown {part} format `{one_line(name, 40)}`", f"Known are {_list()}."
            )
        return name

    def error(self, metadata: Mapping[str, object], status: Status | None) -> str:
        if status is None:
            return UNFINISHED
        error = one_line(metadata.get("error"), LONGEST_ERROR)
        if status is Status.SUCCEEDED:
            if error:
                self.warnings.append(f"It succeeded, yet it named an error: {error[:200]}")
            return ""
        return error

    def text(self, holder: Mapping[str, object], name: str, limit: int) -> str:
        value = holder.get(name)
        return _storable(value[:limit]).strip() if isinstance(value, str) else ""

    def id_in(self, metadata: Mapping[str, object], name: str) -> str:
        value = metadata.get(name)
        return value if isinstance(value, str) and is_chosen_id(value) else ""

    def seconds(self, metadata: Mapping[str, object], name: str) -> float | None:
        """A number of milliseconds as seconds; None when it is no sensible one."""
        value = metadata.get(name)
        if value is None:
            return None
        if isinstance(value, int | float) and not isinstance(value, bool):
            try:
                found = float(value) / 1000
            except OverflowError:
                found = math.inf
            if 0 <= found <= LONGEST_S:
                return found
        self.warnings.append(f"`metadata.{name}` is no number of milliseconds; it was left out.")
        return None

    def size(self, metadata: Mapping[str, object], name: str) -> int | None:
        value = metadata.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return int(value) if math.isfinite(value) and 0 <= value < 2**63 else None

    def options(self, given: object) -> Mapping[str, str]:
        """The summary first, else the active ones, else those requested."""
        if not isinstance(given, Mapping):
            return {}
        pairs: list[tuple[object, object]] = []
        summary = given.get("options_summary")
        if isinstance(summary, list) and summary:
            for item in summary:
                if isinstance(item, Mapping):
                    pairs.append((item.get("name"), item.get("value")))
                else:
                    self.warnings.append("An option of the summary is no object; it was left out.")
        else:
            for key in ("active_options", "request_options"):
                found = given.get(key)
                if isinstance(found, Mapping) and found:
                    pairs = list(found.items())
                    break
        options: dict[str, str] = {}
        for name, value in pairs[:MOST_OPTIONS]:
            if not isinstance(name, str) or not name or len(name) > LONGEST_NAME:
                self.warnings.append("An option without a usable name was left out.")
            elif value is None or isinstance(value, _OPTION_TYPES):
                options[_storable(name)] = _storable(to_wire(value))
        if len(pairs) > MOST_OPTIONS:
            self.warnings.append(f"Only the first {MOST_OPTIONS} of its options were kept.")
        return options


def write_information(run: WrittenRun) -> bytes:
    """The information file of a run: strict JSON with every field that the local tool knows.

    Durations become milliseconds. The error of a run that succeeded is empty whatever `run` says,
    and all values of options are texts, as the tool refuses others.
    """
    error = "" if run.status is Status.SUCCEEDED else run.error
    given = [option for option in run.options if option.given]
    document = {
        "id": run.run_id,
        "name": run.name,
        "description": run.description,
        "user_email": run.user_email,
        "console_url": "",
        "metadata": {
            "application_id": run.application_id,
            "application_instance_id": run.instance_id,
            "application_version_id": run.version_id,
            "created_at": _instant(run.created_at),
            "initiated_at": _instant(run.started_at or run.created_at),
            "status_v2": run.status.value,
            "error": error,
            "duration": _milliseconds(run.duration_s) or 0.0,
            "execution_duration": _milliseconds(run.execution_s) or 0.0,
            "execution_class": run.execution_class,
            "experiment_id": run.batch_experiment_id,
            "experiment_type": "",
            "format": {
                "input": {"type": run.input_format},
                "output": {"type": run.output_format},
            },
            "input_size": run.input_bytes,
            "output_size": run.output_bytes,
            "options": {
                "active_options": {option.name: option.value for option in run.options},
                "request_options": dict(run.requested),
                "options_summary": [
                    {"name": option.name, "source": option.source, "value": option.value}
                    for option in given
                ],
            },
            "queuing_disabled": run.queuing_disabled,
            "queuing_priority": run.priority,
            "run_type": {
                "type": run.run_type if run.run_type in _RUN_TYPES else "standard",
                "definition_id": "",
                "reference_id": "",
            },
            "runtime": run.runtime,
            "secrets_collection_id": "",
            "tracking": {"cloned_run_id": run.cloned_from, "input_id": run.managed_input},
        },
    }
    return json.dumps(document, indent=2, allow_nan=False).encode()


def one_line(value: object, limit: int) -> str:
    """`value` as one printable line of at most `limit` characters; empty when it is no text."""
    if not isinstance(value, str):
        return "" if value is None else type(value).__name__[:limit]
    text = value[: 4 * limit]
    text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _storable(text: str) -> str:
    """`text` without what PostgreSQL and UTF-8 refuse: zero characters and halves of them."""
    return text.replace("\0", "\ufffd").encode(errors="replace").decode()


def _instant(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)


def _list() -> str:
    return ", ".join(FORMATS)
