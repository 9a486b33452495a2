"""How many runs wait, run and have ended: the figures of Home and of the queue, all bounded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from django.db import connection
from django.db.models import CharField, Count
from django.db.models.functions import Cast, Substr

from runs.domain.status import Status
from runs.models.accounts import Account
from runs.models.queues import Queue
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
    waiting: About
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
    """The queues of the account by name, with what waits in each. One query.

    Counted in the index of each lane, so what has ended costs nothing, and to a cap.
    """
    at = Run._meta.get_field("created_at").get_col("runs_run")
    converters = connection.ops.get_db_converters(at)
    figures = []
    for queue in Queue.objects.raw(_QUEUES, [account.pk] * 2):
        oldest_at, count = vars(queue).pop("oldest_at"), vars(queue).pop("count")
        for convert in converters if oldest_at is not None else ():
            oldest_at = convert(oldest_at, at, connection)
        waiting = About(min(count, COUNT_CAP - 1), more=count >= COUNT_CAP)
        figures.append(QueueFigures(queue, waiting, oldest_at))
    return figures


_SOME = f"""
    SELECT run.id FROM runs_lane lane
    JOIN runs_run run ON run.lane_id = lane.id AND run.status = 'queued'
    WHERE lane.queue_id = queue.id LIMIT {COUNT_CAP}
"""
# The oldest of very many is among the oldest of the account, unless there are many more of others.
_QUEUES = f"""
    WITH counts AS (
        SELECT queue.id, (SELECT COUNT(*) FROM ({_SOME}) AS part) AS number
        FROM runs_queue queue WHERE queue.account_id = %s
    ), firsts AS (
        SELECT queue.id, queue.number, COALESCE(
            CASE WHEN queue.number >= {COUNT_CAP} THEN (
                SELECT old.id FROM (
                    SELECT run.id, run.queue_id FROM runs_run run
                    WHERE run.account_id = %s AND run.status = 'queued'
                    ORDER BY run.id LIMIT {COUNT_CAP}
                ) AS old WHERE old.queue_id = queue.id ORDER BY old.id LIMIT 1
            ) END,
            (SELECT MIN(part.id) FROM ({_SOME}) AS part)
        ) AS first
        FROM counts queue
    )
    SELECT queue.*, firsts.number AS count, oldest.created_at AS oldest_at
    FROM firsts JOIN runs_queue queue ON queue.id = firsts.id
    LEFT JOIN runs_run oldest ON oldest.id = firsts.first
    ORDER BY queue.name
"""
