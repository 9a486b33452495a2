"""Pages of figures in a real browser: they are drawn, and nothing an app writes is executed."""

from __future__ import annotations

import contextlib
import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from runs.visuals.pages import SANDBOX, figure_page, page_policy

sync_api = pytest.importorskip("playwright.sync_api")

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
WAIT_MS = 60_000
HOSTILE = (
    "\"><img src=x onerror=document.title='PWNED'><script>document.title='PWNED'</script>"
    "<svg onload=document.title='PWNED'>{{7*7}}{% raw %}</script><!--`${alert(1)}`"
)


class Console:
    """Serves static files, pages of figures, and a page that frames them; records requests."""

    def __init__(self) -> None:
        self.figures: dict[str, tuple[str, tuple[object, ...]]] = {}
        console = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                name = urlsplit(self.path).path.rpartition("/")[2]
                if self.path.startswith("/static/"):
                    super().do_GET()
                elif self.path.startswith("/figure/") and name in console.figures:
                    schema, figures = console.figures[name]
                    page = figure_page(
                        schema, figures, static_url=lambda file: f"/static/{file}", title="Title"
                    )
                    origin = f"http://{self.headers['Host']}"
                    self.answer(page.html, page_policy(origin, page.script_hashes))
                elif self.path.startswith("/page/"):
                    frame = f'<iframe sandbox="{SANDBOX}" src="/figure/{name}"></iframe>'
                    style = "<style>iframe{width:900px;height:600px}</style>"
                    self.answer(f"<!DOCTYPE html><title>Console</title>{style}{frame}", "")
                else:
                    self.send_error(404)

            def answer(self, text: str, policy: str) -> None:
                body = text.encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                if policy:
                    self.send_header("Content-Security-Policy", policy)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        def handler(*args: object) -> Handler:
            return Handler(*args, directory=str(ROOT))  # type: ignore[arg-type]

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture(scope="module")
def console() -> Iterator[Console]:
    served = Console()
    yield served
    served.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    chromium = os.environ.get("RUNSITE_TEST_CHROMIUM") or None
    if chromium is None and Path("/usr/bin/chromium").exists():
        chromium = "/usr/bin/chromium"
    with sync_api.sync_playwright() as playwright:
        try:
            started = playwright.chromium.launch(
                executable_path=chromium,
                args=[
                    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
                    "--enable-unsafe-swiftshader",
                ],
            )
        except sync_api.Error as problem:
            if os.environ.get("CI"):
                raise
            pytest.skip(f"No browser here: {problem}")
        yield started
        started.close()


class Opened:
    """A framed page of figures, with everything it asked for or complained about."""

    def __init__(self, page: sync_api.Page, console: Console, name: str) -> None:
        self.page = page
        self.outside: list[str] = []
        self.problems: list[str] = []
        page.on("request", lambda request: self._look(request.url, console.url))
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("dialog", lambda dialog: self._refuse(dialog))
        page.goto(f"{console.url}/page/{name}")
        self.frame = page.frame_locator("iframe")

    def _look(self, url: str, own: str) -> None:
        if not url.startswith((own, "data:", "blob:")):
            self.outside.append(url)

    def _refuse(self, dialog: sync_api.Dialog) -> None:
        self.problems.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def drawn(self, number: int = 0) -> sync_api.Locator:
        place = self.frame.locator(f"#figure-{number}[data-drawn]")
        place.wait_for(timeout=WAIT_MS)
        return place

    def assert_nothing_ran(self) -> None:
        inside = self.page.frames[1]
        assert inside.evaluate("document.title") == "Title"
        assert self.page.title() == "Console"
        # The libraries make elements of their own; these could only be the app's.
        assert inside.locator("[onerror], [onload], main script, img[src='x']").count() == 0
        assert self.problems == []
        assert self.outside == []


@contextlib.contextmanager
def opened(
    browser: sync_api.Browser, console: Console, schema: str, *figures: object
) -> Iterator[Opened]:
    name = str(len(console.figures))
    console.figures[name] = (schema, figures)
    context = browser.new_context(viewport={"width": 940, "height": 640})
    try:
        yield Opened(context.new_page(), console, name)
    finally:
        context.close()


def test_a_map_is_drawn_and_its_text_stays_text(
    browser: sync_api.Browser, console: Console
) -> None:
    features = [
        {
            "type": "Feature",
            "id": HOSTILE,
            "geometry": {"type": "Point", "coordinates": [15 + number / 100, 47]},
            "properties": {
                "kind": f"{number % 2}{HOSTILE}",
                "name": HOSTILE,
                HOSTILE: HOSTILE,
                "metadata": [{"key": HOSTILE, "value": f"details {HOSTILE}"}],
                "style": {"color": HOSTILE, "radius": 12, "className": HOSTILE},
            },
        }
        for number in range(3)
    ]
    content = {"type": "FeatureCollection", "features": features}
    with opened(browser, console, "geojson", content) as shown:
        circles = shown.drawn().locator("path.leaflet-interactive")
        circles.nth(2).wait_for(timeout=WAIT_MS)
        assert circles.count() == 3
        control = shown.frame.locator(".leaflet-control-layers-overlays label")
        assert control.count() == 2
        assert "{{7*7}}" in (control.first.text_content() or "")
        assert shown.frame.locator(".leaflet-control-scale-line").count() > 0
        circles.nth(1).hover(timeout=WAIT_MS)
        tooltip = shown.frame.locator(".leaflet-tooltip")
        tooltip.wait_for(timeout=WAIT_MS)
        assert HOSTILE[:40] in (tooltip.text_content() or "")
        circles.nth(1).click(timeout=WAIT_MS)
        popup = shown.frame.locator(".leaflet-popup-content table")
        popup.wait_for(timeout=WAIT_MS)
        assert "details" in (popup.text_content() or "")
        shown.assert_nothing_ran()


def test_many_points_become_clusters(browser: sync_api.Browser, console: Console) -> None:
    content = {
        "type": "MultiPoint",
        "coordinates": [[15 + (n % 20) / 1000, 47 + (n // 20) / 1000] for n in range(400)],
    }
    with opened(browser, console, "geojson", content) as shown:
        cluster = shown.drawn().locator(".marker-cluster").first
        cluster.wait_for(timeout=WAIT_MS)
        assert int((cluster.text_content() or "").replace(",", "")) > 1
        shown.assert_nothing_ran()


def test_plotly_draws_arrays_in_base64_and_hostile_labels(
    browser: sync_api.Browser, console: Console
) -> None:
    packed = {
        "data": [
            {
                "type": "scatter",
                "mode": "markers",
                # 1.0, 2.0, 3.0 as little-endian doubles.
                "y": {"dtype": "f8", "bdata": "AAAAAAAA8D8AAAAAAAAAQAAAAAAAAAhA"},
            }
        ]
    }
    hostile = {
        "data": [
            {
                "type": "bar",
                "x": [HOSTILE, "b"],
                "y": [1, 2],
                "name": HOSTILE,
                "text": [HOSTILE, HOSTILE],
                "hovertemplate": HOSTILE,
                "customdata": ["javascript:document.title='PWNED'"],
            }
        ],
        "layout": {
            "title": {"text": HOSTILE},
            "annotations": [
                {"text": f"<a href=\"javascript:document.title='PWNED'\">link</a>{HOSTILE}"}
            ],
            "images": [{"source": "http://outside.example/x.png", "x": 0, "y": 1}],
        },
        "config": {"plotlyServerURL": "http://outside.example", "showSendToCloud": True},
    }
    with opened(browser, console, "plotly", packed, hostile) as shown:
        assert shown.drawn(0).locator(".scatterlayer path.point").count() == 3
        bars = shown.drawn(1).locator(".barlayer .point path")
        assert bars.count() == 2
        bars.nth(1).hover(force=True, timeout=WAIT_MS)
        links = shown.page.frames[1].evaluate(
            "[...document.querySelectorAll('main a')].map(link => [...link.attributes]"
            ".map(attribute => attribute.value).join(' '))"
        )
        assert [link for link in links if "javascript:" in link] == []
        shown.assert_nothing_ran()


def test_countries_are_drawn_without_asking_another_host(
    browser: sync_api.Browser, console: Console
) -> None:
    figure = {"data": [{"type": "choropleth", "locations": ["AUT", "BRA"], "z": [1, 2]}]}
    with opened(browser, console, "plotly", figure) as shown:
        countries = shown.drawn().locator(".choroplethlayer path")
        assert countries.count() == 2
        shown.assert_nothing_ran()


def test_maps_of_streets_are_drawn_without_asking_another_host(
    browser: sync_api.Browser, console: Console
) -> None:
    trace = {"lon": [15.4, 15.5], "lat": [47, 47.1], "mode": "markers"}
    streets = {"style": "open-street-map", "zoom": 9, "center": {"lon": 15.45, "lat": 47.05}}
    newer = {"data": [trace | {"type": "scattermap"}], "layout": {"map": streets}}
    older = {"data": [trace | {"type": "scattermapbox"}], "layout": {"mapbox": streets}}
    with opened(browser, console, "plotly", newer, older) as shown:
        if not shown.page.evaluate("!!document.createElement('canvas').getContext('webgl2')"):
            pytest.skip("This browser has no WebGL, which maps of streets need.")
        for number in range(2):
            assert shown.drawn(number).locator("canvas.maplibregl-canvas").count() == 1
        shown.assert_nothing_ran()


def test_charts_are_drawn_and_unknown_ones_explained(
    browser: sync_api.Browser, console: Console
) -> None:
    chart = {
        "type": "bar",
        "data": {"labels": [HOSTILE, "b"], "datasets": [{"label": HOSTILE, "data": [3, 5]}]},
        "options": {
            "onClick": "alert(1)",
            "plugins": {"title": {"display": True, "text": HOSTILE}},
        },
    }
    unknown = {"type": "hologram", "data": {"datasets": [{"data": [1]}]}}
    with opened(browser, console, "chartjs", chart, unknown, 5) as shown:
        inked = shown.drawn().locator("canvas")
        assert inked.evaluate(
            "canvas => { const pixels = canvas.getContext('2d')"
            ".getImageData(0, 0, canvas.width, canvas.height).data;"
            " return pixels.some(value => value > 0); }"
        )
        messages = shown.frame.locator(".message:visible")
        messages.nth(1).wait_for(timeout=WAIT_MS)
        assert messages.count() == 2
        assert "hologram" in (messages.first.text_content() or "")
        shown.assert_nothing_ran()


def test_a_page_opened_by_itself_has_no_origin(browser: sync_api.Browser, console: Console) -> None:
    console.figures["alone"] = ("plotly", ({"data": [{"type": "bar", "y": [1]}]},))
    context = browser.new_context()
    try:
        page = context.new_page()
        page.goto(f"{console.url}/figure/alone")
        page.locator("#figure-0[data-drawn]").wait_for(timeout=WAIT_MS)
        assert page.evaluate("window.origin") == "null"
        assert page.locator(".barlayer .point path").count() == 1
    finally:
        context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_theme_of_the_address_wins_over_the_system(
    browser: sync_api.Browser, console: Console, scheme: str
) -> None:
    console.figures["theme"] = ("plotly", ({"data": [{"type": "bar", "y": [1]}]},))
    other = "dark" if scheme == "light" else "light"
    context = browser.new_context(color_scheme=other)  # type: ignore[arg-type]
    try:
        page = context.new_page()
        for query, theme in (("", other), (f"?theme={scheme}", scheme)):
            page.goto(f"{console.url}/figure/theme{query}")
            page.locator(f":root[data-theme={theme}]").wait_for(timeout=WAIT_MS)
    finally:
        context.close()
