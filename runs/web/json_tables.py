"""Lists of objects in a JSON document as tables: bounded, plain text, for the page to draw."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from runs.actions.outputs import Literal

MOST_TABLES = 8
MOST_ROWS = 200
MOST_COLUMNS = 30
DEEPEST = 4
LONGEST_CELL = 200
LONGEST_PATH = 120
_LOOKED_AT = 2000
"""Objects that are searched for lists at most."""


@dataclass(frozen=True)
class Cell:
    """One value as text; numbers stand at the right."""

    text: str
    is_number: bool = False


@dataclass(frozen=True)
class JsonTable:
    """A list of objects: `path` is where it stands in the document, `size` how many there are."""

    path: str
    size: int
    head: tuple[Cell, ...]
    rows: tuple[tuple[Cell, ...], ...]
    more_columns: int = 0

    @property
    def more_rows(self) -> int:
        """How many rows are not shown."""
        return self.size - len(self.rows)


def find_tables(value: object) -> list[JsonTable]:
    """The lists of objects in `value` (as `parse_json` gives it), those nearest the top first."""
    tables: list[JsonTable] = []
    waiting: deque[tuple[str, object, int]] = deque([("", value, 0)])
    looked = 0
    while waiting and len(tables) < MOST_TABLES and looked < _LOOKED_AT:
        path, node, depth = waiting.popleft()
        looked += 1
        if isinstance(node, list):
            if node and all(isinstance(item, dict) for item in node[:MOST_ROWS]):
                tables.append(_table(path, node))
        elif isinstance(node, Mapping) and depth < DEEPEST:
            for name, child in node.items():
                if len(waiting) >= _LOOKED_AT:
                    break
                if isinstance(child, dict | list):
                    waiting.append((f"{path}.{name}" if path else str(name), child, depth + 1))
    return tables


def _table(path: str, items: list[dict[str, object]]) -> JsonTable:
    shown = items[:MOST_ROWS]
    columns = list(dict.fromkeys(name for item in shown for name in item))
    kept = columns[:MOST_COLUMNS]
    numeric = {name for name in kept if all(isinstance(item.get(name), Literal) for item in shown)}
    return JsonTable(
        path=_text(path[:LONGEST_PATH]) or "the document",
        size=len(items),
        head=tuple(Cell(_text(name), name in numeric) for name in kept),
        rows=tuple(
            tuple(_cell(item[name]) if name in item else Cell("") for name in kept)
            for item in shown
        ),
        more_columns=len(columns) - len(kept),
    )


def _cell(value: object) -> Cell:
    if isinstance(value, Literal):
        return Cell(_text(value), is_number=True)
    if isinstance(value, str):
        return Cell(_text(value))
    if isinstance(value, dict):
        return Cell(f"{{{len(value)}}}")
    if isinstance(value, list):
        return Cell(f"[{len(value)}]")
    return Cell("null" if value is None else "true" if value else "false")


def _text(text: str) -> str:
    """As much of `text` as a cell shows; halves of characters, which JSON may hold, as escapes."""
    short = text if len(text) <= LONGEST_CELL else f"{text[:LONGEST_CELL]}…"
    return short.encode("utf-8", "backslashreplace").decode()
