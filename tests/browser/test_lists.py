"""Lists and forms with script: filters in the address, many at once, queues, uploads refused."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.journeys.consoles import Console, Person

pytest.importorskip("playwright.sync_api")

from playwright.sync_api import expect

from tests.browser.visitors import Visitor, confirm, expect_status, zipped

pytestmark = pytest.mark.browser


def test_filters_stand_in_the_address_and_survive(
    visit: Callable[..., Visitor], console: Console
) -> None:
    failed = console.submit("stress", options={"sleep": 0, "exit_code": 4}, name="Filter me")
    other = console.submit("stress", options={"sleep": 0}, name="Filter me not")
    console.wait_for(failed, "failed")
    console.wait_for(other, "succeeded")
    page = visit().open("/runs/")
    page.locator("label.chip:has([name=status][value=failed])").click()
    page.wait_for_url(re.compile("status=failed"))
    row, gone = page.locator(f"#run-row-{failed}"), page.locator(f"#run-row-{other}")
    expect(row).to_be_visible()
    expect(gone).to_have_count(0)
    page.get_by_label("Search runs").fill("Filter me")
    page.wait_for_url(re.compile("q=Filter"))
    page.reload()
    expect(row).to_be_visible()
    expect(gone).to_have_count(0)
    expect(page.locator("[name=status][value=failed]")).to_be_checked()
    expect(page.get_by_label("Search runs")).to_have_value("Filter me")
    row.locator(".row-link").click()
    expect_status(page, "failed")
    page.go_back()
    page.wait_for_url(re.compile("q=Filter.*status=failed|status=failed.*q=Filter"))
    expect(row).to_be_visible()
    expect(page.locator("[name=status][value=failed]")).to_be_checked()
    page.get_by_role("link", name="Clear").click()
    expect(gone).to_be_visible()


@pytest.mark.usefixtures("paused")
def test_many_runs_are_canceled_at_once(visit: Callable[..., Visitor], console: Console) -> None:
    ids = console.driver.submit(application="stress", count=3, name="All of these")
    page = visit().open("/runs/?q=All+of+these")
    button = page.get_by_role("button", name="Cancel chosen")
    expect(button).to_be_disabled()
    page.get_by_label("Choose all runs of this page").check()
    expect(page.locator("[data-selected-count]")).to_have_text("3")
    page.locator(f"#run-row-{ids[0]} input[type=checkbox]").uncheck()
    expect(page.locator("[data-selected-count]")).to_have_text("2")
    button.click()
    confirm(page, "Cancel runs")
    for run_id in ids[1:]:
        expect(page.locator(f"#run-row-{run_id} [data-status=canceled]")).to_be_visible()
    expect(page.locator(f"#run-row-{ids[0]} [data-status=queued]")).to_be_visible()
    assert "q=All" in page.url
    assert set(console.driver.statuses(run_ids=ids).values()) == {"canceled", "queued"}


def test_a_queue_is_paused_and_resumed(
    visit: Callable[..., Visitor], console: Console, person: Person
) -> None:
    page = visit().open("/queue/")
    row = page.locator("#queue-queues tr", has_text="default")
    try:
        row.get_by_role("button", name="Pause").click()
        expect(row.locator(".tag")).to_have_text("paused")
        run_id = console.submit("stress", options={"sleep": 0.1})
        # The list of what waits is asked for again every few seconds.
        waiting = page.locator(f"#queue-waiting-{run_id}")
        expect(waiting).to_contain_text("is paused by admin@localhost")
        assert console.driver.statuses(run_ids=[run_id]) == {run_id: "queued"}
        row.get_by_role("button", name="Resume").click()
        expect(row.locator(".tag")).to_have_text("open")
        expect(waiting).to_have_count(0)
        console.wait_for(run_id, "succeeded")
    finally:
        person.post("/queue/resume/", {"queue": "default"})


def test_a_refused_archive_keeps_what_was_typed(visit: Callable[..., Visitor]) -> None:
    visitor = visit()
    visitor.allow(r"status of 422 .*applications/new/")
    page = visitor.open("/applications/new/")
    page.locator("input[type=file][name=upload]").set_input_files(
        {
            "name": "outside.zip",
            "mimeType": "application/zip",
            "buffer": zipped({"app.yaml": "type: python", "../../outside.txt": "no"}),
        }
    )
    page.get_by_label("Name").fill("Typed once")
    page.get_by_label("Description").fill("Not again")
    page.get_by_role("button", name="Make application").click()
    expect(page.locator(".errorlist").first).to_contain_text("outside.txt")
    expect(page.get_by_label("Name")).to_have_value("Typed once")
    expect(page.get_by_label("Description")).to_have_value("Not again")
    expect(page.locator(".files .file-name")).to_have_text("outside.zip")
    assert page.url.endswith("/applications/new/")


def test_an_upload_shows_how_far_it_is_and_can_be_canceled(
    visit: Callable[..., Visitor], console: Console
) -> None:
    page = visit().open("/applications/new/")
    page.locator("input[type=file][name=upload]").set_input_files(
        {"name": "slow.zip", "mimeType": "application/zip", "buffer": zipped({"a": "b"})}
    )
    # The request never gets its answer: the page stays in the middle of it.
    page.route("**/applications/new/", lambda route: None)
    page.get_by_label("Name").fill("Slow upload")
    page.get_by_role("button", name="Make application").click()
    expect(page.get_by_role("progressbar", name="Upload")).to_be_visible()
    expect(page.get_by_role("button", name="Make application")).to_be_disabled()
    page.get_by_role("button", name="Cancel upload").click()
    expect(page.get_by_role("alert")).to_contain_text("Upload canceled")
    expect(page.get_by_role("button", name="Make application")).to_be_enabled()
    expect(page.get_by_label("Name")).to_have_value("Slow upload")
