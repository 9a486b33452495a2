"""Assets: the list as golden JSON, and their content by address."""

from __future__ import annotations

import json
from typing import Any

import pytest
from nextmv.cloud import RunAsset

from runs.models import Asset, Run
from tests.api.golden import check_golden
from tests.api.run_worlds import fetch, make_app
from tests.factories import make_tracked_run

ASSETS = {
    "assets": [
        {
            "name": "plan",
            "content": [{"data": [], "layout": {}}],
            "content_type": "json",
            "description": "The plan",
            "visual": {"schema": "plotly", "label": "Plan", "type": "custom-tab"},
        },
        {"name": "data.json", "content": {"a": 1}, "content_type": "json"},
    ]
}


@pytest.fixture(autouse=True)
def store(settings: Any, tmp_path: Any) -> None:
    settings.RUNSITE_DATA_DIR = tmp_path


@pytest.fixture
def run(account: Any) -> Run:
    app = make_app(account)
    return make_tracked_run(app, output=b"{}", assets=json.dumps(ASSETS).encode())


def path(run: Run, rest: str = "") -> str:
    return f"/v1/applications/routing/runs/{run.run_id}/assets{rest}"


def test_the_list_is_read_by_the_client(program, run):
    answer = program.get(path(run))
    check_golden("run_assets", answer)
    read = [RunAsset.from_dict({**item, "run_id": run.run_id}) for item in answer["items"]]
    assert [asset.name for asset in read] == ["plan", "data.json"]
    assert read[0].visual.visual_schema.value == "plotly"
    assert read[1].visual is None


def test_the_content_is_fetched_without_a_key(program, run):
    for item, sent in zip(program.get(path(run))["items"], ASSETS["assets"], strict=True):
        answer = program.get(path(run, f"/{item['id']}"))
        assert answer["type"] == "json"
        data = fetch(answer["download_url"])
        assert json.loads(data) == sent["content"]
        assert len(data) == item["size"]


def test_an_unknown_schema_does_not_break_the_list(program, run):
    Asset.objects.filter(number=0).update(schema="sankey")
    assert "visual" not in program.get(path(run))["items"][0]


def test_a_page_that_was_drawn_elsewhere_is_bytes(program, run):
    Asset.objects.filter(number=0).update(content_type=Asset.PAGE)
    item = program.get(path(run))["items"][0]
    answer = program.get(path(run, f"/{item['id']}"))
    assert answer["type"] == "html"


def test_an_asset_of_another_run_is_404(program, run):
    other = make_tracked_run(run.application, output=b"{}", assets=json.dumps(ASSETS).encode())
    item = program.get(path(other))["items"][0]
    assert program.send("GET", path(run, f"/{item['id']}")).status_code == 404
    assert program.send("GET", path(run, "/nope")).status_code == 404


def test_a_run_without_assets_has_an_empty_list(program, run):
    bare = make_tracked_run(run.application, output=b"{}")
    assert program.get(path(bare)) == {"items": []}
