"""Requests that pages show, and the page of the API, in a real browser."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.journeys.consoles import ROOT, Console

pytest.importorskip("playwright.sync_api")

from playwright.sync_api import Page, expect

from tests.browser.visitors import Visitor

pytestmark = pytest.mark.browser

LAUNCH = "/applications/routing/launch/"


@pytest.fixture(scope="module")
def key(console: Console) -> str:
    done = subprocess.run(
        [
            *(sys.executable, str(ROOT / "manage.py"), "createapikey"),
            *("--account", "demo", "--role", "developer", "browser"),
        ],
        env=console.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def text_of(page: Page, language: str) -> Any:
    return page.locator(f"#request-{language}-1")


def test_the_request_follows_the_form(visit: Callable[..., Visitor]) -> None:
    page = visit().open(LAUNCH)
    page.locator("#same-request > summary").click()
    expect(text_of(page, "curl")).to_be_visible()
    expect(text_of(page, "python")).to_be_hidden()
    page.get_by_label("Name", exact=True).fill("Let's see")
    page.get_by_label("Random seed").fill("77")
    page.get_by_label("Random seed").press("Tab")
    expect(text_of(page, "curl")).to_contain_text('"seed": "77"')
    expect(text_of(page, "curl")).to_contain_text("Let'\"'\"'s see")
    expect(page.locator("#same-request")).to_have_attribute("open", "")
    page.get_by_role("tab", name="Python").click()
    expect(text_of(page, "python")).to_contain_text('"seed": "77"')
    expect(text_of(page, "curl")).to_be_hidden()
    # The language stays chosen when the part changes, and on the next page.
    page.get_by_role("radio", name="Managed input").check()
    expect(text_of(page, "python")).to_contain_text("managed_input_id=")
    expect(text_of(page, "python")).to_be_visible()
    page.goto("/runs/")
    page.locator("#same-request > summary").click()
    expect(text_of(page, "python")).to_be_visible()
    page.get_by_role("tab", name="Python").press("ArrowLeft")
    expect(page.get_by_role("tab", name="curl")).to_be_focused()
    expect(text_of(page, "curl")).to_be_visible()
    # A filter changes the list and the request, and leaves the block open.
    page.get_by_label("Application", exact=True).select_option("routing")
    expect(text_of(page, "curl")).to_contain_text("/v1/applications/routing/runs")
    expect(text_of(page, "curl")).to_be_visible()


def test_a_request_is_copied(visit: Callable[..., Visitor], console: Console) -> None:
    visitor = visit()
    visitor.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=console.base)
    page = visitor.open(LAUNCH)
    page.locator("#same-request > summary").click()
    page.locator("#requests-curl").get_by_role("button", name="Copy").click()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == text_of(page, "curl").text_content()
    assert copied.startswith("curl ") or "| curl" in copied


def test_without_script_all_languages_are_there(visit: Callable[..., Visitor]) -> None:
    page = visit(java_script_enabled=False).open(LAUNCH)
    page.locator("#same-request > summary").click()
    for language in ("curl", "python", "cli"):
        expect(text_of(page, language)).to_be_visible()
    expect(page.get_by_role("heading", name="Command line")).to_be_visible()


def test_a_request_is_tried_on_the_page_of_the_api(visit: Callable[..., Visitor], key: str) -> None:
    visitor = visit()
    page = visitor.open("/api-reference/#get-v1-applications-app-id")
    operation = page.locator("#get-v1-applications-app-id")
    expect(operation).to_have_attribute("open", "")
    send = operation.get_by_role("button", name="Send")
    status = operation.locator("[data-try-status]")
    send.click()
    expect(status).to_have_text("Paste an API key at the top of the page first.")
    page.get_by_label("API key for trying").fill(key)
    send.click()
    expect(status).to_have_text("Fill in app_id.")
    operation.get_by_label("app_id").fill("routing")
    send.click()
    expect(status).to_have_text(re.compile(r"^200 .*in \d+ ms, \d+"))
    expect(operation.locator("[data-try-answer]")).to_contain_text('"id": "routing"')
    visitor.allow("status of 404")
    operation.get_by_label("app_id").fill("../../etc")
    send.click()
    expect(status).to_have_text(re.compile("^404"))
    kept = page.evaluate(
        "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])"
    )
    assert key not in kept
    page.reload()
    expect(page.get_by_label("API key for trying")).to_have_value("")


def test_a_body_is_tried_and_an_error_is_shown(visit: Callable[..., Visitor], key: str) -> None:
    visitor = visit()
    page = visitor.open("/api-reference/#post-v1-applications")
    page.get_by_label("API key for trying").fill(key)
    operation = page.locator("#post-v1-applications")
    operation.get_by_role("textbox", name="Body").fill('{"id": "tried-here", "name": "Tried"}')
    operation.get_by_role("button", name="Send").click()
    status = operation.locator("[data-try-status]")
    expect(status).to_have_text(re.compile("^201"))
    visitor.allow("status of 409")
    operation.get_by_role("button", name="Send").click()
    expect(status).to_have_text(re.compile("^409"))
    expect(operation.locator("[data-try-answer]")).to_contain_text('"error"')
    page.goto("/api-reference/#delete-v1-applications-app-id")
    page.get_by_label("API key for trying").fill(key)
    deleting = page.locator("#delete-v1-applications-app-id")
    deleting.get_by_label("app_id").fill("tried-here")
    deleting.get_by_role("button", name="Send").click()
    page.get_by_role("dialog").get_by_role("button", name="Send").click()
    expect(deleting.locator("[data-try-status]")).to_have_text(re.compile("^204"))


def test_operations_are_found(visit: Callable[..., Visitor]) -> None:
    page = visit().open("/api-reference/")
    page.get_by_label("Find an operation").fill("cancel patch")
    expect(page.locator("[data-operation]:visible")).to_have_count(1)
    page.get_by_label("Find an operation").fill("nothing like it")
    expect(page.get_by_text("No operation fits")).to_be_visible()
