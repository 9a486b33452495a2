"""The console without JavaScript: everything works but what is live."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.journeys.consoles import Console

pytest.importorskip("playwright.sync_api")

from playwright import sync_api
from playwright.sync_api import expect

from tests.browser.visitors import (
    Visitor,
    expect_status,
    follow_link,
    one_time_link,
    run_id_of,
)

pytestmark = pytest.mark.browser


@pytest.fixture
def plain(visit: Callable[..., Visitor]) -> Visitor:
    """The administrator with a browser whose scripts are off."""
    return visit(java_script_enabled=False)


def test_a_link_signs_in_and_a_button_out(browser: sync_api.Browser, console: Console) -> None:
    visitor = Visitor(browser, console, java_script_enabled=False)
    page = visitor.page
    follow_link(page, one_time_link(console))
    page.locator(".sidebar-foot summary").click()
    page.locator(".sidebar-foot").get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    page.get_by_label("E-mail").fill("admin@localhost")
    page.get_by_label("Password").fill(_password(console))
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Home")
    visitor.close()


def _password(console: Console) -> str:
    first = (console.folder / "output-1.txt").read_text()
    found = re.search(r"password (\S+)", first)
    assert found is not None, first
    return found[1]


def test_pasted_json_is_launched_and_its_result_is_shown(plain: Visitor, console: Console) -> None:
    page = plain.open("/applications/stress/launch/")
    page.get_by_label("Paste").check()
    page.get_by_label("Input text").fill('{"from": "a page without script"}')
    page.get_by_label("Sleep (s)").fill("0.2")
    page.get_by_label("Name", exact=True).fill("Without script")
    page.locator(".form-actions").get_by_role("button", name="Launch").click()
    run_id = run_id_of(page)
    expect(page.get_by_role("heading", level=1)).to_have_text("Without script")
    console.wait_for(run_id, "succeeded")
    page.reload()
    expect_status(page, "succeeded")
    expect(page.locator(".stat-value").first).to_be_visible()
    tabs = page.locator(".tabs")
    tabs.get_by_role("link", name="Log").click()
    expect(page.locator(".log-line").first).to_contain_text("pid=")
    tabs.get_by_role("link", name="Input").click()
    expect(page.locator("main")).to_contain_text("a page without script")
    tabs.get_by_role("link", name="Output").click()
    expect(page.locator(".json-key").first).to_be_visible()
    tabs.get_by_role("link", name="History").click()
    expect(page.locator(".timeline")).to_contain_text("Succeeded")


def test_what_was_typed_is_kept_when_it_is_refused(plain: Visitor) -> None:
    plain.allow("status of 422")
    page = plain.open("/applications/stress/launch/")
    page.get_by_label("Paste").check()
    page.get_by_label("Input text").fill('{"half": ')
    page.get_by_label("Name", exact=True).fill("Kept")
    page.get_by_label("Exit code").fill("7")
    page.locator(".form-actions").get_by_role("button", name="Launch").click()
    expect(page.locator("main")).to_contain_text("Not launched.")
    expect(page.get_by_label("Input text")).to_have_value('{"half": ')
    expect(page.get_by_label("Name", exact=True)).to_have_value("Kept")
    expect(page.get_by_label("Exit code")).to_have_value("7")


def test_a_run_is_canceled(plain: Visitor, console: Console) -> None:
    run_id = console.submit("stress", options={"sleep": 600})
    console.wait_until_executing(run_id)
    page = plain.open(f"/runs/{run_id}/")
    expect_status(page, "running")
    page.locator("#run-actions").get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(run_id)
    console.wait_for(run_id, "canceled")
    page.reload()
    expect_status(page, "canceled")


def test_lists_are_filtered_and_paged(plain: Visitor, console: Console) -> None:
    ids = console.driver.submit(application="stress", count=60, name="Many", options={"sleep": 0})
    for run_id in ids:
        console.driver.cancel(run_id=run_id)
    page = plain.open("/runs/")
    page.get_by_label("Search runs").fill("Many")
    page.get_by_label("Application").select_option("stress")
    page.get_by_role("button", name="Filter", exact=True).click()
    page.wait_for_url(re.compile(r"q=Many"))
    rows = page.locator("tr[id^=run-row-]")
    expect(rows.first).to_contain_text("Many")
    first_page = rows.evaluate_all("rows => rows.map(row => row.id)")
    page.get_by_role("link", name="Older").click()
    page.wait_for_url(re.compile(r"q=Many.*(after|before|older|cursor)"))
    second_page = rows.evaluate_all("rows => rows.map(row => row.id)")
    assert second_page
    assert not set(first_page) & set(second_page)
    assert {row.removeprefix("run-row-") for row in first_page + second_page} <= set(ids)
    page.get_by_role("link", name=re.compile("Newer|Newest")).first.click()
    expect(rows).to_have_count(len(first_page))
    assert rows.evaluate_all("rows => rows.map(row => row.id)") == first_page
