"""Runs that wait for other runs: named at the submission, and drawn around a run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import F, Q

from runs.domain.errors import FieldsInvalid
from runs.domain.status import FINAL, Status
from runs.models import Account, Run, RunWait
from runs.models.waits import CONTINUE, POLICIES, end_by_policy, lock_runs

MOST_AWAITED = 100
MOST_NEIGHBOURS = 100
GRAPH_DEPTH = 3
GRAPH_NODES = 60


@dataclass(frozen=True)
class Neighbour:
    """A run that this one waits for, or that waits for it; `open` while that is so.

    `outcome` is the status with which the awaited one ended; empty while the wait is open.
    """

    run_id: str
    name: str
    status: str
    open: bool
    outcome: str
    policy: str


@dataclass(frozen=True)
class Node:
    """A run in the graph. `depth` is negative for those it waits for, positive for those after."""

    run_id: str
    name: str
    status: str
    depth: int
    end_reason: str = ""


@dataclass(frozen=True)
class WaitGraph:
    """The runs around one run; `edges` are pairs of run ids, the awaited one first.

    `cut` says that there are more.
    """

    nodes: tuple[Node, ...]
    edges: tuple[tuple[str, str], ...]
    cut: bool


def find_awaited(*, account: Account, run_ids: Iterable[str]) -> list[Run]:
    """The runs with these ids, in their order, each once.

    Raises `FieldsInvalid` (field `waits_for`) naming those that are not in the account.
    """
    wanted = list(dict.fromkeys(text.strip() for text in run_ids if text.strip()))
    if not wanted:
        return []
    _check_number(len(wanted))
    found = {run.run_id: run for run in account.runs.filter(run_id__in=wanted)}
    if missing := [run_id for run_id in wanted if run_id not in found]:
        raise _unknown(missing)
    return [found[run_id] for run_id in wanted]


def check_awaited(*, account: Account, waits_for: Sequence[Run], policy: str) -> list[int]:
    """The primary keys of the runs to wait for, each once.

    Raises `FieldsInvalid` for runs of other accounts, more than 100, and an unknown policy.
    """
    if policy not in dict(POLICIES):
        words = ", ".join(name for name, _ in POLICIES)
        raise FieldsInvalid({"wait_policy": [f"Choose one of {words}."]})
    awaited = {run.pk: run for run in waits_for}
    _check_number(len(awaited))
    if foreign := [run.run_id for run in awaited.values() if run.account_id != account.pk]:
        raise _unknown(foreign)
    return sorted(awaited)


def lock_awaited(keys: Sequence[int]) -> list[Run]:
    """The runs to wait for as they are now, locked until the transaction ends.

    So an end at the same moment is either seen here, or sees the wait. Raises `FieldsInvalid`
    when one was deleted meanwhile.
    """
    locked = lock_runs(keys)
    if len(locked) != len(keys):
        raise FieldsInvalid(
            {"waits_for": ["One of the runs to wait for was deleted just now. Leave it out."]}
        )
    return locked


def record_waits(*, run: Run, awaited: Sequence[Run], now: datetime) -> None:
    """Write for what a new run waits, and let those go first at their priority.

    `awaited` are locked. Those that have ended count as if they ended now: when one did not
    succeed and the policy says so, the run ends with it. Raises `FieldsInvalid` for a run that is
    not older: only so nothing can wait in a circle.
    """
    if any(one.pk >= run.pk for one in awaited):
        raise FieldsInvalid(
            {"waits_for": ["A run can only wait for runs that were there before it."]}
        )
    RunWait.objects.bulk_create(
        RunWait(
            run=run,
            awaited=one,
            open=one.status not in FINAL,
            outcome=one.status if one.status in FINAL else "",
        )
        for one in awaited
    )
    failed = [one for one in awaited if one.status in FINAL and one.status != Status.SUCCEEDED]
    if failed and run.wait_policy != CONTINUE:
        end_by_policy(run, failed[0], now)
        return
    waited_for = [one.pk for one in awaited if one.status not in FINAL]
    if waited_for:
        queued = Run.objects.filter(pk__in=waited_for, status=Status.QUEUED)
        queued.update(rank=2 * F("priority") - 1)  # as `rank_of` says


def upstream(run: Run) -> list[Neighbour]:
    """The runs that it waits for, at most 100, the oldest first. One query."""
    waits = RunWait.objects.filter(run=run).order_by("awaited")
    rows = waits.values_list(
        "awaited__run_id", "awaited__name", "awaited__status", "open", "outcome"
    )
    return [Neighbour(*row, policy=run.wait_policy) for row in rows[:MOST_NEIGHBOURS]]


def downstream(run: Run) -> list[Neighbour]:
    """The runs that wait for it, at most 100, the oldest first. One query."""
    waits = RunWait.objects.filter(awaited=run).order_by("run")
    rows = waits.values_list(
        "run__run_id", "run__name", "run__status", "open", "outcome", "run__wait_policy"
    )
    return [Neighbour(*row) for row in rows[:MOST_NEIGHBOURS]]


def wait_graph(run: Run) -> WaitGraph:
    """What the run waits for and what waits for it, three steps each way and at most 60 runs.

    At most four queries, however many runs there are.
    """
    nodes = {run.pk: Node(run.run_id, run.name, run.status, 0, run.end_reason)}
    edges: dict[tuple[int, int], None] = {}
    before, after = {run.pk}, {run.pk}
    cut = False
    for depth in range(1, GRAPH_DEPTH + 1):
        if not before and not after:
            break
        rows = _around(before, after)
        cut = cut or len(rows) > GRAPH_NODES * 2
        next_before: set[int] = set()
        next_after: set[int] = set()
        for awaited, waiting in rows[: GRAPH_NODES * 2]:
            for known, other, sign, reached in (
                (waiting.key in before, awaited, -1, next_before),
                (awaited.key in after, waiting, 1, next_after),
            ):
                if known and other.key not in nodes:
                    if len(nodes) == GRAPH_NODES:
                        cut = True
                        continue
                    nodes[other.key] = Node(
                        other.run_id, other.name, other.status, sign * depth, other.end_reason
                    )
                    reached.add(other.key)
            if awaited.key in nodes and waiting.key in nodes:
                edges[awaited.key, waiting.key] = None
        before, after = next_before, next_after
    cut = cut or (bool(before or after) and _goes_on(before, after, nodes))
    ids = {key: node.run_id for key, node in nodes.items()}
    return WaitGraph(
        nodes=tuple(sorted(nodes.values(), key=lambda node: node.depth)),
        edges=tuple((ids[awaited], ids[waiting]) for awaited, waiting in edges),
        cut=cut,
    )


@dataclass(frozen=True)
class _End:
    """One end of an edge."""

    key: int
    run_id: str
    name: str
    status: str
    end_reason: str


def _around(before: set[int], after: set[int]) -> list[tuple[_End, _End]]:
    """The edges that lead to `before` and away from `after`: awaited run, then waiting one."""
    waits = RunWait.objects.filter(Q(run__in=before) | Q(awaited__in=after)).order_by("pk")
    rows = waits.values_list(
        *(
            f"{end}__{field}"
            for end in ("awaited", "run")
            for field in ("pk", "run_id", "name", "status", "end_reason")
        )
    )
    return [(_End(*row[:5]), _End(*row[5:])) for row in rows[: GRAPH_NODES * 2 + 1]]


def _goes_on(before: set[int], after: set[int], nodes: dict[int, Node]) -> bool:
    """Whether there are runs beyond the outermost ones."""
    more = Q(run__in=before) & ~Q(awaited__in=nodes) | Q(awaited__in=after) & ~Q(run__in=nodes)
    return RunWait.objects.filter(more).exists()


def _check_number(number: int) -> None:
    if number > MOST_AWAITED:
        raise FieldsInvalid(
            {"waits_for": [f"A run can wait for {MOST_AWAITED} runs at most, not {number}."]}
        )


def _unknown(run_ids: Sequence[str]) -> FieldsInvalid:
    named = ", ".join(f"`{run_id[:40]}`" for run_id in run_ids[:5])
    return FieldsInvalid(
        {"waits_for": [f"There is no run {named} in this account. Correct the id."]}
    )
