"""Who is next in the queue, and why another waits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from django.db import connection
from django.db.models import BooleanField, Count, Exists, F, OuterRef, QuerySet
from django.db.models.expressions import RawSQL
from django.utils import timezone

from runs.domain.status import Status
from runs.models import Account, EnvironmentBuild, Lane, Run, Worker
from runs.queue.own_holds import OwnHolds

COUNT_CAP = 10_000
BUILT = (EnvironmentBuild.READY, EnvironmentBuild.FAILED)


@dataclass(frozen=True)
class Head:
    """The first run of a lane; the numbers are primary keys."""

    run: int
    lane: int
    queue: int
    slots: int


@dataclass(frozen=True)
class Waiting:
    """A queued run: its place from 1 (None beyond 10,000) and why it waits, in sentences.

    The place counts all queued runs before it in order, held or not.
    """

    run: Run
    place: int | None
    holds: tuple[str, ...]

    @property
    def expires_at(self) -> datetime | None:
        """When it has waited too long and ends, unless it has started; None without a limit."""
        return self.run.expires_at


class RunningCounts:
    """How many runs are running of each queue, application and concurrency key. One query.

    It counts all there are, and those are as few as there are slots: a filter would only lead a
    planner to the index of an application, and so to all the runs it ever made.
    """

    def __init__(self) -> None:
        self._counts: dict[tuple[str, int], int] = defaultdict(int)
        self._keys: dict[tuple[int, str], int] = defaultdict(int)
        statement, values = _running_statement(connection.vendor)
        with connection.cursor() as cursor:
            cursor.execute(statement, values)
            rows = cursor.fetchall()
        for queue, application, key, count in rows:
            self._counts["queue", queue] += count
            self._counts["application", application] += count
            self._keys[application, key] += count

    def of_queue(self, queue: int) -> int:
        """The running runs of the queue with this primary key."""
        return self._counts["queue", queue]

    def of_application(self, application: int) -> int:
        """The running runs of the application with this primary key, over all queues."""
        return self._counts["application", application]

    def of_key(self, application: int, key: str) -> int:
        """The running runs of this key of the application with this primary key."""
        return self._keys[application, key]


@lru_cache(maxsize=4)
def _running_statement(vendor: str) -> tuple[str, tuple[Any, ...]]:
    """The question for the counts, kept as that for the heads is."""
    running = Run.objects.filter(status=Status.RUNNING)
    rows = running.values_list("queue_id", "application_id", "concurrency_key")
    statement, values = rows.annotate(Count("pk")).order_by().query.sql_with_params()
    return statement, tuple(values)


@dataclass(frozen=True)
class _Fleet:
    """The workers that live, as seen by one queue: how many serve it, and their slots.

    `largest` is the most slots that one of them has, `free` the most that one has free.
    """

    serving: int
    draining: int
    slots: int
    used: int
    largest: int
    free: int


def next_heads(
    *,
    queues: Iterable[str] = (),
    host: str | None = None,
    slots: int | None = None,
    most: int | None = None,
) -> list[Head]:
    """The heads of all lanes of which a run may start now, first in order first.

    Of the `queues` named (none: all), whose environment is built on `host` (None: anywhere), and
    that need at most `slots` (None: any number); at most `most` (None: all). One query, which
    touches one run of each lane that may start, however many wait, and what is running.
    """
    names = tuple(queues)
    statement = _heads_statement(
        connection.vendor, len(names), host is not None, slots is not None, most is not None
    )
    given = (*names, *BUILT, *(value for value in (host, slots, most) if value is not None))
    with connection.cursor() as cursor:
        cursor.execute(statement, given)
        return [Head(*row) for row in cursor.fetchall()]


@lru_cache(maxsize=32)
def _heads_statement(vendor: str, names: int, host: bool, slots: bool, most: bool) -> str:
    """The question for the heads; its values are in the order of `next_heads`.

    In words of our own, because a worker asks it before each run, and putting it into words takes
    Django ten times as long as the database takes to answer. What a limit holds is left out before
    its head is looked for. The conditions on runs are those of the indexes `run_waiting_by_lane`
    and `run_running_in_queue`.
    """
    first = """
        SELECT run.id, run.rank FROM runs_run run
        WHERE run.lane_id = lane.id AND run.status = 'queued' AND run.hold = ''
        ORDER BY run.rank, run.id LIMIT 1
    """
    if vendor == "sqlite":  # which has no LATERAL
        head = f"runs_run head ON head.id = ({first.replace('run.id, run.rank', 'run.id')})"
    else:
        head = f"LATERAL ({first}) head ON TRUE"
    return f"""
        WITH running AS (
            SELECT queue_id, application_id, COUNT(*) AS number FROM runs_run
            WHERE status = 'running' GROUP BY queue_id, application_id
        )
        SELECT head.id, lane.id, lane.queue_id, lane.slots
        FROM runs_lane lane
        JOIN runs_queue queue ON queue.id = lane.queue_id
        JOIN runs_application application ON application.id = lane.application_id
        JOIN {head}
        WHERE queue.paused_at IS NULL
        {f"AND queue.name IN ({', '.join(['%s'] * names)})" if names else ""}
        AND (queue.running_limit IS NULL OR queue.running_limit > (
            SELECT COALESCE(SUM(number), 0) FROM running WHERE running.queue_id = queue.id
        ))
        AND (application.running_limit IS NULL OR application.running_limit > (
            SELECT COALESCE(SUM(number), 0) FROM running
            WHERE running.application_id = application.id
        ))
        AND (lane.environment_id IS NULL OR EXISTS (
            SELECT 1 FROM runs_environmentbuild build
            WHERE build.environment_id = lane.environment_id AND build.state IN (%s, %s)
            {"AND build.host = %s" if host else ""}
        ))
        {"AND lane.slots <= %s" if slots else ""}
        ORDER BY head.rank, head.id
        {"LIMIT %s" if most else ""}
    """


def has_room(limit: int | None, running: int) -> bool:
    """Whether one more may run; no limit is always room."""
    return limit is None or running < limit


def waiting_in_order(
    account: Account,
    *,
    after: Run | None = None,
    limit: int = 50,
    now: datetime | None = None,
) -> list[Waiting]:
    """At most `limit` queued runs of the account, first in order first, behind `after`.

    At most 9 queries however many wait. `after` may have left the queue meanwhile.
    """
    runs = account.runs.waiting().select_related(
        "application", "queue", "instance", "version", "submitted_by"
    )
    place: int | None = 1
    page: list[Run] = []
    if after is not None:
        place = _capped(ahead_of(account.runs.waiting(), after))
        place = None if place is None else place + (2 if after.status == Status.QUEUED else 1)
        # Two walks along the index: as one condition they would be one past all of equal rank.
        page = list(runs.filter(rank=after.rank, id__gt=after.pk)[:limit])
        runs = runs.filter(rank__gt=after.rank)
    if len(page) < limit:
        page += runs[: limit - len(page)]
    if not page:
        return []
    lanes = _LaneHolds(account)
    own = OwnHolds(page, now or timezone.now(), lanes.running)
    ahead = lanes.ready_ahead_of(page[0]) if after is not None else 0
    waiting = []
    for number, run in enumerate(page):
        holds = own.of(run) + lanes.of(run)
        if not holds:
            holds = lanes.turn_of(run, ahead)
            ahead = None if ahead is None else ahead + 1
        waiting.append(Waiting(run, None if place is None else place + number, holds))
    return waiting


def holds_of(run: Run, *, now: datetime | None = None) -> tuple[str, ...]:
    """Why this run waits, in sentences; empty when it does not wait or starts at once.

    At most 5 queries.
    """
    if run.status != Status.QUEUED:
        return ()
    lanes = _LaneHolds(run.account)
    holds = OwnHolds([run], now or timezone.now(), lanes.running).of(run) + lanes.of(run)
    return holds or lanes.turn_of(run, lanes.ready_ahead_of(run))


def holds_but_turn(run: Run, *, now: datetime) -> tuple[str, ...]:
    """Why this queued run may not be claimed however many slots are free; at most 4 queries."""
    lanes = _LaneHolds(run.account)
    return OwnHolds([run], now, lanes.running).of(run) + lanes.of(run)


class _LaneHolds:
    """Why the lanes of an account are held: three queries, whatever the number of runs."""

    def __init__(self, account: Account) -> None:
        some = Run.objects.waiting().filter(lane=OuterRef("pk")).order_by()
        found = Lane.objects.filter(Exists(some), queue__account=account)
        found = found.select_related("queue", "application")
        # A lane comes once for each host that builds its environment, or has built it.
        builds = found.annotate(
            host=F("environment__builds__host"), built=F("environment__builds__state")
        )
        self._lanes: dict[int, Lane] = {}
        self._builds: dict[int, list[tuple[str, str]]] = defaultdict(list)
        for lane in builds:
            self._lanes[lane.pk] = lane
            self._builds[lane.pk].append((lane.host, lane.built))
        self.running = RunningCounts()
        self._workers = list(
            Worker.objects.filter(state__in=(Worker.ACTIVE, Worker.DRAINING)).values_list(
                "host", "queues", "slots", "slots_used", "state", "drain_wanted"
            )
        )
        self._holds = {pk: self._holds_of(lane) for pk, lane in self._lanes.items()}

    def of(self, run: Run) -> tuple[str, ...]:
        """Why no run of its lane may start; empty when one may."""
        return self._holds.get(run.lane_id, ())

    def turn_of(self, run: Run, ahead: int | None) -> tuple[str, ...]:
        """What a run that nothing holds still waits for: slots, and those before it."""
        fleet = self._fleet(run.queue.name, run.slots)
        if fleet.free >= run.slots and not ahead:
            return ()
        holds = []
        if fleet.used >= fleet.slots:
            slots = "The only slot is" if fleet.slots == 1 else f"All {fleet.slots} slots are"
            holds.append(f"{slots} in use.")
        elif fleet.free < run.slots:
            are = "is" if fleet.free == 1 else "are"
            together = "" if fleet.free == fleet.slots - fleet.used else " on one worker"
            holds.append(f"Needs {run.slots} slots, {fleet.free} {are} free{together}.")
        if ahead is None:
            holds.append(f"More than {COUNT_CAP:,} runs go first.")
        elif ahead:
            holds.append("1 run goes first." if ahead == 1 else f"{ahead:,} runs go first.")
        return tuple(holds)

    def ready_ahead_of(self, run: Run) -> int | None:
        """How many queued runs that nothing holds go before `run`; None beyond 10,000."""
        ready = [lane for lane, holds in self._holds.items() if not holds]
        # By lane alone: walking the account's order would touch all that is held.
        return _capped(ahead_of(Run.objects.claimable().filter(lane__in=ready), run))

    def _holds_of(self, lane: Lane) -> tuple[str, ...]:
        holds = []
        queue, application = lane.queue, lane.application
        if queue.paused_at is not None:
            by = f" by {queue.paused_by}" if queue.paused_by else ""
            holds.append(f"Queue `{queue.name}` is paused{by}.")
        for limit, running, name in (
            (queue.running_limit, self.running.of_queue(queue.pk), f"queue `{queue.name}`"),
            (
                application.running_limit,
                self.running.of_application(application.pk),
                str(application),
            ),
        ):
            if not has_room(limit, running):
                verb = "is" if running == 1 else "are"
                holds.append(f"{running} of {limit} runs of {name} {verb} running.")
        fleet = self._fleet(queue.name)
        if not fleet.serving:
            holds.append(self._unserved(queue.name, fleet))
        elif fleet.largest < lane.slots:
            needs = "1 slot" if lane.slots == 1 else f"{lane.slots} slots"
            holds.append(f"Needs {needs}; the largest worker has {fleet.largest}.")
        elif lane.environment_id is not None:
            holds += self._environment_holds(lane)
        return tuple(holds)

    def _unserved(self, queue_name: str, fleet: _Fleet) -> str:
        if fleet.draining:
            return f"Every worker that serves queue `{queue_name}` is draining."
        if not self._workers:
            return "No worker is running."
        return f"No worker serves queue `{queue_name}`."

    def _environment_holds(self, lane: Lane) -> list[str]:
        """Nothing when a worker that serves the queue has it, or knows that it cannot be built."""
        name = lane.queue.name
        hosts = {host for host, names, *_ in self._workers if not names or name in names}
        states = {state for host, state in self._builds[lane.pk] if host in hosts}
        if states & set(BUILT):
            return []
        if EnvironmentBuild.BUILDING in states:
            return ["The environment is being built."]
        return ["The environment waits to be built."]

    def _fleet(self, queue_name: str, needed: int = 0) -> _Fleet:
        """Those that serve the queue and have as many slots as are `needed`, free or not."""
        serving = draining = slots = used = largest = free = 0
        for _, names, room, taken, state, drain_wanted in self._workers:
            if (names and queue_name not in names) or room < needed:
                continue
            if state == Worker.DRAINING or drain_wanted:
                draining += 1
                continue
            serving += 1
            slots += room
            used += min(taken, room)
            largest = max(largest, room)
            free = max(free, room - min(taken, room))
        return _Fleet(serving, draining, slots, used, largest, free)


def ahead_of(runs: QuerySet[Run], run: Run) -> QuerySet[Run]:
    """What goes before `run`: one range of an index, which two conditions are not."""
    return runs.filter(RawSQL(_GOES_FIRST, [run.rank, run.pk], BooleanField()))


_GOES_FIRST = "(runs_run.rank, runs_run.id) < (%s, %s)"


def _capped(runs: QuerySet[Run]) -> int | None:
    """How many there are; None when more than the cap."""
    count = runs.order_by().values("pk")[: COUNT_CAP + 1].count()
    return None if count > COUNT_CAP else count
