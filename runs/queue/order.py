"""Who is next in the queue, and why another waits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from django.db import connection
from django.db.models import Count, Exists, OuterRef, Q, QuerySet, Subquery
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
    """How many runs are running of each queue and application. One query.

    It counts all there are, and those are as few as there are slots: a filter would only lead a
    planner to the index of an application, and so to all the runs it ever made.
    """

    def __init__(self) -> None:
        self._counts: dict[tuple[str, int], int] = defaultdict(int)
        statement, values = _running_statement(connection.vendor)
        with connection.cursor() as cursor:
            cursor.execute(statement, values)
            rows = cursor.fetchall()
        for queue, application, count in rows:
            self._counts["queue", queue] += count
            self._counts["application", application] += count

    def of_queue(self, queue: int) -> int:
        """The running runs of the queue with this primary key."""
        return self._counts["queue", queue]

    def of_application(self, application: int) -> int:
        """The running runs of the application with this primary key, over all queues."""
        return self._counts["application", application]


@lru_cache(maxsize=4)
def _running_statement(vendor: str) -> tuple[str, tuple[Any, ...]]:
    """The question for the counts, kept as that for the heads is."""
    rows = Run.objects.filter(status=Status.RUNNING).values_list("queue_id", "application_id")
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
    *, queues: Iterable[str] = (), host: str | None = None, slots: int | None = None
) -> list[Head]:
    """The heads of all lanes of which a run may start now, first in order first.

    Of the `queues` named (none: all), whose environment is built on `host` (None: anywhere), and
    that need at most `slots` (None: any number). At most two queries, which touch one run per
    lane however many wait.
    """
    statement, values = _heads_statement(connection.vendor, tuple(queues), host, slots)
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        found = cursor.fetchall()
    if not any(limit is not None for row in found for limit in row[5:]):
        return [Head(*row[:4]) for row in found]
    running = RunningCounts()
    return [
        Head(run, lane, queue, needed)
        for run, lane, queue, needed, application, queue_limit, application_limit in found
        if has_room(queue_limit, running.of_queue(queue))
        and has_room(application_limit, running.of_application(application))
    ]


@lru_cache(maxsize=32)
def _heads_statement(
    vendor: str, names: tuple[str, ...], host: str | None, slots: int | None
) -> tuple[str, tuple[Any, ...]]:
    """The question for the heads and its values, in the words of the database `vendor`.

    Kept, because a worker asks it before each run, and putting it into words takes Django ten
    times as long as the database takes to answer.
    """
    lanes = Lane.objects.filter(queue__paused_at__isnull=True)
    if names:
        lanes = lanes.filter(queue__name__in=names)
    if slots is not None:
        lanes = lanes.filter(slots__lte=slots)
    builds = EnvironmentBuild.objects.filter(environment=OuterRef("environment"), state__in=BUILT)
    if host is not None:
        builds = builds.filter(host=host)
    lanes = lanes.filter(Q(environment__isnull=True) | Exists(builds))
    first = Run.objects.claimable().filter(lane=OuterRef("pk")).values("pk")[:1]
    heads = (
        Run.objects.filter(pk__in=lanes.annotate(head=Subquery(first)).values("head"))
        .order_by("rank", "id")
        .values_list(
            "id",
            "lane_id",
            "queue_id",
            "slots",
            "application_id",
            "queue__running_limit",
            "application__running_limit",
        )
    )
    statement, values = heads.query.sql_with_params()
    return statement, tuple(values)


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

    At most 11 queries however many wait. `after` may have left the queue meanwhile.
    """
    runs = account.runs.waiting().select_related(
        "application", "queue", "instance", "version", "submitted_by"
    )
    place: int | None = 1
    if after is not None:
        place = _capped(_ahead_of(account.runs.waiting(), after))
        place = None if place is None else place + (2 if after.status == Status.QUEUED else 1)
        runs = runs.filter(_behind(after))
    page = list(runs[:limit])
    if not page:
        return []
    lanes = _LaneHolds(account)
    own = OwnHolds(page, now or timezone.now())
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

    At most 8 queries.
    """
    if run.status != Status.QUEUED:
        return ()
    lanes = _LaneHolds(run.account)
    holds = OwnHolds([run], now or timezone.now()).of(run) + lanes.of(run)
    return holds or lanes.turn_of(run, lanes.ready_ahead_of(run))


class _LaneHolds:
    """Why the lanes of an account are held: four queries, whatever the number of runs."""

    def __init__(self, account: Account) -> None:
        some = Run.objects.waiting().filter(lane=OuterRef("pk")).order_by()
        self._lanes = list(
            Lane.objects.filter(Exists(some), queue__account=account).select_related(
                "queue", "application"
            )
        )
        self._running = RunningCounts()
        self._workers = list(
            Worker.objects.filter(state__in=(Worker.ACTIVE, Worker.DRAINING)).values_list(
                "host", "queues", "slots", "slots_used", "state", "drain_wanted"
            )
        )
        self._builds = self._find_builds()
        self._holds = {lane.pk: self._holds_of(lane) for lane in self._lanes}

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
        return _capped(_ahead_of(Run.objects.claimable().filter(lane__in=ready), run))

    def _holds_of(self, lane: Lane) -> tuple[str, ...]:
        holds = []
        queue, application = lane.queue, lane.application
        if queue.paused_at is not None:
            by = f" by {queue.paused_by}" if queue.paused_by else ""
            holds.append(f"Queue `{queue.name}` is paused{by}.")
        for limit, running, name in (
            (queue.running_limit, self._running.of_queue(queue.pk), f"queue `{queue.name}`"),
            (
                application.running_limit,
                self._running.of_application(application.pk),
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
            holds += self._environment_holds(lane.environment_id, queue.name)
        return tuple(holds)

    def _unserved(self, queue_name: str, fleet: _Fleet) -> str:
        if fleet.draining:
            return f"Every worker that serves queue `{queue_name}` is draining."
        if not self._workers:
            return "No worker is running."
        return f"No worker serves queue `{queue_name}`."

    def _environment_holds(self, environment: int, queue_name: str) -> list[str]:
        """Nothing when a worker that serves the queue has it, or knows that it cannot be built."""
        hosts = {host for host, names, *_ in self._workers if not names or queue_name in names}
        states = {state for host, state in self._builds[environment] if host in hosts}
        if states & set(BUILT):
            return []
        if EnvironmentBuild.BUILDING in states:
            return ["The environment is being built."]
        return ["The environment waits to be built."]

    def _find_builds(self) -> dict[int, list[tuple[str, str]]]:
        needed = {lane.environment_id for lane in self._lanes} - {None}
        builds: dict[int, list[tuple[str, str]]] = defaultdict(list)
        if needed:
            rows = EnvironmentBuild.objects.filter(environment__in=needed)
            for environment, host, state in rows.values_list("environment_id", "host", "state"):
                builds[environment].append((host, state))
        return builds

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


def _behind(run: Run) -> Q:
    """What comes after `run` in order; the first term bounds the walk along an index."""
    later = Q(rank__gt=run.rank) | Q(id__gt=run.pk)
    return Q(rank__gte=run.rank) & later


def _ahead_of(runs: QuerySet[Run], run: Run) -> QuerySet[Run]:
    sooner = Q(rank__lt=run.rank) | Q(id__lt=run.pk)
    return runs.filter(Q(rank__lte=run.rank) & sooner)


def _capped(runs: QuerySet[Run]) -> int | None:
    """How many there are; None when more than the cap."""
    count = runs.order_by().values("pk")[: COUNT_CAP + 1].count()
    return None if count > COUNT_CAP else count
