"""When waiting runs will start: ranges that are ordered, and move the right way."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from runs.domain.durations import Range
from runs.domain.estimates import (
    MOST_AHEAD,
    Going,
    Work,
    extrapolate,
    start_range,
    start_ranges,
)

TEN = (10.0,) * 100
SECONDS = st.floats(min_value=0, max_value=1e5, allow_nan=False)
HISTORIES = st.builds(
    lambda least, more: tuple(least + more * number**2 for number in range(12)), SECONDS, SECONDS
)
NEEDS = st.integers(min_value=1, max_value=3)
GOING = st.builds(Going, durations=HISTORIES, elapsed_s=SECONDS)
WORK = st.builds(Work, durations=HISTORIES, slots=NEEDS)


def starts(found: list[Range | None]) -> list[float | None]:
    return [None if each is None else round(each.median_s, 6) for each in found]


def not_later(one: Range, other: Range) -> bool:
    pairs = zip(
        (one.low_s, one.median_s, one.high_s),
        (other.low_s, other.median_s, other.high_s),
        strict=True,
    )
    return all(first <= second * (1 + 1e-9) + 1e-9 for first, second in pairs)


def test_a_free_slot_is_taken_at_once():
    assert start_range([Going(TEN)], [], 2) == Range(0, 0, 0)
    assert start_range([Going(())], [], 2) == Range(0, 0, 0)


def test_what_runs_is_waited_for_as_long_as_its_like_take_less_what_is_over():
    assert start_range([Going(TEN, 4)], [], 1) == Range(6, 6, 6)
    assert start_range([Going(TEN, 4)], [Work(TEN)], 1) == Range(16, 16, 16)
    assert start_range([Going(TEN, 4), Going(TEN, 1)], [Work(TEN)], 2) == Range(9, 9, 9)


def test_a_run_that_takes_longer_than_all_before_it_may_take_much_longer():
    found = start_range([Going(TEN, 100)], [], 1)
    assert found is not None
    assert 0 < found.low_s < 10
    assert 10 < found.median_s < 30
    assert 50 < found.high_s < 120


def test_a_run_with_little_history_leaves_those_behind_it_without_a_range():
    nine = TEN[:9]
    assert start_range([Going(nine)], [], 1) is None
    assert start_range([Going(TEN)], [Work(nine)], 1) is None
    found = start_ranges([], [Work(nine), Work(TEN), Work(TEN)], {"anywhere": 2})
    assert starts(found) == [0, 0, None]


def test_more_slots_than_there_are_never_come_free():
    assert start_range([], [], 2, needs=3) is None
    assert start_range([], [], 0) is None
    assert start_range([Going(TEN, 4), Going(TEN, 1)], [], 2, needs=2) == Range(9, 9, 9)


def test_nobody_overtakes_a_run_that_needs_more_slots():
    found = start_ranges([Going(TEN)], [Work(TEN, slots=2), Work(TEN)], {"anywhere": 2})
    assert starts(found) == [10, 20]


def test_a_limit_holds_only_those_that_count_for_it():
    works = [Work(TEN, limits=("app",)), Work(TEN, limits=("app",)), Work(TEN)]
    found = start_ranges([Going(TEN, limits=("app",))], works, {"anywhere": 3}, {"app": 1})
    assert starts(found) == [10, 20, 0]
    found = start_ranges([], works, {"anywhere": 3}, {"app": 0})
    assert starts(found) == [None, None, 0]
    over = [Going(TEN, number, limits=("app",)) for number in range(3)]
    found = start_ranges(over, works, {"anywhere": 9}, {"app": 2})
    assert starts(found) == [9, 10, 0]


def test_under_a_limit_of_none_at_all_nothing_starts():
    held = Work((1.0,) * 10, limits=("none",))
    too_large = replace(held, slots=2)
    found = start_ranges([], [held, too_large], {"anywhere": 1}, {"none": 0})
    assert found == [None, None]


def test_what_a_waiting_run_is_admitted_for_is_free_at_its_end():
    works = [Work(TEN, limits=("key",)), Work(TEN, admitted=("key",)), Work(TEN)]
    found = start_ranges([], works, {"anywhere": 5}, {"key": 1})
    assert starts(found) == [10, 0, 0]
    found = start_ranges([], [replace(works[1])] * 3, {"anywhere": 2}, {"key": 1})
    assert starts(found) == [0, 0, 10]


def test_a_run_waits_for_the_end_of_others_without_a_slot():
    works = [
        Work(TEN, key="second", after=("first",)),
        Work(TEN, key="first", after=("running",)),
        Work(TEN, key="lost", after=("nobody knows",)),
        Work(TEN, not_before_s=25, key="later"),
        Work(TEN, key="plain"),
    ]
    found = start_ranges([Going(TEN, 3, key="running")], works, {"anywhere": 2})
    assert starts(found) == [17, 7, None, 25, 0]
    assert starts(start_ranges([], works, {"anywhere": 2}))[:2] == [None, None]


def test_the_places_of_a_run_are_those_that_serve_its_queue():
    going = [Going(TEN, place="all"), Going(TEN, 5, place="fast"), Going(TEN, place=None)]
    works = [Work(TEN, places=("all", "fast")), Work(TEN, places=("all",)), Work(TEN, places=())]
    assert starts(start_ranges(going, works, {"all": 1, "fast": 1})) == [5, 10, None]


def test_beyond_what_is_played_through_the_pace_goes_on():
    found = start_range([], [Work(TEN)] * (2 * MOST_AHEAD), 4)
    assert found is not None
    assert abs(found.median_s / (10 * 2 * MOST_AHEAD / 4) - 1) < 0.05
    assert extrapolate([], 5) is None
    assert extrapolate([None], 5) is None
    assert extrapolate([Range(0, 0, 0), Range(1, 2, 3), None], 10) == Range(10, 20, 30)


def test_many_runs_are_less_uncertain_than_one():
    history = tuple(float(number) for number in range(1, 31))
    one = start_range([], [Work(history)], 1)
    many = start_range([], [Work(history)] * 50, 1)
    assert one is not None
    assert many is not None
    assert (many.high_s - many.low_s) / many.median_s < (one.high_s - one.low_s) / one.median_s


@given(st.lists(GOING, max_size=4), st.lists(WORK, max_size=12), st.integers(3, 8), NEEDS)
def test_a_range_is_in_order(running: list[Going], ahead: list[Work], slots: int, needs: int):
    found = start_range(running, ahead, slots, needs=needs)
    assert found is not None
    assert 0 <= found.low_s <= found.median_s <= found.high_s


@given(
    st.lists(GOING, max_size=3),
    st.lists(WORK, max_size=12),
    st.integers(3, 8),
    st.integers(1, 8),
    NEEDS,
)
def test_more_slots_are_never_later(
    running: list[Going], ahead: list[Work], slots: int, more: int, needs: int
):
    few = start_range(running, ahead, slots, needs=needs)
    many = start_range(running, ahead, slots + more, needs=needs)
    assert few is not None
    assert many is not None
    assert not_later(many, few)


@given(
    st.lists(GOING, max_size=3),
    st.lists(WORK, max_size=10),
    st.lists(WORK, min_size=1, max_size=4),
    st.integers(3, 8),
)
def test_more_ahead_is_never_earlier(
    running: list[Going], ahead: list[Work], further: list[Work], slots: int
):
    few = start_range(running, ahead, slots)
    many = start_range(running, [*ahead, *further], slots)
    assert few is not None
    assert many is not None
    assert not_later(few, many)


@given(st.lists(st.tuples(WORK, st.lists(st.integers(0, 9), max_size=3)), max_size=10))
def test_whatever_waits_for_whatever_an_answer_comes(works: list[tuple[Work, list[int]]]):
    waiting = [
        replace(work, key=number, after=tuple(after), limits=("one",) if number % 2 else ())
        for number, (work, after) in enumerate(works)
    ]
    found = start_ranges([], waiting, {"anywhere": 3}, {"one": 1})
    assert len(found) == len(waiting)
    for work, each in zip(waiting, found, strict=True):
        waits_in_vain = any(key >= len(waiting) for key in work.after) or work.key in work.after
        assert each is None or not waits_in_vain
