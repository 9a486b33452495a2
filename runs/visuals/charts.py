"""Figures of the console's own pages, as Plotly JSON made without loading Plotly.

Each function takes plain values and returns `{"data": [...], "layout": {...}}` for a figure page.
Colours of the theme (text, grid, background) are left to the page; a point may carry the address of
its run, which the page follows on a click. Traces of one status name it in `meta`, so that a page
may draw them in the colour its theme has for that status.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from runs.visuals.palette import CATEGORIES, STATUS_COLOURS

Figure = dict[str, Any]
"""A figure as Plotly's JSON; the shape is the library's."""

MAX_POINTS = 4000
"""Points of one line; of more, the lowest and the highest of each stretch are kept."""

_MIB = 1024 * 1024
_OUTCOMES = ("succeeded", "failed", "canceled", "running", "queued")


@dataclass(frozen=True)
class Series:
    """One curve; `group` names the run when curves of several runs share a plot."""

    name: str
    points: tuple[tuple[float, float], ...]
    group: str = ""


@dataclass(frozen=True)
class HourBucket:
    """How many runs came to each outcome in the hour that begins at `at`."""

    at: datetime
    outcomes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class RunPoint:
    """One run in a plot over time: the instant, the value, and where a click leads."""

    at: datetime
    value: float
    run_id: str
    status: str = "succeeded"
    link: str = ""


@dataclass(frozen=True)
class SizePoint:
    """One run in a plot of duration against input size."""

    input_bytes: int
    duration_s: float
    run_id: str
    status: str = "succeeded"
    link: str = ""


@dataclass(frozen=True)
class ResourceSample:
    """The process tree of a run at one moment: CPU seconds so far, memory now."""

    at_s: float
    cpu_s: float
    memory_bytes: int
    processes: int = 1


def read_series(value: object, *, group: str = "") -> list[Series]:
    """The curves in `statistics.series_data`: `value` and the list `custom`; broken ones left out.

    Numbers may be written as texts, as in `"nan"`; points that are not finite are left out.
    """
    if not isinstance(value, Mapping):
        return []
    custom = value.get("custom")
    found = [value.get("value"), *(custom if isinstance(custom, list) else ())]
    result = []
    for number, item in enumerate(found):
        if not isinstance(item, Mapping) or not isinstance(item.get("data_points"), list):
            continue
        points = []
        for point in item["data_points"]:
            if isinstance(point, Mapping):
                x, y = _number(point.get("x")), _number(point.get("y"))
                if x is not None and y is not None:
                    points.append((x, y))
        name = item.get("name")
        fallback = "value" if number == 0 else f"series {number}"
        if points:
            name = name[:80] if isinstance(name, str) and name else fallback
            result.append(Series(name=name, points=tuple(points), group=group))
    return result


def series_figure(
    series: Sequence[Series], *, title: str = "", x_title: str = "", y_title: str = ""
) -> Figure:
    """Lines over a common axis; runs differ by colour, the curves of one run by their dashes."""
    groups = list(dict.fromkeys(curve.group for curve in series))
    dashes = ("solid", "dash", "dot", "dashdot", "longdash")
    seen: dict[str, int] = {}
    traces: list[Figure] = []
    for number, curve in enumerate(series):
        place = seen[curve.group] = seen.get(curve.group, -1) + 1
        several = len(groups) > 1
        colour = groups.index(curve.group) if several else number
        points = _thinned(curve.points)
        line: Figure = {"color": CATEGORIES[colour % len(CATEGORIES)], "width": 2}
        if several:
            line["dash"] = dashes[place % len(dashes)]
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers" if len(points) <= 40 else "lines",
                "name": _plain(f"{curve.group}: {curve.name}" if curve.group else curve.name),
                "x": [x for x, _ in points],
                "y": [y for _, y in points],
                "line": line,
                "marker": {"size": 5},
            }
        )
    layout = _layout(title=title, x_title=x_title, y_title=y_title, legend=len(traces) > 1)
    return {"data": traces, "layout": layout}


def runs_per_hour(buckets: Sequence[HourBucket], *, title: str = "") -> Figure:
    """Stacked bars of the runs of each hour, by outcome; outcomes that never occur are left out."""
    hours = [bucket.at.isoformat() for bucket in buckets]
    traces: list[Figure] = [
        {
            "type": "bar",
            "name": outcome,
            "x": hours,
            "y": [int(bucket.outcomes.get(outcome, 0)) for bucket in buckets],
            "marker": {"color": STATUS_COLOURS[outcome]},
            "meta": {"status": outcome},
            "hovertemplate": f"%{{y}} {outcome}<br>%{{x|%d %b, %H:%M}}<extra></extra>",
        }
        for outcome in _OUTCOMES
        if any(bucket.outcomes.get(outcome, 0) for bucket in buckets)
    ]
    layout = _layout(title=title, y_title="runs", legend=True)
    layout["barmode"] = "stack"
    layout["bargap"] = 0.15
    layout["xaxis"]["type"] = "date"
    layout["yaxis"] |= {"rangemode": "tozero", "tickformat": "~d"}
    return {"data": traces, "layout": layout}


def metric_history(points: Sequence[RunPoint], *, name: str, title: str = "") -> Figure:
    """A metric over time, one point for each run, coloured by status."""
    ordered = sorted(points, key=lambda point: point.at)
    known = [point for point in ordered if math.isfinite(point.value)]
    trace: Figure = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": _plain(name),
        "x": [point.at.isoformat() for point in known],
        "y": [point.value for point in known],
        "text": [_plain(point.run_id) for point in known],
        "customdata": [point.link for point in known],
        "line": {"color": STATUS_COLOURS["queued"], "width": 1},
        "marker": {"size": 8, "color": [_status_colour(point.status) for point in known]},
        "hovertemplate": "%{y:.6~g}<br>%{x|%d %b %Y, %H:%M}<br>%{text}<extra></extra>",
    }
    layout = _layout(title=title, y_title=name)
    layout["xaxis"]["type"] = "date"
    return {"data": [trace], "layout": layout}


def resources_figure(samples: Sequence[ResourceSample], *, title: str = "") -> Figure:
    """Cores in use and memory of the process tree of a run, over the seconds since its start."""
    ordered = sorted(samples, key=lambda sample: sample.at_s)
    cores: list[tuple[float, float]] = []
    for earlier, later in itertools.pairwise(ordered):
        elapsed = later.at_s - earlier.at_s
        if elapsed > 0:
            # The sum falls when a child ends unseen; less than nothing was not used.
            cores.append((later.at_s, max(0.0, later.cpu_s - earlier.cpu_s) / elapsed))
    if ordered and ordered[0].at_s > 0:
        cores.insert(0, (ordered[0].at_s, max(0.0, ordered[0].cpu_s) / ordered[0].at_s))
    memory = [(sample.at_s, sample.memory_bytes / _MIB) for sample in ordered]
    cores, memory = _thinned(cores), _thinned(memory)
    traces: list[Figure] = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": "CPU",
            "x": [at for at, _ in cores],
            "y": [round(value, 4) for _, value in cores],
            "line": {"color": CATEGORIES[0], "width": 2},
            "hovertemplate": "%{y:.2f} cores at %{x:.1f} s<extra></extra>",
        },
        {
            "type": "scatter",
            "mode": "lines",
            "name": "memory",
            "yaxis": "y2",
            "x": [at for at, _ in memory],
            "y": [round(value, 3) for _, value in memory],
            "line": {"color": CATEGORIES[1], "width": 2},
            "hovertemplate": "%{y:.1f} MiB at %{x:.1f} s<extra></extra>",
        },
    ]
    layout = _layout(title=title, x_title="seconds", y_title="cores", legend=True)
    layout["xaxis"]["rangemode"] = "tozero"
    layout["yaxis"]["rangemode"] = "tozero"
    layout["yaxis2"] = {
        "title": {"text": "MiB"},
        "overlaying": "y",
        "side": "right",
        "rangemode": "tozero",
        "showgrid": False,
    }
    return {"data": traces, "layout": layout}


def duration_against_input(points: Sequence[SizePoint], *, title: str = "") -> Figure:
    """Duration over input size, one point for each run; logarithmic where values span decades."""
    known = [p for p in points if math.isfinite(p.duration_s) and p.duration_s >= 0]
    traces: list[Figure] = []
    for status in _OUTCOMES:
        chosen = [point for point in known if point.status == status]
        if chosen:
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": status,
                    "x": [point.input_bytes for point in chosen],
                    "y": [point.duration_s for point in chosen],
                    "text": [_plain(point.run_id) for point in chosen],
                    "customdata": [point.link for point in chosen],
                    "meta": {"status": status},
                    "marker": {"size": 8, "color": STATUS_COLOURS[status], "opacity": 0.8},
                    "hovertemplate": "%{y:.3~g} s, %{x:.3~s}B<br>%{text}<extra></extra>",
                }
            )
    layout = _layout(title=title, x_title="input size", y_title="seconds", legend=len(traces) > 1)
    layout["xaxis"] |= {"tickformat": "~s", "ticksuffix": "B"}
    if _spans_decades([float(point.input_bytes) for point in known]):
        layout["xaxis"] |= {"type": "log", "dtick": 1}
    if _spans_decades([point.duration_s for point in known]):
        layout["yaxis"] |= {"type": "log", "dtick": 1}
    else:
        layout["yaxis"]["rangemode"] = "tozero"
    return {"data": traces, "layout": layout}


def _layout(
    *, title: str = "", x_title: str = "", y_title: str = "", legend: bool = False
) -> Figure:
    layout: Figure = {
        "showlegend": legend,
        "legend": {
            "orientation": "h",
            "x": 0,
            "y": 1.02,
            "yanchor": "bottom",
            "traceorder": "normal",
        },
        "margin": {"t": 84 if title and legend else 48 if title or legend else 20},
        "hovermode": "closest",
        "xaxis": {"title": {"text": _plain(x_title)}} if x_title else {},
        "yaxis": {"title": {"text": _plain(y_title)}} if y_title else {},
    }
    if title:
        layout["title"] = {"text": _plain(title)}
    return layout


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most about `MAX_POINTS` of `points`, so that every peak stays visible."""
    if len(points) <= MAX_POINTS:
        return list(points)
    step = math.ceil(len(points) / (MAX_POINTS // 2))
    kept: list[tuple[float, float]] = []
    for start in range(0, len(points), step):
        stretch = range(start, min(start + step, len(points)))
        low = min(stretch, key=lambda place: points[place][1])
        high = max(stretch, key=lambda place: points[place][1])
        kept.extend(points[place] for place in sorted({low, high}))
    return kept


def _spans_decades(values: Sequence[float]) -> bool:
    return bool(values) and min(values) > 0 and max(values) / min(values) > 100


def _status_colour(status: str) -> str:
    return STATUS_COLOURS.get(status, STATUS_COLOURS["queued"])


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _plain(text: str) -> str:
    """`text` as Plotly shows it literally: it reads a few tags and links in labels."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
