"""The runs around a run, those it waits for and those that wait for it, drawn and as a list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runs.actions.run_waits import Node, wait_graph
from runs.domain.status import ACTIVE, Status
from runs.models import Run
from runs.web.forms.launch import WAIT_POLICIES
from runs.web.wait_drawing import Box, Drawing, Link, draw


@dataclass(frozen=True)
class Neighbours:
    """What the page shows of them; `direct` pairs are what this run has to do with itself."""

    drawing: Drawing
    boxes: Sequence[tuple[Box, Node]]
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
    drawing = draw({node.run_id: node.name or node.run_id for node in graph.nodes}, links)
    before = [nodes[link.awaited] for link in links if link.run == run.run_id]
    after = [nodes[link.run] for link in links if link.awaited == run.run_id]
    near = {run.run_id, *(node.run_id for node in (*before, *after))}
    return Neighbours(
        drawing=drawing,
        boxes=[(box, nodes[box.run_id]) for box in drawing.boxes],
        before=before,
        after=after,
        farther=[node for node in graph.nodes if node.run_id not in near],
        policy=dict(WAIT_POLICIES)[run.wait_policy] if before else "",
        cut=graph.cut,
    )
