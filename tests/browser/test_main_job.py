"""The main job from end to end: sign in, upload, launch, watch, look, cancel, run again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.journeys.consoles import EXAMPLES, Console, Person
from tests.processes import until

pytest.importorskip("playwright.sync_api")

from playwright import sync_api
from playwright.sync_api import expect

from tests.browser.visitors import (
    RUN_MS,
    Visitor,
    confirm,
    expect_status,
    follow_link,
    printed_link,
    run_id_of,
    write_folder,
    zipped,
)

pytestmark = pytest.mark.browser

TINY = {
    "app.yaml": """\
type: python
runtime: ghcr.io/nextmv-io/runtime/python:3.11
files: [main.py]
configuration:
  content: {format: json}
""",
    "main.py": """\
import json, sys
print("tiny reads", file=sys.stderr)
json.dump({"solution": json.load(sys.stdin), "metrics": {"value": 7}}, sys.stdout)
""",
}


def test_the_printed_link_signs_in_once(browser: sync_api.Browser, console: Console) -> None:
    first = Visitor(browser, console)
    follow_link(first.page, printed_link(console))
    expect(first.page.get_by_text("Vehicle routing").first).to_be_visible()
    first.close()
    second = Visitor(browser, console)
    second.allow("status of (403|404|410)")
    second.page.goto(printed_link(console))
    expect(second.page.get_by_text("does not work any more")).to_be_visible()
    second.page.goto("/runs/")
    expect(second.page.get_by_role("heading", level=1)).to_have_text("Sign in")
    second.close()


def test_an_archive_becomes_an_application_that_runs(visit: Callable[..., Visitor]) -> None:
    page = visit().open("/applications/new/")
    page.locator("input[type=file][name=upload]").set_input_files(
        {"name": "tiny.zip", "mimeType": "application/zip", "buffer": zipped(TINY)}
    )
    expect(page.locator(".files .file-name")).to_have_text("tiny.zip")
    page.get_by_label("Name").fill("Tiny from a zip")
    page.get_by_role("button", name="Make application").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Tiny from a zip")
    page.get_by_role("link", name="Launch").first.click()
    page.get_by_label("Paste").check()
    page.get_by_label("Input text").fill('{"n": 1}')
    page.locator(".form-actions").get_by_role("button", name="Launch").click()
    run_id_of(page)
    expect_status(page, "succeeded", RUN_MS)
    expect(page.locator(".stat-value").first).to_have_text("7")


def test_a_folder_becomes_an_application_with_its_paths(
    visit: Callable[..., Visitor], console: Console, tmp_path: Path
) -> None:
    files = TINY | {
        "app.yaml": TINY["app.yaml"].replace("[main.py]", "[main.py, parts/**]"),
        "main.py": "print(open('parts/words.txt').read())",
        "parts/words.txt": '{"solution": "from the folder"}',
    }
    page = visit().open("/applications/new/")
    page.locator("input[webkitdirectory]").set_input_files(write_folder(tmp_path / "tiny", files))
    expect(page.locator(".files .file-name")).to_have_count(3)
    page.get_by_label("Name").fill("Tiny from a folder")
    page.get_by_role("button", name="Make application").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Tiny from a folder")
    found = console.make(urlsplit(page.url).path.split("/")[2], data="{}")
    assert found["status"] == "succeeded", found


@pytest.mark.usefixtures("paused")
def test_routing_is_launched_watched_and_drawn(
    visit: Callable[..., Visitor], console: Console, person: Person
) -> None:
    visitor = visit()
    page = visitor.open("/applications/")
    page.get_by_role("link", name="Vehicle routing", exact=True).click()
    page.get_by_role("link", name="Launch", exact=True).click()
    page.get_by_label("Sample").check()
    page.get_by_role("spinbutton", name="Vehicles").fill("3")
    page.get_by_role("spinbutton", name="Search time (s)").fill("4")
    page.locator(".form-actions").get_by_role("button", name="Launch").click()
    run_id = run_id_of(page)
    # The page is open before the run begins, however slow the machine is: the rest comes to it.
    expect_status(page, "queued")
    expect(page.locator("#run-header")).to_contain_text("is paused by")
    page.evaluate("window.neverReloaded = true")
    person.post("/queue/resume/", {"queue": "default"})
    expect(page.locator(".log-text", has_text="progress").nth(5)).to_be_visible(timeout=RUN_MS)
    expect_status(page, "succeeded", RUN_MS)
    expect(page.locator("#run-actions").get_by_role("button", name="Cancel")).to_have_count(0)
    assert page.evaluate("window.neverReloaded") is True

    page.locator(".tabs").get_by_role("link", name="Visuals").click()
    names = page.locator("#run-visuals .tabs .tab")
    expect(names).to_have_count(3)
    drawn = set()
    for number in range(3):
        names.nth(number).click()
        expect(names.nth(number)).to_have_attribute("aria-current", "page")
        drawn.add(_look_at_figure(page))
    assert drawn == {"geojson", "plotly", "chartjs"}

    found = console.look(run_id)
    _compare_sizes(page, visitor, run_id, found)


def _look_at_figure(page: sync_api.Page) -> str:
    """Something is drawn in the frame, which has no rights; which library drew it."""
    element = page.locator("iframe.visual-frame")
    expect(element).to_have_count(1)
    sandbox = element.get_attribute("sandbox") or ""
    assert "allow-same-origin" not in sandbox
    element.scroll_into_view_if_needed()
    frame = page.frame_locator("iframe.visual-frame")
    expect(frame.locator("#figure-0[data-drawn]")).to_be_visible()
    assert frame.locator("body").evaluate("window.origin") == "null"
    map_lines = frame.locator("path.leaflet-interactive")
    plots = frame.locator(".js-plotly-plot .main-svg")
    if map_lines.count():
        # Three routes, their stops and the depot, each with an extent of its own.
        assert map_lines.count() > 10
        _assert_large(frame.locator("#figure-0"), 200)
        _assert_large(map_lines.first, 5)
        return "geojson"
    if plots.count():
        expect(frame.locator("#figure-1[data-drawn]")).to_be_visible()
        _assert_large(frame.locator("#figure-0 .scatterlayer path.js-line"), 5)
        bars = frame.locator("#figure-1 .barlayer .point path")
        expect(bars).to_have_count(3)
        for number in range(3):
            _assert_large(bars.nth(number), 5)
        return "plotly"
    canvas = frame.locator("canvas")
    _assert_large(canvas, 100)
    inked = canvas.evaluate(
        "canvas => { const all = canvas.getContext('2d')"
        ".getImageData(0, 0, canvas.width, canvas.height).data; let some = 0;"
        " for (let at = 3; at < all.length; at += 4) some += all[at] > 0; return some; }"
    )
    assert inked > 500
    return "chartjs"


def _assert_large(element: sync_api.Locator, pixels: float) -> None:
    box = element.bounding_box()
    assert box is not None
    assert box["width"] > pixels, box
    assert box["height"] > pixels, box


def _compare_sizes(
    page: sync_api.Page, visitor: Visitor, run_id: str, found: dict[str, Any]
) -> None:
    """Sizes on the page, in the tables, and of what is downloaded are the same bytes."""
    sample = (EXAMPLES / "routing" / "input.json").stat().st_size
    assert found["input_bytes"] == sample
    sent = {}
    for part in ("input", "output", "log"):
        visitor.open(f"/runs/{run_id}/{part}/")
        link = page.locator(".panel-header a, .log-toolbar a").and_(
            page.locator("[href*=download], [href*='/files/']")
        )
        answer = visitor.context.request.get(link.first.get_attribute("href") or "")
        assert answer.ok, answer.url
        sent[part] = answer.body()
    assert len(sent["input"]) == sample
    assert len(sent["output"]) == found["output_bytes"]
    assert len(sent["log"]) == found["log_bytes"]
    assert json.loads(sent["output"])["options"]["vehicles"] == 3
    assert json.loads(sent["output"])["options"]["duration"] == 4
    visitor.open(f"/runs/{run_id}/")
    for part, data in sent.items():
        fact = page.locator(f"dl.facts dt:text-is('{part.capitalize()}') + dd")
        expect(fact.locator("data")).to_have_attribute("value", str(len(data)))


def test_a_page_answers_after_a_restart(visit: Callable[..., Visitor], console: Console) -> None:
    run_id = console.submit("routing", sample=True, options={"duration": 0.5})
    console.wait_for(run_id, "succeeded")
    console.stop()
    console.start()
    page = visit().open(f"/runs/{run_id}/")
    expect_status(page, "succeeded")
    page.locator(".tabs").get_by_role("link", name="Log").click()
    expect(page.locator(".log-line").first).to_be_visible()


def test_a_run_is_canceled_from_its_page(visit: Callable[..., Visitor], console: Console) -> None:
    page = visit().open("/applications/stress/launch/")
    page.get_by_role("spinbutton", name="Sleep (s)").fill("600")
    page.locator(".form-actions").get_by_role("button", name="Launch").click()
    run_id = run_id_of(page)
    page.evaluate("window.neverReloaded = true")
    lines = page.locator(".log-text", has_text="line ")
    expect(lines.nth(2)).to_be_visible(timeout=RUN_MS)
    expect_status(page, "running")
    follow = page.locator("[data-log-follow]")
    expect(follow).to_have_attribute("aria-pressed", "true")
    # A larger window is no wish to stop following.
    page.set_viewport_size({"width": 1440, "height": 1400})
    expect(lines.nth(lines.count() + 2)).to_be_visible()
    expect(follow).to_have_attribute("aria-pressed", "true")
    assert console.look(run_id)["attempts"][0]["pid"]
    page.locator("#run-actions").get_by_role("button", name="Cancel").click()
    confirm(page, "Cancel the run")
    expect_status(page, "canceled", RUN_MS)
    assert page.evaluate("window.neverReloaded") is True
    until(lambda: not console.run_pids)
    page.locator(".tabs").get_by_role("link", name="History").click()
    expect(page.locator(".timeline")).to_contain_text("admin@localhost")


def test_a_run_again_marks_what_changed(visit: Callable[..., Visitor], console: Console) -> None:
    first = console.submit("routing", sample=True, options={"duration": 0.5})
    console.wait_for(first, "succeeded")
    page = visit().open(f"/runs/{first}/")
    page.get_by_role("link", name="Run again").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("again")
    field = page.locator("[name='o:duration']")
    before = field.input_value()
    field.fill("1")
    field.blur()
    changed = page.locator(".field:has([name='o:duration']) .field-changed")
    expect(changed).to_have_text(f"was {before}")
    page.get_by_role("button", name="Run again").last.click()
    second = run_id_of(page)
    assert second != first
    expect_status(page, "succeeded", RUN_MS)
    expect(page.locator(f"a[href='/runs/{first}/']")).to_be_visible()
    found = console.look(second)
    assert {row["name"]: row["text"] for row in found["options"]}["duration"] == "1.0"
