"""What runs take, as a range."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs.domain.durations import (
    Range,
    at_level,
    duration_range,
    in_order,
    left_s,
    of_similar_size,
)

SECONDS = st.floats(min_value=0, max_value=1e6, allow_nan=False)
LEVELS = st.floats(min_value=0.01, max_value=0.99)


def test_nine_runs_are_not_enough_for_a_range():
    assert duration_range([1.0] * 9) is None
    assert duration_range([1.0] * 10) == Range(1, 1, 1)


def test_a_range_holds_eight_of_ten():
    found = duration_range([float(number) for number in range(1, 100)])
    assert found == Range(10, 50, 90)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (1000, {1.0}),  # ten within a factor of 1.25
        (1900, {1.0, 2.0}),  # within 2
        (5000, {2.0, 5.0}),  # within 4
        (10**9, {1.0, 2.0, 5.0}),  # nothing near: all
        (None, {1.0, 2.0, 5.0}),
    ],
)
def test_runs_with_inputs_of_a_similar_size_count(size, expected):
    history = [(1000, 1.0)] * 10 + [(2000, 2.0)] * 9 + [(15000, 5.0)] * 9
    assert set(of_similar_size(history, size)) == expected


def test_an_empty_input_is_similar_to_an_empty_one():
    assert of_similar_size([(0, 1.0)] * 10 + [(100, 9.0)], 0) == (1.0,) * 10


@given(st.lists(SECONDS, min_size=1, max_size=30), LEVELS, LEVELS)
def test_a_higher_level_is_not_shorter(durations: list[float], one: float, other: float):
    ordered = in_order(durations)
    low, high = sorted((one, other))
    assert at_level(ordered, low) <= at_level(ordered, high)


@given(st.lists(SECONDS, min_size=1, max_size=30), SECONDS, LEVELS)
def test_what_is_left_is_never_negative(durations: list[float], elapsed: float, level: float):
    assert left_s(in_order(durations), elapsed, level) >= 0


def test_what_is_left_is_that_of_those_which_take_longer():
    ordered = [1.0] * 10 + [100.0] * 10
    assert left_s(ordered, 0, 0.25) == 1.0
    assert left_s(ordered, 50, 0.5) == pytest.approx(50, abs=5)
    assert left_s(ordered, 300, 15 / 16) == pytest.approx(300)
