"""The run list: filter, sort, pages by cursor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db.models import Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce

from runs.domain.status import END_REASONS, EndReason, Status
from runs.models.accounts import Account, User
from runs.models.runs import Run

PAGE_ROWS = 50
LOOK_ROWS = 5000
COUNT_CAP = 10_001
LONGEST_TEXT = 200

_LARGE = ("requested_options", "warnings", "description", "detail")
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class RunFilter:
    """Which runs a list shows, as it stands in an address. Empty fields ask for nothing.

    `application` is an application id, `who` an e-mail address. `since` is included, `until` is
    not. `problems` says in words which parameters could not be used.
    """

    statuses: tuple[Status, ...] = ()
    reasons: tuple[EndReason, ...] = ()
    application: str = ""
    text: str = ""
    source: str = ""
    who: str = ""
    since: datetime | None = None
    until: datetime | None = None
    problems: tuple[str, ...] = field(default=(), compare=False)

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Sequence[str]]) -> RunFilter:
        """The filter that these parameters of an address ask for; never raises."""
        problems: list[str] = []
        statuses = []
        for word in parameters.get("status", ()):
            if word in set(Status):
                statuses.append(Status(word))
            elif word:
                problems.append(f"There is no status {word[:40]!r}.")
        reasons = []
        for word in parameters.get("reason", ()):
            if word and word in set(EndReason):
                reasons.append(EndReason(word))
            elif word:
                problems.append(f"There is no end reason {word[:40]!r}.")
        since = _parse_instant(_last(parameters, "from"), problems, whole_day=False)
        until = _parse_instant(_last(parameters, "to"), problems, whole_day=True)
        return cls(
            statuses=tuple(status for status in Status if status in statuses),
            reasons=tuple(reason for reason in EndReason if reason in reasons),
            application=_last(parameters, "application"),
            text=" ".join(_last(parameters, "q").split()),
            source=_last(parameters, "source"),
            who=_last(parameters, "who").lower(),
            since=since,
            until=until,
            problems=tuple(problems),
        )

    def parameters(self) -> list[tuple[str, str]]:
        """The filter as parameters of an address, always in the same order."""
        pairs = [("q", self.text)]
        pairs += [("status", str(status)) for status in self.statuses]
        pairs += [("reason", str(reason)) for reason in self.reasons]
        pairs += [("application", self.application), ("source", self.source), ("who", self.who)]
        if self.since:
            pairs.append(("from", _write_instant(self.since)))
        if self.until:
            day = self.until - timedelta(days=1)
            pairs.append(("to", f"{day:%Y-%m-%d}" if _is_day(day) else _write_instant(self.until)))
        return [(name, value) for name, value in pairs if value]

    def __bool__(self) -> bool:
        return bool(self.parameters())


@dataclass(frozen=True)
class RunPage:
    """One page of runs, newest first, and the cursors of its neighbours (empty: none there).

    `looked` is how many rows were looked at when that bound ended the search before the page was
    full, `looked_back_to` the creation of the last of them; `older` then goes on from there.
    """

    runs: list[Run]
    newer: str = ""
    older: str = ""
    looked: int | None = None
    looked_back_to: datetime | None = None


@dataclass(frozen=True)
class About:
    """How many runs there are: exactly `number`, or more than that."""

    number: int
    more: bool = False


def find_page(
    account: Account,
    chosen: RunFilter,
    *,
    after: str = "",
    before: str = "",
    limit: int = PAGE_ROWS,
    look: int = LOOK_ROWS,
) -> RunPage:
    """The page of at most `limit` runs behind the cursor `after`, or ahead of `before`.

    Each row comes from an index in order. What no index serves looks at most at `look` rows. A
    cursor that cannot be read is the first page. At most 5 queries.
    """
    if (one := _find_by_id(account, chosen)) is not None:
        return RunPage([one])
    cursor = _read_cursor(after) or _read_cursor(before)
    backwards = cursor is not None and _read_cursor(after) is None
    walk = _Walk(account, chosen, backwards=backwards)
    rows, edge = walk.find(cursor, limit=limit, look=look)
    if backwards:
        if len(rows) <= limit and edge is None:
            return find_page(account, chosen, limit=limit, look=look)
        return _page_ahead(rows, edge, limit, look)
    shown = rows[:limit]
    full = len(rows) > limit
    return RunPage(
        shown,
        newer=(_cursor_of(shown[0]) if shown else after) if cursor else "",
        older=_cursor_of(shown[-1]) if full else _cursor_of(edge) if edge else "",
        looked=look if edge and not full else None,
        looked_back_to=edge.created_at if edge and not full else None,
    )


def count_about(account: Account, chosen: RunFilter) -> About | None:
    """How many runs the filter lets through, to a cap; None when only a search could tell.

    One query along an index, at most `COUNT_CAP` entries of it.
    """
    walk = _Walk(account, chosen)
    if walk.searches:
        return None
    number = walk.all_rows().order_by().values("pk")[:COUNT_CAP].count()
    return About(min(number, COUNT_CAP - 1), more=number >= COUNT_CAP)


def list_rows(account: Account, run_ids: Sequence[str]) -> list[Run]:
    """The runs of the account with these ids as lists show them, newest first. One query."""
    return list(_for_lists(account.runs.filter(run_id__in=run_ids[:PAGE_ROWS])).order_by("-pk"))


@dataclass(frozen=True)
class _Place:
    """A place in the order: after creation and key, or after the key alone."""

    pk: int
    created_at: datetime


class _Walk:
    """The walk along the one index that fits a filter; the rest is compared row by row.

    Columns of the rest are hidden from the planner (`Coalesce`), so that it cannot leave the
    order for another index and sort all that it finds there.
    """

    def __init__(self, account: Account, chosen: RunFilter, *, backwards: bool = False) -> None:
        self._backwards = backwards
        self._by_creation = chosen.since is not None or chosen.until is not None
        rest, aliases = _compare_rest(chosen)
        statuses = chosen.statuses
        if chosen.reasons and not statuses:
            # Each end reason belongs to few statuses, and these have an index.
            statuses = tuple(one for one in Status if END_REASONS[one] & set(chosen.reasons))
        several = len(statuses) > 1
        indexed: dict[str, Any] = {}
        if chosen.application:
            found = account.applications.filter(application_id=chosen.application).values("pk")
            if self._by_creation:
                aliases["hidden_application"] = Coalesce("application_id", Value(0))
                rest &= Q(hidden_application=Subquery(found[:1]))
            else:
                indexed["application"] = Subquery(found[:1])
        if self._by_creation or (several and rest):
            if statuses:
                aliases["hidden_status"] = Coalesce("status", Value(""))
                rest &= Q(hidden_status__in=statuses)
            self._statuses: tuple[Status, ...] = ()
        else:
            self._statuses = statuses
        if chosen.since:
            indexed["created_at__gte"] = chosen.since
        if chosen.until:
            indexed["created_at__lt"] = chosen.until
        self._rows: QuerySet[Run] = account.runs.filter(**indexed)
        self._account = account
        self._aliases = aliases
        self._rest = rest

    @property
    def searches(self) -> bool:
        """Whether rows are compared that no index chose."""
        return bool(self._rest)

    def all_rows(self) -> QuerySet[Run]:
        """All rows of the index, in no order; only without a search."""
        return self._rows.filter(status__in=self._statuses) if self._statuses else self._rows

    def find(
        self, cursor: _Place | None, *, limit: int, look: int
    ) -> tuple[list[Run], _Place | None]:
        """One row more than `limit` when there are as many, and where the search gave up."""
        if not self._rest and len(self._statuses) > 1:
            keys: list[int] = []
            for status in self._statuses:
                keys += self._ordered(cursor, status).values_list("pk", flat=True)[: limit + 1]
            keys.sort(reverse=not self._backwards)
            return self._load(keys[: limit + 1]), None
        rows = self._ordered(cursor, self._statuses[0] if self._statuses else None)
        edge = None
        if self._rest:
            ends = list(rows.values_list("pk", "created_at")[look - 1 : look + 1])
            if len(ends) > 1:
                edge = _Place(*ends[0])
                rows = rows.filter(self._until(edge))
            rows = rows.alias(**self._aliases).filter(self._rest)
        return self._load(list(rows.values_list("pk", flat=True)[: limit + 1])), edge

    def _ordered(self, cursor: _Place | None, status: Status | None) -> QuerySet[Run]:
        rows = self._rows if status is None else self._rows.filter(status=status)
        if cursor is not None:
            rows = rows.filter(self._past(cursor))
        sign = "" if self._backwards else "-"
        names = ("created_at", "pk") if self._by_creation else ("pk",)
        return rows.order_by(*(f"{sign}{name}" for name in names))

    def _past(self, place: _Place) -> Q:
        beyond = "gt" if self._backwards else "lt"
        if not self._by_creation:
            return Q(**{f"pk__{beyond}": place.pk})
        # The first term bounds the walk, the second is exact.
        later = Q(**{f"created_at__{beyond}": place.created_at})
        return Q(**{f"created_at__{beyond}e": place.created_at}) & (
            later | Q(**{f"pk__{beyond}": place.pk})
        )

    def _until(self, place: _Place) -> Q:
        within = "lte" if self._backwards else "gte"
        if not self._by_creation:
            return Q(**{f"pk__{within}": place.pk})
        sooner = Q(**{f"created_at__{within[:2]}": place.created_at})
        return Q(**{f"created_at__{within}": place.created_at}) & (
            sooner | Q(**{f"pk__{within}": place.pk})
        )

    def _load(self, keys: list[int]) -> list[Run]:
        """The rows themselves. Apart from the walk: a join could make a planner leave the order."""
        if not keys:
            return []
        found = {run.pk: run for run in _for_lists(self._account.runs.filter(pk__in=keys))}
        return [found[key] for key in keys if key in found]


def _page_ahead(rows: list[Run], edge: _Place | None, limit: int, look: int) -> RunPage:
    """The page before a cursor; `rows` come oldest first."""
    full = len(rows) > limit
    shown = rows[:limit][::-1]
    return RunPage(
        shown,
        newer=_cursor_of(shown[0]) if full else _cursor_of(edge) if edge else "",
        older=_cursor_of(shown[-1]) if shown else _cursor_of(edge) if edge else "",
        looked=look if edge and not full else None,
        looked_back_to=edge.created_at if edge and not full else None,
    )


def _for_lists(runs: QuerySet[Run]) -> QuerySet[Run]:
    return runs.select_related("application", "submitted_by", "api_key").defer(*_LARGE)


def _compare_rest(chosen: RunFilter) -> tuple[Q, dict[str, Any]]:
    """What no index serves, and the aliases under which it is compared."""
    rest, aliases = Q(), {}
    if chosen.text:
        text = chosen.text
        rest &= (
            Q(name__icontains=text)
            | Q(run_id__contains=text.lower())
            | Q(description__icontains=text)
        )
    if chosen.reasons:
        aliases["hidden_reason"] = Coalesce("end_reason", Value(""))
        rest &= Q(hidden_reason__in=chosen.reasons)
    if chosen.source:
        rest &= Q(source=chosen.source)
    if chosen.who:
        aliases["hidden_person"] = Coalesce("submitted_by_id", Value(0))
        rest &= Q(hidden_person=Subquery(User.objects.filter(email=chosen.who).values("pk")[:1]))
    return rest, aliases


def _find_by_id(account: Account, chosen: RunFilter) -> Run | None:
    """The run whose whole id was searched for, however old, if the other filters let it through."""
    if len(chosen.text) < 16 or not chosen.text.isalnum():
        return None
    runs = _for_lists(account.runs.filter(run_id=chosen.text.lower()))
    if chosen.statuses:
        runs = runs.filter(status__in=chosen.statuses)
    if chosen.reasons:
        runs = runs.filter(end_reason__in=chosen.reasons)
    if chosen.application:
        runs = runs.filter(application__application_id=chosen.application)
    if chosen.source:
        runs = runs.filter(source=chosen.source)
    if chosen.who:
        runs = runs.filter(submitted_by__email=chosen.who)
    if chosen.since:
        runs = runs.filter(created_at__gte=chosen.since)
    if chosen.until:
        runs = runs.filter(created_at__lt=chosen.until)
    return runs.first()


def _cursor_of(place: Run | _Place) -> str:
    """A place as it stands in addresses; it holds even when the run there is deleted."""
    moment = round((place.created_at - _EPOCH) / timedelta(microseconds=1))
    return f"{_to_base36(place.pk)}-{_to_base36(max(0, moment))}"


def _read_cursor(text: str) -> _Place | None:
    key, dash, moment = text.lower().partition("-")
    if not dash or not (0 < len(key) <= 12 and 0 < len(moment) <= 11):
        return None
    if not set(key + moment) <= set(_DIGITS):
        return None
    return _Place(int(key, 36), _EPOCH + timedelta(microseconds=int(moment, 36)))


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _to_base36(number: int) -> str:
    digits = ""
    while number:
        number, rest = divmod(number, 36)
        digits = _DIGITS[rest] + digits
    return digits or "0"


def _last(parameters: Mapping[str, Sequence[str]], name: str) -> str:
    values = parameters.get(name) or ("",)
    # PostgreSQL takes no NUL in a text.
    return values[-1].replace("\x00", "").strip()[:LONGEST_TEXT]


def _parse_instant(text: str, problems: list[str], *, whole_day: bool) -> datetime | None:
    """An instant; of a day alone its beginning, or with `whole_day` its end."""
    if not text:
        return None
    try:
        if len(text) <= 10:
            moment = datetime.combine(date.fromisoformat(text), time(), tzinfo=UTC)
            moment += timedelta(days=int(whole_day))
        else:
            # A plus sign in an address is a space.
            moment = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            moment = moment.astimezone(UTC)
        if not 1970 <= moment.year <= 9000:
            raise ValueError(moment)
        return moment
    except (ValueError, OverflowError):
        problems.append(f"{text[:40]!r} is no date; write it as 2026-11-21.")
        return None


def _is_day(moment: datetime) -> bool:
    return moment.timetz() == time(tzinfo=UTC)


def _write_instant(moment: datetime) -> str:
    if _is_day(moment):
        return f"{moment:%Y-%m-%d}"
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
