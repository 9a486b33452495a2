"""What is known before a run: its usual duration, its start, whether the same was solved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from django.utils import timezone

from runs.actions.outlook import LOOKED_AT, Outlook, Row, look_ahead
from runs.domain.durations import ENOUGH_RUNS, Range, duration_range, of_similar_size
from runs.domain.estimates import MOST_AHEAD, Going, Work, extrapolate, start_ranges
from runs.domain.options import ResolvedOption, to_wire
from runs.domain.status import Status
from runs.models import Account, Application, Executable, InputData, Run
from runs.queue.order import COUNT_CAP, Waiting

SAME_LOOKED_AT = 20


@dataclass(frozen=True)
class UsualDuration:
    """How long the program of the last succeeded runs took, in seconds, and of how many.

    `seconds` is their median, from `low_s` to `high_s` are 8 of 10. None while there are fewer
    than `ENOUGH_RUNS`. `similar_input` says that only runs with inputs of about the same size
    were looked at.
    """

    seconds: float | None
    runs: int
    low_s: float | None = None
    high_s: float | None = None
    similar_input: bool = False

    @property
    def range(self) -> Range | None:
        """The three figures as one; None without enough history."""
        if self.seconds is None or self.low_s is None or self.high_s is None:
            return None
        return Range(self.low_s, self.seconds, self.high_s)


def usual_duration(application: Application, input_bytes: int | None = None) -> UsualDuration:
    """How long runs of it take, from the last `LOOKED_AT` that succeeded here; one query.

    With the size of an input, from those of a similar size when there are enough.
    """
    rows = (
        Run.objects.filter(
            account_id=application.account_id,
            application=application,
            status=Status.SUCCEEDED,
        )
        .exclude(run_type=Run.EXTERNAL)
        .order_by("-id")
        .values_list("input_bytes", "execution_s")[:LOOKED_AT]
    )
    history = [(size, seconds) for size, seconds in rows if seconds is not None]
    if len(history) < ENOUGH_RUNS:
        return UsualDuration(None, len(history))
    times = of_similar_size(history, input_bytes)
    found = duration_range(times)
    assert found is not None  # there are enough
    return UsualDuration(
        median(times), len(times), found.low_s, found.high_s, len(times) < len(history)
    )


@dataclass(frozen=True)
class Expected:
    """When a queued run starts, in seconds from now; or why that is not known, in a sentence.

    8 of 10 start between `low_s` and `high_s`, half of them before `median_s`. With a `reason`
    the three are None.
    """

    low_s: float | None = None
    median_s: float | None = None
    high_s: float | None = None
    reason: str = ""


def expected_start(run: Run, *, now: datetime | None = None) -> Expected | None:
    """When this run starts; None when it is not queued. At most 6 queries."""
    return expected_starts(run.account, [Waiting(run, None, ())], now=now).get(run.pk)


def expected_starts(
    account: Account, waiting: Sequence[Waiting], *, now: datetime | None = None
) -> dict[int, Expected]:
    """When each queued run of a page of the queue starts, by primary key.

    `waiting` are runs of the account that follow each other in order. At most 6 queries and some
    1,500 rows however many wait, run or have ended. Workers serve the queues of all accounts, so
    the runs of others count as well, by their number and durations alone.
    """
    runs = [
        each.run
        for each in waiting
        if each.run.status == Status.QUEUED and each.run.account_id == account.pk
    ]
    if not runs:
        return {}
    now = now or timezone.now()
    return _Starts(look_ahead(runs), now).of(runs)


class _Starts:
    """The expected starts under one outlook."""

    def __init__(self, outlook: Outlook, now: datetime) -> None:
        self._outlook, self._now = outlook, now
        self._limits = _limits(outlook)
        self._similar: dict[tuple[int, int], tuple[float, ...]] = {}
        works = [self._work(row) for row in outlook.rows]
        ranges = start_ranges(self._going(), works, outlook.fleet.slots, self._limits)
        self._found = {row.pk: found for row, found in zip(outlook.rows, ranges, strict=True)}
        self._first = [
            found
            for row, found in zip(outlook.rows[:MOST_AHEAD], ranges, strict=False)
            if row.hold == Run.NO_HOLD
        ]

    def of(self, runs: Sequence[Run]) -> dict[int, Expected]:
        """For each of these runs, which follow each other in order."""
        ahead = self._outlook.before
        answers = {}
        for run in sorted(runs, key=lambda run: (run.rank, run.pk)):
            answers[run.pk] = self._expected(run, ahead)
            ahead += run.hold == Run.NO_HOLD
        return answers

    def _expected(self, run: Run, ahead: int) -> Expected:
        if run.hold == Run.WAITS_FOR_EXECUTABLE:
            return Expected(reason="Not known: what it runs is still being checked.")
        reason = self._outlook.why_unknown(run)
        if reason:
            return Expected(reason=reason)
        if run.pk in self._found:
            found = self._found[run.pk]
        elif ahead > COUNT_CAP:
            return Expected(reason=f"Not known: more than {COUNT_CAP:,} runs go first.")
        else:
            found = extrapolate(self._first, ahead)
        if found is None:
            return Expected(reason=self._too_little(run))
        return Expected(found.low_s, found.median_s, found.high_s)

    def _too_little(self, run: Run) -> str:
        if run.hold == Run.WAITS_FOR_RUNS:
            return "Not known: nobody knows when the runs end that it waits for."
        for application, name in self._outlook.names(run).items():
            count = len(self._outlook.histories.get(application, ()))
            if count < ENOUGH_RUNS:
                return f"Not enough history: {count} of {ENOUGH_RUNS} ended runs of {name}."
        return "Not enough history of the runs that go first."

    def _going(self) -> list[Going]:
        outlook = self._outlook
        return [
            Going(
                durations=self._durations(run.application, run.size),
                elapsed_s=(self._now - run.since).total_seconds() if run.since else 0.0,
                slots=run.slots,
                place=outlook.fleet.place_of.get(run.worker) if run.worker else None,
                limits=self._known(
                    ("queue", run.queue),
                    ("application", run.application),
                    ("key", run.application, run.key),
                ),
                key=run.pk,
            )
            for run in outlook.running
        ]

    def _work(self, row: Row) -> Work:
        lane = self._outlook.lanes[row.lane]
        limits = self._known(("queue", lane.queue), ("application", lane.application))
        key = self._known(("key", row.application, row.key))
        waits = row.hold in {Run.WAITS_FOR_KEY, Run.WAITS_FOR_RUNS, Run.WAITS_FOR_EXECUTABLE}
        until = self._outlook.held_until.get(row.pk)
        return Work(
            durations=self._durations(row.application, row.size),
            slots=row.slots,
            places=self._outlook.fleet.places(lane.queue_name),
            limits=(*limits, *key) if waits else limits,
            admitted=() if waits else key,
            after=tuple(self._outlook.waits.get(row.pk, ())),
            not_before_s=max(0.0, (until - self._now).total_seconds()) if until else 0.0,
            key=row.pk,
        )

    def _known(self, *limits: tuple[object, ...]) -> tuple[tuple[object, ...], ...]:
        return tuple(limit for limit in limits if limit in self._limits)

    def _durations(self, application: int, size: int) -> tuple[float, ...]:
        """Of its runs with inputs of about this size; sizes are told apart by eighths of twos."""
        places = max(0, size.bit_length() - 4)
        about = (application, size >> places << places)
        if about not in self._similar:
            history = self._outlook.histories.get(application, ())
            self._similar[about] = of_similar_size(history, size)
        return self._similar[about]


def _limits(outlook: Outlook) -> dict[tuple[object, ...], int]:
    """How many runs may be under way of each queue, application and key that is limited."""
    limits: dict[tuple[object, ...], int] = {}
    for lane in outlook.lanes.values():
        if lane.queue_limit is not None:
            limits["queue", lane.queue] = lane.queue_limit
        if lane.application_limit is not None:
            limits["application", lane.application] = lane.application_limit
    for row in outlook.rows:
        limit = outlook.lanes[row.lane].key_limit
        if row.key and limit is not None:
            limits["key", row.application, row.key] = limit
    return limits


def solved_already(
    *,
    application: Application,
    executable: Executable,
    input_data: InputData,
    options: list[ResolvedOption],
) -> Run | None:
    """The newest succeeded run of this build on the same input with the same options in force.

    Looks at the last `SAME_LOOKED_AT` runs on that input; two queries whatever there is.
    """
    wanted = in_force(options)
    runs = (
        Run.objects.filter(
            account_id=application.account_id,
            application=application,
            executable=executable,
            input_data=input_data,
            status=Status.SUCCEEDED,
        )
        .order_by("-id")
        .prefetch_related("options")[:SAME_LOOKED_AT]
    )
    for run in runs:
        if {option.name: option.text for option in run.options.all()} == wanted:
            return run
    return None


def in_force(options: list[ResolvedOption]) -> Mapping[str, str]:
    """Options as texts by name, as runs keep them."""
    return {
        option.name: "" if option.value is None else to_wire(option.value) for option in options
    }
