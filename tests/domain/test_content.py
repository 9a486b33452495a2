"""Input formats and what is wrong with an input."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runs.domain.content import (
    FORMATS,
    RULES,
    check_json_input,
    guess_format,
    input_problem,
    is_folder_format,
    size_words,
)


@pytest.mark.parametrize("text", ["{}", ' \n{"a": [1, 2.5, null, "x"]}\n', '{"a": "NaN"}'])
def test_objects_are_fine(text: str) -> None:
    assert check_json_input(text) is None


@pytest.mark.parametrize(
    ("text", "line", "column", "part"),
    [
        ("", 1, 1, "empty"),
        (" \n ", 1, 1, "empty"),
        ("\ufeff{}", 1, 1, "byte order mark"),
        ("[1, 2]", 1, 1, "The input is a list, but must be an object"),
        ("\n  3", 2, 3, "The input is a number"),
        ('"text"', 1, 1, "a text in quotes"),
        ("null", 1, 1, "`null`"),
        ("{'a': 1}", 1, 2, "double quotes"),
        ("{a: 1}", 1, 2, "A name in double quotes is needed here"),
        ('{"a" 1}', 1, 6, "A colon is needed between name and value; there is `1`"),
        ('{"a": 1 "b": 2}', 1, 9, "A comma or a closing bracket"),
        ('{\n  "a": 1\n  "b": 2\n}', 3, 3, "A comma or a closing bracket"),
        ('{"a": }', 1, 7, "A value is needed here; there is `}`"),
        ('{"a": "x', 1, 7, "no closing"),
        ('{"a": "x\ny"}', 1, 9, "line break"),
        ('{"a": "\\x"}', 1, 8, "backslash"),
        ('{"a": 1}\n{"b": 2}', 2, 1, "more follows"),
        ('{"a": 1', 1, 8, "the end of the text"),
        ('{"s": "NaN, \\"NaN",\n "a": NaN}', 2, 7, "`NaN` is not JSON"),
        ('{"a": -Infinity}', 1, 7, "`-Infinity` is not JSON"),
        ('{"a": ' + "[" * 200_000, 1, 1, "nested too deeply"),
    ],
)
def test_a_broken_input_is_described_with_its_place(
    text: str, line: int, column: int, part: str
) -> None:
    problem = check_json_input(text)
    assert problem is not None
    assert (problem.line, problem.column) == (line, column)
    assert part in problem.message
    assert str(problem).startswith(f"Line {line}, column {column}: ")


@pytest.mark.parametrize("text", ['{"a": 1,}', '{"a": [1,]}'])
def test_a_trailing_comma_is_described(text: str) -> None:
    problem = check_json_input(text)
    assert problem is not None
    assert "comma before the closing bracket" in problem.message


def test_very_long_numbers_are_no_problem() -> None:
    assert check_json_input('{"a": ' + "9" * 20_000 + "}") is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(JSON)
def test_exactly_the_objects_pass(value: object) -> None:
    assert (check_json_input(json.dumps(value)) is None) == isinstance(value, dict)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.text('{}[]":,\\ntrue1.-eN \n\ud800', max_size=30))
def test_any_text_is_answered(text: str) -> None:
    problem = check_json_input(text)
    if problem is None:
        assert isinstance(json.loads(text), dict)
    else:
        assert 1 <= problem.line <= text.count("\n") + 1
        assert problem.column >= 1


def test_every_format_has_its_rules() -> None:
    assert tuple(RULES) == FORMATS
    for name, rules in RULES.items():
        assert is_folder_format(name) == (rules.input_kind == "folder") == bool(rules.input_folder)


@pytest.mark.parametrize(
    ("name", "given_kind", "part"),
    [
        ("json", "object", ""),
        ("json", "text", "invalid input data for format json"),
        ("text", "text", ""),
        ("text", "folder", "invalid input data for format text"),
        ("multi-file", "folder", ""),
        ("csv-archive", "object", "input data must be None for csv-archive or multi-file format"),
    ],
)
def test_an_input_of_another_kind_is_refused(name: str, given_kind: str, part: str) -> None:
    problem = input_problem(name, given_kind)
    assert part in problem
    assert bool(problem) == bool(part)


@pytest.mark.parametrize(
    ("name", "guess"),
    [
        ("input.JSON", "json"),
        ("a.tar.gz", "multi-file"),
        ("a.zip", "multi-file"),
        ("orders.csv", "multi-file"),
        ("model.lp", "text"),
        ("photo.png", None),
        ("json", None),
    ],
)
def test_the_format_is_guessed_from_the_file_name(name: str, guess: str | None) -> None:
    assert guess_format(name) == guess


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (1023, "1023 bytes"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (1024 * 1024 - 1, "1.0 MiB"),
        (2 * 1024**3, "2.0 GiB"),
        (5 * 1024**5, "5120.0 TiB"),
    ],
)
def test_sizes_are_said_in_words(size: int, words: str) -> None:
    assert size_words(size) == words
