"""How applications do: success, median duration and last run of their newest runs, bounded."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import OuterRef, Q, Subquery

from runs.domain.status import FINAL, Status
from runs.models import Application, Run

NEWEST = 50
PLOTTED = 200


@dataclass(frozen=True)
class Figures:
    """What the newest runs of an application say; None where there is nothing to say."""

    runs: int = 0
    success_rate: float | None = None
    """Of those that succeeded or failed; canceled ones do not count."""
    median_s: float | None = None
    last_run_id: str = ""
    last_status: str = ""
    last_at: datetime | None = None
    outcomes: tuple[tuple[str, str, int], ...] = ()
    """Status, run id and place in a picture of 250 units, oldest first, the newest at its end."""


@dataclass(frozen=True)
class Ended:
    """What the plots of an application need of a run that has ended."""

    run_id: str
    status: str
    at: datetime
    value: float | None
    execution_s: float | None
    input_bytes: int


def newest_ended(application: Application) -> list[Ended]:
    """Those of the application's newest 200 runs that have ended; one query, newest first."""
    columns = ("run_id", "status", "created_at", "value", "execution_s", "input_bytes")
    newest = (
        Run.objects.filter(account_id=application.account_id, application_id=application.pk)
        .order_by("-id")
        .values_list(*columns)[:PLOTTED]
    )
    return [Ended(*row) for row in newest if row[1] in FINAL]


def application_figures(applications: Sequence[Application]) -> dict[int, Figures]:
    """The figures of each application by its primary key, from its newest 50 runs.

    Two queries, whatever the number of applications and runs: each application's 50th newest run
    by index, then the runs from there on. Give one page of applications, not all.
    """
    if not applications:
        return {}
    of_one = Run.objects.filter(
        account_id=OuterRef("account_id"), application_id=OuterRef("pk")
    ).order_by("-id")
    floors = dict(
        Application.objects.filter(pk__in=[each.pk for each in applications])
        .annotate(floor=Subquery(of_one.values("id")[NEWEST - 1 : NEWEST]))
        .values_list("pk", "floor")
    )
    wanted = Q()
    for each in applications:
        newest = Q(account_id=each.account_id, application_id=each.pk)
        floor = floors.get(each.pk)
        wanted |= newest & Q(id__gte=floor) if floor else newest
    rows: dict[int, list[tuple[str, str, float | None, datetime]]] = {}
    found = Run.objects.filter(wanted).order_by("-id")
    for pk, run_id, status, seconds, created_at in found.values_list(
        "application_id", "run_id", "status", "execution_s", "created_at"
    ):
        rows.setdefault(pk, []).append((run_id, status, seconds, created_at))
    return {pk: _figures(newest[:NEWEST]) for pk, newest in rows.items()}


def _figures(newest: list[tuple[str, str, float | None, datetime]]) -> Figures:
    last_run_id, last_status, _, last_at = newest[0]
    ended = [status for _, status, _, _ in newest if status in FINAL]
    judged = [status for status in ended if status != Status.CANCELED]
    seconds = [
        each for _, status, each, _ in newest if status == Status.SUCCEEDED and each is not None
    ]
    return Figures(
        runs=len(newest),
        success_rate=judged.count(Status.SUCCEEDED) / len(judged) if judged else None,
        median_s=statistics.median(seconds) if seconds else None,
        last_run_id=last_run_id,
        last_status=last_status,
        last_at=last_at,
        outcomes=tuple(
            (status, run_id, 5 * (NEWEST - len(newest) + place))
            for place, (run_id, status, _, _) in enumerate(reversed(newest))
        ),
    )
