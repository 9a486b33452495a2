"""People with a real browser: what they open may not call other hosts, complain or break a rule."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright import sync_api
from playwright.sync_api import expect

from tests.journeys.consoles import ROOT, Console

WAIT_MS = 30_000
RUN_MS = 90_000
"""For the end of a run that takes seconds on an idle machine."""

expect.set_options(timeout=WAIT_MS)

OWN_SCHEMES = {"data", "blob", "about"}


def launch_chromium(playwright: sync_api.Playwright) -> sync_api.Browser:
    """Chromium that finds no host but this machine."""
    chromium = os.environ.get("RUNSITE_TEST_CHROMIUM") or None
    if chromium is None and Path("/usr/bin/chromium").exists():
        chromium = "/usr/bin/chromium"
    return playwright.chromium.launch(
        executable_path=chromium,
        args=["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
    )


class Visitor:
    """One browser profile at a console, and everything that went wrong in any of its pages."""

    def __init__(self, browser: sync_api.Browser, console: Console, **context: Any) -> None:
        self.console = console
        self.problems: list[str] = []
        self.allowed: list[str] = []
        self.context = browser.new_context(
            base_url=console.base, viewport={"width": 1440, "height": 900}, **context
        )
        self.context.set_default_timeout(WAIT_MS)
        self.context.on("request", self._look_at_request)
        self.context.on("console", self._look_at_message)
        self.context.on("weberror", lambda error: self._note(f"script error: {error.error}"))
        self.context.on("page", lambda page: page.on("dialog", self._refuse))
        self.page = self.context.new_page()

    def _note(self, problem: str) -> None:
        if not any(re.search(pattern, problem) for pattern in self.allowed):
            self.problems.append(problem)

    def _look_at_request(self, request: sync_api.Request) -> None:
        address = urlsplit(request.url)
        own = f"{address.scheme}://{address.netloc}" == self.console.base
        if not own and address.scheme not in OWN_SCHEMES:
            self._note(f"asked another host: {request.url}")

    def _look_at_message(self, message: sync_api.ConsoleMessage) -> None:
        # Violations of the content policy are reported as errors, those of frames too.
        if message.type in {"error", "warning", "assert"}:
            self._note(f"{message.type}: {message.text} ({message.location.get('url', '')})")

    def _refuse(self, dialog: sync_api.Dialog) -> None:
        if dialog.type != "beforeunload":
            self._note(f"dialog: {dialog.message}")
        dialog.dismiss()

    def allow(self, pattern: str) -> None:
        """Expect a complaint of the browser from now on, such as that an answer was a refusal."""
        self.allowed.append(pattern)

    def open(self, path: str) -> sync_api.Page:
        """The page at `path`; it must be found."""
        answer = self.page.goto(path)
        assert answer is not None
        assert answer.ok, f"{path} answered {answer.status}"
        return self.page

    def describe(self) -> str:
        """Where the visitor is and what the page says, for messages of failed tests."""
        found = []
        for page in self.context.pages:
            with contextlib.suppress(sync_api.Error):
                words = page.locator("main").inner_text(timeout=2000)
                found.append(f"{page.url}\n{words[:3000]}")
        return "\n".join(found)

    def close(self) -> None:
        """Leave; nothing may have gone wrong."""
        self.context.close()
        assert self.problems == []


def one_time_link(console: Console) -> str:
    """A sign-in link for the administrator, made on the server."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), "signinlink", "admin@localhost"],
        env=console.environment,
        cwd=console.folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return urlsplit(done.stdout.strip()).path


def printed_link(console: Console) -> str:
    """The link that the console printed when it started."""
    found = re.search(r"Sign in [^:]*: (http\S+)", console.said)
    assert found is not None, console.said
    return found[1]


def follow_link(page: sync_api.Page, link: str) -> None:
    """Open a sign-in link and agree to it."""
    page.goto(link)
    page.get_by_role("button", name=re.compile("^Sign in as ")).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Home")


def zipped(files: Mapping[str, str]) -> bytes:
    """An archive of these files."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return packed.getvalue()


def write_folder(folder: Path, files: Mapping[str, str]) -> Path:
    """These files in `folder`."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def run_id_of(page: sync_api.Page) -> str:
    """The id of the run whose page this is."""
    page.wait_for_url(re.compile(r"/runs/[^/]+/$"))
    return urlsplit(page.url).path.split("/")[2]


def expect_status(page: sync_api.Page, status: str, limit_ms: float = WAIT_MS) -> None:
    """Wait until the page of a run shows this status."""
    place = page.locator(f"#run-status [data-status={status}]")
    expect(place).to_be_visible(timeout=limit_ms)


def confirm(page: sync_api.Page, button: str) -> None:
    """Answer the question that a dangerous button asks."""
    page.get_by_role("dialog").get_by_role("button", name=button, exact=True).click()
