"""Visuals stand in sandboxed frames with a policy of their own."""

from __future__ import annotations

import json

import pytest

from runs.domain.status import Status
from runs.models import Asset, Run, RunFile
from runs.storage import object_store
from runs.web import visuals_pages
from tests.factories import make_application, make_run
from tests.web.conftest import Browser

EVIL = "</script><script>alert(1)</script>"
FIGURE = {"data": [{"type": "bar", "x": [EVIL], "y": [1]}], "layout": {"title": {"text": EVIL}}}
MAP = {
    "type": "FeatureCollection",
    "features": [
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [15.4, 47.0]},
            "properties": {"name": EVIL},
        }
    ],
}
CONTENT = {"plotly": FIGURE, "geojson": MAP, "chartjs": {"type": "bar", "data": {"labels": [EVIL]}}}


@pytest.fixture(autouse=True)
def store(db: None, settings, tmp_path):
    settings.RUNSITE_DATA_DIR = tmp_path


@pytest.fixture
def run(account) -> Run:
    return make_run(make_application(account), status=Status.SUCCEEDED)


def add_asset(run: Run, content: object, schema: str, **fields) -> Asset:
    number = Asset.objects.filter(run=run).count()
    data = json.dumps(content).encode()
    key = f"runs/{run.run_id}/1/asset-{number}"
    object_store().put_bytes(key, data)
    columns = {"name": f"asset {number}", "label": f"Tab {number}", "size_bytes": len(data)}
    columns |= {"figures": len(content) if isinstance(content, list) else 1}
    return Asset.objects.create(
        run=run,
        asset_id=f"{run.run_id}{number}",
        number=number,
        schema=schema,
        key=key,
        **{**columns, **fields},
    )


def test_each_visual_is_a_tab_with_one_frame(viewer: Browser, run: Run):
    for schema, content in CONTENT.items():
        add_asset(run, content, schema)
    add_asset(run, {"a": 1}, "", name="numbers")
    page = viewer.get(f"/runs/{run.run_id}/visuals/").content.decode()
    assert page.count("<iframe") == 1
    assert f'src="/runs/{run.run_id}/assets/0/figure/"' in page
    assert 'sandbox="allow-scripts allow-downloads"' in page
    assert "allow-same-origin" not in page
    assert all(f"Tab {number}" in page for number in range(3))
    assert "numbers" in page
    second = viewer.get(f"/runs/{run.run_id}/visuals/1/").content.decode()
    assert f'src="/runs/{run.run_id}/assets/1/figure/"' in second


def test_labels_are_text(viewer: Browser, run: Run):
    add_asset(run, FIGURE, "plotly", label=EVIL, name=EVIL, description=EVIL, warning=EVIL)
    add_asset(run, FIGURE, "plotly", label=EVIL)
    add_asset(run, {}, "", name=EVIL, description=EVIL)
    for part in ("", "visuals/", "output/"):
        page = viewer.get(f"/runs/{run.run_id}/{part}").content.decode()
        assert "<script>alert" not in page


@pytest.mark.parametrize("schema", CONTENT)
def test_the_document_in_the_frame_runs_no_script_of_the_app(
    viewer: Browser, run: Run, schema: str
):
    add_asset(run, [CONTENT[schema]] * 2, schema, label=EVIL)
    answer = viewer.get(f"/runs/{run.run_id}/assets/0/figure/?theme=dark")
    assert answer.status_code == 200
    assert "<script>alert" not in answer.content.decode()
    policy = dict(
        rule.strip().split(" ", 1) for rule in answer["Content-Security-Policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["sandbox"] == "allow-scripts allow-downloads"
    assert "unsafe" not in policy["script-src"]
    assert "connect-src" not in policy
    assert policy["frame-ancestors"] == "http://testserver"
    assert answer["X-Frame-Options"] == "SAMEORIGIN"
    assert answer["Cache-Control"].startswith("private")


def test_a_frame_that_the_browser_has_is_not_drawn_again(viewer: Browser, run: Run):
    add_asset(run, FIGURE, "plotly")
    address = f"/runs/{run.run_id}/assets/0/figure/"
    first = viewer.get(address)
    again = viewer.get(address, headers={"If-None-Match": first["ETag"]})
    assert again.status_code == 304
    # A browser keeps the headers of this answer with the document it has.
    for header in ("Content-Security-Policy", "X-Frame-Options"):
        assert again[header] == first[header]


def test_frames_are_as_high_as_their_figures(viewer: Browser, run: Run):
    for count, name in ((1, "figures-1"), (3, "figures-3"), (50, "figures-8")):
        asset = add_asset(run, [FIGURE] * count, "plotly")
        page = viewer.get(f"/runs/{run.run_id}/visuals/{asset.number}/").content.decode()
        assert f'class="visual-frame {name}"' in page


def test_a_visual_that_is_too_large_is_a_download(viewer: Browser, run: Run):
    asset = add_asset(run, FIGURE, "plotly")
    Asset.objects.filter(pk=asset.pk).update(size_bytes=65 * 1024**2)
    page = viewer.get(f"/runs/{run.run_id}/visuals/").content.decode()
    assert "<iframe" not in page
    assert "too much to draw" in page
    assert viewer.get(f"/runs/{run.run_id}/assets/0/figure/").status_code == 413


def test_an_asset_without_a_visual_is_no_frame(viewer: Browser, run: Run):
    add_asset(run, {"a": 1}, "")
    assert viewer.get(f"/runs/{run.run_id}/assets/0/figure/").status_code == 404
    assert viewer.get(f"/runs/{run.run_id}/visuals/0/").status_code == 404
    answer = viewer.get(f"/runs/{run.run_id}/assets/0/")
    assert b"".join(answer.streaming_content) == b'{"a": 1}'
    assert answer["Content-Disposition"] == 'attachment; filename="asset 0.json"'


@pytest.mark.parametrize("content", [None, 5, "text", [], {"data": 7}, [[[]]], {"__proto__": 1}])
@pytest.mark.parametrize("schema", CONTENT)
def test_broken_figures_are_messages(viewer: Browser, run: Run, schema: str, content: object):
    add_asset(run, content, schema)
    assert viewer.get(f"/runs/{run.run_id}/assets/0/figure/").status_code == 200


def test_the_first_visual_stands_on_the_summary(viewer: Browser, run: Run):
    add_asset(run, FIGURE, "plotly")
    page = viewer.get(f"/runs/{run.run_id}/").content.decode()
    assert f'src="/runs/{run.run_id}/assets/0/figure/"' in page
    assert "figures-1" in page


# --- Series of the statistics -----------------------------------------------------------------


def test_reported_series_are_drawn_as_lines(viewer: Browser, run: Run):
    points = [{"x": 0, "y": 5.5}, {"x": 1, "y": 3.25}]
    curve = {"name": "</script><b>gap", "data_points": points}
    document = json.dumps({"series_data": {"value": curve, "custom": [curve]}}).encode()
    object_store().put_bytes("runs/series", document)
    RunFile.objects.create(
        run=run,
        role="statistics",
        path="statistics.json",
        size_bytes=len(document),
        key="runs/series",
    )
    answer = viewer.get(f"/runs/{run.run_id}/visuals/")
    page = answer.content.decode()
    assert "data-plot" in page
    assert "[5.5,3.25]" in page
    assert "</script><b>gap" not in page
    assert "No visuals" not in page
    assert "'unsafe-inline'" in answer["Content-Security-Policy"]  # of styles


def test_broken_statistics_draw_nothing(viewer: Browser, run: Run):
    RunFile.objects.create(
        run=run, role="statistics", path="statistics.json", size_bytes=5, key="gone"
    )
    answer = viewer.get(f"/runs/{run.run_id}/visuals/")
    assert answer.status_code == 200
    assert "No visuals" in answer.content.decode()


def test_large_figures_are_drawn_one_at_a_time(viewer: Browser, run: Run, monkeypatch):
    asset = add_asset(run, FIGURE, "plotly")
    address = f"/runs/{run.run_id}/assets/{asset.number}/figure/"
    monkeypatch.setattr(visuals_pages, "PATIENCE_S", 0.01)
    with visuals_pages._large_figure:
        assert viewer.get(address).status_code == 200  # a small one waits for nobody
        monkeypatch.setattr(visuals_pages, "LARGE_FIGURE_BYTES", 10)
        refused = viewer.get(address)
    assert refused.status_code == 409
    assert "other large figures are being drawn" in refused.content.decode()
    assert viewer.get(address).status_code == 200
