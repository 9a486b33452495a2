"""Figures about the installation for monitoring, read from the tables at each scrape.

No process counts for itself: whichever web process is asked gives the same answer, and a restart
sets nothing back. What only a worker knows, as how far its logs are behind their programs, it
writes down with its heartbeat.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection
from django.db.models import Count, Min
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector

from runs.domain.status import FINAL, EndReason, Status
from runs.models import Account, Attempt, Counter, LoopLease, Queue, Run, Worker

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MOST_COUNTED = 100_000
"""Queued runs, and runs that ended within the hour, are counted up to here."""
MOST_WORKERS = 1000
LIVE = (Worker.ACTIVE, Worker.DRAINING)

STATES: Mapping[str, str] = {
    Run.NO_HOLD: "claimable",
    Run.WAITS_FOR_RUNS: "waits for runs",
    Run.WAITS_FOR_KEY: "waits for its key",
    Run.WAITS_FOR_RETRY: "waits for its retry",
    Run.WAITS_FOR_EXECUTABLE: "waits for its executable",
}
"""What a queued run waits for, by its `hold`."""

COUNTED: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    # counter: what it counts, the name of its label, the labels that are shown from the start
    "reaped": (
        "Actions of the reaper",
        "action",
        ("given_back", "ended", "canceled", "worker_lost", "mended"),
    ),
    "nudges_lost": ("Nudges that no worker received in time", "", ()),
    "store_errors": ("Errors of the store", "operation", ("get", "put")),
}


def exposition(now: datetime) -> bytes:
    """All figures in Prometheus' text format. Ten queries, each along an index or capped."""
    registry = CollectorRegistry()
    registry.register(_Tables(now))
    return generate_latest(registry)


class _Tables(Collector):
    """Reads the tables when it is asked; `now` is the instant that ages are counted to."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def describe(self) -> list[Metric]:
        """Nothing: else a registry would ask the tables once more than needed."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every figure."""
        yield InfoMetricFamily(
            "runsite_build",
            "The release of this web process, and the kind of database",
            {"release": settings.RUNSITE_RELEASE, "database": connection.vendor},
        )
        yield from self._queues()
        yield from self._workers()
        yield from self._loops()
        yield from self._ended()
        yield from _counters()
        yield _gauge("runsite_attempts_open", "Attempts under way", _open_attempts())

    def _queues(self) -> Iterator[Metric]:
        names = {
            pk: ((account, name), paused_at)
            for pk, account, name, paused_at in Queue.objects.values_list(
                "pk", "account__slug", "name", "paused_at"
            )
        }
        queued = Run.objects.filter(status=Status.QUEUED).order_by()
        waiting = list(
            Run.objects.filter(pk__in=queued.values("pk")[:MOST_COUNTED])
            .order_by()
            .values_list("queue_id", "hold")
            .annotate(Count("pk"), Min("pk"))
        )
        first = {queue: run for queue, hold, _, run in waiting if hold == Run.NO_HOLD}
        created = dict(Run.objects.filter(pk__in=first.values()).values_list("pk", "created_at"))
        running = Run.objects.filter(status=Status.RUNNING).order_by().values_list("queue_id")
        counts: dict[tuple[int, str], int] = defaultdict(int)
        for queue, hold, number, _ in waiting:
            counts[queue, STATES.get(hold, hold)] += number
        for queue, number in running.annotate(Count("pk")):
            counts[queue, "running"] += number
        labels = ["account", "queue"]
        runs = GaugeMetricFamily(
            "runsite_queue_runs", "Runs that have not ended", labels=[*labels, "state"]
        )
        ages = GaugeMetricFamily(
            "runsite_queue_oldest_claimable_seconds",
            "Age since submission of the oldest run that waits for nothing but a slot; 0 for none",
            labels=labels,
        )
        paused = GaugeMetricFamily("runsite_queue_paused", "1 while paused", labels=labels)
        for pk, (name, paused_at) in names.items():
            for state in (*STATES.values(), "running"):
                runs.add_metric([*name, state], counts[pk, state])
            ages.add_metric([*name], self._age(created.get(first.get(pk, 0))))
            paused.add_metric([*name], paused_at is not None)
        yield runs
        yield ages
        yield paused
        yield _gauge(
            "runsite_queued_runs_cut",
            f"1 when more runs are queued than the {MOST_COUNTED} that are counted",
            sum(number for _, _, number, _ in waiting) >= MOST_COUNTED,
        )

    def _workers(self) -> Iterator[Metric]:
        # In the order of the alphabet those that live come first, and stopped ones last.
        found = list(Worker.objects.order_by("state", "-seen_at")[:MOST_WORKERS])
        states = GaugeMetricFamily("runsite_workers", "Workers by state", labels=["state"])
        for state, _ in Worker.STATES:
            states.add_metric([state], sum(worker.state == state for worker in found))
        yield states
        living = [worker for worker in found if worker.state in LIVE]
        yield _gauge("runsite_slots", "Slots of all that live", sum(w.slots for w in living))
        yield _gauge("runsite_slots_used", "Of these in use", sum(w.slots_used for w in living))
        yield _by_worker("slots", "Slots", {w.name: w.slots for w in living})
        yield _by_worker("slots_used", "Slots in use", {w.name: w.slots_used for w in living})
        yield _by_worker("draining", "1 while it takes no new runs", _draining(living))
        yield _by_worker("free_bytes", "Free on its disk", {w.name: w.free_bytes for w in living})
        yield _by_worker("load", "Load average of its host", {w.name: w.load for w in living})
        lags = {w.name: w.log_lag_s for w in living}
        yield _by_worker("log_lag_seconds", "Age of the oldest part of a log in no row yet", lags)
        yield _by_worker(
            "heartbeat_age_seconds",
            "Since the last heartbeat, by the clocks of two hosts; of lost ones, too",
            {w.name: self._age(w.seen_at) for w in found if w.state != Worker.STOPPED},
        )

    def _loops(self) -> Iterator[Metric]:
        ages = GaugeMetricFamily(
            "runsite_loop_heartbeat_age_seconds", "Since its holder last acted", labels=["loop"]
        )
        held = GaugeMetricFamily("runsite_loop_held", "1 while somebody holds it", labels=["loop"])
        for lease in LoopLease.objects.order_by("name"):
            ages.add_metric([lease.name], self._age(lease.seen_at))
            held.add_metric([lease.name], bool(lease.holder))
        yield ages
        yield held

    def _ended(self) -> Iterator[Metric]:
        # Each account is a place in the index of ends; the column alone has none.
        accounts = list(Account.objects.order_by().values_list("pk", flat=True))
        since = self._now - timedelta(hours=1)
        ended = Run.objects.filter(account__in=accounts, ended_at__gte=since).order_by()
        rows = (
            Run.objects.filter(pk__in=ended.values("pk")[:MOST_COUNTED])
            .order_by()
            .values_list("status", "end_reason", "run_type")
            .annotate(Count("pk"))
        )
        family = GaugeMetricFamily(
            "runsite_runs_ended_last_hour",
            f"Runs that ended here in the last hour, {MOST_COUNTED} at most",
            labels=["status", "end_reason"],
        )
        recorded = GaugeMetricFamily(
            "runsite_runs_recorded_last_hour",
            "Runs that ended elsewhere in the last hour and were recorded here",
            labels=["status"],
        )
        counts: dict[tuple[str, str], int] = defaultdict(int)
        elsewhere: dict[str, int] = dict.fromkeys(sorted(FINAL), 0)
        for status, reason, run_type, number in rows:
            if run_type == Run.EXTERNAL:
                elsewhere[status] += number
            else:
                counts[status, reason] += number
        # Alarms need a line that is there before the first accident.
        counts.setdefault((Status.FAILED, EndReason.WORKER_LOST), 0)
        for (status, reason), number in sorted(counts.items()):
            family.add_metric([status, reason], number)
        for status, number in elsewhere.items():
            recorded.add_metric([status], number)
        yield family
        yield recorded

    def _age(self, at: datetime | None) -> float:
        return max(0.0, (self._now - at).total_seconds()) if at else 0.0


def _counters() -> Iterator[Metric]:
    values: dict[str, dict[str, int]] = defaultdict(dict)
    for name, label, value in Counter.objects.values_list("name", "label", "value"):
        values[name][label] = value
    for name, (text, label, shown) in COUNTED.items():
        family = CounterMetricFamily(f"runsite_{name}", text, labels=[label] if label else None)
        if label:
            for one in sorted({*shown, *values[name]}):
                family.add_metric([one], values[name].get(one, 0))
        else:
            family.add_metric([], sum(values[name].values()))
        yield family


def _open_attempts() -> int:
    return Attempt.objects.filter(ended_at__isnull=True).count()


def _draining(workers: Iterable[Worker]) -> dict[str, float]:
    return {w.name: w.state == Worker.DRAINING or w.drain_wanted for w in workers}


def _by_worker(name: str, text: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"runsite_worker_{name}", text, labels=["worker"])
    for worker, value in sorted(values.items()):
        family.add_metric([worker], value)
    return family


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)
