"""Retry rules: which causes there are, what they match, and how the delay grows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs.domain.errors import FieldsInvalid
from runs.domain.retry import (
    LONGEST_DELAY_S,
    REASONS,
    USUAL_RETRY_ON,
    delay_s,
    parse_retry_on,
    wants_retry,
)

WORDS = st.one_of(
    st.sampled_from(REASONS), st.integers(1, 255).map(lambda code: f"exit_code:{code}")
)


def test_causes_are_read_once_each_whatever_separates_them():
    assert parse_retry_on(" signal, exit_code:75  signal\ntimed_out ") == (
        "signal",
        "exit_code:75",
        "timed_out",
    )
    assert parse_retry_on("") == ()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("signal sometimes", "`sometimes`"),
        ("exited", "`exited`"),
        ("canceled", "`canceled`"),
        ("queue_limit", "`queue_limit`"),
        ("exit_code:0", "from 1 to 255"),
        ("exit_code:256", "from 1 to 255"),
        ("exit_code:", "from 1 to 255"),
        ("exit_code:\u0663", "from 1 to 255"),
        (" ".join(f"exit_code:{code}" for code in range(1, 100)), "characters"),
    ],
)
def test_what_is_no_cause_is_refused_and_named(text: str, named: str):
    with pytest.raises(FieldsInvalid, match=named) as caught:
        parse_retry_on(text)
    assert list(caught.value.errors) == ["retry_on"]


@given(st.lists(WORDS, max_size=8))
def test_what_was_read_reads_as_the_same(words: list[str]):
    once = parse_retry_on(" ".join(words))
    assert parse_retry_on(" ".join(once)) == once
    assert set(once) == set(words)


@given(st.lists(WORDS, max_size=5), st.sampled_from(REASONS), st.integers(1, 255))
def test_a_rule_matches_exactly_what_it_names(words: list[str], reason: str, code: int):
    wanted = wants_retry(" ".join(words), reason, code)
    assert wanted == wants_retry(words, reason, code)
    assert wanted == (reason in words or (reason == "exit_code" and f"exit_code:{code}" in words))


def test_no_rule_repeats_what_succeeded_or_was_canceled_or_never_started():
    for reason in ("", "exited", "stopped_early", "canceled", "superseded", "queue_limit"):
        assert not wants_retry(reason or "signal", reason, 0)


def test_the_usual_causes_are_causes():
    assert parse_retry_on(USUAL_RETRY_ON) == ("exit_code", "signal")


@given(
    st.floats(0, LONGEST_DELAY_S),
    st.integers(0, 10_000),
    st.floats(-1, 1),
)
def test_the_delay_doubles_up_to_an_hour_and_varies_by_a_fifth(
    base: float, made: int, jitter: float
):
    plain = delay_s(base, made, 0)
    assert 0 <= plain <= LONGEST_DELAY_S
    assert delay_s(base, made + 1, 0) == pytest.approx(min(2 * plain, LONGEST_DELAY_S))
    assert 0.8 * plain - 1e-6 <= delay_s(base, made, jitter) <= 1.2 * plain + 1e-6


def test_the_first_delay_is_the_one_asked_for():
    assert [delay_s(10, made, 0) for made in range(4)] == [10, 20, 40, 80]
