"""The manifest parser: every field, every rule, every hostile text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runs.domain.errors import ManifestInvalid
from runs.domain.manifest import (
    Manifest,
    Requirements,
    RunsiteSettings,
    manifest_from_json,
    manifest_to_json,
    parse_manifest,
)
from runs.domain.manifest_fields import Concurrency

EXAMPLES = Path(__file__).parents[2] / "examples"

FULL = """\
type: python
runtime: ghcr.io/nextmv-io/runtime/pyomo:latest
files:
  - src/**
  - "!src/**/*.tmp"
execution:
  entrypoint: ./src/start.py
python:
  pip-requirements:
    - numpy==2.1
    - " highspy "
  version: "3.12"
  arch: amd64
build:
  command: |
    make
      all
  environment: {CGO_ENABLED: 0, DEBUG: true, MODE: 3.10}
pre-push: |
  echo one
  echo two
configuration:
  content:
    format: multi-file
    multi-file:
      input: {path: data/}
      output: {solutions: out/solutions, metrics: m.json, assets: a.json, statistics: s.json}
  options:
    strict: true
    validation: {enforce: all}
    format: ["--{{name}}={{value}}"]
    items:
      - name: solve.duration
        option_type: float
        default: 10
        description: |
          Time
          limit
        required: true
        additional_attributes: {min: 0, max: 60, step: 0.5}
        ui: {control_type: slider, display_name: Limit, hidden_from: [operator, viewer]}
      - name: mode
        type: string
        default: 3.10
        local_only: true
        ui: {control_type: select}
        additional_attributes: {values: [3.10, yes, plain]}
runsite:
  time_limit_s: 90
  repeatable: false
  slots: 2
  stop_signal: SIGINT
  memory_limit_mb: 512
  log_limit_mb: 10
  output_limit_mb: 20
  keep_at_time_limit: true
  queue_limit_s: 3600
  process_limit: 40
  log_limit_action: fail
  output_limit_action: truncate
  stop_grace_s: 2.5
  retries: 3
  retry_on: [worker_lost, "exit_code:75"]
  retry_delay_s: 0
  concurrency: {key: "{region}-{mode}", limit: 2, policy: replace}
"""


def item(body: str) -> str:
    """A manifest with one option, whose keys are `body` (flow style)."""
    return f"files: [main.py]\nconfiguration:\n  options:\n    items:\n      - {{{body}}}\n"


def messages(text: str) -> list[str]:
    """The problems of an invalid manifest."""
    with pytest.raises(ManifestInvalid) as caught:
        parse_manifest(text)
    assert caught.value.problems
    return [str(problem) for problem in caught.value.problems]


def warnings(text: str) -> list[str]:
    return [str(warning) for warning in parse_manifest(text).warnings]


@pytest.mark.parametrize("name", ["knapsack", "routing", "forecast", "stress"])
def test_the_sample_apps_are_read_without_a_warning(name: str) -> None:
    manifest = parse_manifest((EXAMPLES / name / "app.yaml").read_text())
    assert manifest.warnings == ()
    assert manifest.entrypoint == "main.py"
    assert manifest.requirements == Requirements("file", path="requirements.txt")
    expected = {"knapsack": 5, "routing": 5, "forecast": 5, "stress": 16}
    assert len(manifest.options.items) == expected[name]


def test_the_options_of_a_sample_app_are_read_with_all_they_say() -> None:
    manifest = parse_manifest((EXAMPLES / "routing" / "app.yaml").read_text())
    seed = manifest.options.named("seed")
    assert seed is not None
    assert (seed.type, seed.default, seed.minimum, seed.maximum, seed.step) == (
        "int",
        1,
        0,
        1000000,
        1,
    )
    assert seed.hidden_from == ("operator",)
    assert seed.label == "Random seed"
    assert manifest.options.strict
    assert manifest.options.enforce == "all"
    metric = manifest.options.named("metric")
    assert metric is not None
    assert metric.values == ("total", "longest")


def test_every_field_is_read() -> None:
    manifest = parse_manifest(FULL)
    assert manifest.files == ("src/**", "!src/**/*.tmp")
    assert manifest.entrypoint == "src/start.py"
    assert manifest.requirements == Requirements("list", entries=("numpy==2.1", "highspy"))
    assert (manifest.python.version, manifest.python.arch) == ("3.12", "amd64")
    assert manifest.build.command == "make all"
    assert manifest.build.environment == (
        ("CGO_ENABLED", "0"),
        ("DEBUG", "true"),
        ("MODE", "3.10"),
    )
    assert manifest.pre_push == "echo one echo two"
    content = manifest.content
    assert (content.format, content.declared, content.input_path) == ("multi-file", True, "data/")
    assert (content.solutions_path, content.metrics_path) == ("out/solutions", "m.json")
    assert (content.assets_path, content.statistics_path) == ("a.json", "s.json")
    assert manifest.options.format == ("--{{name}}={{value}}",)
    duration, mode = manifest.options.items
    assert (duration.name, duration.type, duration.default) == ("solve.duration", "float", 10.0)
    assert (duration.description, duration.required) == ("Time limit", True)
    assert duration.hidden_from == ("operator", "viewer")
    assert (mode.default, mode.values, mode.local_only) == ("3.10", ("3.10", "yes", "plain"), True)
    assert manifest.runsite == RunsiteSettings(
        time_limit_s=90.0,
        repeatable=False,
        slots=2,
        free_options=None,
        stop_signal="SIGINT",
        memory_limit_mb=512,
        log_limit_mb=10,
        output_limit_mb=20,
        keep_at_time_limit=True,
        queue_limit_s=3600.0,
        process_limit=40,
        log_limit_action="fail",
        output_limit_action="truncate",
        stop_grace_s=2.5,
        retries=3,
        retry_on=("worker_lost", "exit_code:75"),
        retry_delay_s=0.0,
        concurrency=Concurrency("{region}-{mode}", 2, "replace"),
    )
    assert manifest.warnings == ()


def test_a_minimal_manifest_gets_the_defaults_of_the_contract() -> None:
    manifest = parse_manifest("files: [main.py]\npython:\nconfiguration: ~\n")
    assert manifest == Manifest(files=("main.py",))
    assert manifest.content.input_path == "inputs/"
    assert not manifest.content.declared
    assert manifest.options.format == ("-{{name}}", "{{value}}")
    assert manifest.requirements.kind == "none"
    assert manifest.allows_free_options


@pytest.mark.parametrize(
    ("kind", "entry"),
    [("python", "main.py"), ("go", "main"), ("binary", "main"), ("java", "main.jar")],
)
def test_the_entry_depends_on_the_type(kind: str, entry: str) -> None:
    manifest = parse_manifest(f"type: {kind}\nfiles: [x]\n")
    assert manifest.entrypoint == manifest.default_entrypoint == entry


@pytest.mark.parametrize("text", [FULL, "files: [a]\nentrypoint: b\n"])
def test_a_manifest_survives_json(text: str) -> None:
    manifest = parse_manifest(text)
    assert manifest_from_json(json.loads(json.dumps(manifest_to_json(manifest)))) == manifest


def test_nothing_said_about_limits_leaves_them_to_others() -> None:
    settings = parse_manifest("files: [a]\nrunsite: {slots: 1}\n").runsite
    assert settings == RunsiteSettings()
    assert settings.stop_signal == "SIGINT"
    assert settings.concurrency == Concurrency(key="", limit=None, policy="queue")


@pytest.mark.parametrize("written", ["signal exit_code:3", "[signal, 'exit_code:3']"])
def test_causes_of_retries_are_a_list_or_a_text(written: str) -> None:
    settings = parse_manifest(f"files: [a]\nrunsite: {{retry_on: {written}}}\n").runsite
    assert settings.retry_on == ("signal", "exit_code:3")


def test_a_stored_manifest_without_the_newer_settings_gets_their_defaults() -> None:
    data = manifest_to_json(parse_manifest("files: [a]\nrunsite: {time_limit_s: 5}\n"))
    older = ("time_limit_s", "repeatable", "slots", "free_options", "memory_limit_mb")
    data["runsite"] = {key: data["runsite"][key] for key in older}
    # What the release before wrote for every manifest that named no signal.
    data["runsite"]["stop_signal"] = "SIGTERM"
    assert manifest_from_json(json.loads(json.dumps(data))).runsite == RunsiteSettings(5.0)


def test_a_stored_stop_signal_stays() -> None:
    manifest = parse_manifest("files: [a]\nrunsite: {stop_signal: SIGTERM}\n")
    assert manifest_from_json(manifest_to_json(manifest)).runsite.stop_signal == "SIGTERM"


def test_rows_of_other_releases_are_read() -> None:
    data = manifest_to_json(parse_manifest(FULL))
    data["new"] = {"x": 1}
    data["options"]["items"][0]["newer"] = 1
    del data["runsite"], data["build"]
    assert manifest_from_json(data).options.items[0].name == "solve.duration"
    assert manifest_from_json({}).files == ()


@pytest.mark.parametrize(
    ("written", "version"), [("3.10", "3.10"), ("3.11", "3.11"), ("'3.9'", "3.9"), ("3", "3")]
)
def test_a_python_version_without_quotes_is_read_as_it_is_written(
    written: str, version: str
) -> None:
    manifest = parse_manifest(f"files: [a]\npython: {{version: {written}}}\n")
    assert manifest.python.version == version
    assert bool(manifest.warnings) == (written == "3.10")


@pytest.mark.parametrize(
    ("written", "requirements"),
    [
        ("reqs/base.txt", Requirements("file", path="reqs/base.txt")),
        ("./pyproject.toml", Requirements("pyproject", path="pyproject.toml")),
        ("[a, b]", Requirements("list", entries=("a", "b"))),
        ("[]", Requirements()),
        ("''", Requirements()),
    ],
)
@pytest.mark.parametrize("key", ["pip-requirements", "pip_requirements"])
def test_requirements_come_as_file_list_or_project(
    key: str, written: str, requirements: Requirements
) -> None:
    manifest = parse_manifest(f"files: [a]\npython: {{{key}: {written}}}\n")
    assert manifest.requirements == requirements
    assert manifest.warnings == ()


def test_dependencies_in_the_archive_go_before_what_the_manifest_says() -> None:
    stated = Requirements("list", entries=("numpy",))
    assert stated.for_files(["main.py"]) == stated
    assert stated.for_files(["main.py", ".nextmv/python/deps/six.py"]).kind == "bundled"


def test_unknown_keys_are_warned_about_at_every_level() -> None:
    found = warnings(
        "files: [a]\n"
        "entrypoint: b.py\n"
        "fils: [c]\n"
        "execution: {entry: x}\n"
        "python: {versoin: '3.11'}\n"
        "configuration:\n"
        "  content: {fromat: json}\n"
        "  options:\n"
        "    stritc: true\n"
        "    items:\n"
        "      - {name: a, type: int, min: 3, choices: [1], ui: {control: input}}\n"
        "runsite: {timelimit_s: 3}\n"
    )
    assert found[0] == (
        "app.yaml, line 2: the key `entrypoint` is unknown and has no effect. "
        "It belongs to `execution.entrypoint`; move it there."
    )
    assert found[1].startswith("app.yaml, line 3: the key `fils`")
    assert "Did you mean `files`?" in found[1]
    text = "\n".join(found)
    for hint in (
        "line 5: the key `python.versoin` is unknown and has no effect. Did you mean `version`?",
        "Did you mean `format`?",
        "line 9: the key `configuration.options.stritc`",
        "It belongs to `configuration.options.items[0].additional_attributes`",
        "It belongs to `configuration.options.items[0].additional_attributes.values`",
        "Did you mean `control_type`?",
        "Did you mean `time_limit_s`?",
        "`execution.entry` is unknown",
    ):
        assert hint in text
    assert len(found) == 10


def test_an_unknown_runtime_is_kept_with_a_warning() -> None:
    manifest = parse_manifest("files: [a]\nruntime: ghcr.io/nextmv-io/runtime/hexaly:latest\n")
    assert manifest.runtime.endswith("hexaly:latest")
    assert "hexaly" in str(manifest.warnings[0])


def test_a_slider_without_a_step_is_refused_in_so_many_words() -> None:
    text = (
        "files: [main.py]\n"
        "configuration:\n"
        "  options:\n"
        "    items:\n"
        "      - name: duration\n"
        "        option_type: float\n"
        "        ui: {control_type: slider}\n"
        "        additional_attributes:\n"
        "          min: 1\n"
        "          max: 2\n"
    )
    assert messages(text) == [
        "app.yaml, line 9: option `duration`: a slider needs `step`. "
        "Add `additional_attributes.step`."
    ]


GOOD = [
    "type: string, ui: {control_type: input}",
    "type: string, ui: {control_type: input}, additional_attributes: {max_length: 2}",
    "type: string, ui: {control_type: select}, additional_attributes: {values: [a]}",
    "type: string, ui: {control_type: multiselect}, additional_attributes: {values: [a]}",
    "type: int, ui: {control_type: input}, additional_attributes: {min: 1, max: 2, step: 1}",
    "type: float, ui: {control_type: input}, additional_attributes: {max: 2}",
    "type: float, ui: {control_type: select}, additional_attributes: {values: [1, 2.5]}",
    "type: int, ui: {control_type: slider}, additional_attributes: {min: 1, max: 2, step: 1}",
    "type: bool, ui: {control_type: toggle}",
    "type: bool, ui: {control_type: toggle}, additional_attributes: {}",
    "type: bool, additional_attributes: {colour: red}",
    "type: int, additional_attributes: {min_length: 1}",
]


@pytest.mark.parametrize("body", GOOD)
def test_the_matrix_of_types_and_controls_lets_through(body: str) -> None:
    manifest = parse_manifest(item(f"name: x, {body}"))
    assert manifest.options.items[0].name == "x"
    assert manifest.warnings == ()


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ("type: string, ui: {control_type: slider}", "`slider` does not go with the type `string`"),
        ("type: string, ui: {control_type: toggle}", "Use `input`, `select`, `multiselect`"),
        ("type: bool, ui: {control_type: input}", "does not go with the type `bool`"),
        ("type: int, ui: {control_type: multiselect}", "does not go with the type `int`"),
        ("type: float, ui: {control_type: toggle}", "does not go with the type `float`"),
        ("type: string, ui: {control_type: select}", "a select needs `values`"),
        ("type: string, ui: {control_type: multiselect}", "a multiselect needs `values`"),
        (
            "type: int, ui: {control_type: slider}, additional_attributes: {min: 1, step: 1}",
            "a slider needs `max`",
        ),
        (
            "type: string, ui: {control_type: input}, additional_attributes: {min: 1}",
            "an input of type string does not take `min`",
        ),
        (
            "type: bool, ui: {control_type: toggle}, additional_attributes: {values: [true]}",
            "a toggle of type bool does not take `values`",
        ),
        (
            "type: int, ui: {control_type: input}, additional_attributes: {mim: 1}",
            "Did you mean `min`?",
        ),
        (
            "type: int, ui: {control_type: input}, additional_attributes: {min: low}",
            "`min` is not a finite number",
        ),
        (
            "type: float, ui: {control_type: input}, additional_attributes: {max: .inf}",
            "`max` is not a finite number",
        ),
        (
            "type: int, ui: {control_type: input}, additional_attributes: {min: 3, max: 2}",
            "`min` 3 is above `max` 2",
        ),
        (
            "type: int, ui: {control_type: slider}, "
            "additional_attributes: {min: 3, max: 4, step: 0}",
            "`step` is 0, but must be above 0",
        ),
        (
            "type: int, ui: {control_type: select}, additional_attributes: {values: [1, two]}",
            "the text `two` in `values` is not of the type int",
        ),
        (
            "type: int, ui: {control_type: select}, additional_attributes: {values: []}",
            "`values` must be a list with at least one value",
        ),
        ("type: int, required: true, local_only: true", "cannot both be true"),
        ("type: integer", "Did you mean `int`?"),
        ("default: 3", "has no `option_type`"),
        ("type: int, ui: {control_type: slidr}", "Did you mean `slider`?"),
        ("type: int, ui: {hidden_from: [operators]}", "Did you mean `operator`?"),
        ("type: int, ui: {hidden_from: operator}", "must be a list"),
        ("type: int, required: perhaps", "must be `true` or `false`"),
        ("type: int, additional_attributes: 3", "must be a block of keys"),
    ],
)
def test_a_breach_of_the_option_rules_is_refused(body: str, part: str) -> None:
    found = messages(item(f"name: x, {body}"))
    assert any(part in message for message in found), found
    assert all(message.startswith("app.yaml, line 5: ") for message in found)


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ("name: f, type: int", "reserved"),
        ("name: PARSED, type: int", "reserved"),
        ("name: x, type: int, default: many", "the default is the text `many`, not a whole number"),
        (
            "name: x, type: int, default: 7, additional_attributes: {max: 5}",
            "the default does not fit: it must be at most 5",
        ),
        ("name: x, type: float, default: .nan", "left out"),
        ("name: x, type: string, default: [a]", "the default is a list"),
    ],
)
def test_odd_options_are_warned_about(body: str, part: str) -> None:
    assert part in "\n".join(warnings(item(body)))


def test_names_given_twice_are_refused() -> None:
    text = (
        "files: [a]\nconfiguration:\n  options:\n    items:\n"
        "      - {name: x, type: int}\n      - {name: x, type: float}\n"
    )
    assert messages(text) == [
        "app.yaml, line 6: option `x` is declared twice, first in line 5. Rename one of them."
    ]
    assert "given twice, first in line 1" in messages("files: [a]\nfiles: [b]\n")[0]


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("", 0, "the manifest is empty"),
        ("# only a remark\n", 0, "the manifest is empty"),
        ("- a\n", 1, "the manifest is a list"),
        ("just text", 1, "the manifest is the text"),
        ("type: python\n", 0, "`files` is missing or empty"),
        ("files: []\n", 1, "`files` is missing or empty"),
        ("files: main.py\n", 1, "`files` is the text `main.py`, but must be a list"),
        ("files:\n  - a\n  - 3\n", 3, "the number `3` where a text belongs"),
        ("files:\n  - ../secret\n", 2, "leaves the folder"),
        ("files:\n  - /etc/passwd\n", 2, "leaves the folder"),
        ("files:\n  - '!a'\n", 2, "only excludes"),
        ("files: [a]\ntype: pyhton\n", 2, "Did you mean `python`?"),
        ("files: [a]\nexecution: {entrypoint: ../x}\n", 2, "no path inside the application"),
        ("files: [a]\nexecution: {cwd: ../x}\n", 2, "leaves the working copy"),
        ("files: [a]\nexecution: main.py\n", 2, "must be a block of keys"),
        ("files: [a]\npython: {arch: x86}\n", 2, "Use one of `arm64`, `amd64`"),
        ("files: [a]\npython: {pip-requirements: 3}\n", 2, "is the number `3`"),
        ("files: [a]\npython: {pip-requirements: /r.txt}\n", 2, "outside the folder"),
        ("files: [a]\nbuild: {environment: {A: [1]}}\n", 2, "must be a text"),
        (
            "files: [a]\nconfiguration:\n  content:\n    format: jsn\n",
            4,
            "Did you mean `json`?",
        ),
        (
            "files: [a]\nconfiguration:\n  content:\n    format: json\n    multi-file: {}\n",
            5,
            "a `multi-file` block stands beside the format `json`",
        ),
        (
            "files: [a]\nconfiguration:\n  content:\n    multi-file: {input: {path: a}}\n",
            4,
            "stands beside the format `json`",
        ),
        (
            "files: [a]\nconfiguration: {content: {format: multi-file, multi-file: "
            "{output: {solutions: /tmp}}}}\n",
            2,
            "no path inside the application",
        ),
        ("files: [a]\nconfiguration: {options: {items: {a: 1}}}\n", 2, "must be a list"),
        ("files: [a]\nconfiguration: {options: {items: [3]}}\n", 2, "must be a block of keys"),
        ("files: [a]\nrunsite: {slots: 1.5}\n", 2, "must be a whole number"),
        ("files: [a]\nrunsite: {time_limit_s: 0}\n", 2, "must be above 0"),
        ("files: [a]\nrunsite: {stop_signal: SIGKILL}\n", 2, "cannot be `SIGKILL`"),
        ("files: [a]\nrunsite: {keep_at_time_limit: 3}\n", 2, "must be `true` or `false`"),
        ("files: [a]\nrunsite:\n  process_limit: 0\n", 3, "must be above 0"),
        ("files: [a]\nrunsite:\n  process_limit: 2.5\n", 3, "must be a whole number"),
        ("files: [a]\nrunsite: {retries: -1}\n", 2, "must not be below 0"),
        ("files: [a]\nrunsite: {retries: 1.5}\n", 2, "must be a whole number"),
        ("files: [a]\nrunsite: {retry_on: lost}\n", 2, "`lost` is no cause to try again. Use"),
        ("files: [a]\nrunsite:\n  retry_on: [lost]\n", 3, "`runsite.retry_on` cannot be used"),
        ("files: [a]\nrunsite: {retry_on: {a: 1}}\n", 2, "must be a text"),
        ("files: [a]\nrunsite: {log_limit_action: stop}\n", 2, "cannot be `stop`"),
        ("files: [a]\nrunsite: {output_limit_action: warn}\n", 2, "Use one of"),
        ("files: [a]\nrunsite: {stop_grace_s: soon}\n", 2, "must be a number"),
        ("files: [a]\nrunsite: {concurrency: 3}\n", 2, "must be a block of keys"),
        ("files: [a]\nrunsite:\n  concurrency:\n    policy: wait\n", 4, "cannot be `wait`"),
        ('files: [a]\nrunsite:\n  concurrency: {key: "{a}"}\n', 3, "has no `limit`"),
        ('files: [a]\nrunsite:\n  concurrency: {key: "{a", limit: 1}\n', 3, "a single `{`"),
        ("files: [a]\nrunsite: {concurrency: {limit: 0}}\n", 2, "must be above 0"),
        ("files: [a]\nx: !!python/object:os.system a\n", 2, "is not supported"),
        ("files: [a]\n? [b]\n: c\n", 2, "a key is a list"),
        ("files: [a\ntype: python\n", 0, "not valid YAML"),
        ("files: [a]\nx: {b}}\n", 2, "not valid YAML"),
        ("files:\n\t- a\n", 2, "Indent with spaces"),
        ("a: b: c\n", 1, "Put the value in quotes if it holds a colon"),
        ("files: [a]\n---\nfiles: [b]\n", 2, "a second document starts here"),
        ("files: [a]\nx: \x07\n", 2, "control character U+0007"),
        ("files: [a]\nx: \ud800\n", 2, "no text"),
        ('files: [a]\nx: "\\0"\n', 2, "zero byte"),
        ("files: [a]\nx: *nothing\n", 2, "stands for itself or for nothing"),
        ("files: [a]\nx: &x [*x]\n", 2, "stands for itself or for nothing"),
    ],
)
def test_a_wrong_manifest_is_refused_with_line_and_remedy(text: str, line: int, part: str) -> None:
    found = messages(text)
    assert any(part in message for message in found), found
    if line:
        assert any(message.startswith(f"app.yaml, line {line}: ") for message in found), found
    assert all(len(message) < 1000 for message in found)


def test_broken_yaml_is_refused_with_its_column() -> None:
    with pytest.raises(ManifestInvalid) as caught:
        parse_manifest("files: [a]\nname: 'it\n", filename="other.yaml")
    (problem,) = caught.value.problems
    assert problem.line >= 2
    assert problem.column >= 1
    assert caught.value.message.startswith("other.yaml, line ")


def test_all_problems_are_reported_in_the_order_of_the_lines() -> None:
    found = messages("type: x\npython: 3\nfiles: [/a]\nexecution: []\n")
    assert [int(message.split("line ")[1].split(":")[0]) for message in found] == [1, 2, 3, 4]


def test_aliases_and_merge_keys_work() -> None:
    manifest = parse_manifest(
        "x-limits: &limits {min: 0, max: 9, step: 1}\n"
        "files: [a]\n"
        "configuration:\n"
        "  options:\n"
        "    items:\n"
        "      - {name: a, type: int, ui: {control_type: slider}, additional_attributes: *limits}\n"
        "      - name: b\n"
        "        type: int\n"
        "        ui: {control_type: slider}\n"
        "        additional_attributes: {<<: *limits, max: 5}\n"
    )
    assert [option.maximum for option in manifest.options.items] == [9, 5]
    assert [option.minimum for option in manifest.options.items] == [0, 0]


def billion_laughs() -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(1, 12):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]")
    return "\n".join([*lines, "files: *a11"])


@pytest.mark.parametrize(
    "text",
    [
        billion_laughs(),
        "a: " + "[" * 400_000,
        "a: " + "[" * 400_000 + "]" * 400_000,
        "{a: " * 100_000,
        "- " * 400_000,
        "? " * 300_000,
        "files: [a]\nx: " + "y" * (1024 * 1024),
        "files: [" + "a, " * 200_000 + "]",
        "files:\n" + "  - a\n" * 2000,
        "!" * 900_000,
        "'" * 900_000,
    ],
    ids=range(11),
)
def test_hostile_documents_are_refused_without_being_unfolded(text: str) -> None:
    messages(text)


def test_many_unknown_keys_cost_little() -> None:
    text = "files: [a]\n" + "".join(f"key_{number}: 1\n" for number in range(40_000))
    manifest = parse_manifest(text)
    assert len(manifest.warnings) == 100


def read_or_refused(text: str) -> Manifest | None:
    """The manifest, None when it is refused as it should be: with problems."""
    try:
        return parse_manifest(text)
    except ManifestInvalid as error:
        if not error.problems:
            raise AssertionError("refused without a problem") from error
        return None


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    manifest = read_or_refused("files: [a]\n" + text)
    if manifest is not None:
        assert manifest_from_json(json.loads(json.dumps(manifest_to_json(manifest)))) == manifest


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.integers(0, len(FULL) - 1), st.sampled_from(list("[]{}:,-&*!|>'\"%@`#\n \t~0x")))
def test_a_damaged_manifest_is_read_or_refused(at: int, char: str) -> None:
    for text in (FULL[:at] + char + FULL[at:], FULL[:at] + FULL[at + 1 :], FULL[:at]):
        manifest = read_or_refused(text)
        if manifest is not None:
            json.dumps(manifest_to_json(manifest), allow_nan=False).encode()
