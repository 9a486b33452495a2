"""How many runs wait, run and have ended: the figures of Home and of the queue, all bounded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from django.db.models import CharField, Count, Min, OuterRef, Subquery
from django.db.models.functions import Cast, Substr

from runs.domain.status import Status
from runs.models.accounts import Account
from runs.models.queues import Lane, Queue
from runs.models.run_list import COUNT_CAP, About
from runs.models.runs import Run

ENDED_ROWS = 50_000


@dataclass(frozen=True)
class Outcomes:
    """What came of the runs that ended in the hours `hours`, newest last, by status.

    `since` is later than asked for when more runs ended than are counted.
    """

    since: datetime
    cut: bool
    hours: Sequence[tuple[datetime, dict[str, int]]]

    def total(self, status: str) -> int:
        """All runs of these hours that ended so."""
        return sum(counts.get(status, 0) for _, counts in self.hours)


@dataclass
class QueueFigures:
    """What waits in a queue; `oldest_at` is when the run that waits longest was submitted."""

    queue: Queue
    waiting: int = 0
    oldest_at: datetime | None = None


def count_waiting(account: Account) -> About:
    """How many runs wait, to a cap. One query along an index of the queued."""
    number = account.runs.waiting().order_by().values("pk")[:COUNT_CAP].count()
    return About(min(number, COUNT_CAP - 1), more=number >= COUNT_CAP)


def count_running(account: Account) -> int:
    """How many runs are running; as few as there are slots."""
    return account.runs.filter(status=Status.RUNNING).order_by().count()


def count_outcomes(account: Account, *, now: datetime, hours: int = 24) -> Outcomes:
    """What came of the runs that ended in the last `hours` hours, the present one included.

    Two queries in one index; at most the newest 50,000 ended runs are counted.
    """
    present = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    since = present - timedelta(hours=hours - 1)
    ended = account.runs.filter(ended_at__gte=since)
    oldest = ended.order_by("-ended_at").values_list("ended_at", flat=True)
    cut_at = oldest[ENDED_ROWS : ENDED_ROWS + 1].first()
    if cut_at is not None:
        since = cut_at.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
        if since > present:
            since = present
        ended = account.runs.filter(ended_at__gte=max(since, cut_at))
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    # The text of an instant begins with its hour in both databases, and cutting a text is fast.
    hour = Substr(Cast("ended_at", CharField()), 1, 13)
    rows = ended.order_by().annotate(hour=hour).values_list("hour", "status")
    for text, status, count in cast(Any, rows.annotate(Count("pk"))):
        counts[text.replace("T", " ")][status] = count
    steps = int((present - since) / timedelta(hours=1)) + 1
    instants = [since + timedelta(hours=step) for step in range(steps)]
    return Outcomes(
        since=since,
        cut=cut_at is not None,
        hours=[(at, counts.get(f"{at:%Y-%m-%d %H}", {})) for at in instants],
    )


def list_queues(account: Account) -> list[QueueFigures]:
    """The queues of the account by name, with what waits in each. Two queries.

    Counted in the index of each lane, so what has ended costs nothing.
    """
    queued = Run.objects.filter(status=Status.QUEUED, lane=OuterRef("pk")).order_by()
    grouped = queued.values("lane")
    lanes = (
        Lane.objects.filter(queue__account=account)
        .annotate(
            waiting=Subquery(grouped.annotate(count=Count("pk")).values("count")),
            first=Subquery(grouped.annotate(first=Min("pk")).values("first")),
        )
        .filter(waiting__gt=0)
        .annotate(
            oldest_at=Subquery(Run.objects.filter(pk=OuterRef("first")).values("created_at")[:1])
        )
    )
    figures = {queue.pk: QueueFigures(queue) for queue in account.queues.order_by("name")}
    for queue, waiting, oldest_at in cast(
        Any, lanes.values_list("queue_id", "waiting", "oldest_at")
    ):
        if queue not in figures:
            continue  # made in this moment
        one = figures[queue]
        one.waiting += waiting
        if oldest_at is not None:
            one.oldest_at = min(one.oldest_at or oldest_at, oldest_at)
    return list(figures.values())
