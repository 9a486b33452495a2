"""The colours of figures, told apart by colour-blind readers and legible on light and dark."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

STATUS_COLOURS: Mapping[str, str] = MappingProxyType(
    {
        "succeeded": "#1a7f4b",
        "failed": "#c0362c",
        "canceled": "#8a6d1c",
        "running": "#2563a8",
        "queued": "#6b7280",
    }
)
"""Colour of each status where a figure cannot ask the theme for it; readable on light and dark."""

CATEGORIES = (
    "#2563a8",
    "#d97706",
    "#0f8b8d",
    "#a83279",
    "#5b7f1a",
    "#7c5cbf",
    "#b45309",
    "#475569",
)
"""Colours of series and layers without a colour of their own, in the order of use."""
