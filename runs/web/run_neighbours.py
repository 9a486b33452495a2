"""The runs around a run, those it waits for and those that wait for it, drawn and as a list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runs.actions.run_waits import Node, wait_graph
from runs.domain.status import ACTIVE, EndReason, Status
from runs.models import Run
from runs.web.forms.launch import WAIT_POLICIES
from runs.web.wait_drawing import Box, Drawing, Folded, Link, draw, fold

_OF_NOTE = (Status.FAILED, Status.RUNNING, Status.CANCELED, Status.QUEUED, Status.SUCCEEDED)
"""Of many runs in one box the first of these that one of them has is told."""


@dataclass(frozen=True)
class Drawn:
    """What stands in a box: a run, or many (then `run_id` is empty)."""

    run_id: str
    name: str
    status: str
    words: str
    is_here: bool = False


@dataclass(frozen=True)
class Neighbours:
    """What the page shows of them; `direct` pairs are what this run has to do with itself."""

    drawing: Drawing
    boxes: Sequence[tuple[Box, Drawn]]
    before: Sequence[Node]
    after: Sequence[Node]
    farther: Sequence[Node]
    policy: str
    cut: bool


def find_neighbours(run: Run) -> Neighbours | None:
    """The runs around this one; None when it stands alone. One query, four at most."""
    graph = wait_graph(run)
    if len(graph.nodes) < 2:
        return None
    nodes = {node.run_id: node for node in graph.nodes}
    links = [
        Link(run=waiting, awaited=awaited, open=Status(nodes[awaited].status) in ACTIVE)
        for awaited, waiting in graph.edges
    ]
    before = [nodes[link.awaited] for link in links if link.run == run.run_id]
    after = [nodes[link.run] for link in links if link.awaited == run.run_id]
    near = {run.run_id, *(node.run_id for node in (*before, *after))}
    names = {node.run_id: node.name or node.run_id for node in graph.nodes}
    folded = fold(names, links, first={run.run_id})
    drawing = draw(folded.names, folded.links)
    return Neighbours(
        drawing=drawing,
        boxes=[(box, _drawn(box.run_id, nodes, folded)) for box in drawing.boxes],
        before=before,
        after=after,
        farther=[node for node in graph.nodes if node.run_id not in near],
        policy=dict(WAIT_POLICIES)[run.wait_policy] if before and not run.is_final else "",
        cut=graph.cut,
    )


def _drawn(name: str, nodes: Mapping[str, Node], folded: Folded) -> Drawn:
    if name not in folded.stacks:
        node = nodes[name]
        here = node.depth == 0
        early = node.end_reason == EndReason.STOPPED_EARLY
        ended = "Stopped early" if early else node.status.capitalize()
        words = f"{ended}{', this run' if here else ''}"
        return Drawn(node.run_id, node.name or node.run_id, node.status, words, here)
    counts = Counter(Status(nodes[each].status) for each in folded.stacks[name])
    status = next(each for each in _OF_NOTE if counts[each])
    every = counts[status] == counts.total()
    words = f"All {status}" if every else f"{counts[status]} {status}"
    return Drawn("", folded.names[name], status, words)
