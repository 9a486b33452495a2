"""Reads the assets that a run declares, and says which of them are tabs with figures."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

SCHEMAS = ("plotly", "geojson", "chartjs")
"""The kinds of visual that the console draws."""

MAX_ASSETS = 200
MAX_LABEL_LENGTH = 80
MAX_NAME_LENGTH = 200
MAX_DESCRIPTION_LENGTH = 2000
MAX_FIGURES = 100
"""Figures of one tab; the rest can be downloaded with the asset."""

_GEOMETRIES = frozenset(
    (
        "Point",
        "MultiPoint",
        "LineString",
        "MultiLineString",
        "Polygon",
        "MultiPolygon",
        "GeometryCollection",
    )
)


@dataclass(frozen=True)
class Visual:
    """How an asset asks to be shown: one of `SCHEMAS`, and the title of its tab."""

    schema: str
    label: str
    type: str = "custom-tab"


@dataclass(frozen=True)
class AssetSpec:
    """One asset as a run declared it, cleaned; without `visual` it is a download only."""

    name: str
    content: object = None
    content_type: str = "json"
    description: str = ""
    visual: Visual | None = None


@dataclass(frozen=True)
class VisualTab:
    """One tab of the page *Visuals*: the figures of one asset, in their order."""

    number: int
    """Place among the assets of the run, from 0: what addresses of figures are made of."""
    name: str
    label: str
    schema: str
    figures: tuple[object, ...]
    description: str = ""
    warning: str = ""


def read_assets(value: object) -> tuple[list[AssetSpec], list[str]]:
    """The assets in `value`, and a sentence for each thing that is wrong with them.

    `value` is what a program wrote: a list, one object, or an object with the key `assets`. Nothing
    in it raises: an asset that cannot be used is left out, one whose visual cannot be drawn becomes
    a download, and both are said in the warnings.
    """
    if isinstance(value, Mapping) and "assets" in value and "name" not in value:
        value = value["assets"]
    if value is None:
        return [], []
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list | tuple):
        return [], [f"Assets must be a list of objects, not {_kind(value)}; none was kept."]
    assets: list[AssetSpec] = []
    warnings: list[str] = []
    if len(value) > MAX_ASSETS:
        warnings.append(
            f"The run declared {len(value)} assets; only the first {MAX_ASSETS} were kept."
        )
    for position, item in enumerate(value[:MAX_ASSETS], start=1):
        asset = _read_asset(item, position, warnings)
        if asset is not None:
            assets.append(asset)
    return assets, warnings


def visual_tabs(assets: list[AssetSpec]) -> list[VisualTab]:
    """One tab for each asset with a visual, in the given order; a list of n is n figures."""
    tabs: list[VisualTab] = []
    for number, asset in enumerate(assets):
        if asset.visual is None:
            continue
        figures = _figures(asset.visual.schema, asset.content)
        warning = ""
        if not figures:
            warning = f"The asset “{asset.name}” holds no figure."
        elif len(figures) > MAX_FIGURES:
            warning = (
                f"The asset “{asset.name}” holds {len(figures)} figures; "
                f"the first {MAX_FIGURES} are drawn. Download the asset for the others."
            )
        tabs.append(
            VisualTab(
                number=number,
                name=asset.name,
                label=asset.visual.label,
                schema=asset.visual.schema,
                figures=figures[:MAX_FIGURES],
                description=asset.description,
                warning=warning,
            )
        )
    return tabs


def _read_asset(item: object, position: int, warnings: list[str]) -> AssetSpec | None:
    if not isinstance(item, Mapping):
        warnings.append(f"Asset {position} is {_kind(item)}, not an object; it was left out.")
        return None
    name = _text(item.get("name"), MAX_NAME_LENGTH)
    if not name:
        name = f"asset-{position}"
        warnings.append(f"Asset {position} has no name; it is kept as “{name}”.")
    if "content" not in item:
        warnings.append(f"Asset “{name}” has no content; it was left out.")
        return None
    return AssetSpec(
        name=name,
        content=item["content"],
        content_type=_text(item.get("content_type"), 100) or "json",
        description=_text(item.get("description"), MAX_DESCRIPTION_LENGTH),
        visual=_read_visual(item.get("visual"), name, warnings),
    )


def _read_visual(value: object, name: str, warnings: list[str]) -> Visual | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        warnings.append(
            f"The visual of asset “{name}” is {_kind(value)}, not an object; "
            "the asset can be downloaded only."
        )
        return None
    schema = _text(value.get("schema") or value.get("visual_schema"), MAX_LABEL_LENGTH)
    if schema.lower() not in SCHEMAS:
        said = f"the schema “{schema}”" if schema else "no schema"
        warnings.append(
            f"The visual of asset “{name}” has {said}; known are {', '.join(SCHEMAS)}. "
            "The asset can be downloaded only."
        )
        return None
    label = _text(value.get("label"), MAX_LABEL_LENGTH)
    if not label:
        label = _text(name, MAX_LABEL_LENGTH)
        warnings.append(f"The visual of asset “{name}” has no label; its tab has the asset's name.")
    kind = _text(value.get("type") or value.get("visual_type"), MAX_LABEL_LENGTH) or "custom-tab"
    return Visual(schema=schema.lower(), label=label, type=kind)


def _figures(schema: str, content: object) -> tuple[object, ...]:
    """The figures in `content`; a list of bare features or geometries is one map, not many."""
    if isinstance(content, str):
        try:
            content = json.loads(content)
        except (ValueError, RecursionError):
            return (content,)  # the page of the figure says what is wrong with it
    if content is None:
        return ()
    if not isinstance(content, list | tuple):
        return (content,)
    if schema == "geojson" and content and all(_is_feature(item) for item in content):
        return (list(content),)
    return tuple(content)


def _is_feature(value: object) -> bool:
    return isinstance(value, Mapping) and (
        value.get("type") == "Feature" or value.get("type") in _GEOMETRIES
    )


def _text(value: object, limit: int) -> str:
    """`value` as one line of at most `limit` characters, without control or direction marks."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = f"{value:.15g}" if isinstance(value, float) or abs(value) >= 10**15 else str(value)
    if not isinstance(value, str):
        return ""
    # Cut before the work: a name of many megabytes must not cost a pass over each character.
    text = value[: limit * 4]
    text = "".join(" " if _is_unprintable(letter) else letter for letter in text)
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def _is_unprintable(letter: str) -> bool:
    category = unicodedata.category(letter)
    if category in ("Cc", "Cs", "Zl", "Zp"):
        return True
    # Direction marks can make a label read as another; joiners inside words are left alone.
    return unicodedata.bidirectional(letter) in _DIRECTION_MARKS


_DIRECTION_MARKS = frozenset(("LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"))


def _kind(value: object) -> str:
    names: dict[type, str] = {
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
        list: "a list",
        type(None): "null",
    }
    return names.get(type(value), "something else")
