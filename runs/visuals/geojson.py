"""Reads GeoJSON of any shape into the layers of a map: cleaned, bounded and described."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from runs.visuals.palette import CATEGORIES

MAX_LAYERS = 24
MAX_ROWS = 40
MAX_TEXT_LENGTH = 300
OTHER = "Other"

_RESERVED = frozenset(("style", "highlight", "metadata"))
_GROUPED_BY = ("kind", "vehicle")
_COLOUR = re.compile(
    r"#[0-9a-fA-F]{3,8}|[a-zA-Z]{3,24}|(?:rgb|hsl)a?\([0-9.,%/ deg]{1,60}\)", re.ASCII
)
_DASHES = re.compile(r"[0-9.]{1,8}(?:[ ,]+[0-9.]{1,8}){0,15}", re.ASCII)
_NUMBER_STYLES = {"weight": 40, "opacity": 1, "fillOpacity": 1, "radius": 60}
_FLAG_STYLES = ("stroke", "fill")
_COLOUR_STYLES = ("color", "fillColor")
_DASH_STYLES = ("dashArray", "dashOffset")
_WORD_STYLES = {
    "lineCap": ("butt", "round", "square"),
    "lineJoin": ("arcs", "bevel", "miter", "miter-clip", "round"),
    "fillRule": ("nonzero", "evenodd"),
}


class MapError(Exception):
    """The content cannot be drawn as a map; the message says why, in one sentence."""


@dataclass(frozen=True)
class MapLayer:
    """What one tick in the layer control shows: GeoJSON features, cleaned."""

    name: str
    colour: str
    features: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class MapData:
    """One map: its layers, the box around all of them, and what could not be drawn."""

    layers: tuple[MapLayer, ...]
    bounds: tuple[tuple[float, float], tuple[float, float]]
    """South-west and north-east corner, each latitude and longitude in degrees."""
    points: int
    shapes: int
    warning: str = ""

    def as_json(self) -> dict[str, object]:
        """What the page's script needs to fill the layers."""
        return {
            "warning": self.warning,
            "layers": [
                {"name": layer.name, "colour": layer.colour, "features": layer.features}
                for layer in self.layers
            ],
        }


def read_map(content: object, *, layer_property: str = "") -> MapData:
    """The map in `content`: any GeoJSON object, a list of them, or a JSON text of either.

    Layers are the values of `layer_property`, else of the first of `kind` and `vehicle` that a
    feature has, else the kinds of geometry. Raises `MapError` when there is nothing to draw.
    """
    if isinstance(content, str):
        try:
            content = json.loads(content)
        except (ValueError, RecursionError):
            raise MapError("The map is a text that is not JSON.") from None
    if not isinstance(content, Mapping | list | tuple):
        raise MapError("The map is neither a GeoJSON object nor a list of them.")
    box = _Box()
    skipped = 0
    drawn: list[tuple[dict[str, Any], Mapping[str, Any]]] = []
    for geometry, properties in _shapes(content):
        cleaned = _clean_geometry(geometry, box)
        if not cleaned:
            skipped += 1
            continue
        described: dict[str, Any] = {"style": _clean_style(properties.get("style"))}
        rows = _rows(properties)
        if rows:
            described["rows"] = rows
        details = _metadata(properties.get("metadata"))
        if details:
            described["details"] = details
        for part in cleaned:
            feature = {"type": "Feature", "geometry": part, "properties": described}
            drawn.append((feature, properties))
    if not drawn or not box.known:
        reason = "it has no feature with a geometry."
        if skipped:
            reason = "its geometries are broken, or not in degrees of longitude and latitude."
        raise MapError(f"The map holds no place: {reason}")
    warning = ""
    if skipped:
        many = "One broken geometry is" if skipped == 1 else f"{skipped} broken geometries are"
        warning = f"{many} not drawn."
    points = sum(feature["geometry"]["type"] == "Point" for feature, _ in drawn)
    return MapData(
        layers=_layers(drawn, layer_property),
        bounds=box.corners(),
        points=points,
        shapes=len(drawn),
        warning=warning,
    )


class _Box:
    """The smallest box around all positions seen."""

    def __init__(self) -> None:
        self.south = self.west = math.inf
        self.north = self.east = -math.inf

    @property
    def known(self) -> bool:
        return self.south <= self.north

    def add(self, longitude: float, latitude: float) -> None:
        self.south, self.north = min(self.south, latitude), max(self.north, latitude)
        self.west, self.east = min(self.west, longitude), max(self.east, longitude)

    def corners(self) -> tuple[tuple[float, float], tuple[float, float]]:
        return (self.south, self.west), (self.north, self.east)


def _shapes(content: object) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Each simple geometry in `content` with the properties of its feature, in their order."""
    waiting: list[tuple[object, Mapping[str, Any]]] = [(content, {})]
    while waiting:
        value, properties = waiting.pop()
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                continue
        if isinstance(value, list | tuple):
            waiting.extend((item, properties) for item in reversed(value))
            continue
        if not isinstance(value, Mapping):
            continue
        kind = value.get("type")
        if kind == "FeatureCollection":
            inner = value.get("features")
            if isinstance(inner, list | tuple | Mapping):
                waiting.append((inner, {}))
        elif kind == "Feature":
            own = value.get("properties")
            waiting.append((value.get("geometry"), own if isinstance(own, Mapping) else {}))
        elif kind == "GeometryCollection":
            inner = value.get("geometries")
            if isinstance(inner, list | tuple):
                waiting.append((inner, properties))
        elif "coordinates" in value:
            yield value, properties


def _clean_geometry(geometry: Mapping[str, Any], box: _Box) -> list[dict[str, Any]]:
    """The parts of `geometry` with positions of two numbers; empty when it cannot be drawn."""
    kind, coordinates = geometry.get("type"), geometry.get("coordinates")
    if kind == "Point":
        place = _position(coordinates)
        if place is None:
            return []
        box.add(*place)
        return [{"type": "Point", "coordinates": place}]
    if kind == "MultiPoint":
        places = _positions(coordinates)
        _add_all(box, places)
        return [{"type": "Point", "coordinates": place} for place in places]
    if kind == "LineString":
        lines = _lines([coordinates], 2)
    elif kind in ("MultiLineString", "Polygon"):
        lines = _lines(coordinates, 2 if kind == "MultiLineString" else 3)
    elif kind == "MultiPolygon":
        polygons = [_lines(rings, 3) for rings in _items(coordinates)]
        polygons = [rings for rings in polygons if rings]
        for rings in polygons:
            for ring in rings:
                _add_all(box, ring)
        return [{"type": "MultiPolygon", "coordinates": polygons}] if polygons else []
    else:
        return []
    for line in lines:
        _add_all(box, line)
    if not lines:
        return []
    return [{"type": kind, "coordinates": lines[0] if kind == "LineString" else lines}]


def _items(value: object) -> list[Any] | tuple[Any, ...]:
    return value if isinstance(value, list | tuple) else ()


def _lines(value: object, least: int) -> list[list[list[float]]]:
    lines = [_positions(line) for line in _items(value)]
    return [line for line in lines if len(line) >= least]


def _positions(value: object) -> list[list[float]]:
    places = [_position(item) for item in _items(value)]
    return [place for place in places if place is not None]


def _add_all(box: _Box, places: list[list[float]]) -> None:
    for place in places:
        box.add(*place)


def _position(value: object) -> list[float] | None:
    """Longitude and latitude of a position; a third number (the altitude) is left out."""
    if not isinstance(value, list | tuple) or len(value) < 2:
        return None
    longitude, latitude = _number(value[0]), _number(value[1])
    if longitude is None or latitude is None or abs(longitude) > 540 or abs(latitude) > 90:
        return None
    return [longitude, latitude]


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _layers(
    drawn: list[tuple[dict[str, Any], Mapping[str, Any]]], layer_property: str
) -> tuple[MapLayer, ...]:
    chosen = next(
        (
            key
            for key in (layer_property, *_GROUPED_BY)
            if key and any(_scalar(properties.get(key)) for _, properties in drawn)
        ),
        None,
    )
    groups: dict[str, list[dict[str, Any]]] = {}
    for feature, properties in drawn:
        if chosen is None:
            name = str(feature["geometry"]["type"]).removeprefix("Multi")
        else:
            name = _scalar(properties.get(chosen)) or OTHER
            if chosen != "kind" and name != OTHER:
                name = f"{chosen} {name}"[:MAX_TEXT_LENGTH]
        if name not in groups and len(groups) >= MAX_LAYERS:
            name = OTHER
        groups.setdefault(name, []).append(feature)
    for features in groups.values():
        features.sort(key=_height)
    # What is added later lies on top: areas first, then lines, then points.
    ordered = sorted(groups.items(), key=lambda group: _height(group[1][0]))
    return tuple(
        MapLayer(name=name, colour=CATEGORIES[number % len(CATEGORIES)], features=features)
        for number, (name, features) in enumerate(ordered)
    )


def _height(feature: Mapping[str, Any]) -> int:
    kind = str(feature["geometry"]["type"])
    return 0 if kind.endswith("Polygon") else 1 if kind.endswith("LineString") else 2


def _scalar(value: object) -> str:
    """`value` as text when it is a text, a number or a truth value; else empty."""
    if isinstance(value, str):
        text = value
    elif isinstance(value, bool):
        text = "yes" if value else "no"
    elif isinstance(value, int | float):
        number = _number(value)
        if number is None:
            text = "" if isinstance(value, int) else str(value)
        else:
            text = str(value) if isinstance(value, int) else f"{value:.10g}"
    else:
        return ""
    return text if len(text) <= MAX_TEXT_LENGTH else text[: MAX_TEXT_LENGTH - 1] + "…"


def _rows(properties: Mapping[str, Any]) -> list[list[str]]:
    """Name and value of each scalar property, for the tooltip."""
    rows: list[list[str]] = []
    for key, value in properties.items():
        text = "" if key in _RESERVED else _scalar(value)
        if text:
            rows.append([_scalar(str(key)), text])
        if len(rows) == MAX_ROWS:
            break
    return rows


def _metadata(value: object) -> list[list[str]]:
    """Key and value of each entry of `metadata`: a list of objects, or one object."""
    if isinstance(value, Mapping):
        pairs: list[tuple[object, object]] = list(value.items())
    else:
        pairs = [
            (item.get("key"), item.get("value"))
            for item in _items(value)
            if isinstance(item, Mapping)
        ]
    return [[_plain(key), _plain(entry)] for key, entry in pairs[:MAX_ROWS]]


def _plain(value: object) -> str:
    if isinstance(value, Mapping | list | tuple):
        try:
            return _scalar(json.dumps(value, ensure_ascii=False, default=str))
        except (ValueError, RecursionError):
            return "…"
    return _scalar(value)


def _clean_style(value: object) -> dict[str, Any]:
    """The path options of Leaflet in `value` that are well formed; all else is left out."""
    if not isinstance(value, Mapping):
        return {}
    style: dict[str, Any] = {}
    for key, highest in _NUMBER_STYLES.items():
        number = _number(value.get(key))
        if number is not None and number >= 0:
            style[key] = min(number, highest)
    for key in _FLAG_STYLES:
        if isinstance(value.get(key), bool):
            style[key] = value[key]
    for key in _COLOUR_STYLES:
        text = value.get(key)
        if isinstance(text, str) and _COLOUR.fullmatch(text.strip()):
            style[key] = text.strip()
    for key in _DASH_STYLES:
        text = value.get(key)
        if isinstance(text, list):
            text = ",".join(str(part) for part in text[:16])
        number = _number(text)
        text = f"{number:g}" if number is not None else text
        if isinstance(text, str) and _DASHES.fullmatch(text.strip()):
            style[key] = text.strip()
    for key, words in _WORD_STYLES.items():
        if value.get(key) in words:
            style[key] = value[key]
    return style
