"""Assets: what a run declares to be shown or downloaded."""

from __future__ import annotations

from typing import Any

from ninja import Router

from runs.actions.tickets import download_url
from runs.api.addresses import public_base
from runs.api.auth import ApiRequest, Key
from runs.api.times import wire_time
from runs.api.v1.run_shapes import find_shown_run
from runs.api.v1.schemas.assets import AssetLink, AssetPage
from runs.api.v1.schemas.base import FAILURES
from runs.domain.errors import NotFound
from runs.models import Asset

router = Router(tags=["assets"])

SCHEMAS = frozenset({"chartjs", "geojson", "plotly"})
"""What the client can draw; any other fails its whole list."""
_MOST = 10_000


@router.get(
    "applications/{app_id}/runs/{run_id}/assets",
    auth=Key("view"),
    response={200: AssetPage, **FAILURES},
    exclude_none=True,
)
def list_assets(request: ApiRequest, app_id: str, run_id: str) -> Any:
    """The assets of a run, without their content."""
    run = find_shown_run(request, app_id, run_id)
    return {"items": [_asset_out(asset) for asset in run.assets.order_by("number")[:_MOST]]}


@router.get(
    "applications/{app_id}/runs/{run_id}/assets/{asset_id}",
    auth=Key("view"),
    response={200: AssetLink, **FAILURES},
)
def read(request: ApiRequest, app_id: str, run_id: str, asset_id: str) -> Any:
    """Where the content of an asset can be fetched; `type` is `json`, else it is plain bytes."""
    run = find_shown_run(request, app_id, run_id)
    asset = run.assets.filter(asset_id=asset_id).first()
    if asset is None:
        raise NotFound(f"Asset '{asset_id[:64]}' does not exist in run '{run.run_id}'.")
    kind = _kind(asset)
    name = asset.name or f"asset-{asset.number}"
    url = download_url(
        key=asset.key,
        file_name=name if name.endswith(f".{kind}") else f"{name}.{kind}",
        content_type="application/json" if kind == "json" else "application/octet-stream",
        base=public_base(request),
    )
    return {"download_url": url, "type": kind}


def _kind(asset: Asset) -> str:
    """What its bytes are: JSON, but for a page that was drawn elsewhere."""
    return asset.content_type if asset.content_type == Asset.PAGE else "json"


def _asset_out(asset: Asset) -> dict[str, Any]:
    visual = None
    if asset.schema in SCHEMAS:
        kind = asset.visual_type or "custom-tab"
        visual = {"schema": asset.schema, "label": asset.label, "type": kind}
    return {
        "id": asset.asset_id,
        "name": asset.name,
        "created_at": wire_time(asset.created_at),
        "size": asset.size_bytes,
        "content_type": asset.content_type or "json",
        "visual": visual,
        "description": asset.description,
    }
