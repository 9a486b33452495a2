"""What a run declares as assets, from sound to broken."""

from __future__ import annotations

import json

import pytest

from runs.visuals.assets import MAX_ASSETS, MAX_FIGURES, read_assets, visual_tabs


def declared(**changes: object) -> dict[str, object]:
    return {
        "name": "routes",
        "content_type": "json",
        "content": [{"data": []}],
        "visual": {"schema": "plotly", "type": "custom-tab", "label": "Charts"},
    } | changes


def test_a_list_of_assets_is_read_in_order() -> None:
    assets, warnings = read_assets([declared(), declared(name="b", visual=None)])
    assert [asset.name for asset in assets] == ["routes", "b"]
    assert assets[0].visual is not None
    assert (assets[0].visual.schema, assets[0].visual.label) == ("plotly", "Charts")
    assert assets[1].visual is None
    assert warnings == []


@pytest.mark.parametrize(
    "value", [declared(), {"assets": declared()}, {"assets": [declared()]}, [declared()]]
)
def test_one_object_a_list_and_the_output_key_are_the_same(value: object) -> None:
    assets, warnings = read_assets(value)
    assert [asset.name for asset in assets] == ["routes"]
    assert warnings == []


@pytest.mark.parametrize("value", [None, [], {"assets": None}, {"assets": []}])
def test_nothing_declared_is_no_asset_and_no_warning(value: object) -> None:
    assert read_assets(value) == ([], [])


@pytest.mark.parametrize("value", ["text", 5, True, 2.5, {"assets": "text"}])
def test_assets_of_another_kind_are_a_warning(value: object) -> None:
    assets, warnings = read_assets(value)
    assert assets == []
    assert len(warnings) == 1


def test_older_names_of_the_visual_are_read() -> None:
    visual = {"visual_schema": "geojson", "visual_type": "tab", "label": "Map"}
    assets, warnings = read_assets([declared(visual=visual)])
    assert assets[0].visual is not None
    assert (assets[0].visual.schema, assets[0].visual.type) == ("geojson", "tab")
    assert warnings == []


@pytest.mark.parametrize(
    "visual", [{"schema": "hologram", "label": "x"}, {"label": "x"}, "plotly", ["plotly"], 7]
)
def test_an_unknown_visual_leaves_a_download_and_a_warning_that_names_it(visual: object) -> None:
    assets, warnings = read_assets([declared(visual=visual)])
    assert assets[0].visual is None
    assert visual_tabs(assets) == []
    assert len(warnings) == 1
    assert "routes" in warnings[0]


def test_a_missing_label_takes_the_name() -> None:
    assets, warnings = read_assets([declared(visual={"schema": "plotly"})])
    assert assets[0].visual is not None
    assert assets[0].visual.label == "routes"
    assert "routes" in warnings[0]


def test_broken_assets_are_named_and_the_others_kept() -> None:
    nameless = declared()
    del nameless["name"]
    empty = declared(name="empty")
    del empty["content"]
    assets, warnings = read_assets(["text", nameless, empty, declared()])
    assert [asset.name for asset in assets] == ["asset-2", "routes"]
    assert len(warnings) == 3
    assert "Asset 1" in warnings[0]
    assert "Asset 2" in warnings[1]
    assert "“empty”" in warnings[2]


def test_labels_are_one_short_line_without_direction_marks() -> None:
    label = "a\nb\u202ec\x00d\ud800" + "x" * 500
    assets, _ = read_assets([declared(visual={"schema": "plotly", "label": label})])
    assert assets[0].visual is not None
    assert assets[0].visual.label.startswith("a b c d x")
    assert len(assets[0].visual.label) == 80
    assets[0].visual.label.encode()


def test_a_number_as_label_is_its_text() -> None:
    assets, _ = read_assets([declared(visual={"schema": "plotly", "label": 10**30})])
    assert assets[0].visual is not None
    assert assets[0].visual.label == "1e+30"


def test_too_many_assets_are_cut_and_said() -> None:
    assets, warnings = read_assets([declared() for _ in range(MAX_ASSETS + 3)])
    assert len(assets) == MAX_ASSETS
    assert str(MAX_ASSETS + 3) in warnings[0]


def test_a_list_of_figures_is_one_tab_with_all_of_them() -> None:
    assets, _ = read_assets([declared(content=[{"data": [1]}, {"data": [2]}]), declared(name="b")])
    tabs = visual_tabs(assets)
    assert [(tab.number, tab.name, len(tab.figures)) for tab in tabs] == [
        (0, "routes", 2),
        (1, "b", 1),
    ]


def test_one_object_and_a_json_text_are_figures() -> None:
    text = json.dumps([{"data": []}, {"data": []}])
    assets, _ = read_assets([declared(content={"data": []}), declared(content=text)])
    assert [len(tab.figures) for tab in visual_tabs(assets)] == [1, 2]


def test_a_list_of_features_is_one_map() -> None:
    feature = {"type": "Feature", "geometry": None}
    visual = {"schema": "geojson", "label": "Map"}
    collection = {"type": "FeatureCollection", "features": []}
    assets, _ = read_assets(
        [
            declared(content=[feature, feature], visual=visual),
            declared(content=[collection, collection], visual=visual),
        ]
    )
    assert [len(tab.figures) for tab in visual_tabs(assets)] == [1, 2]


@pytest.mark.parametrize("content", [None, []])
def test_a_visual_without_a_figure_says_so(content: object) -> None:
    tabs = visual_tabs(read_assets([declared(content=content)])[0])
    assert tabs[0].figures == ()
    assert "routes" in tabs[0].warning


def test_too_many_figures_are_cut_and_said() -> None:
    tabs = visual_tabs(read_assets([declared(content=[{"data": []}] * (MAX_FIGURES + 1))])[0])
    assert len(tabs[0].figures) == MAX_FIGURES
    assert str(MAX_FIGURES + 1) in tabs[0].warning
