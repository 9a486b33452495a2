"""Every page at the width of a desk and of a phone, light and dark; keys and the theme."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import pytest

from tests.journeys.consoles import Console

pytest.importorskip("playwright.sync_api")

from playwright import sync_api
from playwright.sync_api import expect

from tests.browser.visitors import Visitor

pytestmark = pytest.mark.browser

PAGES = (
    "/",
    "/applications/",
    "/applications/new/",
    "/applications/routing/",
    "/applications/routing/builds/",
    "/applications/routing/upload/",
    "/applications/routing/versions/",
    "/applications/routing/instances/",
    "/applications/routing/inputs/",
    "/applications/routing/settings/",
    "/applications/routing/launch/",
    "/applications/forecast/launch/",
    "/applications/stress/launch/",
    "/applications/routing/launch/?from={succeeded}",
    "/runs/",
    "/runs/?status=failed&q=nothing+of+this",
    "/runs/import/",
    *(
        f"/runs/{{succeeded}}/{tab}"
        for tab in ("", "log/", "input/", "output/", "visuals/", "resources/", "history/")
    ),
    "/runs/{failed}/",
    "/runs/{failed}/history/",
    "/queue/",
    "/workers/",
    "/ledger/",
    "/settings/keys/",
    "/settings/members/",
    "/settings/password/",
)

LONG = "A name without end, " + "w" * 90


@pytest.fixture(scope="module")
def runs(console: Console) -> dict[str, str]:
    """A run of each kind of page."""
    found = {
        "succeeded": console.submit("routing", sample=True, options={"duration": 2.5}, name=LONG),
        "failed": console.submit("stress", options={"sleep": 0.1, "exit_code": 3}),
    }
    console.wait_for(found["succeeded"], "succeeded")
    console.wait_for(found["failed"], "failed")
    return found


@pytest.mark.parametrize("width", [1440, 390])
def test_every_page_fits_and_complains_of_nothing(
    visit: Callable[..., Visitor], runs: Mapping[str, str], width: int
) -> None:
    visitor = visit(reduced_motion="reduce")
    visitor.page.set_viewport_size({"width": width, "height": 900})
    for path in PAGES:
        page = visitor.open(path.format(**runs))
        expect(page).to_have_title(re.compile(r"^\S.* · Runsite$"))
        expect(page.get_by_role("heading", level=1)).to_have_text(re.compile(r"\S"))
        expect(page.get_by_role("heading", level=1)).to_have_count(1)
        assert page.locator("nav[aria-label=Console]").count() == 2
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            _assert_fits(page, f"{path} {width} {scheme}")
            assert _pale_words(page) == [], f"{path} {scheme}"
        unnamed = page.evaluate(UNNAMED)
        assert unnamed == [], f"{path}: {unnamed}"
        ids = page.locator("[id]").evaluate_all("all => all.map(each => each.id)")
        assert [each for each in set(ids) if ids.count(each) > 1] == [], path


UNNAMED = """() => [...document.querySelectorAll('button, a[href], input, select, textarea')]
    .filter(each => each.type !== 'hidden' && each.getClientRects().length
        && !each.closest('[aria-hidden=true]'))
    .filter(each => !(each.textContent.trim() || each.getAttribute('aria-label')
        || each.labels?.length || each.querySelector('[aria-label], img[alt]')))
    .map(each => each.outerHTML.slice(0, 200))"""

PALE = """async () => {
    // Without motion colours still need a frame to change with the scheme.
    const moving = () => document.getAnimations().filter(each => each instanceof CSSTransition);
    while (moving().length) await Promise.allSettled(moving().map(each => each.finished));
    const luminance = ([r, g, b]) => {
        const [x, y, z] = [r, g, b].map(part => {
            const share = part / 255;
            return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * x + 0.7152 * y + 0.0722 * z;
    };
    const parts = color => color.match(/[\\d.]+/g).map(Number);
    const ground = element => {
        for (let at = element; at; at = at.parentElement) {
            const style = getComputedStyle(at);
            if (style.backgroundImage !== 'none') return null;
            const found = parts(style.backgroundColor);
            if (found.length === 3 || found[3] === 1) return found.slice(0, 3);
            if (found[3] > 0) return null;
        }
        return null;
    };
    const pale = new Set();
    const walker = document.createTreeWalker(document.querySelector('main'), NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        const element = node.parentElement;
        if (!node.data.trim() || !element.checkVisibility()) continue;
        if (!element.getClientRects().length) continue;
        if (element.closest('svg, script, noscript, :disabled, [data-plot]')) continue;
        const style = getComputedStyle(element);
        if (!style.color.startsWith('rgb(') || style.visibility !== 'visible') continue;
        const behind = ground(element);
        if (!behind) continue;
        const [one, other] = [luminance(parts(style.color)), luminance(behind)];
        const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
        if (contrast < 4.5) pale.add(`${contrast.toFixed(2)} ${node.data.trim().slice(0, 40)}`);
    }
    return [...pale];
}"""


def _pale_words(page: sync_api.Page) -> list[str]:
    """Words of the page whose contrast to their ground is below 4.5, as WCAG asks."""
    found: list[str] = page.evaluate(PALE)
    return found


def _assert_fits(page: sync_api.Page, what: str) -> None:
    too_wide = page.evaluate(
        """() => {
            const root = document.documentElement;
            if (root.scrollWidth <= root.clientWidth) return null;
            const wide = [...document.querySelectorAll('main *')]
                .filter(each => each.getBoundingClientRect().right > root.clientWidth + 1);
            return [root.scrollWidth, root.clientWidth,
                ...wide.slice(0, 3).map(each => each.outerHTML.slice(0, 200))];
        }"""
    )
    assert too_wide is None, f"{what}: {too_wide}"


def test_the_skip_link_is_first_and_leads_to_the_content(visit: Callable[..., Visitor]) -> None:
    page = visit().open("/runs/")
    page.keyboard.press("Tab")
    skip = page.locator(":focus")
    expect(skip).to_have_text("Skip to content")
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.keyboard.press("Tab")
    assert page.evaluate("document.querySelector('main').contains(document.activeElement)")


def test_keys_list_the_shortcuts_and_move_between_pages(visit: Callable[..., Visitor]) -> None:
    page = visit().open("/")
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Keyboard shortcuts")
    expect(dialog).to_contain_text("Runs")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    for keys, path in (("gr", "/runs/"), ("ga", "/applications/"), ("gq", "/queue/")):
        page.keyboard.type(keys)
        page.wait_for_url(f"**{path}")
    page.keyboard.type("gr")
    page.wait_for_url("**/runs/")
    page.keyboard.press("/")
    expect(page.get_by_label("Search runs")).to_be_focused()
    page.keyboard.type("gq")
    expect(page.get_by_label("Search runs")).to_have_value("gq")


def test_the_chosen_theme_lasts(visit: Callable[..., Visitor]) -> None:
    visitor = visit(color_scheme="light")
    page = visitor.open("/")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.locator(".sidebar-foot summary").click()
    toggle = page.locator(".sidebar-foot [data-theme-toggle]")
    for name in ("light", "dark"):
        toggle.click()
        expect(toggle).to_contain_text(name)
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page = visitor.open("/runs/")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert page.evaluate(ground) != light


def test_names_and_ends_stay_in_one_line_on_a_desk(
    visit: Callable[..., Visitor], runs: Mapping[str, str]
) -> None:
    page = visit().open("/runs/")
    row = page.locator(f"#run-row-{runs['failed']}")
    expect(row).to_contain_text("exit code")
    broken = page.locator("tr[id^=run-row-]").evaluate_all(
        """rows => rows.flatMap(row => [...row.querySelectorAll('td.nowrap, .cell-name')])
            .filter(each => {
                const range = document.createRange();
                range.selectNodeContents(each);
                const { height } = range.getBoundingClientRect();
                return height > 2 * parseFloat(getComputedStyle(each).fontSize);
            }).map(each => each.textContent)"""
    )
    assert broken == []


def test_the_value_of_a_run_is_shown_once(
    visit: Callable[..., Visitor], runs: Mapping[str, str]
) -> None:
    page = visit().open(f"/runs/{runs['succeeded']}/")
    labels = [label.strip().lower() for label in page.locator(".stat-label").all_text_contents()]
    assert labels.count("value") == 1
    assert "result.value" not in labels
