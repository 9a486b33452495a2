"""Limits: what is refused, whose word goes first, and how sizes are read."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs.domain.errors import FieldsInvalid
from runs.domain.limits import (
    FRACTIONS,
    NAMES,
    NUMBERS,
    limit_errors,
    manifest_limits,
    parse_size,
    resolve_limits,
)
from runs.domain.manifest import parse_manifest
from runs.models.limits import LIMIT_NAMES


def test_the_names_are_those_of_the_columns():
    assert set(NAMES) == set(LIMIT_NAMES)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("time_limit_s", 0),
        ("time_limit_s", 1.5),
        ("time_limit_s", True),
        ("time_limit_s", "60"),
        ("time_limit_s", 101),
        ("memory_limit_bytes", 1),
        ("memory_limit_bytes", 2**60),
        ("process_limit", 0),
        ("log_limit_action", "explode"),
        ("stop_signal", "SIGKILL"),
        ("stop_grace_s", -1.0),
        ("stop_grace_s", math.nan),
        ("stop_grace_s", math.inf),
        ("keep_at_time_limit", "yes"),
        ("colour", 1),
    ],
)
def test_nonsense_is_refused_by_its_name(name: str, value: object):
    errors = limit_errors({name: value, "queue_limit_s": 5}, most={"time_limit_s": 100})
    assert list(errors) == [name]
    assert errors[name][0].endswith(".")


def test_what_is_not_given_is_no_error():
    assert limit_errors({"time_limit_s": None, "stop_signal": "", "stop_grace_s": 0}) == {}


def test_the_first_who_says_something_is_heard():
    found = resolve_limits(
        {"time_limit_s": None, "stop_signal": "", "process_limit": 7},
        {"time_limit_s": 5, "stop_signal": "SIGTERM", "keep_at_time_limit": False},
        {"time_limit_s": 9, "keep_at_time_limit": True, "process_limit": 8},
    )
    assert found["time_limit_s"] == 5
    assert (found["stop_signal"], found["process_limit"]) == ("SIGTERM", 7)
    assert found["keep_at_time_limit"] is False
    assert (found["memory_limit_bytes"], found["log_limit_action"]) == (None, "")
    assert set(found) == set(NAMES)


SOURCE: st.SearchStrategy[dict[str, Any]] = st.dictionaries(
    st.sampled_from(sorted(NUMBERS)),
    st.one_of(st.none(), st.integers(-10, 2**70)),
)


@given(SOURCE, SOURCE, st.integers(1, 10**6))
def test_limits_in_force_fit_their_bounds_whatever_was_said(
    one: dict[str, Any], other: dict[str, Any], highest: int
):
    found = resolve_limits(one, other, most={"time_limit_s": highest})
    assert limit_errors(found, most={"time_limit_s": highest}) == {}
    for name in NUMBERS:
        assert isinstance(found[name], float if name in FRACTIONS else int) or found[name] is None


def test_a_manifest_speaks_of_mib_and_of_fractions_of_seconds():
    block = """
files: [main.py]
runsite:
  time_limit_s: 1.5
  memory_limit_mb: 3
  log_limit_action: fail
  stop_grace_s: 0.5
  stop_signal: SIGUSR1
  keep_at_time_limit: true
"""
    said = manifest_limits(parse_manifest(block).runsite)
    assert (said["time_limit_s"], said["memory_limit_bytes"]) == (2, 3 * 1024**2)
    assert (said["log_limit_action"], said["stop_grace_s"]) == ("fail", 0.5)
    assert (said["stop_signal"], said["keep_at_time_limit"]) == ("SIGUSR1", True)
    assert (said["output_limit_bytes"], said["queue_limit_s"]) == (None, None)
    assert limit_errors(said) == {}


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("", None),
        ("1000", 1000),
        ("512 MiB", 512 * 1024**2),
        ("2g", 2 * 1024**3),
        ("1.5 kB", 1500),
        (" 7 b ", 7),
    ],
)
def test_sizes_are_read_with_their_unit(text: str, size: int | None):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["much", "-1", "1 parsec", "1e9", "\u0661", "5 MiB MiB"])
def test_what_is_no_size_is_refused(text: str):
    with pytest.raises(FieldsInvalid, match="is no size"):
        parse_size(text)
