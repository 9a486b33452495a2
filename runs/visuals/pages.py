"""Complete pages that hold figures, made for a sandboxed frame, and the policy they are sent with.

The content comes from programs nobody has vouched for. Three walls stand one behind the other:
text of an app is escaped or carried as JSON that no script executes; the policy allows scripts of
our own static files only, and no connection at all; the sandbox gives the page an origin of its
own, even when it is opened outside of a frame. A page posts nothing and needs no cookie.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from runs.visuals.assets import SCHEMAS
from runs.visuals.geojson import MapData, MapError, read_map
from runs.visuals.maps import check_tile_url, draw_map

VENDOR = "vendor/"
PLOTLY_SCRIPT = f"{VENDOR}plotly-4.1.1/plotly-strict.min.js"
PLOTLY_OUTLINES = f"{VENDOR}plotly-geo-4.1.1/"
CHART_SCRIPT = f"{VENDOR}chartjs-4.6.1/chart.umd.min.js"
LEAFLET_SCRIPT = f"{VENDOR}leaflet-1.9.4/leaflet.js"
LEAFLET_STYLE = f"{VENDOR}leaflet-1.9.4/leaflet.css"
CLUSTER_SCRIPT = f"{VENDOR}leaflet-markercluster-1.5.3/leaflet.markercluster.js"
CLUSTER_STYLE = f"{VENDOR}leaflet-markercluster-1.5.3/MarkerCluster.css"

FIGURE_LIMIT_BYTES = 64 * 1024 * 1024
"""JSON of one page; what is larger would only freeze the browser and is offered as a download."""

SANDBOX = "allow-scripts allow-downloads"
"""Value for the `sandbox` attribute of the frame; never add `allow-same-origin`."""

SANDBOX_WITH_LINKS = f"{SANDBOX} allow-top-navigation-by-user-activation"
"""The same for figures of our own whose points lead to a run (`links=True`)."""

_SCOPES = (
    "africa",
    "antarctica",
    "asia",
    "europe",
    "north america",
    "oceania",
    "south america",
    "usa",
    "world",
)
_GEO_TRACES = frozenset(("scattergeo", "choropleth"))
_STREET_TRACES = frozenset(("scattermap", "densitymap", "choroplethmap"))
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\-_\[\]:]+", re.ASCII)


@dataclass(frozen=True)
class FigurePage:
    """An HTML document, and the hashes of its inline scripts for `page_policy`."""

    html: str
    script_hashes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Parts:
    """What one schema contributes to a page."""

    sections: Sequence[str]
    data: object
    styles: Sequence[str]
    scripts: Sequence[str]
    inline: str = ""


def figure_page(
    schema: str,
    figures: Sequence[object],
    *,
    static_url: Callable[[str], str],
    title: str,
    tile_url: str = "",
    tile_attribution: str = "",
    layer_property: str = "",
    links: bool = False,
) -> FigurePage:
    """A document that draws `figures`, all of one schema, one below the other.

    A figure that cannot be drawn is a message in its place. `static_url` turns the name of a static
    file into its address; `title` is for screen readers. `tile_url` and `tile_attribution` (plain
    text) are settings of the console for maps; `layer_property` chooses the layers of a map.
    `links` lets a click on a point lead to the address in its `customdata`: for figures of our own.
    Raises `ValueError` for an unknown schema or a tile address that is none.
    """
    if schema == "plotly":
        parts = _plotly_parts(figures)
    elif schema == "chartjs":
        parts = _chart_parts(figures)
    elif schema == "geojson":
        parts = _map_parts(figures, tile_url, tile_attribution, layer_property)
    else:
        raise ValueError(f"Unknown schema {schema!r}; known are {', '.join(SCHEMAS)}.")
    block = json_block(parts.data)
    if block is None or len(block) > FIGURE_LIMIT_BYTES:
        size = "too deep" if block is None else f"too large ({len(block) // 1024**2} MiB)"
        message = f"These figures are {size} to draw. Download the asset instead."
        parts = _Parts([_message(message)], None, (), ())
        block = "null"
    return _document(parts, block, static_url=static_url, title=title, links=links)


def page_policy(
    origin: str,
    script_hashes: Iterable[str] = (),
    *,
    static_path: str = "/static/",
    tile_url: str = "",
    links: bool = False,
) -> str:
    """The `Content-Security-Policy` of a figure page that is served from `origin`.

    `origin` is scheme and host of the console as the browser sees it: a sandboxed page has an
    opaque origin, which `'self'` never matches. `script_hashes` are those of the page,
    `static_path` is how static addresses begin. Raises `ValueError` for an origin that is none.
    """
    if not _ORIGIN.fullmatch(origin):
        raise ValueError(f"{origin!r} is not an origin such as https://console.example.")
    if not re.fullmatch(r"/[A-Za-z0-9._~/\-]*", static_path):
        raise ValueError(f"{static_path!r} is not a path such as /static/.")
    static = origin + static_path
    images = ["data:", "blob:", static, *_tile_sources(tile_url, origin)]
    scripts = [static, *(f"'{digest}'" for digest in script_hashes)]
    rules = {
        "sandbox": SANDBOX_WITH_LINKS if links else SANDBOX,
        "default-src": "'none'",
        "script-src": " ".join(scripts),
        # Plotly and Leaflet set styles on the elements they make.
        "style-src": f"{static} 'unsafe-inline'",
        "img-src": " ".join(images),
        "worker-src": "blob:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": origin,
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def json_block(value: object) -> str | None:
    """`value` as JSON that is safe inside a `<script>` element; None when it is nested too deeply.

    Only ASCII leaves: what could end the element or a line of script is written as an escape. What
    JSON has no word for (NaN, infinity) becomes null.
    """
    try:
        try:
            text = json.dumps(value, allow_nan=False, separators=(",", ":"))
        except ValueError:
            text = json.dumps(_finite(value), allow_nan=False, separators=(",", ":"))
    except (RecursionError, ValueError, TypeError):
        return None
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _plotly_parts(figures: Sequence[object]) -> _Parts:
    sections: list[str] = []
    drawn: list[object] = []
    outlines: set[str] = set()
    streets = False
    for number, value in enumerate(figures):
        figure = _parsed(value)
        if not isinstance(figure, Mapping) or not isinstance(figure.get("data"), list):
            sections.append(
                _message("This figure is broken: a Plotly figure is an object with a list “data”.")
            )
            drawn.append(None)
            continue
        sections.append(_place(number))
        drawn.append(_without_outside_images(figure))
        outlines |= _outlines(figure)
        streets = streets or _has_streets(figure)
    return _Parts(
        sections,
        {"figures": drawn},
        (),
        (
            *(f"{PLOTLY_OUTLINES}{name}.js" for name in sorted(outlines)),
            *(("js/frames/workers.js",) if streets else ()),
            PLOTLY_SCRIPT,
            "js/frames/frame.js",
            "js/frames/plotly.js",
        ),
    )


def _chart_parts(figures: Sequence[object]) -> _Parts:
    sections: list[str] = []
    drawn: list[object] = []
    for number, value in enumerate(figures):
        figure = _parsed(value)
        if not isinstance(figure, Mapping) or not isinstance(figure.get("data"), Mapping):
            sections.append(
                _message(
                    "This figure is broken: a Chart.js configuration is an object with “type” "
                    "and an object “data”."
                )
            )
            drawn.append(None)
            continue
        sections.append(_place(number, "<canvas></canvas>"))
        drawn.append(figure)
    return _Parts(
        sections,
        {"figures": drawn},
        (),
        (CHART_SCRIPT, "js/frames/frame.js", "js/frames/chart.js"),
    )


def _map_parts(
    figures: Sequence[object], tile_url: str, tile_attribution: str, layer_property: str
) -> _Parts:
    if tile_url:
        check_tile_url(tile_url)
    sections: list[str] = []
    drawn: list[object] = []
    scripts: list[str] = []
    clustered = False
    for number, value in enumerate(figures):
        try:
            data: MapData = read_map(value, layer_property=layer_property)
        except MapError as problem:
            sections.append(_message(str(problem)))
            drawn.append(None)
            continue
        markup = draw_map(
            data, number=number, tile_url=tile_url, tile_attribution=bool(tile_attribution)
        )
        note = f'<p class="note">{html.escape(data.warning)}</p>' if data.warning else ""
        sections.append(_place(number, markup.html + note))
        scripts.append(markup.script)
        drawn.append(data.as_json())
        clustered = clustered or "markerClusterGroup" in markup.script
    return _Parts(
        sections,
        {"maps": drawn, "attribution": tile_attribution},
        (LEAFLET_STYLE, *((CLUSTER_STYLE,) if clustered else ())),
        (
            LEAFLET_SCRIPT,
            *((CLUSTER_SCRIPT,) if clustered else ()),
            "js/frames/frame.js",
            "js/frames/map.js",
        ),
        "\n".join(scripts),
    )


def _document(
    parts: _Parts, block: str, *, static_url: Callable[[str], str], title: str, links: bool
) -> FigurePage:
    def address(name: str) -> str:
        return html.escape(static_url(name), quote=True)

    sections = parts.sections or [_message("There is nothing to draw here.")]
    styles = "".join(
        f'<link rel="stylesheet" href="{address(name)}">\n'
        for name in (*parts.styles, "css/tokens.css", "css/frames.css")
    )
    scripts = "".join(f'<script src="{address(name)}"></script>\n' for name in parts.scripts)
    hashes: tuple[str, ...] = ()
    if parts.inline:
        inline = f"\n{parts.inline}\n"
        digest = hashlib.sha256(inline.encode()).digest()
        hashes = (f"sha256-{base64.b64encode(digest).decode()}",)
        scripts += f"<script>{inline}</script>\n"
    count = len(sections)
    page = f"""<!DOCTYPE html>
<html lang="en" data-figures="{count}"{" data-links" if links else ""}>
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{html.escape(title)}</title>
{styles}</head>
<body>
<main class="figures" style="--figures: {count}">
<h1>{html.escape(title)}</h1>
<noscript><p class="message">Figures need JavaScript. Download the asset instead.</p></noscript>
{"".join(sections)}</main>
<script type="application/json" id="figure">{block}</script>
{scripts}</body>
</html>
"""
    return FigurePage(html=page, script_hashes=hashes)


def _place(number: int, inside: str = "") -> str:
    return f'<section class="figure" id="figure-{number}">{inside}</section>\n'


def _message(text: str) -> str:
    return f'<section class="figure"><p class="message">{html.escape(text)}</p></section>\n'


def _parsed(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None


def _without_outside_images(figure: Mapping[str, Any]) -> Mapping[str, Any]:
    """`figure` without pictures that a browser would have to fetch; all else is untouched."""
    layout = figure.get("layout")
    if not isinstance(layout, Mapping) or "images" not in layout:
        return figure
    images = layout["images"]
    kept = [
        image
        for image in (images if isinstance(images, list) else ())
        if isinstance(image, Mapping) and str(image.get("source", "")).startswith("data:image/")
    ]
    return {**figure, "layout": {**layout, "images": kept}}


def _has_streets(figure: Mapping[str, Any]) -> bool:
    """True when a trace lies on a map of tiles, which Plotly prepares in a worker."""
    return any(
        isinstance(trace, Mapping) and str(trace.get("type")).removesuffix("box") in _STREET_TRACES
        for trace in figure["data"]
    )


def _outlines(figure: Mapping[str, Any]) -> set[str]:
    """Names of the outlines of countries that the traces on globes need, such as `world_110m`."""
    traces = [trace for trace in figure["data"] if isinstance(trace, Mapping)]
    if not any(str(trace.get("type")) in _GEO_TRACES for trace in traces):
        return set()
    layout = figure.get("layout")
    axes = [
        value
        for key, value in (layout.items() if isinstance(layout, Mapping) else ())
        if str(key).startswith("geo") and isinstance(value, Mapping)
    ]
    names = set()
    for axis in axes or [{}]:
        scope = axis.get("scope")
        resolution = 50 if str(axis.get("resolution")) == "50" else 110
        scope = scope if scope in _SCOPES else "world"
        names.add(f"{scope.replace(' ', '-')}_{resolution}m")
    return names | {"world_110m"}


def _tile_sources(tile_url: str, origin: str) -> list[str]:
    if not tile_url:
        return []
    check_tile_url(tile_url)
    if tile_url.startswith("/"):
        return [origin]
    address = urlsplit(tile_url)
    host = address.netloc.replace("{s}.", "*.")
    source = f"{address.scheme}://{host}"
    if not _ORIGIN.fullmatch(source.replace("*.", "", 1)):
        raise ValueError(f"The tile server {source!r} is not a host name.")
    return [source]
