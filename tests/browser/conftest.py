"""One console for all browser tests, and people who visit it."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.journeys.consoles import Console, Person, serving

sync_api = pytest.importorskip("playwright.sync_api")

VISITORS = pytest.StashKey[list[Any]]()


@pytest.fixture(scope="session")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """A console with the demo account; its queue is open whenever a test begins."""
    with serving(tmp_path_factory.mktemp("console"), demo=True) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, for a module each: Django refuses the event loop that Playwright keeps."""
    from tests.browser.visitors import launch_chromium

    with sync_api.sync_playwright() as playwright:
        try:
            started = launch_chromium(playwright)
        except sync_api.Error as problem:
            if os.environ.get("CI"):
                raise
            pytest.skip(f"No browser here: {problem}")
        yield started
        started.close()


@pytest.fixture(scope="session")
def person(console: Console) -> Person:
    """The administrator, signed in by a link that was made on the server."""
    from tests.browser.visitors import one_time_link

    found = Person(console.base)
    page = found.post(found.get(one_time_link(console)).url)
    assert page.status == 200, page.words
    assert "sign-in" not in page.url, page.words
    return found


@pytest.fixture(scope="session")
def signed_in(person: Person) -> dict[str, Any]:
    """The cookies of the administrator, as a browser keeps them."""
    return {
        "cookies": [
            {"name": one.name, "value": one.value, "domain": "127.0.0.1", "path": one.path}
            for one in person._cookies
        ],
        "origins": [],
    }


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add what the pages say to the report of a failed test."""
    report = yield
    if report.when == "call" and report.failed:
        for visitor in item.stash.get(VISITORS, []):
            report.sections.append(("Page", visitor.describe()))
    return report


@pytest.fixture
def visit(
    request: pytest.FixtureRequest, browser: Any, console: Console, signed_in: dict[str, Any]
) -> Iterator[Callable[..., Any]]:
    """Start visits of the administrator: `visit()`, `visit(java_script_enabled=False)`."""
    from tests.browser.visitors import Visitor

    with ExitStack() as stack:

        def start(**context: Any) -> Any:
            context.setdefault("storage_state", signed_in)
            visitor = Visitor(browser, console, **context)
            request.node.stash.setdefault(VISITORS, []).append(visitor)
            stack.callback(visitor.close)
            return visitor

        yield start


@pytest.fixture
def paused(person: Person) -> Iterator[None]:
    """The queue stands still during this test."""
    person.post("/queue/pause/", {"queue": "default"})
    yield
    person.post("/queue/resume/", {"queue": "default"})
