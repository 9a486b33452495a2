"""Concurrency keys: what an expression names, and the key that it makes of options."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs.domain.concurrency import (
    LONGEST_KEY,
    WHOLE_APPLICATION,
    cancel_reason,
    check_expression,
    evaluate_key,
    option_names,
)
from runs.domain.errors import FieldsInvalid
from runs.domain.status import EndReason


def test_the_options_in_braces_are_found_once_each():
    assert option_names("{region}/{day} of { region }") == ("region", "day")
    assert option_names("always the same") == ()


@pytest.mark.parametrize("expression", ["{", "a}", "{}", "{ }", "{a}{", "{{a}}"])
def test_braces_that_name_nothing_are_refused(expression: str):
    with pytest.raises(FieldsInvalid) as caught:
        option_names(expression)
    assert list(caught.value.errors) == ["concurrency_expression"]


def test_an_unknown_option_is_refused_naming_those_there_are():
    with pytest.raises(FieldsInvalid, match=r"`zone` is no option .* Name one of `day`, `region`"):
        check_expression("{zone}", ("day", "region"))
    with pytest.raises(FieldsInvalid, match="It has none"):
        check_expression("{zone}", ())
    with pytest.raises(FieldsInvalid, match="at most 300"):
        check_expression("x" * 301, ())
    with pytest.raises(FieldsInvalid, match="`zone` is no option"):
        evaluate_key("{zone}", {"region": "north"})
    check_expression("{zone}", None)


def test_values_are_written_as_the_program_gets_them():
    values = {"region": "north", "day": 3, "fast": True, "gap": 0.5, "none": None, "list": [1]}
    key = evaluate_key("{region}-{day}-{fast}-{gap}-{none}-{list}", values)
    assert key == "north-3-true-0.5--[1]"


def test_without_an_expression_all_runs_share_one_key():
    assert evaluate_key("", {"region": "north"}) == WHOLE_APPLICATION
    assert evaluate_key("{region}", {"region": ""}) == WHOLE_APPLICATION


def test_options_cannot_name_other_options():
    assert evaluate_key("{a}", {"a": "{b}", "b": "secret"}) == "{b}"


VALUES = st.one_of(st.text(max_size=300), st.integers(), st.booleans(), st.none())


@given(VALUES, VALUES)
def test_a_key_is_short_never_empty_and_tells_values_apart(one: object, other: object):
    keys = [evaluate_key("key {a}", {"a": value}) for value in (one, other)]
    for key in keys:
        assert 0 < len(key) <= LONGEST_KEY
        assert "\0" not in key
    texts = [
        ("" if v is None else v if isinstance(v, str) else str(v).lower()) for v in (one, other)
    ]
    assert (keys[0] == keys[1]) == (texts[0] == texts[1])


def test_a_cancel_that_makes_room_has_a_reason_of_its_own():
    assert cancel_reason("replaced by run abc") is EndReason.SUPERSEDED
    assert cancel_reason("ann@example.org") is EndReason.CANCELED
