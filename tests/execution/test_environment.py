"""The command line and the environment of a program."""

from __future__ import annotations

from pathlib import Path

import pytest

from runs.execution.environment import (
    VARIABLES,
    build_command,
    child_environment,
    option_arguments,
    option_pairs,
)


def test_each_option_becomes_two_arguments() -> None:
    assert option_arguments([("duration", "10"), ("solve.name", "")]) == [
        "-duration",
        "10",
        "-solve.name",
        "",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"),
        (1.5, "1.5"),
        (True, "true"),
        (False, "false"),
        (None, "null"),
        ({"k": [1, 2]}, '{"k":[1,2]}'),
        ("as it is", "as it is"),
        ("true", "true"),
        ("ü", "ü"),
    ],
)
def test_values_that_are_no_text_become_compact_json(value: object, text: str) -> None:
    assert option_arguments([("n", value)]) == ["-n", text]


def test_a_template_is_applied() -> None:
    pairs = [("a", 1), ("flag", True)]
    assert option_arguments(pairs, ["--{{name}}={{value}}"]) == ["--a=1", "--flag=true"]
    assert option_arguments(pairs, ["--{{ name }}", "{{ value }}"]) == [
        "--a",
        "1",
        "--flag",
        "true",
    ]


def test_a_value_that_looks_like_a_placeholder_stays() -> None:
    assert option_arguments([("a", "{{name}}")]) == ["-a", "{{name}}"]
    assert option_arguments([("{{value}}", "x")]) == ["-{{value}}", "x"]


def test_an_empty_template_is_the_default() -> None:
    assert option_arguments([("a", 1)], []) == ["-a", "1"]


def test_declared_options_come_first_and_defaults_are_not_passed() -> None:
    declared = [("x", 1), ("y", 2), ("z", None)]
    assert option_pairs({"own": 5, "z": 9, "x": 1}, declared) == [("x", 1), ("z", 9), ("own", 5)]


def test_an_option_named_like_a_variable_of_ours_is_passed_with_its_default() -> None:
    declared = [("path", "/data"), ("lang", None), ("home", "x"), ("duration", 5)]
    assert option_pairs({"home": "mine"}, declared) == [("path", "/data"), ("home", "mine")]


def test_variables_that_the_caller_adds_count_as_ours() -> None:
    assert option_pairs({}, [("license", "a")], variables=VARIABLES | {"LICENSE"}) == [
        ("license", "a")
    ]


def test_the_environment_is_small_and_explicit() -> None:
    made = child_environment(
        run_id="r1", run_dir=Path("/w/work"), tmp=Path("/w/tmp"), mark="i:r1:1", path="/bin"
    )
    assert made == {
        "RUNSITE_MARK": "i:r1:1",
        "PATH": "/bin",
        "HOME": "/w/tmp",
        "LANG": "C.UTF-8",
        "TMPDIR": "/w/tmp",
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
        "RUN_ID": "r1",
        "RUN_DIR": "/w/work",
    }
    assert set(made) == VARIABLES


def environment_with(**extra: str) -> dict[str, str]:
    return child_environment(run_id="r", run_dir=Path("/w"), tmp=Path("/t"), mark="m", extra=extra)


def test_more_variables_replace_none_of_ours() -> None:
    made = environment_with(LICENSE="secret", RUN_ID="other", RUNSITE_MARK="other")
    assert made["LICENSE"] == "secret"
    assert made["RUN_ID"] == "r"
    assert made["RUNSITE_MARK"] == "m"


@pytest.mark.parametrize(("name", "value"), [("", "x"), ("A=B", "x"), ("A\0", "x"), ("A", "\0")])
def test_a_variable_that_no_environment_holds_is_refused(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="rename"):
        environment_with(**{name: value})


def test_commands_by_type() -> None:
    entry = Path("/w/copy/main")
    python = Path("/env/bin/python")
    assert build_command("python", entry, interpreter=python, arguments=["-a", "1"]) == (
        "/env/bin/python",
        "/w/copy/main",
        "-a",
        "1",
    )
    assert build_command("java", entry, arguments=["-a", "1"]) == (
        "java",
        "-XX:MaxRAMPercentage=90",
        "-jar",
        "/w/copy/main",
        "-a",
        "1",
    )
    assert build_command("go", entry) == ("/w/copy/main",)
    assert build_command("binary", entry, arguments=["x"]) == ("/w/copy/main", "x")


def test_a_command_that_cannot_be_built_is_refused() -> None:
    with pytest.raises(ValueError, match="interpreter"):
        build_command("python", Path("/main.py"))
    with pytest.raises(ValueError, match="'rust'"):
        build_command("rust", Path("/main"))
