"""The sample apps through the pages: launched from the form, to the values that they promise."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.journeys.consoles import (
    BUILD_LIMIT_S,
    EXAMPLES,
    Console,
    Person,
    assert_nothing_left,
)

pytestmark = pytest.mark.process

MOVES = [("", "queued"), ("queued", "running"), ("running", "succeeded")]


def make(
    console: Console, person: Person, application: str, options: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Launch from the form with the app's own sample; everything about the run that succeeded."""
    run_id = person.launch(application, options, source="sample")
    found = console.wait_for(run_id, "succeeded", limit_s=BUILD_LIMIT_S)
    assert (found["end_reason"], found["exit_code"], found["error"]) == ("exited", 0, "")
    assert found["warnings"] == []
    assert [(event["before"], event["after"]) for event in found["events"]] == MOVES
    assert found["events"][0]["actor"] == "admin@localhost"
    assert len(found["attempts"]) == 1
    assert found["peak_memory_bytes"] > 2**20
    assert found["cpu_s"] > 0
    assert 0 < found["execution_s"] <= found["duration_s"]
    check_pages(person, found)
    assert_nothing_left(console, found)
    return found


def check_pages(person: Person, found: dict[str, Any]) -> None:
    """Every tab answers, says the status, and downloads give what is stored, to the byte."""
    base = f"/runs/{found['run_id']}"
    for tab in ("", "log/", "input/", "output/", "visuals/", "resources/", "history/"):
        page = person.get(f"{base}/{tab}")
        assert page.status == 200, page.words
        assert "succeeded" in page.words.lower()
    assert person.get(f"{base}/log/download/").data.decode() == found["log"]
    for file in found["files"]:
        answer = person.get(f"{base}/files/{file['role']}/{file['number']}/")
        assert answer.status == 200
        assert len(answer.data) == file["size_bytes"]
    for asset in found["assets"]:
        answer = person.get(f"{base}/assets/{asset['number']}/")
        assert answer.status == 200
        json.loads(answer.data)


def figures(person: Person, found: dict[str, Any]) -> dict[str, str]:
    """Label → page of each visual; each is in a frame of its own with a strict policy."""
    pages = {}
    for asset in found["assets"]:
        if asset["schema"]:
            page = person.get(f"/runs/{found['run_id']}/assets/{asset['number']}/figure/")
            assert page.status == 200
            assert "sandbox" in page.headers["Content-Security-Policy"]
            pages[asset["label"]] = page.text
            tab = person.get(f"/runs/{found['run_id']}/visuals/{asset['number']}/")
            assert asset["label"] in tab.words
            assert "<iframe" in tab.text
            assert "sandbox=" in tab.text
    return pages


def options_of(found: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Name → value and source."""
    return {one["name"]: (one["text"], one["source"]) for one in found["options"]}


def stored(found: dict[str, Any], role: str) -> list[dict[str, Any]]:
    """The stored files of one role."""
    return [file for file in found["files"] if file["role"] == role]


def test_knapsack_finds_the_optimum(console, person):
    found = make(console, person, "knapsack")
    assert found["value"] == 808
    metrics = found["metrics"]
    assert metrics["result.custom.status"] == "optimal"
    result = json.loads(console.driver.text_of(key=stored(found, "stdout")[0]["key"]))
    assert len(result["solution"]["items"]) == 21
    assert found["input_bytes"] == (EXAMPLES / "knapsack" / "input.json").stat().st_size
    assert found["output_bytes"] == stored(found, "stdout")[0]["size_bytes"]
    assert options_of(found)["duration"] == ("10.0", "instance")
    assert options_of(found)["max_per_group"][1] == "manifest"
    assert list(figures(person, found)) == ["Items"]


def test_knapsack_obeys_a_changed_option(console, person):
    found = make(console, person, "knapsack", {"max_per_group": 3})
    assert found["value"] == 715
    assert found["metrics"]["result.custom.status"] == "optimal"
    assert options_of(found)["max_per_group"] == ("3", "run")
    assert found["requested_options"] == {"max_per_group": 3}


def test_forecast_reads_and_writes_files(console, person):
    found = make(console, person, "forecast")
    assert round(found["value"], 4) == 0.0376
    assert round(found["metrics"]["total_forecast"], 1) == 3557.6
    inputs = {path.name: path.stat().st_size for path in (EXAMPLES / "forecast/inputs").iterdir()}
    assert {file["path"]: file["size_bytes"] for file in found["inputs"]} == inputs
    assert found["input_bytes"] == sum(inputs.values())
    files = {file["path"]: file for file in stored(found, "solution")}
    assert set(files) == {"forecast.csv", "accuracy.csv"}
    assert found["output_bytes"] == sum(file["size_bytes"] for file in files.values())
    rows = console.driver.text_of(key=files["forecast.csv"]["key"]).split()
    assert len(rows) == 1 + 42
    assert "wrote 42 forecast rows" in found["log"]
    [asset] = found["assets"]
    assert asset["figures"] == 3
    # Arrays in base64 reach the browser as they are.
    assert '"bdata"' in figures(person, found)["Forecast"]
    assert options_of(found)["horizon"] == ("14", "instance")


def test_forecast_obeys_a_changed_option(console, person):
    found = make(console, person, "forecast", {"horizon": 7})
    files = {file["path"]: file for file in stored(found, "solution")}
    assert len(console.driver.text_of(key=files["forecast.csv"]["key"]).split()) == 1 + 21
    assert options_of(found)["horizon"] == ("7", "run")


def test_routing_draws_its_map_and_charts(console, person):
    found = make(console, person, "routing", {"duration": 2, "vehicles": 3})
    metrics = found["metrics"]
    assert 30 < found["value"] <= metrics["result.custom.start_cost"]
    assert metrics["vehicles_used"] <= 3
    assert metrics["overload"] >= 0
    assert found["log"].count("\n") >= 3
    assert "done: cost" in found["log"]
    assert options_of(found)["vehicles"] == ("3", "run")
    assert found["input_bytes"] == (EXAMPLES / "routing" / "input.json").stat().st_size
    schemas = [(asset["schema"], asset["label"], asset["figures"]) for asset in found["assets"]]
    assert schemas == [
        ("geojson", "Map", 1),
        ("plotly", "Charts", 2),
        ("chartjs", "Stops", 1),
        ("", "", 0),
    ]
    pages = figures(person, found)
    assert "Vehicle 1" in pages["Map"]
    assert "leaflet" in pages["Map"].lower()
    assert "plotly" in pages["Charts"].lower()
    assert "chart" in pages["Stops"].lower()
    for page in pages.values():
        assert "https://" not in page.replace("https://www.w3.org", "")


def test_routing_without_enough_vehicles_says_so(console, person):
    found = make(console, person, "routing", {"duration": 1, "vehicles": 2})
    assert found["metrics"]["overload"] > 0


def test_stress_ends_with_its_lines(console, person):
    found = make(console, person, "stress")
    assert found["input_bytes"] == (EXAMPLES / "stress" / "input.json").stat().st_size
    assert found["metrics"]["lines"] >= 1
    assert options_of(found)["sleep"] == ("1.0", "instance")
    result = json.loads(console.driver.text_of(key=stored(found, "stdout")[0]["key"]))
    given = json.loads((EXAMPLES / "stress" / "input.json").read_text())
    assert result["solution"]["echo"] == given


def test_the_demo_runs_of_the_first_start_end_as_they_should(console, person):
    """They were submitted while the console started; the worker made them meanwhile."""
    runs = console.driver.demo_runs()
    assert len(runs) == 6
    for run_id, name in runs.items():
        found = console.wait_for(run_id, limit_s=BUILD_LIMIT_S)
        expected = "failed" if name == "Ends with code 7" else "succeeded"
        assert found["status"] == expected, found
        assert_nothing_left(console, found)
    assert person.get("/").status == 200
    assert person.get("/runs/").status == 200
