"""What a manifest declares, as frozen dataclasses, and their form in JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from runs.domain.yaml_text import Problem

TYPES = ("python", "go", "java", "binary")
DEFAULT_RUNTIME = "ghcr.io/nextmv-io/runtime/python:3.11"
KNOWN_RUNTIMES = tuple(
    f"ghcr.io/nextmv-io/runtime/{name}"
    for name in (
        "default:latest",
        "python:3.11",
        "java:latest",
        "pyomo:latest",
        "cuopt:latest",
        "gamspy:latest",
        "python-cuda:3.11-13.0",
    )
)
DEFAULT_ENTRYPOINTS: MappingProxyType[str, str] = MappingProxyType(
    {"python": "main.py", "go": "main", "binary": "main", "java": "main.jar"}
)
DEFAULT_OPTION_FORMAT = ("-{{name}}", "{{value}}")
BUNDLED_DEPENDENCIES = ".nextmv/python/deps/"
"""Where a push puts the dependencies that come along in the archive."""

OPTION_TYPES = ("string", "bool", "int", "float")
CONTROLS = ("input", "select", "multiselect", "slider", "toggle")


@dataclass(frozen=True)
class Requirements:
    """Where the Python dependencies come from.

    `kind` is `none`, `list` (then `entries`), `file` or `pyproject` (then `path`), or `bundled`.
    """

    kind: str = "none"
    entries: tuple[str, ...] = ()
    path: str = ""

    def for_files(self, paths: Iterable[str]) -> Requirements:
        """These, or `bundled` when dependencies lie in the archive, whose `paths` are given."""
        if any(path.startswith(BUNDLED_DEPENDENCIES) for path in paths):
            return Requirements("bundled", path=BUNDLED_DEPENDENCIES)
        return self


@dataclass(frozen=True)
class PythonSettings:
    """The `python` block; empty texts where nothing is said."""

    requirements: Requirements = field(default_factory=Requirements)
    version: str = ""
    arch: str = ""


@dataclass(frozen=True)
class Build:
    """The `build` block: a command run before a push, and its variables."""

    command: str = ""
    environment: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Content:
    """Input and output of the application; the paths matter for `multi-file` only.

    `declared` is false when the manifest names no format and `json` is assumed. An empty
    `statistics_path` means the default places.
    """

    format: str = "json"
    declared: bool = False
    input_path: str = "inputs/"
    solutions_path: str = "outputs/solutions/"
    metrics_path: str = "outputs/metrics.json"
    assets_path: str = "outputs/assets.json"
    statistics_path: str = ""


@dataclass(frozen=True)
class OptionDefinition:
    """One declared option. `type` is one of `OPTION_TYPES`; `control` of `CONTROLS`, or empty."""

    name: str
    type: str = "string"
    default: Any = None  # any JSON value: the shape belongs to the application
    description: str = ""
    required: bool = False
    local_only: bool = False
    minimum: int | float | None = None
    maximum: int | float | None = None
    step: int | float | None = None
    min_length: int | None = None
    max_length: int | None = None
    values: tuple[str | int | float | bool, ...] = ()
    control: str = ""
    display_name: str = ""
    hidden_from: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """What people read: the display name, else the name."""
        return self.display_name or self.name

    @property
    def effective_control(self) -> str:
        """The control to draw; guessed from type and values when none is declared."""
        if self.control:
            return self.control
        if self.type == "bool":
            return "toggle"
        return "select" if self.values else "input"


@dataclass(frozen=True)
class OptionsBlock:
    """The `configuration.options` block. `enforce` is `none` or `all`; `format` are arguments."""

    items: tuple[OptionDefinition, ...] = ()
    strict: bool = False
    enforce: str = "none"
    format: tuple[str, ...] = DEFAULT_OPTION_FORMAT

    def named(self, name: str) -> OptionDefinition | None:
        """The definition of `name`, None when it is not declared."""
        return next((item for item in self.items if item.name == name), None)


@dataclass(frozen=True)
class Concurrency:
    """How many runs may be active at once, per value of `key`; no `limit` is no rule.

    `key` is a text with names of options in braces; empty, the runs of the application share one.
    """

    key: str = ""
    limit: int | None = None
    policy: str = "queue"


@dataclass(frozen=True)
class RunsiteSettings:
    """The `runsite` block: what this console adds. None, or an empty text, where nothing is said.

    `retry_on` are words of `runs.domain.retry`.
    """

    time_limit_s: float | None = None
    repeatable: bool | None = None
    slots: int = 1
    free_options: bool | None = None
    stop_signal: str = "SIGINT"
    memory_limit_mb: int | None = None
    log_limit_mb: int | None = None
    output_limit_mb: int | None = None
    keep_at_time_limit: bool | None = None
    queue_limit_s: float | None = None
    process_limit: int | None = None
    log_limit_action: str = ""
    output_limit_action: str = ""
    stop_grace_s: float | None = None
    retries: int | None = None
    retry_on: tuple[str, ...] = ()
    retry_delay_s: float | None = None
    concurrency: Concurrency = field(default_factory=Concurrency)


@dataclass(frozen=True)
class Manifest:
    """An application's manifest, checked.

    `entrypoint` is the program to start, relative to the root of the application, the default of
    its type filled in. `cwd` is empty for the root of the working copy. `warnings` are the oddities
    found while parsing.
    """

    files: tuple[str, ...]
    type: str = "python"
    runtime: str = DEFAULT_RUNTIME
    entrypoint: str = "main.py"
    cwd: str = ""
    python: PythonSettings = field(default_factory=PythonSettings)
    build: Build = field(default_factory=Build)
    pre_push: str = ""
    content: Content = field(default_factory=Content)
    options: OptionsBlock = field(default_factory=OptionsBlock)
    runsite: RunsiteSettings = field(default_factory=RunsiteSettings)
    warnings: tuple[Problem, ...] = ()

    @property
    def default_entrypoint(self) -> str:
        """The program that is started when the manifest names none."""
        return DEFAULT_ENTRYPOINTS[self.type]

    @property
    def requirements(self) -> Requirements:
        """Where the Python dependencies come from, as far as the manifest says."""
        return self.python.requirements

    @property
    def allows_free_options(self) -> bool:
        """Whether a run may be given options that are not declared."""
        return not self.options.strict and self.runsite.free_options is not False


def manifest_to_json(manifest: Manifest) -> dict[str, Any]:
    """The manifest as JSON value; `manifest_from_json` reads it back to an equal manifest."""
    written = _listed(dataclasses.asdict(manifest))
    assert isinstance(written, dict)
    return written


def manifest_from_json(data: Mapping[str, Any]) -> Manifest:
    """The manifest that `manifest_to_json` wrote.

    Fields that are missing get their defaults and unknown ones are ignored, so that rows of older
    and newer releases can be read during an upgrade.
    """
    python = _part(data, "python")
    options = _part(data, "options")
    return Manifest(
        **_fields(
            Manifest,
            data,
            files=tuple(data.get("files", ())),
            python=PythonSettings(
                **_fields(
                    PythonSettings,
                    python,
                    requirements=Requirements(
                        **_fields(Requirements, _part(python, "requirements"))
                    ),
                )
            ),
            build=Build(
                **_fields(
                    Build,
                    _part(data, "build"),
                    environment=tuple(
                        (str(name), str(value))
                        for name, value in _part(data, "build").get("environment", ())
                    ),
                )
            ),
            content=Content(**_fields(Content, _part(data, "content"))),
            options=OptionsBlock(
                **_fields(
                    OptionsBlock,
                    options,
                    items=tuple(
                        OptionDefinition(**_fields(OptionDefinition, item))
                        for item in options.get("items", ())
                    ),
                )
            ),
            runsite=_runsite(_part(data, "runsite")),
            warnings=tuple(Problem(**_fields(Problem, item)) for item in data.get("warnings", ())),
        )
    )


def _runsite(data: Mapping[str, Any]) -> RunsiteSettings:
    settings = RunsiteSettings(
        **_fields(
            RunsiteSettings,
            data,
            concurrency=Concurrency(**_fields(Concurrency, _part(data, "concurrency"))),
        )
    )
    # Before there was a stop signal, its default was written here although it did nothing.
    if "stop_grace_s" not in data and settings.stop_signal == "SIGTERM":
        return dataclasses.replace(settings, stop_signal=RunsiteSettings.stop_signal)
    return settings


def _part(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    part = data.get(key)
    return part if isinstance(part, Mapping) else {}


def _fields(shape: Any, data: Mapping[str, Any], **made: Any) -> dict[str, Any]:
    """The keyword arguments of the dataclass `shape` found in `data`; `made` ones win."""
    found = {}
    for one in dataclasses.fields(shape):
        if one.name in data:
            value = data[one.name]
            frozen = isinstance(value, list) and one.name != "default"
            found[one.name] = tuple(value) if frozen else value
    return found | made


def _listed(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _listed(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_listed(item) for item in value]
    return value
