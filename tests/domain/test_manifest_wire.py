"""The manifest on the wire: what a push declares is kept, what is wrong is said."""

from __future__ import annotations

from typing import Any

import pytest

from runs.domain.errors import ManifestInvalid
from runs.domain.manifest import Manifest, parse_manifest
from runs.domain.manifest_wire import manifest_from_wire, manifest_to_wire

CONTRACT: dict[str, Any] = {
    "executable_type": "python",
    "runtime": "ghcr.io/nextmv-io/runtime/python:3.11",
    "io_configuration": {
        "format": "multi-file",
        "multi_file": {
            "input_path": "data/in/",
            "output_configuration": {
                "statistics_path": "out/statistics.json",
                "metrics_path": "out/metrics.json",
                "assets_path": "out/assets.json",
                "solutions_path": "out/solutions/",
            },
        },
    },
    "options": {
        "strict": True,
        "validation": {"enforce": "all"},
        "items": [
            {
                "name": "duration",
                "option_type": "float",
                "default": 5.0,
                "description": "How long",
                "required": False,
                "local_only": False,
                "ui": {
                    "control_type": "slider",
                    "display_name": "Seconds",
                    "hidden_from": ["viewer"],
                },
                "additional_attributes": {"min": 1e-05, "max": 60, "step": 1},
            },
            {
                "name": "way",
                "option_type": "string",
                "description": "",
                "required": True,
                "local_only": False,
                "ui": {"control_type": "select"},
                "additional_attributes": {"values": ["fast", "3.10", "yes"]},
            },
            {
                "name": "label",
                "option_type": "string",
                "description": "",
                "required": False,
                "local_only": False,
                "additional_attributes": {"min_length": 1, "max_length": 9},
            },
            {
                "name": "exact",
                "option_type": "bool",
                "default": False,
                "description": "",
                "required": False,
                "local_only": False,
            },
        ],
        "format": {"template": ["--{{name}}={{value}}"]},
    },
    "entrypoint": "src/run.py",
    "working_directory": "src",
}


def test_what_the_contract_shows_comes_back_whole() -> None:
    assert manifest_to_wire(manifest_from_wire(CONTRACT)) == CONTRACT


@pytest.mark.parametrize("kind", ["python", "go", "java", "binary"])
@pytest.mark.parametrize("content", ["json", "text", "csv-archive", "multi-file"])
def test_a_manifest_comes_back_as_far_as_the_wire_has_words(kind: str, content: str) -> None:
    manifest = parse_manifest(
        f"""
        type: {kind}
        files: ['**']
        configuration:
          content: {{format: {content}}}
          options:
            items:
              - {{name: a, option_type: int, default: 3, additional_attributes: {{min: 1}}}}
        """
    )
    assert manifest_from_wire(manifest_to_wire(manifest)) == manifest


def test_what_is_missing_or_null_is_the_default() -> None:
    shortest = manifest_from_wire({})
    assert shortest == Manifest(files=("**",))
    nulls = {
        "executable_type": None,
        "runtime": None,
        "io_configuration": {"format": "multi-file", "multi_file": None},
        "options": {"strict": None, "validation": None, "items": None, "format": None},
        "entrypoint": None,
    }
    manifest = manifest_from_wire(nulls)
    assert manifest.content.input_path == "inputs/"
    assert manifest.options == shortest.options
    assert manifest.entrypoint == "main.py"
    assert manifest_from_wire({"executable_type": "java"}).entrypoint == "main.jar"


def test_what_the_wire_does_not_know_is_ignored() -> None:
    odd = {"new": [1], "options": {"later": True, "items": [], "strict": False}}
    assert (
        manifest_from_wire({**odd, "io_configuration": {"format": "json", "x": 1}}).warnings == ()
    )


def test_texts_above_the_size_of_a_manifest_are_refused() -> None:
    long = [{"name": name, "option_type": "string", "description": "d" * 600_000} for name in "ab"]
    for wire in ({"entrypoint": "e" * 1_100_000}, {"options": {"items": long}}):
        with pytest.raises(ManifestInvalid, match="characters of text"):
            manifest_from_wire({"executable_type": "python", **wire})


def test_options_for_local_runs_are_not_sent() -> None:
    manifest = parse_manifest(
        "files: [main.py]\nconfiguration: {options: {items: ["
        "{name: a, option_type: int, local_only: true}, {name: b, option_type: int}]}}"
    )
    assert [item["name"] for item in manifest_to_wire(manifest)["options"]["items"]] == ["b"]


def _deep(levels: int) -> list[Any]:
    return [_deep(levels - 1)] if levels else []


@pytest.mark.parametrize(
    ("wire", "words"),
    [
        (None, "`requirements` must be an object"),
        ([], "`requirements` must be an object"),
        ({"executable_type": "ruby"}, "`type` cannot be `ruby`"),
        ({"executable_type": ["python"]}, "`type` cannot be a list"),
        ({"entrypoint": "../main.py"}, "no path inside"),
        ({"working_directory": "../.."}, "leaves the working copy"),
        ({"io_configuration": {"format": "xml"}}, "`configuration.content.format` cannot be `xml`"),
        ({"io_configuration": {"format": "json", "multi_file": {}}}, "beside the format `json`"),
        ({"io_configuration": "json"}, "must be a block of keys"),
        ({"options": [1]}, "must be a block of keys"),
        ({"options": {"strict": "maybe"}}, "must be `true` or `false`"),
        ({"options": {"validation": {"enforce": "some"}}}, "cannot be `some`"),
        ({"options": {"format": {"template": "x"}}}, "must be a list of texts"),
        ({"options": {"items": [{"name": "a"}]}}, "option `a` has no `option_type`"),
        ({"options": {"items": [{"name": "a", "option_type": "date"}]}}, "the type cannot be"),
        (
            {"options": {"items": [{"name": "a", "option_type": "int"}] * 2}},
            "option `a` is declared twice",
        ),
        ({"runtime": "a\0b"}, "zero byte"),
        ({"runtime": "\ud83d"}, "half a character"),
        ({"options": {"items": _deep(60)}}, "nested more than 40 levels"),
        ({"options": {"items": [0] * 100_001}}, "more than 100,000 values"),
    ],
)
def test_what_is_wrong_is_said(wire: object, words: str) -> None:
    with pytest.raises(ManifestInvalid) as raised:
        manifest_from_wire(wire)
    assert words in raised.value.message


@pytest.mark.parametrize("number", [10**400, -(10**30), float("inf"), float("nan"), 1e308])
def test_odd_numbers_harm_nothing(number: float) -> None:
    item = {"name": "a", "option_type": "float", "default": number}
    manifest = manifest_from_wire({"options": {"items": [item]}})
    assert manifest.options.items[0].default in {None, 0.0, 1e308}
