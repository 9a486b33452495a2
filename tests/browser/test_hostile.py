"""An application that attacks whoever looks at it: its words stay words on every page."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from urllib.parse import quote_plus

import pytest

from tests.browser.markup import HOSTILE, HOSTILE_FILE, MANIFEST, PROGRAM
from tests.journeys.consoles import Console, Person

pytest.importorskip("playwright.sync_api")

from playwright import sync_api
from playwright.sync_api import expect

from tests.browser.visitors import Visitor, zipped

pytestmark = pytest.mark.browser

# What an executed attack would leave behind; the visitor refuses dialogs and other hosts.
TRACES = """() => [window.attacked,
    ...[...document.querySelectorAll('*')].flatMap(each => [...each.attributes]
        .filter(one => /^on/i.test(one.name) || /^\\s*javascript:/i.test(one.value))
        .map(one => `${each.tagName} ${one.name}=${one.value}`))].filter(Boolean)"""
START = HOSTILE[:60]


@pytest.fixture(scope="module")
def attacker(console: Console, person: Person) -> Mapping[str, str]:
    """The runs of the application: one that succeeds and one that fails."""
    archive = zipped(
        {
            "app.yaml": MANIFEST,
            "main.py": PROGRAM,
            "words.json": json.dumps([HOSTILE, HOSTILE_FILE]),
        }
    )
    page = person.post(
        "/applications/new/",
        {
            "way": "upload",
            "name": HOSTILE[:190],
            "application_id": "attacker",
            "description": HOSTILE,
        },
        [("upload", "attacker.zip", archive)],
    )
    assert page.url.endswith("/applications/attacker/"), page.words
    found = {}
    for status, code in (("succeeded", 0), ("failed", 3)):
        found[status] = console.submit(
            "attacker",
            files={HOSTILE_FILE: HOSTILE},
            options={"label": HOSTILE, "code": code, "free": HOSTILE},
            name=HOSTILE[:190],
            description=HOSTILE,
        )
    for status, run_id in found.items():
        console.wait_for(run_id, status)
    return found


def _assert_inert(page: sync_api.Page, *, says: str = START) -> None:
    """The words are shown as they are, and nothing of them works."""
    expect(page.locator("main")).to_contain_text(says)
    assert "{{7*7}}" in (page.locator("main").text_content() or "") or "{{" not in says
    assert page.evaluate(TRACES) == []


def test_lists_show_hostile_names(
    visit: Callable[..., Visitor], attacker: Mapping[str, str]
) -> None:
    visitor = visit()
    for path in (
        "/",
        "/runs/",
        f"/runs/?q={quote_plus(HOSTILE[:60])}",
        "/applications/",
        "/applications/attacker/",
        "/applications/attacker/settings/",
    ):
        _assert_inert(visitor.open(path), says=HOSTILE[:30])


@pytest.mark.parametrize("status", ["succeeded", "failed"])
def test_every_tab_of_a_run_shows_hostile_words(
    visit: Callable[..., Visitor], attacker: Mapping[str, str], status: str
) -> None:
    visitor = visit()
    run_id = attacker[status]
    for tab in ("", "log/", f"log/?q={quote_plus(HOSTILE[:30])}", "input/", "output/", "history/"):
        _assert_inert(visitor.open(f"/runs/{run_id}/{tab}"))
    page = visitor.open(f"/runs/{run_id}/log/")
    expect(page.locator(".log-text").first).to_contain_text(HOSTILE)
    assert page.locator(".log-lines :is(img, script, a[href^=javascript])").count() == 0
    for name in (HOSTILE_FILE, "page.html", "drawing.svg", "table.csv", "tree.json"):
        page = visitor.open(f"/runs/{run_id}/output/")
        page.locator(".files").get_by_role("link", name=name, exact=True).click()
        expect(page.locator(".panel-header h2").first).to_have_text(name)
        assert page.evaluate(TRACES) == []
        assert page.locator(".panel :is(img, iframe, script:not([type]))").count() == 0


def test_figures_draw_hostile_words(
    visit: Callable[..., Visitor], attacker: Mapping[str, str]
) -> None:
    visitor = visit()
    page = visitor.open(f"/runs/{attacker['succeeded']}/visuals/")
    tabs = page.locator("#run-visuals .tabs .tab")
    seen = 0
    for number in range(tabs.count()):
        tabs.nth(number).click()
        expect(tabs.nth(number)).to_have_attribute("aria-current", "page")
        _assert_inert(page, says=HOSTILE[:30])
        if not page.locator("iframe.visual-frame").count():
            continue
        seen += 1
        drawn = page.frame_locator("iframe.visual-frame").locator("#figure-0[data-drawn]")
        expect(drawn).to_be_visible()
        for frame in page.frames:
            assert frame.evaluate("window.attacked") is None
            assert frame.locator("[onerror], [onload], img[src=x]").count() == 0
    assert seen >= 3


def test_forms_are_filled_with_hostile_words(
    visit: Callable[..., Visitor], attacker: Mapping[str, str]
) -> None:
    visitor = visit()
    for path in (
        "/applications/attacker/launch/",
        f"/applications/attacker/launch/?from={attacker['succeeded']}",
    ):
        page = visitor.open(path)
        _assert_inert(page, says=HOSTILE[:30])
        expect(page.locator("[name='o:label']")).to_have_value(HOSTILE)
    expect(page.locator("#id_description, [name=description]")).to_have_value(HOSTILE)


def test_files_of_a_run_are_never_pages_of_the_console(
    visit: Callable[..., Visitor], attacker: Mapping[str, str]
) -> None:
    visitor = visit()
    page = visitor.open(f"/runs/{attacker['succeeded']}/output/")
    links = page.locator(".files a[aria-label^=Download]")
    paths = links.evaluate_all("links => links.map(link => link.getAttribute('href'))")
    assert len(paths) >= 5
    for path in paths:
        answer = visitor.context.request.get(path)
        assert answer.ok, path
        assert answer.headers["content-disposition"].startswith("attachment"), path
        assert answer.headers["x-content-type-options"] == "nosniff", path
        assert "sandbox" in answer.headers["content-security-policy"], path
