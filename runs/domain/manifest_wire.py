"""The manifest in the form of the API, as a push declares it: the object `requirements`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from runs.domain.errors import ManifestInvalid
from runs.domain.manifest import read_manifest
from runs.domain.manifest_fields import Content, Manifest, OptionDefinition, OptionsBlock
from runs.domain.yaml_text import DEEPEST_NESTING, MOST_NODES

MOST_TEXT = 1024 * 1024
"""Characters; an `app.yaml` has no more bytes. Lists of versions show a hundred manifests."""
_TAG = "tag:yaml.org,2002:"
_LIMITS = {"minimum": "min", "maximum": "max", "step": "step"}
_LENGTHS = {"min_length": "min_length", "max_length": "max_length"}


def manifest_from_wire(requirements: object) -> Manifest:
    """The manifest that the object `requirements` of the API declares.

    Its keys are `executable_type`, `runtime`, `io_configuration`, `options`, `entrypoint` and
    `working_directory`; others are ignored, missing ones and null mean the default. It is checked
    as an `app.yaml` is, and as nothing is said of files, all of them count. Raises
    `ManifestInvalid` with every problem; they name the keys of `app.yaml`, which people wrote.
    """
    if not isinstance(requirements, Mapping):
        raise _invalid("`requirements` must be an object with at least `executable_type`")
    options = requirements.get("options")
    document = {
        "type": requirements.get("executable_type"),
        "runtime": requirements.get("runtime"),
        "files": ["**"],
        "execution": {
            "entrypoint": requirements.get("entrypoint"),
            "cwd": requirements.get("working_directory"),
        },
        "configuration": {
            "content": _content_document(requirements.get("io_configuration")),
            "options": _known(options, ("strict", "validation", "items", "format")),
        },
    }
    # What is odd in it, the archive's own manifest is warned about.
    return read_manifest(_Nodes().of(document), filename="requirements", warn=False)


def manifest_to_wire(manifest: Manifest) -> dict[str, Any]:
    """The object `requirements` for a manifest.

    `manifest_from_wire` reads it back to the same type, runtime, entry file, working directory,
    formats and options; options that are for local runs only are left out, as a push does.
    """
    wire: dict[str, Any] = {
        "executable_type": manifest.type,
        "runtime": manifest.runtime,
        "io_configuration": _content_to_wire(manifest.content),
        "options": _options_to_wire(manifest.options),
        "entrypoint": manifest.entrypoint,
    }
    if manifest.cwd:
        wire["working_directory"] = manifest.cwd
    return wire


def _content_document(wire: object) -> object:
    if not isinstance(wire, Mapping):
        return wire
    multi = wire.get("multi_file")
    if isinstance(multi, Mapping):
        output = multi.get("output_configuration")
        if isinstance(output, Mapping):
            output = {
                name: output.get(f"{name}_path")
                for name in ("solutions", "metrics", "assets", "statistics")
            }
        multi = {"input": {"path": multi.get("input_path")}, "output": output}
    return {"format": wire.get("format"), "multi-file": multi}


def _known(wire: object, keys: tuple[str, ...]) -> object:
    return {key: wire.get(key) for key in keys} if isinstance(wire, Mapping) else wire


def _content_to_wire(content: Content) -> dict[str, Any]:
    wire: dict[str, Any] = {"format": content.format}
    if content.format == "multi-file":
        output = {
            f"{name}_path": path
            for name in ("statistics", "metrics", "assets", "solutions")
            if (path := getattr(content, f"{name}_path"))
        }
        wire["multi_file"] = {"input_path": content.input_path, "output_configuration": output}
    return wire


def _options_to_wire(options: OptionsBlock) -> dict[str, Any]:
    return {
        "strict": options.strict,
        "validation": {"enforce": options.enforce},
        "items": [_option_to_wire(item) for item in options.items if not item.local_only],
        "format": {"template": list(options.format)},
    }


def _option_to_wire(item: OptionDefinition) -> dict[str, Any]:
    wire: dict[str, Any] = {
        "name": item.name,
        "option_type": item.type,
        "description": item.description,
        "required": item.required,
        "local_only": item.local_only,
    }
    if item.default is not None:
        wire["default"] = item.default
    attributes = {
        name: value
        for field, name in (_LIMITS | _LENGTHS).items()
        if (value := getattr(item, field)) is not None
    }
    if item.values:
        attributes["values"] = list(item.values)
    if attributes:
        wire["additional_attributes"] = attributes
    shown = {
        "control_type": item.control,
        "display_name": item.display_name,
        "hidden_from": list(item.hidden_from),
    }
    if ui := {name: value for name, value in shown.items() if value}:
        wire["ui"] = ui
    return wire


class _Nodes:
    """Makes of a JSON value what the YAML reader makes of a text; bounded as that is."""

    def __init__(self) -> None:
        self._count = 0
        self._text = 0

    def of(self, value: object, depth: int = 0) -> Node:
        """The node of `value`; raises `ManifestInvalid` when it is too large, or no text."""
        self._count += 1
        if self._count > MOST_NODES or depth > DEEPEST_NESTING:
            raise _invalid(
                f"`requirements` has more than {MOST_NODES:,} values, or is nested more than"
                f" {DEEPEST_NESTING} levels deep"
            )
        if isinstance(value, str):
            self._text += len(value)
            if self._text > MOST_TEXT:
                raise _invalid(f"`requirements` has more than {MOST_TEXT:,} characters of text")
        if isinstance(value, Mapping):
            pairs = [
                (self.of(str(key), depth + 1), self.of(item, depth + 1))
                for key, item in value.items()
            ]
            return MappingNode(f"{_TAG}map", pairs)
        if isinstance(value, list | tuple):
            return SequenceNode(f"{_TAG}seq", [self.of(item, depth + 1) for item in value])
        return _scalar(value)


def _scalar(value: object) -> ScalarNode:
    if value is None:
        return ScalarNode(f"{_TAG}null", "null")
    if isinstance(value, bool):
        return ScalarNode(f"{_TAG}bool", "true" if value else "false")
    if isinstance(value, int):
        return ScalarNode(f"{_TAG}int", str(value) if abs(value) < 2**63 else "0")
    if isinstance(value, float):
        return ScalarNode(f"{_TAG}float", repr(value) if math.isfinite(value) else ".nan")
    text = str(value)
    if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise _invalid("a value in `requirements` holds a zero byte or half a character")
    return ScalarNode(f"{_TAG}str", text)


def _invalid(message: str) -> ManifestInvalid:
    return ManifestInvalid(f"{message}. Correct it, then activate the upload again.")
