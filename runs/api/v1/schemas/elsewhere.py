"""The shapes of what this release does not have: empty lists, so that listing never fails."""

from __future__ import annotations

from typing import Any

from ninja import Schema


class Nothing(Schema):
    """A list of nothing."""

    items: list[Any]
