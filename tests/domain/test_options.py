"""Option values: who sets them, whether they fit, how they reach a program."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runs.domain.errors import OptionsInvalid
from runs.domain.options import (
    OptionDefinition,
    OptionDifference,
    ResolvedOption,
    check_options,
    form_text,
    option_differences,
    parse_form,
    parse_form_value,
    resolve_options,
    to_wire,
    typed_value,
    visible_to,
)

DURATION = OptionDefinition(
    "duration", "float", 10.0, minimum=0.5, maximum=60, step=0.5, control="slider"
)
VEHICLES = OptionDefinition("vehicles", "int", 4, minimum=1, maximum=12, step=1, control="slider")
METRIC = OptionDefinition("metric", "string", "total", values=("total", "longest"))
VERBOSE = OptionDefinition("verbose", "bool", True, control="toggle")
TAGS = OptionDefinition("tags", "string", values=("a", "b", "c,d"), control="multiselect")
NOTE = OptionDefinition("note", "string", min_length=2, max_length=5)
SEED = OptionDefinition("seed", "int", required=True, hidden_from=("operator",))
GAP = OptionDefinition("gap", "float", 0.0, values=(0.0, 0.001, 0.05), control="select")
ALL = (DURATION, VEHICLES, METRIC, VERBOSE, TAGS, NOTE, GAP)


def faults(definition: OptionDefinition, value: Any) -> list[str]:
    errors = check_options([definition], {definition.name: value}, strict=True, free_options=False)
    return errors.get(definition.name, [])


def test_the_run_goes_before_the_instance_and_the_instance_before_the_default() -> None:
    resolved = resolve_options(
        [DURATION, VEHICLES, METRIC, NOTE],
        {"vehicles": 5, "duration": 3.0, "extra": "i", "other": 1},
        {"duration": 10.0, "extra": "r", "later": True},
    )
    assert resolved == [
        ResolvedOption("duration", 10.0, "run", True),
        ResolvedOption("vehicles", 5, "instance", True),
        ResolvedOption("metric", "total", "manifest", False),
        ResolvedOption("extra", "r", "run", True),
        ResolvedOption("other", 1, "instance", True),
        ResolvedOption("later", True, "run", True),
    ]


def test_undeclared_options_are_left_out_when_strict() -> None:
    resolved = resolve_options([VEHICLES], {"x": 1}, {"y": 2}, strict=True)
    assert [option.name for option in resolved] == ["vehicles"]


def test_a_default_is_passed_when_a_variable_of_ours_has_its_name() -> None:
    path = OptionDefinition("path", "string", "here")
    (option,) = resolve_options([path], {}, {}, environment={"PATH", "HOME"})
    assert option == ResolvedOption("path", "here", "manifest", True)


def test_values_that_are_no_text_take_the_form_of_their_type() -> None:
    resolved = resolve_options(
        [VEHICLES, DURATION, TAGS], {}, {"vehicles": 3.0, "duration": 2, "tags": ["a", "b"]}
    )
    assert [to_wire(option.value) for option in resolved] == ["3", "2.0", "a,b"]


@pytest.mark.parametrize(
    ("value", "wire"),
    [
        (1, "1"),
        (1.5, "1.5"),
        (True, "true"),
        (None, "null"),
        ({"k": [1, 2]}, '{"k":[1,2]}'),
        ("a b", "a b"),
        ("", ""),
        ("true", "true"),
    ],
)
def test_values_on_the_wire_are_as_the_contract_says(value: object, wire: str) -> None:
    assert to_wire(value) == wire


@pytest.mark.parametrize(
    ("definition", "value"),
    [
        (DURATION, 0.5),
        (DURATION, 60),
        (DURATION, "7.5"),
        (DURATION, "1e1"),
        (VEHICLES, "3"),
        (VEHICLES, 3.0),
        (METRIC, "longest"),
        (VERBOSE, False),
        (VERBOSE, "Yes"),
        (VERBOSE, "0"),
        (TAGS, "a,b"),
        (TAGS, "c,d"),
        (TAGS, "b,c,d,a"),
        (TAGS, ["a", "c,d"]),
        (TAGS, ""),
        (NOTE, "abc"),
        (NOTE, 123),
        (GAP, 0.001),
        (GAP, "0"),
        (GAP, 0.1 - 0.05),
    ],
)
def test_a_value_fits(definition: OptionDefinition, value: object) -> None:
    assert faults(definition, value) == []


@pytest.mark.parametrize(
    ("definition", "value", "message"),
    [
        (DURATION, 0.25, "`duration` must be at least 0.5, but is `0.25`."),
        (DURATION, 99, "`duration` must be at most 60, but is `99.0`."),
        (DURATION, 1.2, "`duration` must be 0.5 plus a multiple of 0.5, but is `1.2`."),
        (DURATION, "fast", "`duration` must be a number, but is `fast`."),
        (DURATION, True, "`duration` must be a number, but is `true`."),
        (DURATION, "nan", "`duration` must be a number, but is `nan`."),
        (DURATION, float("inf"), "`duration` must be a number, but is `Infinity`."),
        (VEHICLES, 3.5, "`vehicles` must be a whole number, but is `3.5`."),
        (VEHICLES, "3.0", "`vehicles` must be a whole number, but is `3.0`."),
        (VEHICLES, "9" * 5000, "`vehicles` must be a whole number, but is `" + "9" * 59 + "…`."),
        (VEHICLES, 10**400, "`vehicles` must be a whole number, but is `1" + "0" * 58 + "…`."),
        (VEHICLES, [], "`vehicles` must be a whole number, but is `[]`."),
        (VEHICLES, "", "`vehicles` must be a whole number, but is empty."),
        (METRIC, "best", "`metric` must be one of total, longest, but is `best`."),
        (VERBOSE, "maybe", "`verbose` must be true or false, but is `maybe`."),
        (TAGS, "a,c", "`tags` must be one of a, b, c,d, but is `a,c`."),
        (NOTE, "x", "`note` must have at least 2 characters, but is `x`."),
        (NOTE, "xxxxxx", "`note` must have at most 5 characters, but is `xxxxxx`."),
        (NOTE, {"a": 1}, '`note` must be a text, but is `{"a":1}`.'),
        (NOTE, "a\0b", "`note` must not hold a zero byte, but is `a\0b`."),
        (NOTE, None, "`note` has no value; give one or leave the option out."),
        (GAP, 0.002, "`gap` must be one of 0, 0.001, 0.05, but is `0.002`."),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_the_rule(
    definition: OptionDefinition, value: object, message: str
) -> None:
    assert faults(definition, value) == [message]


def test_values_too_long_for_an_argument_are_refused() -> None:
    free = OptionDefinition("free")
    assert faults(free, "x" * 100_000) == []
    assert "at most 100,000 bytes" in faults(free, "é" * 60_000)[0]
    assert "without NaN" in faults(free, "\ud800")[0]


def test_a_required_option_must_be_given_unless_it_has_a_default() -> None:
    assert check_options([SEED], {}, strict=False, free_options=True) == {
        "seed": ["`seed` is required; give a value."]
    }
    with_default = OptionDefinition("seed", "int", 1, required=True)
    assert check_options([with_default], {}, strict=False, free_options=True) == {}


def test_unknown_names_are_refused_when_strict_or_where_none_are_free() -> None:
    for strict, free in ((True, True), (False, False), (True, False)):
        errors = check_options([VEHICLES], {"x": 1}, strict=strict, free_options=free)
        assert "not an option" in errors["x"][0]
    assert check_options([VEHICLES], {"x": {"a": 1}}, strict=False, free_options=True) == {}


@pytest.mark.parametrize("name", ["", "a b", "a=b", "a\0", "a\n", "x" * 129])
def test_free_options_need_a_usable_name(name: str) -> None:
    assert name in check_options([], {name: 1}, strict=False, free_options=True)


@pytest.mark.parametrize("value", [float("nan"), "\0", "\ud800", ["a", float("inf")]])
def test_free_options_need_a_usable_value(value: object) -> None:
    assert "x" in check_options([], {"x": value}, strict=False, free_options=True)


def test_a_flood_of_options_is_refused() -> None:
    values = {f"o{number}": 1 for number in range(1001)}
    assert "options" in check_options([], values, strict=False, free_options=True)


def test_options_are_hidden_by_role() -> None:
    assert not visible_to(SEED, "operator")
    assert visible_to(SEED, "developer")
    assert check_options([SEED], {}, strict=True, free_options=False, role="operator") == {}
    errors = check_options([SEED], {"seed": 1}, strict=True, free_options=False, role="operator")
    assert "operator" in errors["seed"][0]
    assert (
        check_options([SEED], {"seed": 1}, strict=True, free_options=False, role="developer") == {}
    )


@pytest.mark.parametrize(
    ("definition", "raw", "value"),
    [
        (VEHICLES, "3", 3),
        (VEHICLES, " 3 ", 3),
        (VEHICLES, "-7", -7),
        (VEHICLES, "", None),
        (DURATION, "1e3", 1000.0),
        (DURATION, "3", 3.0),
        (DURATION, ".5", 0.5),
        (VERBOSE, "on", True),
        (VERBOSE, ["false", "true"], True),
        (VERBOSE, ["false"], False),
        (VERBOSE, [], False),
        (VERBOSE, "", False),
        (TAGS, ["a", "c,d"], "a,c,d"),
        (TAGS, [], None),
        (METRIC, "", None),
        (METRIC, "total", "total"),
        (NOTE, " a ", " a "),
        (NOTE, "", ""),
        (OptionDefinition("b", "bool", control=""), "yes", True),
        (GAP, "0.05", 0.05),
    ],
)
def test_a_form_field_is_read(
    definition: OptionDefinition, raw: str | list[str], value: object
) -> None:
    found = parse_form_value(definition, raw)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("definition", "raw"),
    [
        (VEHICLES, "3.5"),
        (VEHICLES, "three"),
        (VEHICLES, "1_000"),
        (VEHICLES, "٣"),
        (VEHICLES, str(2**63)),
        (DURATION, "nan"),
        (DURATION, "inf"),
        (DURATION, "1e999"),
        (DURATION, "1,5"),
        (DURATION, "1" * 100_000),
        (VERBOSE, "perhaps"),
    ],
)
def test_a_form_field_of_another_type_is_refused(definition: OptionDefinition, raw: str) -> None:
    with pytest.raises(OptionsInvalid) as caught:
        parse_form_value(definition, raw)
    assert list(caught.value.errors) == [definition.name]


def form(**fields: str | list[str]) -> dict[str, list[str]]:
    return {name: [text] if isinstance(text, str) else text for name, text in fields.items()}


def test_a_form_sets_only_what_was_changed_from_the_default() -> None:
    untouched = form(
        duration="10", vehicles="4", metric="total", verbose=["false", "true"], note="", gap="0"
    )
    assert parse_form(ALL, untouched, role="viewer") == ({}, {})
    changed = untouched | form(vehicles="6", verbose="false", tags=["a", "b"], note="hi")
    assert parse_form(ALL, changed, role="viewer") == (
        {"vehicles": 6, "verbose": False, "tags": "a,b", "note": "hi"},
        {},
    )


def test_a_form_sets_what_differs_from_the_instance() -> None:
    base = {"vehicles": "6", "tags": "a", "verbose": False}
    fields = form(vehicles="4", duration="10.0", verbose=[])
    assert parse_form(ALL, fields, role="viewer", base=base) == ({"vehicles": 4, "tags": ""}, {})


def test_a_form_names_the_fields_that_cannot_be_read_and_keeps_the_others() -> None:
    values, errors = parse_form(
        [VEHICLES, DURATION], form(vehicles="x", duration="3"), role="viewer"
    )
    assert values == {"duration": 3.0}
    assert list(errors) == ["vehicles"]


def test_a_form_cannot_set_what_is_hidden() -> None:
    assert parse_form([SEED], form(seed="3"), role="operator") == ({}, {})
    assert parse_form([SEED], form(seed="3"), role="admin") == ({"seed": 3}, {})


def test_a_required_switch_without_default_is_always_set() -> None:
    switch = OptionDefinition("go", "bool", required=True, control="toggle")
    assert parse_form([switch], {}, role="viewer") == ({"go": False}, {})


def test_values_go_into_form_fields_and_come_back() -> None:
    assert form_text(VEHICLES, 3.0) == "3"
    assert form_text(DURATION, 3) == "3.0"
    assert form_text(VERBOSE, True) == "true"
    assert form_text(TAGS, ["a", "b"]) == "a,b"
    assert form_text(NOTE, None) == ""


def test_differences_of_two_option_sets() -> None:
    before = {"same": 1, "also": "2", "changed": 3, "gone": 4}
    after = {"same": 1.0, "also": 2, "changed": "x", "new": None}
    assert option_differences(before, after) == [
        OptionDifference("changed", 3, "x", "changed"),
        OptionDifference("gone", 4, None, "removed"),
        OptionDifference("new", None, None, "added"),
    ]


@pytest.mark.parametrize("kind", ["string", "bool", "int", "float"])
@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
        max_leaves=4,
    )
)
def test_any_value_is_typed_or_refused(kind: str, value: object) -> None:
    typed = typed_value(kind, value)
    if typed is not None:
        wanted = {"string": str, "bool": bool, "int": int, "float": float}[kind]
        assert type(typed) is wanted
        json.dumps(typed, allow_nan=False)
    definition = OptionDefinition("x", kind, minimum=0, maximum=5, step=1, max_length=3)
    assert (faults(definition, value) == []) in (True, False)


@settings(max_examples=120, deadline=None, derandomize=True)
@given(
    st.integers(-50, 50),
    st.sampled_from(["0.01", "0.1", "0.5", "0.25", "1", "3", "0.001"]),
    st.integers(0, 5000),
)
def test_every_step_from_the_minimum_fits_and_what_lies_between_does_not(
    low: int, step: str, count: int
) -> None:
    exact = Decimal(low) + count * Decimal(step)
    definition = OptionDefinition("x", "float", minimum=low, step=float(step))
    assert faults(definition, float(exact)) == []
    assert faults(definition, low + count * float(step)) == []
    assert faults(definition, float(exact + Decimal(step) / 3)) != []
