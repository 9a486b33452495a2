"""The shapes of assets."""

from __future__ import annotations

from ninja import Schema
from pydantic import Field

from runs.api.times import Instant

_VISUAL = "How it is drawn: `schema` (`chartjs`, `geojson` or `plotly`), `label` and `type`."


class AssetOut(Schema):
    """Something a run declares to be shown or downloaded; `size` is bytes."""

    id: str
    name: str
    created_at: Instant
    size: int
    content_type: str
    visual: dict[str, str] | None = Field(default=None, description=_VISUAL)
    description: str


class AssetPage(Schema):
    """The assets of a run, in the order in which it declared them."""

    items: list[AssetOut]


class AssetLink(Schema):
    """Where the content of an asset can be fetched without a key, for 15 minutes."""

    download_url: str
    type: str
