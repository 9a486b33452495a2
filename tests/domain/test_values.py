"""Metrics and statistics as flat names, the value column, and series."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runs.domain.values import flatten_values, main_value, series, unwrap

STATISTICS = {
    "schema": "v1",
    "run": {"duration": 3.02, "iterations": 250800, "custom": {"threads": 4}},
    "result": {
        "duration": 2.9,
        "value": 40.84,
        "custom": {"status": "finished", "total_km": 40.84},
    },
    "series_data": {
        "value": {"name": "best", "data_points": [{"x": 0.0, "y": 48.2}, {"x": 2.9, "y": 40.84}]},
        "custom": [{"name": "route km", "data_points": [{"x": 1, "y": 9.1}]}],
    },
}


def test_metrics_and_statistics_become_one_table_in_their_order() -> None:
    metrics = {"value": 40.84, "per_vehicle": {"vehicle_1": 9, "vehicle_2": 7.5}, "ok": True}
    flat = flatten_values(metrics, STATISTICS)
    assert list(flat.as_dict().items()) == [
        ("value", 40.84),
        ("per_vehicle.vehicle_1", 9),
        ("per_vehicle.vehicle_2", 7.5),
        ("ok", True),
        ("run.duration", 3.02),
        ("run.iterations", 250800),
        ("run.custom.threads", 4),
        ("result.duration", 2.9),
        ("result.value", 40.84),
        ("result.custom.status", "finished"),
        ("result.custom.total_km", 40.84),
    ]
    assert flat.left_out == 0


def test_a_value_has_a_text_and_maybe_a_number() -> None:
    flat = flatten_values({"n": 3, "f": 1.5, "b": True, "s": "x"}, None)
    assert [(value.name, value.text, value.number) for value in flat] == [
        ("n", "3", 3.0),
        ("f", "1.5", 1.5),
        ("b", "true", None),
        ("s", "x", None),
    ]
    assert len(flat) == 4


def test_both_forms_of_the_files_are_read() -> None:
    bare = flatten_values({"a": 1}, STATISTICS)
    assert flatten_values({"metrics": {"a": 1}}, {"statistics": STATISTICS}) == bare
    assert unwrap({"metrics": 5}, "metrics") == {"metrics": 5}
    assert unwrap({"assets": [1]}, "assets") == [1]
    assert unwrap([1], "assets") == [1]


def test_metrics_win_over_statistics_of_the_same_name() -> None:
    flat = flatten_values({"result": {"value": 1}}, {"result": {"value": 2}})
    assert flat.as_dict() == {"result.value": 1}


@pytest.mark.parametrize(
    ("given_value", "kept"),
    [
        (math.nan, "nan"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        ("NaN", "nan"),
        ("-Infinity", "-inf"),
        ("+inf", "inf"),
        (10**400, "inf"),
        (2**63, float(2**63)),
        ("a\0b\ud800", "a\ufffdb?"),
        ("x" * 900, "x" * 500),
    ],
)
def test_odd_values_are_kept_in_a_form_that_can_be_stored(
    given_value: object, kept: object
) -> None:
    assert flatten_values({"a": given_value}, None).as_dict() == {"a": kept}


def test_lists_and_nulls_are_no_values() -> None:
    assert len(flatten_values({"a": [1], "b": None, "c": {}}, None)) == 0


@pytest.mark.parametrize("odd", [None, 3, "x", [1], [], {"run": 3, "result": None}])
def test_statistics_of_any_shape_are_taken(odd: object) -> None:
    flatten_values(odd, odd)
    assert main_value(odd, odd) is None
    assert series(odd) == []


def test_names_are_bounded() -> None:
    flat = flatten_values({f"m{number}": number for number in range(1500)}, STATISTICS)
    assert len(flat) == 1000
    assert flat.left_out == 507
    (long,) = flatten_values({"a" * 150: {"b" * 150: 1}}, None)
    assert long.name == ("a" * 150 + "." + "b" * 150)[:200]


def test_endless_nesting_is_cut() -> None:
    tree: dict[str, object] = {"leaf": 1}
    for _ in range(5000):
        tree = {"a": tree}
    flat = flatten_values({"b": 1, "deep": tree}, None)
    assert flat.as_dict() == {"b": 1}
    assert flat.left_out == 1


@pytest.mark.parametrize(
    ("metrics", "statistics", "value"),
    [
        ({"value": 1}, STATISTICS, 1.0),
        ({"result": {"value": 2}}, STATISTICS, 2.0),
        ({"result.value": 3}, STATISTICS, 3.0),
        ({"other": 3}, STATISTICS, 40.84),
        ({"value": "nan"}, None, None),
        ({"value": math.inf}, None, None),
        ({"value": True}, None, None),
        ({"value": {"deeper": 1}}, STATISTICS, 40.84),
        (None, {"result": {"value": "inf"}}, None),
        (None, None, None),
        ({"value": 10**400}, None, None),
    ],
)
def test_the_value_column(metrics: object, statistics: object, value: float | None) -> None:
    assert main_value(metrics, statistics) == value


def test_series_are_read_in_order() -> None:
    value, custom = series({"statistics": STATISTICS})
    assert (value.name, value.points) == ("best", ((0.0, 48.2), (2.9, 40.84)))
    assert (custom.name, custom.points) == ("route km", ((1.0, 9.1),))


def test_broken_series_lose_their_broken_points_only() -> None:
    points = [{"x": 1, "y": 2}, {"x": 1}, {"x": "a", "y": 1}, [1, 2], None, {"x": 3, "y": math.nan}]
    found = series(
        {"series_data": {"value": {"data_points": points}, "custom": [3, {"name": ""}, {}]}}
    )
    assert [(one.name, one.points, one.left_out) for one in found] == [
        ("value", ((1.0, 2.0),), 5),
        ("series 2", (), 0),
        ("series 3", (), 0),
    ]
    (alone,) = series({"series_data": {"custom": {"name": "x", "data_points": [{"x": 1, "y": 1}]}}})
    assert alone.points == ((1.0, 1.0),)


def test_series_are_bounded() -> None:
    curve = {"data_points": [{"x": 1, "y": 1}] * 100_001}
    found = series({"series_data": {"value": curve, "custom": [{}] * 200}})
    assert len(found) == 100
    assert (len(found[0].points), found[0].left_out) == (100_000, 1)


TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["value", "result", "run", "custom", "a.b", "\0"]), inner)
    ),
    max_leaves=10,
)


@settings(max_examples=120, deadline=None, derandomize=True)
@given(TREES, TREES)
def test_whatever_a_program_reports_can_be_stored(metrics: object, statistics: object) -> None:
    flat = flatten_values(metrics, statistics)
    json.dumps(flat.as_dict(), allow_nan=False).encode()
    for value in flat:
        assert "\0" not in value.name + value.text
        assert value.number is None or math.isfinite(value.number)
    found = main_value(metrics, statistics)
    assert found is None or math.isfinite(found)
