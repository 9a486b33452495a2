"""GeoJSON of any shape, read into layers."""

from __future__ import annotations

import json
import math

import pytest

from runs.visuals.geojson import MAX_LAYERS, MapError, read_map


def feature(geometry: object, **properties: object) -> dict[str, object]:
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def point(x: float = 15.0, y: float = 47.0) -> dict[str, object]:
    return {"type": "Point", "coordinates": [x, y]}


LINE = {"type": "LineString", "coordinates": [[15.0, 47.0], [15.5, 47.5]]}
AREA = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}


@pytest.mark.parametrize(
    "content",
    [
        point(),
        feature(point()),
        {"type": "FeatureCollection", "features": [feature(point())]},
        [feature(point())],
        [{"type": "FeatureCollection", "features": [feature(point())]}],
        {"type": "GeometryCollection", "geometries": [point()]},
        feature({"type": "GeometryCollection", "geometries": [point()]}),
        {"type": "Point", "coordinates": [15.0, 47.0, 312.5]},
        {"type": "MultiPoint", "coordinates": [[15.0, 47.0, 3]]},
        [feature(None), feature(point())],
        json.dumps(feature(point())),
        [json.dumps(point())],
        {"type": "Feature", "geometry": point(), "properties": None},
        {"type": "Feature", "geometry": point()},
    ],
)
def test_every_shape_of_geojson_with_one_place_is_that_place(content: object) -> None:
    data = read_map(content)
    assert data.bounds == ((47.0, 15.0), (47.0, 15.0))
    assert data.points == data.shapes == 1
    assert data.layers[0].features[0]["geometry"] == {"type": "Point", "coordinates": [15.0, 47.0]}
    assert data.warning == ""


@pytest.mark.parametrize(
    "content",
    [
        {"type": "FeatureCollection", "features": []},
        feature(None),
        {},
        [],
        5,
        None,
        "not json",
        "[" * 100_000,
        {"type": "Point", "coordinates": ["a", "b"]},
        {"type": "Point", "coordinates": [1]},
        {"type": "Point", "coordinates": [True, False]},
        {"type": "Point", "coordinates": [math.nan, math.inf]},
        {"type": "Point", "coordinates": [10**400, 1]},
        {"type": "Point", "coordinates": [500000.0, 5200000.0]},
        {"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]},
        {"type": "Blob", "coordinates": [1, 2]},
        {"type": "FeatureCollection", "features": "none"},
        {"type": "FeatureCollection", "features": [None, 3, "x"]},
    ],
)
def test_nothing_to_draw_is_said_in_words(content: object) -> None:
    with pytest.raises(MapError) as problem:
        read_map(content)
    assert str(problem.value).endswith(".")


def test_the_box_holds_every_kind_of_geometry() -> None:
    data = read_map(
        [
            feature(LINE),
            feature(AREA),
            feature({"type": "MultiLineString", "coordinates": [[[2, 2], [3, 3]]]}),
            feature({"type": "MultiPolygon", "coordinates": [[[[9, 9], [10, 9], [10, 11]]]]}),
        ]
    )
    assert data.bounds == ((0, 0), (47.5, 15.5))
    assert data.shapes == 4
    assert data.points == 0


def test_broken_geometries_are_counted_and_the_others_drawn() -> None:
    data = read_map([point(), {"type": "Point", "coordinates": []}])
    assert data.shapes == 1
    assert "One broken geometry" in data.warning


def test_layers_are_kinds_with_points_above_lines() -> None:
    data = read_map(
        [
            feature(point(), kind="depot"),
            feature(LINE, kind="route", vehicle=1),
            feature(point(), vehicle=1),
        ]
    )
    assert [layer.name for layer in data.layers] == ["route", "depot", "Other"]


def test_layers_are_vehicles_where_there_is_no_kind() -> None:
    data = read_map([feature(LINE, vehicle=1), feature(LINE, vehicle=2)])
    assert [layer.name for layer in data.layers] == ["vehicle 1", "vehicle 2"]


def test_layers_are_geometries_where_there_is_neither() -> None:
    data = read_map([feature(point()), feature(LINE), feature(AREA)])
    assert [layer.name for layer in data.layers] == ["Polygon", "LineString", "Point"]


def test_layers_are_the_chosen_property() -> None:
    data = read_map([feature(LINE, kind="a", zone="n")], layer_property="zone")
    assert [layer.name for layer in data.layers] == ["zone n"]


def test_many_values_share_a_last_layer() -> None:
    data = read_map([feature(point(), kind=f"k{number}") for number in range(200)])
    assert len(data.layers) == MAX_LAYERS + 1
    assert sum(len(layer.features) for layer in data.layers) == 200


def test_tooltips_hold_every_scalar_but_the_reserved_ones() -> None:
    data = read_map(
        feature(
            point(),
            name="a",
            load=17,
            share=0.1,
            open=True,
            nothing=None,
            nested={"x": 1},
            style={"color": "red"},
            highlight="x",
            metadata=[{"key": "k", "value": 9.1}],
        )
    )
    properties = data.layers[0].features[0]["properties"]
    assert properties["rows"] == [["name", "a"], ["load", "17"], ["share", "0.1"], ["open", "yes"]]
    assert properties["details"] == [["k", "9.1"]]


def test_only_well_formed_styles_are_kept() -> None:
    style = {
        "color": "#1b7f5c",
        "fillColor": "url(http://outside.example/x)",
        "weight": 4,
        "radius": -1,
        "opacity": 8,
        "dashArray": "12,7",
        "className": "x",
        "lineCap": "<b>",
        "fill": True,
        "stroke": "yes",
    }
    data = read_map(feature(point(), style=style))
    assert data.layers[0].features[0]["properties"]["style"] == {
        "color": "#1b7f5c",
        "weight": 4.0,
        "opacity": 1,
        "dashArray": "12,7",
        "fill": True,
    }


def test_deep_nesting_does_not_end_the_reader() -> None:
    content: object = point()
    for _ in range(20_000):
        content = {"type": "GeometryCollection", "geometries": [content]}
    assert read_map(content).shapes == 1
