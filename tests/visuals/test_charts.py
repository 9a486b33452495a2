"""Figures of the console's own pages."""

from __future__ import annotations

import datetime as dt
import json
import math
import subprocess
import sys

from runs.visuals import charts
from runs.visuals.palette import STATUS_COLOURS

NOON = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)


def test_series_are_read_and_broken_points_left_out() -> None:
    series = charts.read_series(
        {
            "value": {"name": "best", "data_points": [{"x": 0, "y": 4}, {"x": 1, "y": "nan"}, 3]},
            "custom": [
                {"name": "km", "data_points": [{"x": 1, "y": "2.5"}]},
                {"data_points": "none"},
                5,
                {"data_points": [{"x": 1, "y": 1}]},
            ],
        },
        group="run a",
    )
    assert [(curve.name, curve.points, curve.group) for curve in series] == [
        ("best", ((0.0, 4.0),), "run a"),
        ("km", ((1.0, 2.5),), "run a"),
        ("series 4", ((1.0, 1.0),), "run a"),
    ]
    assert charts.read_series("x") == []


def test_several_runs_share_a_plot_by_colour() -> None:
    curve = charts.Series("best", ((0, 1), (1, 2)), "a")
    other = charts.Series("best", ((0, 1), (1, 3)), "b")
    figure = charts.series_figure([curve, other], x_title="seconds")
    assert [trace["name"] for trace in figure["data"]] == ["a: best", "b: best"]
    assert figure["data"][0]["line"]["color"] != figure["data"][1]["line"]["color"]
    assert figure["layout"]["showlegend"] is True


def test_long_lines_keep_their_peaks() -> None:
    points = [(float(x), 0.0) for x in range(100_000)]
    points[77_777] = (77_777.0, 9.0)
    trace = charts.series_figure([charts.Series("a", tuple(points))])["data"][0]
    assert len(trace["x"]) <= charts.MAX_POINTS
    assert max(trace["y"]) == 9.0
    assert trace["x"] == sorted(trace["x"])


def test_hours_stack_the_outcomes_that_occur() -> None:
    figure = charts.runs_per_hour(
        [
            charts.HourBucket(NOON, {"succeeded": 3, "failed": 1}),
            charts.HourBucket(NOON + dt.timedelta(hours=1), {}),
        ]
    )
    assert [(trace["name"], trace["y"]) for trace in figure["data"]] == [
        ("succeeded", [3, 0]),
        ("failed", [1, 0]),
    ]
    assert figure["data"][0]["marker"]["color"] == STATUS_COLOURS["succeeded"]
    assert figure["layout"]["barmode"] == "stack"


def test_a_metric_is_ordered_by_time_and_leads_to_the_run() -> None:
    figure = charts.metric_history(
        [
            charts.RunPoint(NOON, 2.0, "later", "failed", "/runs/later/"),
            charts.RunPoint(NOON - dt.timedelta(days=1), 1.0, "earlier", link="/runs/earlier/"),
            charts.RunPoint(NOON, math.nan, "none"),
        ],
        name="value <b>",
    )
    trace = figure["data"][0]
    assert trace["text"] == ["earlier", "later"]
    assert trace["customdata"] == ["/runs/earlier/", "/runs/later/"]
    assert trace["marker"]["color"][1] == STATUS_COLOURS["failed"]
    assert "<b>" not in json.dumps(figure["layout"])


def test_cores_are_the_slope_of_cpu_time() -> None:
    samples = [charts.ResourceSample(at, cpu, 1024**2) for at, cpu in ((2, 2), (4, 6), (6, 5))]
    cpu, memory = charts.resources_figure(samples)["data"]
    assert (cpu["x"], cpu["y"]) == ([2, 4, 6], [1.0, 2.0, 0.0])
    assert memory["y"] == [1.0, 1.0, 1.0]
    assert memory["yaxis"] == "y2"


def test_sizes_over_decades_are_logarithmic() -> None:
    wide = charts.duration_against_input(
        [charts.SizePoint(10, 1.0, "a"), charts.SizePoint(10**6, 2.0, "b", "failed")]
    )
    assert wide["layout"]["xaxis"]["type"] == "log"
    assert "type" not in wide["layout"]["yaxis"]
    assert [trace["name"] for trace in wide["data"]] == ["succeeded", "failed"]


def test_nothing_to_show_is_still_a_figure() -> None:
    for figure in (
        charts.series_figure([]),
        charts.runs_per_hour([]),
        charts.metric_history([], name="value"),
        charts.resources_figure([]),
        charts.duration_against_input([]),
    ):
        assert set(figure) == {"data", "layout"}
        json.dumps(figure, allow_nan=False)


def test_neither_plotly_nor_folium_is_loaded_before_it_is_needed() -> None:
    code = (
        "import sys; from runs.visuals import assets, charts, geojson, maps, pages; "
        "sys.exit(any(name in sys.modules for name in ('plotly', 'folium', 'branca', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
