"""Runs after other runs, stops that keep the result, and settings, as people do them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.journeys.consoles import Console, Person
from tests.processes import until

pytest.importorskip("playwright.sync_api")

from playwright.sync_api import expect

from tests.browser.visitors import (
    RUN_MS,
    Visitor,
    confirm,
    expect_status,
    run_id_of,
    write_folder,
)

pytestmark = pytest.mark.browser

WITH_AND_WITHOUT = pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])


@WITH_AND_WITHOUT
def test_a_run_is_launched_after_another_and_drawn_beside_it(
    visit: Callable[..., Visitor], person: Person, paused: None, script: bool
) -> None:
    first = person.launch("stress", {"sleep": 0.1}, name="The first")
    visitor = visit(java_script_enabled=script)
    page = visitor.open(f"/runs/{first}/")
    page.locator("#run-actions summary").click()
    page.get_by_role("link", name="Launch a run after this one").click()
    expect(page.get_by_role("checkbox", name="The first")).to_be_checked()
    page.get_by_label("Name", exact=True).fill("The second")
    page.get_by_label("Memory limit (MiB)").fill("300")
    page.get_by_label("Paste").check()
    page.get_by_label("Input text").fill("{}")
    page.locator(".form-actions").get_by_role("button", name="Launch").click()
    second = run_id_of(page)
    expect(page.locator("#run-waiting")).to_contain_text(f"Waits for run {first}")
    box = page.locator("#run-neighbours svg").get_by_role("link", name="The first")
    expect(box).to_be_visible()
    page.get_by_text("As a list").click()
    expect(page.locator("#run-neighbours dl")).to_contain_text("The first")
    page.locator("#run-limits summary").click()
    expect(page.locator("#run-limits")).to_contain_text("300 MiB")
    visitor.open("/queue/")
    row = page.locator(f"#queue-waiting-{second}")
    expect(row).to_contain_text("Waits for run")
    person.cancel(first)
    visitor.open(f"/runs/{second}/")
    expect_status(page, "failed")
    expect(page.locator("#run-status")).to_contain_text("awaited run failed")


def test_a_run_is_stopped_and_who_asked_is_said_at_once(
    visit: Callable[..., Visitor], person: Person
) -> None:
    run = person.launch("stress", {"sleep": 600})
    visitor = visit()
    page = visitor.open(f"/runs/{run}/")
    expect_status(page, "running", RUN_MS)
    page.get_by_role("button", name="Stop and keep the result").click()
    confirm(page, "Stop and keep")
    # The sample app leaves at once with a code of its own, and has written nothing by then.
    expect_status(page, "failed", RUN_MS)
    expect(page.locator("#run-summary")).to_contain_text("Stop asked for")


def test_the_queue_fills_in_when_runs_should_start(
    visit: Callable[..., Visitor], person: Person, paused: None
) -> None:
    run = person.launch("stress", {"sleep": 0.1})
    visitor = visit()
    page = visitor.open("/queue/")
    expect(page.locator(f"#queue-start-{run}")).to_contain_text("paused")
    person.cancel(run)


@WITH_AND_WITHOUT
def test_settings_are_saved_and_a_change_meanwhile_is_not_undone(
    visit: Callable[..., Visitor], script: bool
) -> None:
    visitor = visit(java_script_enabled=script)
    visitor.allow("409")
    page = visitor.open("/applications/knapsack/settings/")
    other = visitor.context.new_page()
    other.goto("/applications/knapsack/settings/")
    page.get_by_label("Queue limit (s)").fill("3600")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("The settings have been changed.")).to_be_visible()
    other.get_by_label("Description").fill("Typed meanwhile")
    other.get_by_role("button", name="Save").click()
    expect(other.get_by_role("alert")).to_contain_text("Queue limit")
    expect(other.get_by_label("Queue limit (s)")).to_have_value("3600")
    expect(other.get_by_label("Description")).to_have_value("Typed meanwhile")
    other.get_by_label("Queue limit (s)").fill("")
    other.get_by_role("button", name="Save").click()
    expect(other.get_by_text("The settings have been changed.")).to_be_visible()


KEEPER = {
    "app.yaml": """\
type: python
runtime: ghcr.io/nextmv-io/runtime/python:3.11
files: [main.py]
configuration:
  content: {format: json}
""",
    "main.py": """\
import json, signal, sys, time

best = 0

def save(*_):
    json.dump({"solution": {"best": best}, "metrics": {"value": best}}, sys.stdout)
    sys.exit(0)

signal.signal(signal.SIGINT, save)
while True:
    time.sleep(0.1)
    best += 1
    print("best so far", best, file=sys.stderr, flush=True)
""",
}


def test_a_run_that_is_stopped_keeps_what_it_had_found(
    visit: Callable[..., Visitor], console: Console, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "keeper", KEEPER)
    console.driver.add_application(folder=str(folder), application_id="keeper")
    [run] = console.driver.submit(application="keeper", name="Search without end")
    page = visit().open(f"/runs/{run}/")
    expect(page.locator(".log-text", has_text="best so far").nth(3)).to_be_visible(timeout=RUN_MS)
    page.evaluate("window.neverReloaded = true")
    page.get_by_role("button", name="Stop and keep the result").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Let it run")).to_be_visible()
    confirm(page, "Stop and keep")
    expect_status(page, "succeeded", RUN_MS)
    expect(page.locator("#run-status")).to_contain_text("stopped early")
    expect(page.locator("#run-header")).to_contain_text("Stopped by admin@localhost")
    found = int(page.locator(".stat-value").first.inner_text())
    assert found >= 4
    assert page.evaluate("window.neverReloaded") is True
    expect(page.get_by_role("button", name="Stop and keep the result")).to_have_count(0)


def test_a_memory_limit_is_seen_with_what_was_used(
    visit: Callable[..., Visitor], console: Console, person: Person
) -> None:
    options = {"sleep": 60, "memory_mb": 320}
    run = person.launch("stress", options, name="Too large", memory_limit_mib="96")
    page = visit().open(f"/runs/{run}/")
    expect_status(page, "failed", RUN_MS)
    expect(page.locator("#run-status")).to_contain_text("memory limit")
    header = page.locator("#run-header")
    expect(header).to_contain_text("96 MiB allowed")
    expect(header).not_to_contain_text(str(console.data_dir))
    limits = page.locator("#run-limits")
    expect(limits).to_have_attribute("open", "")
    expect(limits.locator("progress.bar-over")).to_have_count(1)
    header.get_by_role("link", name="See the end of the log").click()
    expect(page.locator(".log-line").first).to_be_visible()


def test_a_chain_is_drawn_with_links_and_a_wide_row_is_folded(
    visit: Callable[..., Visitor], person: Person, paused: None
) -> None:
    first = person.launch("stress", {"sleep": 0.1}, name="Load orders")
    second = person.launch("stress", {"sleep": 0.1}, name="Plan routes", waits_for=first)
    scenarios = [
        person.launch("stress", {"sleep": 0.1}, name=f"Scenario {number}", waits_for=second)
        for number in range(9)
    ]
    page = visit().open(f"/runs/{second}/")
    page.set_viewport_size({"width": 390, "height": 844})
    drawing = page.locator("#run-neighbours svg")
    here = drawing.locator("[aria-current=page]")
    expect(here).to_contain_text("Plan routes")
    expect(drawing.locator("a")).to_have_count(6)
    expect(drawing.get_by_role("link", name="6 more runs, all queued")).to_have_count(1)
    too_wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not page.evaluate(too_wide)
    page.get_by_text("As a list").click()
    for run in scenarios:
        expect(page.locator(f"#run-neighbours-list a[href='/runs/{run}/']")).to_be_visible()
    drawing.get_by_role("link", name="Load orders, queued").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Load orders")
    person.cancel(first)


@WITH_AND_WITHOUT
def test_the_ledger_is_reached_from_the_workers_and_adds_up(
    visit: Callable[..., Visitor], console: Console, script: bool
) -> None:
    [run] = console.driver.submit(application="stress", options={"sleep": 0.1})
    console.wait_for(run, "succeeded")
    page = visit(java_script_enabled=script).open("/workers/")
    page.get_by_role("link", name="Ledger").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Ledger")
    until(lambda: page.reload() and page.get_by_text("Everything adds up.").count() == 1)
    promises = page.locator(".panel", has=page.get_by_role("heading", name="Promises"))
    expect(promises.get_by_text("holds", exact=True)).to_have_count(4)
    page.get_by_role("link", name="Whole installation").click()
    expect(page.get_by_text("of all accounts")).to_be_visible()
    expect(page.get_by_role("heading", name="Counted since the first start")).to_be_visible()
