"""Runs after other runs, stops that keep the result, and settings, as people do them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.journeys.consoles import Person

pytest.importorskip("playwright.sync_api")

from playwright.sync_api import expect

from tests.browser.visitors import RUN_MS, Visitor, confirm, expect_status, run_id_of

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
