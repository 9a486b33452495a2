"""Figures of a run: a tab for each asset with a visual, drawn in a sandboxed frame."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.templatetags.static import static
from django.urls import reverse
from django.utils.safestring import mark_safe
from django.views.decorators.http import require_GET

from runs.actions.outputs import FIGURE_LIMIT_BYTES, read_figures
from runs.actions.series import read_series
from runs.domain.errors import Conflict, NotFound
from runs.models import Asset, Run
from runs.visuals.charts import Series, series_figure
from runs.visuals.pages import PLOTLY_SCRIPT, SANDBOX, figure_page, json_block, page_policy
from runs.web.access import AccountRequest, member
from runs.web.run_pages import find_run, run_page

MOST_ASSETS = 200
TALLEST = 8
"""A frame grows with its figures up to this many; more are scrolled inside it."""
MOST_POLICIES = 2000
MOST_CURVES = 20
LARGE_FIGURE_BYTES = 4 * 1024 * 1024
PATIENCE_S = 30.0

_large_figure = threading.Lock()
_policies: dict[str, str] = {}  # by tag: the hashes in a policy are known once a page was drawn


@require_GET
@member("view")
def run_visuals(request: AccountRequest, run_id: str, number: int | None = None) -> HttpResponse:
    """The tab of one visual, by default the first."""
    run = find_run(request, run_id)
    request.inline_styles = True  # type: ignore[attr-defined] # Plotly needs inline styles
    context = visuals_context(run, number)
    return run_page(request, run, tab="visuals", template="runs/visuals.html", context=context)


@require_GET
@member("view")
def run_figure(request: AccountRequest, run_id: str, number: int) -> HttpResponseBase:
    """The document inside the frame; nothing in it can reach the console."""
    run = find_run(request, run_id)
    asset = Asset.objects.filter(run=run, number=number).first()
    if asset is None:
        raise NotFound(f"Run {run_id} has no asset {number}.")
    origin = f"{request.scheme}://{request.get_host()}"
    tile_url = settings.RUNSITE_TILE_URL
    seen = f"{asset.key}|{asset.label}|{settings.RUNSITE_RELEASE}|{tile_url}|{origin}"
    tag = f'"{hashlib.sha256(seen.encode()).hexdigest()[:32]}"'
    response: HttpResponse
    if tag in request.headers.get("If-None-Match", "") and tag in _policies:
        response = HttpResponse(status=304)
        return _framed(response, tag, _policies[tag])
    with _drawn_alone(asset):
        page = figure_page(
            asset.schema,
            list(read_figures(asset=asset).figures),
            static_url=static,
            title=asset.label or asset.name,
            tile_url=tile_url,
        )
    response = HttpResponse(page.html)
    policy = page_policy(
        origin, page.script_hashes, static_path=settings.STATIC_URL, tile_url=tile_url
    )
    if len(_policies) >= MOST_POLICIES:
        _policies.clear()
    _policies[tag] = policy
    return _framed(response, tag, policy)


@contextmanager
def _drawn_alone(asset: Asset) -> Iterator[None]:
    """Keep large figures from being read at once: each takes many times its size in memory.

    Raises `Conflict` when others take too long.
    """
    if asset.size_bytes <= LARGE_FIGURE_BYTES:
        yield
        return
    if not _large_figure.acquire(timeout=PATIENCE_S):
        raise Conflict(
            f"`{asset.name}` is large, and other large figures are being drawn."
            " Reload it in a moment, or download the asset."
        )
    try:
        yield
    finally:
        _large_figure.release()


def _framed(response: HttpResponse, tag: str, policy: str) -> HttpResponse:
    """With the headers of a document for our frames; a browser takes them from a 304 too."""
    response["Content-Security-Policy"] = policy
    response["X-Frame-Options"] = "SAMEORIGIN"
    response["Cache-Control"] = "private, no-cache"
    response["ETag"] = tag
    return response


def visuals_context(run: Run, number: int | None) -> dict[str, Any]:
    """The tabs of a run's visuals, the chosen one, and the reported curves; two queries."""
    assets = list(Asset.objects.filter(run=run).order_by("number")[:MOST_ASSETS])
    drawn = [asset for asset in assets if asset.schema]
    chosen = next((asset for asset in drawn if asset.number == number), None)
    if number is not None and chosen is None:
        raise NotFound(f"Run {run.run_id} has no visual {number}.")
    chosen = chosen or (drawn[0] if drawn else None)
    tabs = [
        {
            "label": asset.label or asset.name,
            "url": reverse("run-visual", args=[run.run_id, asset.number]),
            "current": asset is chosen,
        }
        for asset in drawn
    ]
    return {
        "run": run,
        "visual": chosen,
        "visual_tabs": tabs,
        "downloads": [asset for asset in assets if not asset.schema],
        "frame_height": frame_height(chosen),
        "too_large": chosen is not None and chosen.size_bytes > FIGURE_LIMIT_BYTES,
        "limit_bytes": FIGURE_LIMIT_BYTES,
        "sandbox": SANDBOX,
        **_series_context(run),
    }


def _series_context(run: Run) -> dict[str, Any]:
    """The figure of the curves that the statistics of an ended run hold."""
    curves = read_series(run=run) if run.is_final else []
    if not curves:
        return {"series_figure": None}
    shown = [Series(curve.name, curve.points) for curve in curves[:MOST_CURVES]]
    figure = series_figure(shown, y_title=shown[0].name if len(shown) == 1 else "")
    return {
        "series_figure": mark_safe(json_block(figure) or "null"),
        "more_curves": len(curves) - len(shown),
        "plotly_script": PLOTLY_SCRIPT,
    }


def frame_height(asset: Asset | None) -> int:
    """How many figures high the frame of an asset is."""
    return max(1, min(TALLEST, asset.figures)) if asset is not None else 1
