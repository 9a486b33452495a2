"""Places on paper the runs around a run: who waits for whom, from top to bottom."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

BOX_WIDTH, BOX_HEIGHT = 152, 46
GAP_X, GAP_Y = 14, 30
MARGIN = 4
NAME_LETTERS = 18
MOST_IN_ROW = 4
_MOST_ROUNDS = 50


@dataclass(frozen=True)
class Link:
    """`run` waits for `awaited`, both by id; `open` until the awaited one has ended."""

    run: str
    awaited: str
    open: bool = True


@dataclass(frozen=True)
class Box:
    """A run on paper: its corner, and its name as far as it has room."""

    run_id: str
    x: int
    y: int
    name: str
    width: int = BOX_WIDTH
    height: int = BOX_HEIGHT

    @property
    def text_x(self) -> int:
        """Where its words begin."""
        return self.x + 10

    @property
    def name_y(self) -> int:
        """The foot of its name."""
        return self.y + 19

    @property
    def icon_y(self) -> int:
        """The top of the icon of its status."""
        return self.y + 26

    @property
    def status_x(self) -> int:
        """Where the word for its status begins."""
        return self.x + 26

    @property
    def status_y(self) -> int:
        """The foot of that word."""
        return self.y + 36


@dataclass(frozen=True)
class Line:
    """From the foot of an awaited run to the head of one that waits for it; an SVG path."""

    path: str
    open: bool
    head_x: int
    head_y: int


@dataclass(frozen=True)
class Drawing:
    """Boxes and lines, in pixels."""

    width: int
    height: int
    boxes: Sequence[Box]
    lines: Sequence[Line]


@dataclass(frozen=True)
class Folded:
    """What is drawn of very many runs: `stacks` are the runs that share one box, by its id."""

    names: Mapping[str, str]
    links: Sequence[Link]
    stacks: Mapping[str, Sequence[str]]


def fold(names: Mapping[str, str], links: Sequence[Link], *, first: Collection[str] = ()) -> Folded:
    """At most `MOST_IN_ROW` boxes side by side: the last ones of a wide row become one.

    Runs of `first` keep a box of their own as far as there is room.
    """
    known = [link for link in links if link.run in names and link.awaited in names]
    rows: dict[int, list[str]] = defaultdict(list)
    for run_id, level in _levels(names, known).items():
        rows[level].append(run_id)
    stacks = {}
    for level, row in rows.items():
        if len(row) > MOST_IN_ROW:
            chosen = sorted(row, key=lambda each: each not in first)[: MOST_IN_ROW - 1]
            stacks[f"row-{level}"] = [each for each in row if each not in chosen]
    stack_of = {run_id: name for name, members in stacks.items() for run_id in members}
    shown = {run_id: name for run_id, name in names.items() if run_id not in stack_of}
    shown |= {name: f"{len(members)} more runs" for name, members in stacks.items()}
    ends: dict[tuple[str, str], bool] = {}
    for link in known:
        pair = stack_of.get(link.run, link.run), stack_of.get(link.awaited, link.awaited)
        ends[pair] = ends.get(pair, False) or link.open
    joined = [Link(run, awaited, is_open) for (run, awaited), is_open in ends.items()]
    return Folded(shown, joined, stacks)


def draw(names: Mapping[str, str], links: Sequence[Link]) -> Drawing:
    """The runs of `names` (name by id) with their links; awaited ones stand above.

    Links from or to other runs are left out. A row holds the runs of one level, in the order of
    `names`.
    """
    known = [link for link in links if link.run in names and link.awaited in names]
    rows: dict[int, list[str]] = defaultdict(list)
    for run_id, level in _levels(names, known).items():
        rows[level].append(run_id)
    widest = max((len(row) for row in rows.values()), default=0)
    width = 2 * MARGIN + max(0, widest * (BOX_WIDTH + GAP_X) - GAP_X)
    boxes = {}
    for number, level in enumerate(sorted(rows)):
        row = rows[level]
        left = (width - (len(row) * (BOX_WIDTH + GAP_X) - GAP_X)) // 2
        for place, run_id in enumerate(row):
            boxes[run_id] = Box(
                run_id,
                left + place * (BOX_WIDTH + GAP_X),
                MARGIN + number * (BOX_HEIGHT + GAP_Y),
                _shortened(names[run_id]),
            )
    height = 2 * MARGIN + max(0, len(rows) * (BOX_HEIGHT + GAP_Y) - GAP_Y)
    lines = [_line(boxes[link.awaited], boxes[link.run], link.open) for link in known]
    return Drawing(width, height, list(boxes.values()), lines)


def _levels(names: Mapping[str, str], links: Sequence[Link]) -> dict[str, int]:
    """A row for each run, below all that it waits for, and as low as those that wait for it let."""
    levels = dict.fromkeys(names, 0)
    for _ in range(_MOST_ROUNDS):  # there are no circles; should there be one, this ends, too
        before = dict(levels)
        for link in links:
            levels[link.run] = max(levels[link.run], levels[link.awaited] + 1)
        if levels == before:
            break
    followers = defaultdict(list)
    for link in links:
        followers[link.awaited].append(link.run)
    for run_id in sorted(names, key=lambda each: -levels[each]):
        if followers[run_id]:
            lowest = min(levels[each] for each in followers[run_id]) - 1
            levels[run_id] = max(levels[run_id], lowest)
    return levels


def _line(above: Box, below: Box, is_open: bool) -> Line:
    x1, y1 = above.x + BOX_WIDTH // 2, above.y + BOX_HEIGHT
    x2, y2 = below.x + BOX_WIDTH // 2, below.y - 4  # room for the head of the arrow
    bend = max(10, (y2 - y1) // 2)
    return Line(f"M{x1} {y1}C{x1} {y1 + bend} {x2} {y2 - bend} {x2} {y2}", is_open, x2 - 4, y2 - 4)


def _shortened(name: str) -> str:
    """Cut in the middle: names that differ often do at their end."""
    if len(name) <= NAME_LETTERS:
        return name
    return f"{name[: NAME_LETTERS - 9].rstrip()}…{name[-8:].lstrip()}"
