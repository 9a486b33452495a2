"""The facts that decide when queued runs start: places, what runs, what goes first, histories."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import Exists, F, FilteredRelation, OuterRef, Q, QuerySet

from runs.domain.estimates import MOST_AHEAD
from runs.domain.status import Status
from runs.models import EnvironmentBuild, Lane, Run, RunWait, Worker
from runs.queue.order import BUILT, COUNT_CAP

HISTORY_ROWS = 1_000
LOOKED_AT = 100
HEAD_ROWS = 500
MOST_LANES = 200
MOST_APPLICATIONS = 100
ENDED = (Status.SUCCEEDED, Status.FAILED)

Place = tuple[str, ...]
"""The names of the queues that a worker serves, none for all. Such workers are one place."""


@dataclass
class Fleet:
    """The places where runs may start: those of the workers that take runs."""

    slots: dict[Place, int] = field(default_factory=dict)
    largest: dict[Place, int] = field(default_factory=dict)
    place_of: dict[int, Place] = field(default_factory=dict)
    hosts: set[str] = field(default_factory=set)

    def places(self, queue_name: str) -> tuple[Place, ...]:
        """The places that serve the queue with this name."""
        return tuple(place for place in self.slots if not place or queue_name in place)


class WaitingLane(NamedTuple):
    """A lane in which runs wait, with what may hold it."""

    pk: int
    queue: int
    queue_name: str
    paused_at: datetime | None
    queue_limit: int | None
    application: int
    application_limit: int | None
    key_limit: int | None
    slots: int
    built: bool
    account: int
    name: str
    application_id: str


class Running(NamedTuple):
    """A run that holds slots."""

    pk: int
    account: int
    application: int
    queue: int
    slots: int
    key: str
    size: int
    worker: int | None
    since: datetime | None
    name: str
    application_id: str


class Row(NamedTuple):
    """A waiting run, as much of it as counts here."""

    lane: int
    pk: int
    rank: int
    application: int
    slots: int
    key: str
    hold: str
    size: int


ROW = ("lane_id", "pk", "rank", "application_id", "slots", "concurrency_key", "hold", "input_bytes")


@dataclass
class Outlook:
    """What one page of the queue depends on. The numbers are primary keys.

    `rows` are in order, and nobody is missing between them; `before` is how many go before the
    first of the page. `histories` are size of the input and seconds in a slot, newest first.
    """

    fleet: Fleet
    lanes: dict[int, WaitingLane]
    running: list[Running]
    waits: Mapping[int, Mapping[int, Run]]
    rows: list[Row]
    before: int
    held_until: dict[int, datetime]
    histories: dict[int, list[tuple[int, float]]]

    def why_unknown(self, run: Run) -> str:
        """Why nobody knows when it starts, as something without a known end holds its lane."""
        lane = self.lanes.get(run.lane_id)
        return _held(lane, self.fleet) if lane else "Not known: too many kinds of runs wait."

    def names(self, run: Run) -> dict[int, str]:
        """The applications of its account whose runs are running or go before it, with names."""
        before = [row for row in self.rows if (row.rank, row.pk) < (run.rank, run.pk)]
        found = {
            each.application: each.name or each.application_id
            for each in self.running
            if each.account == run.account_id
        }
        for lane in (self.lanes[row.lane] for row in before):
            if lane.account == run.account_id:
                found[lane.application] = lane.name or lane.application_id
        return found


def look_ahead(runs: Sequence[Run]) -> Outlook:
    """The outlook for these queued runs, which follow each other in order. At most 6 queries."""
    runs = sorted(runs, key=lambda run: (run.rank, run.pk))
    fleet = _find_fleet()
    lanes = _find_lanes(runs, fleet)
    running = _find_running()
    waits = _find_waits(runs)
    rows, before = _find_rows(runs, lanes, fleet, waits)
    shown = [*runs, *(run for awaited in waits.values() for run in awaited.values())]
    applications = [(run.account, run.application) for run in running]
    applications += [(lanes[row.lane].account, row.application) for row in rows]
    return Outlook(
        fleet=fleet,
        lanes=lanes,
        running=running,
        waits=waits,
        rows=rows,
        before=before,
        held_until={run.pk: run.held_until for run in shown if run.held_until},
        histories=_find_histories(list(dict.fromkeys(applications))[:MOST_APPLICATIONS]),
    )


def _held(lane: WaitingLane, fleet: Fleet) -> str:
    """What holds the lane without a known end; empty when nothing does."""
    places = fleet.places(lane.queue_name)
    if lane.paused_at is not None:
        return f"Not known while queue `{lane.queue_name}` is paused."
    if not places:
        return f"Not known while no worker takes runs of queue `{lane.queue_name}`."
    if max(fleet.largest[place] for place in places) < lane.slots:
        return f"Not known while no worker has {lane.slots} slots."
    if not lane.built:
        return "Not known until its environment is built."
    if 0 in (lane.queue_limit, lane.application_limit, lane.key_limit):
        return "Not known while its limit is 0."
    return ""


def _find_fleet() -> Fleet:
    fleet = Fleet()
    rows = Worker.objects.filter(state=Worker.ACTIVE, drain_wanted=False, note="")
    for pk, host, queues, slots in rows.values_list("pk", "host", "queues", "slots"):
        place = tuple(sorted(queues))
        fleet.slots[place] = fleet.slots.get(place, 0) + slots
        fleet.largest[place] = max(fleet.largest.get(place, 0), slots)
        fleet.place_of[pk] = place
        fleet.hosts.add(host)
    return fleet


def _find_lanes(runs: Sequence[Run], fleet: Fleet) -> dict[int, WaitingLane]:
    """The lanes of these runs, and the others whose runs compete with them."""
    some = Run.objects.waiting().filter(lane=OuterRef("pk")).order_by()
    builds = EnvironmentBuild.objects.filter(
        environment=OuterRef("environment"), state__in=BUILT, host__in=fleet.hosts
    )
    rows = (
        Lane.objects.filter(Exists(some))
        .annotate(built=Q(environment__isnull=True) | Exists(builds))
        .values_list(
            "pk",
            "queue_id",
            "queue__name",
            "queue__paused_at",
            "queue__running_limit",
            "application_id",
            "application__running_limit",
            "application__concurrency_limit",
            "slots",
            "built",
            "queue__account_id",
            "application__name",
            "application__application_id",
        )
    )
    own = {run.lane_id for run in runs}
    lanes = sorted((WaitingLane(*row) for row in rows), key=lambda lane: lane.pk not in own)
    return {lane.pk: lane for lane in lanes[:MOST_LANES]}


def _find_running() -> list[Running]:
    held = FilteredRelation("attempts", condition=Q(attempts__ended_at__isnull=True))
    rows = Run.objects.filter(status=Status.RUNNING).annotate(held=held).order_by()
    return [
        Running(*row)
        for row in rows.values_list(
            "pk",
            "account_id",
            "application_id",
            "queue_id",
            "slots",
            "concurrency_key",
            "input_bytes",
            "held__worker",
            "held__claimed_at",
            "application__name",
            "application__application_id",
        )
    ]


def _find_waits(runs: Sequence[Run]) -> dict[int, dict[int, Run]]:
    """What those of the runs wait for that wait for others."""
    held = [run.pk for run in runs if run.hold == Run.WAITS_FOR_RUNS]
    waits: dict[int, dict[int, Run]] = defaultdict(dict)
    if held:
        for wait in RunWait.objects.filter(run__in=held, open=True).select_related("awaited"):
            waits[wait.run_id][wait.awaited_id] = wait.awaited
    return waits


def _find_rows(
    runs: Sequence[Run],
    lanes: Mapping[int, WaitingLane],
    fleet: Fleet,
    waits: Mapping[int, Mapping[int, Run]],
) -> tuple[list[Row], int]:
    """The waiting runs that count, in order, and how many go before the first of `runs`.

    The first of each lane that may move, `runs` themselves, those that they wait for, and those
    that wait for the same keys; up to where one of these lists was cut.
    """
    moving = {pk for pk, lane in lanes.items() if not _held(lane, fleet)}
    keys = {
        (run.application_id, run.concurrency_key) for run in runs if run.hold == Run.WAITS_FOR_KEY
    }
    most = max(10, min(MOST_AHEAD + 50, HEAD_ROWS // max(1, len(moving) + len(keys))))
    *found, sooner, older = _union(
        [
            *(_part(_heads, most, LANE=lane) for lane in sorted(moving)),
            *(_part(_of_key, most, APPLICATION=app, KEY=key) for app, key in sorted(keys)),
            *_counts_before(runs[0], moving),
        ]
    )
    rows = {row.pk: row for row in (Row(*values) for values in found)}
    lists: dict[object, list[tuple[int, int]]] = defaultdict(list)
    for row in rows.values():
        lists[(row.application, row.key) if row.hold else row.lane].append((row.rank, row.pk))
    cut = min((max(each) for each in lists.values() if len(each) >= most), default=None)
    awaited = {pk: run for each in waits.values() for pk, run in each.items()}
    for run in (*runs, *awaited.values()):
        if run.status == Status.QUEUED:
            rows.setdefault(run.pk, _row_of(run))
    return sorted(
        (
            row
            for row in rows.values()
            if row.lane in moving and (not cut or row.hold or (row.rank, row.pk) <= cut)
        ),
        key=lambda row: (row.rank, row.pk),
    ), sooner[1] + older[1]


def _row_of(run: Run) -> Row:
    return Row(*(getattr(run, name) for name in ROW))


# --- Many short walks along an index, asked as one question -------------------------------------


def _union(parts: Iterable[tuple[str, Sequence[object]]]) -> list[tuple[Any, ...]]:
    """The rows of all parts, in this order.

    Each part is a walk along an index that ends after some rows. Django cannot ask for several of
    those at once on SQLite, and a condition over all of them would leave the choice to a planner.
    """
    statements: list[str] = []
    values: list[Any] = []
    for number, (statement, of_part) in enumerate(parts):
        statements.append(f"SELECT * FROM ({statement}) AS part_{number}")
        values += of_part
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(statements), values)
        return list(cursor.fetchall())


def _part(query: Callable[[int], QuerySet[Any]], most: int, **values: object) -> Any:
    """The statement of a query, whose placeholders get these values."""
    statement, names = _statement(connection.vendor, query, most)
    return statement, [values.get(str(name), name) for name in names]


@lru_cache(maxsize=64)
def _statement(
    vendor: str, query: Callable[[int], QuerySet[Any]], most: int
) -> tuple[str, tuple[Any, ...]]:
    statement, values = query(most).query.sql_with_params()
    return statement, tuple(_PLACEHOLDERS.get(value, value) for value in values)


_PLACEHOLDERS = {-1: "LANE", -2: "APPLICATION", -3: "ACCOUNT", "?key": "KEY", "?status": "STATUS"}


def _heads(most: int) -> QuerySet[Any]:
    return Run.objects.claimable().filter(lane=-1).values_list(*ROW)[:most]


def _of_key(most: int) -> QuerySet[Any]:
    # Both statuses, as in the condition of the index.
    rows = Run.objects.active().filter(
        application=-2, concurrency_key="?key", hold=Run.WAITS_FOR_KEY
    )
    return rows.exclude(concurrency_key="").order_by("rank", "id").values_list(*ROW)[:most]


def _counts_before(run: Run, lanes: Iterable[int]) -> list[tuple[str, Sequence[object]]]:
    """How many runs that may start go before `run`, as two rows of the shape of the others.

    Those of a better rank, and those of the same that are older: two ranges of the index.
    """
    rows = Run.objects.claimable().filter(lane__in=lanes).order_by()
    ranges = (rows.filter(rank__lt=run.rank), rows.filter(rank=run.rank, pk__lt=run.pk))
    counts: list[tuple[str, Sequence[object]]] = []
    for each in ranges:
        try:
            statement, values = each.values("pk")[: COUNT_CAP + 1].query.sql_with_params()
        except EmptyResultSet:
            counts.append(("SELECT 0, 0, 0, 0, 0, '', '', 0", ()))
            continue
        count = f"SELECT 0, COUNT(*), 0, 0, 0, '', '', 0 FROM ({statement}) AS before"
        counts.append((count, values))
    return counts


def _history(most: int) -> QuerySet[Any]:
    last = FilteredRelation("attempts", condition=Q(attempts__number=F("attempt_number")))
    return (
        Run.objects.filter(account=-3, application=-2, status="?status")
        .exclude(run_type=Run.EXTERNAL)  # another machine took that long
        .annotate(last=last)
        .order_by("-id")
        .values_list(
            "application_id",
            "pk",
            "input_bytes",
            "execution_s",
            "last__claimed_at",
            "last__ended_at",
        )[:most]
    )


def _find_histories(
    applications: Sequence[tuple[int, int]],
) -> dict[int, list[tuple[int, float]]]:
    """What the newest ended runs of each (account, application) took: from claim to end."""
    if not applications:
        return {}
    most = max(10, min(LOOKED_AT, HISTORY_ROWS // (len(applications) * len(ENDED))))
    found = _union(
        _part(_history, most, ACCOUNT=account, APPLICATION=application, STATUS=status)
        for account, application in applications
        for status in ENDED
    )
    found.sort(key=lambda row: -row[1])
    histories: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for application, _, size, execution_s, claimed_at, ended_at in found:
        if execution_s is None or len(histories[application]) >= most:
            continue
        seconds = execution_s
        if claimed_at and ended_at:
            seconds = max(seconds, (_instant(ended_at) - _instant(claimed_at)).total_seconds())
        histories[application].append((size, seconds))
    return histories


def _instant(value: datetime | str) -> datetime:
    """An instant as a database gives it to those who ask it directly."""
    return datetime.fromisoformat(value) if isinstance(value, str) else value
