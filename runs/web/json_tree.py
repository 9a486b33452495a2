"""A JSON document as nested `<details>`: bounded, escaped, readable without script."""

from __future__ import annotations

from collections.abc import Iterable

from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from runs.actions.outputs import Literal

MOST_NODES = 3000
MOST_ITEMS = 200
DEEPEST = 30
LONGEST_TEXT = 2000
OPEN_DEPTH = 2
OPEN_ITEMS = 30
"""Containers with more are closed at first."""


def json_tree(value: object) -> SafeString:
    """`value` (as `parse_json` gives it) as a tree; what is left out is said where it would be."""
    tree = format_html('<div class="json-tree">{}</div>', _Tree().node("", value, 0))
    # JSON may hold halves of characters, which no page can be sent with: they stay as escapes.
    return mark_safe(tree.encode("utf-8", "backslashreplace").decode())


class _Tree:
    def __init__(self) -> None:
        self._left = MOST_NODES

    def node(self, key: SafeString | str, value: object, depth: int) -> SafeString:
        self._left -= 1
        if isinstance(value, dict):
            shown = (
                (format_html('<span class="json-key">{}</span> ', str(name)[:LONGEST_TEXT]), item)
                for name, item in value.items()
            )
            return self._container(key, f"{{{len(value)}}}", len(value), shown, depth)
        if isinstance(value, list):
            items = (
                (format_html('<span class="json-key">{}</span> ', number), item)
                for number, item in enumerate(value)
            )
            return self._container(key, f"[{len(value)}]", len(value), items, depth)
        return mark_safe(key + _leaf(value))

    def _container(
        self,
        key: SafeString | str,
        hint: str,
        size: int,
        items: Iterable[tuple[SafeString, object]],
        depth: int,
    ) -> SafeString:
        title = mark_safe(key + format_html('<span class="json-hint">{}</span>', hint))
        if not size:
            return title
        rows: list[str] = []
        if depth >= DEEPEST:
            rows.append(_note("deeper levels are in the download"))
        else:
            for name, item in items:
                if len(rows) >= MOST_ITEMS or self._left <= 0:
                    rows.append(_note(f"{size - len(rows)} more are in the download"))
                    break
                rows.append(f"<li>{self.node(name, item, depth + 1)}</li>")
        state = " open" if depth < OPEN_DEPTH and (size <= OPEN_ITEMS or depth == 0) else ""
        return mark_safe(
            f"<details{state}><summary>{title}</summary><ul>{''.join(rows)}</ul></details>"
        )


def _leaf(value: object) -> str:
    if isinstance(value, Literal):
        return format_html('<span class="json-number">{}</span>', value[:LONGEST_TEXT])
    if isinstance(value, str):
        shown = value if len(value) <= LONGEST_TEXT else value[:LONGEST_TEXT] + "…"
        return format_html('<span class="json-string">"{}"</span>', shown)
    word = {True: "true", False: "false", None: "null"}.get(value, str(value))  # type: ignore[call-overload] # only these are left
    return format_html('<span class="json-literal">{}</span>', word)


def _note(text: str) -> str:
    return format_html('<li class="json-hint">… {}</li>', text)
