"""Pages of figures: data that no script executes, and a policy that lets nothing else in."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from pathlib import Path

import pytest

from runs.visuals import pages
from runs.visuals.assets import SCHEMAS
from runs.visuals.pages import figure_page, json_block, page_policy

STATIC = Path(__file__).parents[2] / "static"
HOSTILE = "</script><script>alert(1)</script><!--{{7*7}}&\u2028\u2029\ud800\"'"
POINT = {"type": "Point", "coordinates": [15, 47]}
FIGURES: dict[str, object] = {
    "plotly": {"data": [{"y": [1]}], "layout": {"title": {"text": HOSTILE}}},
    "chartjs": {"type": "bar", "data": {"labels": [HOSTILE], "datasets": []}},
    "geojson": {"type": "Feature", "geometry": POINT, "properties": {"kind": HOSTILE, HOSTILE: 1}},
}


def page(schema: str, *figures: object, title: str = "Title", **more: str) -> pages.FigurePage:
    return figure_page(
        schema, figures, static_url=lambda name: f"/static/{name}", title=title, **more
    )


def data_of(text: str) -> dict[str, object]:
    found = re.search(r'<script type="application/json" id="figure">(.*?)</script>', text, re.S)
    assert found
    value: dict[str, object] = json.loads(found.group(1))
    return value


@pytest.mark.parametrize("schema", SCHEMAS)
def test_hostile_text_stays_inside_the_data(schema: str) -> None:
    made = page(schema, FIGURES[schema], title=HOSTILE.replace("\ud800", ""))
    made.html.encode()
    assert "alert(1)</script>" not in made.html
    assert "<!--" not in made.html
    assert "\u2028" not in made.html.split("<script", 1)[1]
    kept = json.dumps(data_of(made.html), ensure_ascii=False)
    assert "alert(1)" in kept
    assert "{{7*7}}" in kept


@pytest.mark.parametrize("schema", SCHEMAS)
def test_every_script_is_ours_or_hashed(schema: str) -> None:
    made = page(schema, FIGURES[schema])
    scripts = re.findall(r"<script([^>]*)>(.*?)</script>", made.html, re.S)
    hashes = []
    for attributes, body in scripts:
        if "src=" in attributes:
            assert re.fullmatch(r' src="/static/[\w./-]+"', attributes)
            assert body == ""
        elif "application/json" not in attributes:
            digest = hashlib.sha256(body.encode()).digest()
            hashes.append(f"sha256-{base64.b64encode(digest).decode()}")
    assert tuple(hashes) == made.script_hashes
    assert (len(hashes) == 1) == (schema == "geojson")


@pytest.mark.parametrize("schema", SCHEMAS)
def test_every_file_of_a_page_exists(schema: str) -> None:
    many = {"type": "MultiPoint", "coordinates": [[15, 47]] * 300}
    globe = {"data": [{"type": "choropleth"}, {"type": "scattermap"}]}
    figures = {"plotly": globe, "chartjs": FIGURES["chartjs"], "geojson": many}
    names = re.findall(r'(?:src|href)="/static/([^"]+)"', page(schema, figures[schema]).html)
    assert len(names) >= 4
    assert [name for name in names if not (STATIC / name).is_file()] == []


def test_a_figure_is_passed_on_untouched() -> None:
    figure = {
        "data": [{"y": {"dtype": "f8", "bdata": "AAAAAAAA8D8=", "shape": "1"}, "odd": {"a": None}}],
        "layout": {"template": {"layout": {"x": 1}}},
        "frames": [{"name": "f"}],
        "config": {"scrollZoom": True},
    }
    assert data_of(page("plotly", figure).html)["figures"] == [figure]


def test_numbers_that_json_lacks_become_null() -> None:
    made = page("plotly", {"data": [{"y": [math.nan, math.inf, 1.5]}]})
    assert data_of(made.html)["figures"] == [{"data": [{"y": [None, None, 1.5]}]}]


def test_pictures_from_outside_are_left_out() -> None:
    images = [
        {"source": "https://outside.example/x.png"},
        {"source": "data:image/png;base64,AA=="},
        {"source": "data:text/html,x"},
        5,
    ]
    made = page("plotly", {"data": [], "layout": {"images": images, "width": 300}})
    assert data_of(made.html)["figures"] == [
        {"data": [], "layout": {"images": [images[1]], "width": 300}}
    ]
    assert "outside.example" not in made.html


@pytest.mark.parametrize(
    ("schema", "figure"),
    [
        ("plotly", 5),
        ("plotly", None),
        ("plotly", {"data": 3}),
        ("plotly", "{"),
        ("plotly", []),
        ("chartjs", {"data": []}),
        ("chartjs", "x"),
        ("geojson", {"type": "FeatureCollection", "features": []}),
        ("geojson", 5),
    ],
)
def test_a_broken_figure_is_a_message_beside_the_sound_ones(schema: str, figure: object) -> None:
    made = page(schema, figure, FIGURES[schema])
    assert made.html.count('class="message"') == 2  # one of them is for browsers without script
    assert 'id="figure-1"' in made.html
    assert 'id="figure-0"' not in made.html


def test_a_page_without_figures_says_so() -> None:
    assert "nothing to draw" in page("plotly").html


def test_figures_too_large_or_too_deep_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    deep: object = 1
    for _ in range(100_000):
        deep = [deep]
    assert "too deep" in page("plotly", {"data": [deep]}).html
    monkeypatch.setattr(pages, "FIGURE_LIMIT_BYTES", 100)
    made = page("plotly", {"data": ["x" * 200]})
    assert "too large" in made.html
    assert len(made.html) < 2000


def test_only_the_outlines_that_a_figure_needs_are_loaded() -> None:
    europe = {
        "data": [{"type": "scattergeo"}],
        "layout": {"geo": {"scope": "europe", "resolution": 50}},
    }
    assert "europe_50m.js" in page("plotly", europe).html
    assert "/vendor/plotly-geo" not in page("plotly", {"data": [{"type": "bar"}]}).html
    hostile = {"data": [{"type": "scattergeo"}], "layout": {"geo": {"scope": '"../../x'}}}
    assert "world_110m.js" in page("plotly", hostile).html


def test_titles_and_attributions_are_escaped() -> None:
    made = page(
        "geojson",
        POINT,
        title="<b>",
        tile_url="https://{s}.tiles.example/{z}/{x}/{y}.png",
        tile_attribution="</script><b>",
    )
    assert "<b>" not in made.html


def test_an_unknown_schema_is_an_error() -> None:
    with pytest.raises(ValueError, match="hologram"):
        page("hologram", {})


def test_the_policy_allows_our_static_files_only() -> None:
    policy = page_policy("https://console.example:8443", ["sha256-abc="])
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["sandbox"] == "allow-scripts allow-downloads"
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == "https://console.example:8443/static/ 'sha256-abc='"
    assert rules["img-src"] == "data: blob: https://console.example:8443/static/"
    assert rules["frame-ancestors"] == "https://console.example:8443"
    assert "connect-src" not in rules
    assert "unsafe-eval" not in policy
    assert "unsafe-inline" not in rules["script-src"]


def test_the_policy_names_the_tile_server() -> None:
    policy = page_policy("http://h", tile_url="https://{s}.tiles.example/{z}/{x}/{y}.png")
    assert "img-src data: blob: http://h/static/ https://*.tiles.example;" in policy
    assert "img-src data: blob: http://h/static/ http://h;" in page_policy(
        "http://h", tile_url="/tiles/{z}/{x}/{y}.png"
    )


@pytest.mark.parametrize("origin", ["", "x", "https://h/path", "https://h; script-src *", "'self'"])
def test_a_policy_for_an_origin_that_is_none_is_refused(origin: str) -> None:
    with pytest.raises(ValueError, match="origin"):
        page_policy(origin)


def test_a_json_block_is_ascii_without_markup() -> None:
    block = json_block({"<&>\u2028\u2029é": "</script>"})
    assert block is not None
    assert block.isascii()
    assert not set("<>&") & set(block)
    assert json.loads(block) == {"<&>\u2028\u2029é": "</script>"}


def test_points_lead_somewhere_only_where_it_is_asked_for() -> None:
    figures = [FIGURES["plotly"]]
    plain = figure_page("plotly", figures, static_url=str, title="x")
    linked = figure_page("plotly", figures, static_url=str, title="x", links=True)
    assert "data-links" not in plain.html
    assert "data-links" in linked.html
    assert "top-navigation" not in page_policy("http://h")
    assert page_policy("http://h", links=True).startswith(f"sandbox {pages.SANDBOX_WITH_LINKS};")
