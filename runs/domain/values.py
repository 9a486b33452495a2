"""Metrics and statistics of a run as flat names, its main value, and its series."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

MOST_NAMES = 1000
LONGEST_NAME = 200
LONGEST_TEXT = 500
DEEPEST_NESTING = 32
MOST_SERIES = 100
MOST_POINTS = 100_000

Value = bool | int | float | str
_NOT_FINITE = {
    "nan": "nan",
    "inf": "inf",
    "+inf": "inf",
    "infinity": "inf",
    "+infinity": "inf",
    "-inf": "-inf",
    "-infinity": "-inf",
}


@dataclass(frozen=True)
class NamedValue:
    """One value of a run under its flat name."""

    name: str
    value: Value

    @property
    def text(self) -> str:
        """The value as text: numbers and truth values as in JSON."""
        return self.value if isinstance(self.value, str) else json.dumps(self.value)

    @property
    def number(self) -> float | None:
        """The value as number; None for texts and truth values."""
        if isinstance(self.value, bool | str):
            return None
        return float(self.value)


@dataclass(frozen=True)
class FlatValues:
    """The named values in the order given, and how many more there were."""

    values: tuple[NamedValue, ...] = ()
    left_out: int = 0

    def __iter__(self) -> Iterator[NamedValue]:
        return iter(self.values)

    def __len__(self) -> int:
        return len(self.values)

    def as_dict(self) -> dict[str, Value]:
        """The values by name."""
        return {value.name: value.value for value in self.values}


@dataclass(frozen=True)
class Series:
    """A curve that a program reported; `left_out` points were no numbers or too many."""

    name: str
    points: tuple[tuple[float, float], ...]
    left_out: int = 0


def flatten_values(metrics: object, statistics: object) -> FlatValues:
    """One table of names: `metrics`, then `run` and `result` of the statistics.

    Nested names are joined by dots: `per_vehicle.vehicle_1`, `result.value`,
    `result.custom.status`. Where both have a name, metrics win. Values are finite numbers within 64
    bits, truth values and texts of at most 500 characters; NaN and infinities become the texts
    `nan`, `inf` and `-inf`. Lists and nulls are no values. At most 1,000 names of at most 200
    characters; the rest is counted in `left_out`.
    """
    flat: dict[str, Value] = {}
    left_out = _flatten_into(flat, "", unwrap(metrics, "metrics"))
    found = unwrap(statistics, "statistics")
    if isinstance(found, Mapping):
        for part in ("run", "result"):
            left_out += _flatten_into(flat, part, found.get(part))
    return FlatValues(tuple(NamedValue(*pair) for pair in flat.items()), left_out)


def _flatten_into(flat: dict[str, Value], prefix: str, tree: object) -> int:
    """Add the leaves of `tree` to `flat`; how many were left out for want of room."""
    left_out = 0
    waiting: list[tuple[str, object, int]] = [(prefix, tree, 0)]
    while waiting:
        name, node, depth = waiting.pop()
        if isinstance(node, Mapping):
            if depth >= DEEPEST_NESTING:
                left_out += 1
                continue
            pairs = [
                (f"{name}.{key}"[: LONGEST_NAME + 1] if name else str(key), child, depth + 1)
                for key, child in node.items()
            ]
            waiting.extend(reversed(pairs))
            continue
        value = _leaf(node)
        if value is None or not name:
            continue
        name = _storable(name)[:LONGEST_NAME]
        if name in flat:
            continue
        if len(flat) >= MOST_NAMES:
            left_out += 1
            continue
        flat[name] = value
    return left_out


def _leaf(node: object) -> Value | None:
    if isinstance(node, bool):
        return node
    if isinstance(node, str):
        return _NOT_FINITE.get(node.strip().lower()[:10], _storable(node[:LONGEST_TEXT]))
    if isinstance(node, int) and abs(node) < 2**63:
        return node
    if isinstance(node, int | float):
        number = _as_float(node)
        if math.isnan(number):
            return "nan"
        if math.isinf(number):
            return "inf" if number > 0 else "-inf"
        return number
    return None


def _storable(text: str) -> str:
    """`text` without what PostgreSQL and UTF-8 refuse: zero bytes and halves of characters."""
    return text.replace("\0", "\ufffd").encode(errors="replace").decode()


def main_value(metrics: object, statistics: object) -> float | None:
    """The number in the value column: `metrics.value`, else `metrics.result.value`, else
    `statistics.result.value`; the first that is a finite number, None without one."""
    found = unwrap(metrics, "metrics")
    places = (
        _at(found, "value"),
        _at(found, "result", "value"),
        _at(found, "result.value"),
        _at(unwrap(statistics, "statistics"), "result", "value"),
    )
    return next((number for place in places if (number := _finite(place)) is not None), None)


def series(statistics: object) -> list[Series]:
    """The curves in `statistics.series_data`: the one of the value first, then the custom ones.

    Points that are not two finite numbers are left out and counted, and so are curves beyond the
    hundredth and points beyond 100,000. Curves without any point stay, so that a page can say so.
    """
    data = _at(unwrap(statistics, "statistics"), "series_data")
    if not isinstance(data, Mapping):
        return []
    found = []
    if isinstance(data.get("value"), Mapping):
        found.append(_curve(data["value"], "value"))
    custom = data.get("custom")
    curves: Iterable[object] = custom if isinstance(custom, list) else [custom]
    for number, curve in enumerate(curves, start=1):
        if len(found) >= MOST_SERIES:
            break
        if isinstance(curve, Mapping):
            found.append(_curve(curve, f"series {number}"))
    return found


def _curve(curve: Mapping[str, object], default_name: str) -> Series:
    name = curve.get("name")
    given = curve.get("data_points")
    given = given if isinstance(given, list) else []
    points = []
    for point in given[:MOST_POINTS]:
        x, y = _finite(_at(point, "x")), _finite(_at(point, "y"))
        if x is not None and y is not None:
            points.append((x, y))
    shown = _storable(name)[:LONGEST_NAME] if isinstance(name, str) and name else default_name
    return Series(shown, tuple(points), len(given) - len(points))


def unwrap(document: object, key: str) -> object:
    """What a file of `key` holds: both `{"metrics": …}` and the bare value are in use."""
    if isinstance(document, Mapping) and isinstance(document.get(key), Mapping | list):
        return document[key]
    return document


def _at(tree: object, *keys: str) -> object:
    for key in keys:
        if not isinstance(tree, Mapping):
            return None
        tree = tree.get(key)
    return tree


def _finite(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    number = _as_float(value)
    return number if math.isfinite(number) else None


def _as_float(number: int | float) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf
