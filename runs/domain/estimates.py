"""When waiting runs will start, as ranges, from what earlier ones of their like took.

A range is what 8 of 10 cases fall into. The starts are played through `SCENARIOS` times; in each
one every run takes some time out of its history. What makes runs long or short is partly common to
all of them (how busy the machine is, what changed since), so a part `COMMON` of the chance is drawn
once for a scenario, the rest for each run. The chance is the same each time: equal values in, equal
out.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Any

from runs.domain.durations import (
    ENOUGH_RUNS,
    Range,
    at_level,
    in_order,
    left_s,
    range_of,
)

SCENARIOS = 21
MOST_AHEAD = 200
"""Runs that are played through; from there on the start is extrapolated by their pace."""

COMMON = 0.3
ANYWHERE = "anywhere"


@dataclass(frozen=True)
class Going:
    """A run that has held its slots for `elapsed_s`; `durations` are those of its like.

    `place` is where its slots are (None: not among those that are asked for), `limits` are the
    limits that it counts for, `key` names it for those that wait for it.
    """

    durations: Sequence[float]
    elapsed_s: float = 0.0
    slots: int = 1
    place: Hashable = ANYWHERE
    limits: tuple[Hashable, ...] = ()
    key: Hashable = None


@dataclass(frozen=True)
class Work:
    """A waiting run. It takes `slots` of one of its `places`, and counts for its `limits`.

    `admitted` are limits that it counts for already while it waits. It may not start before
    `not_before_s`, nor before the runs with the keys `after` have ended.
    """

    durations: Sequence[float]
    slots: int = 1
    places: tuple[Hashable, ...] = (ANYWHERE,)
    limits: tuple[Hashable, ...] = ()
    admitted: tuple[Hashable, ...] = ()
    after: tuple[Hashable, ...] = ()
    not_before_s: float = 0.0
    key: Hashable = None


def start_range(
    running: Sequence[Going], ahead: Sequence[Work], slots: int, *, needs: int = 1
) -> Range | None:
    """When a run of `needs` slots starts that goes after those `ahead`, in seconds from now.

    The slots are taken as if they were of one worker. None when it waits for a run with too
    little history, or when there are not as many slots.
    """
    return start_ranges(running, [*ahead, Work((), slots=needs)], {ANYWHERE: slots})[-1]


def start_ranges(
    running: Sequence[Going],
    waiting: Sequence[Work],
    slots: Mapping[Any, int],
    limits: Mapping[Any, int] | None = None,
) -> list[Range | None]:
    """When each of the `waiting` starts, first in order first, in seconds from now.

    `slots` are how many each place has, `limits` how many runs may count for each at once. Of a
    place the first in order takes slots as soon as there are as many as it needs; nobody
    overtakes it but for what only it waits for (a limit, other runs, a time). Costs some
    n log n for n runs, and no more beyond `MOST_AHEAD`.
    """
    played = waiting[:MOST_AHEAD]
    plan = _Plan(running, played, slots, limits or {})
    scenarios = [plan.play(number) for number in range(SCENARIOS)]
    doubtful = _doubtful(running, played)
    ranges: list[Range | None] = []
    for number in range(len(played)):
        starts = [scenario[number] for scenario in scenarios]
        latest = max(starts)
        if latest == math.inf or (latest > 0 and doubtful[number]):
            ranges.append(None)
        else:
            ranges.append(range_of(starts))
    known = ranges[:]
    for number in range(MOST_AHEAD, len(waiting)):
        work = waiting[number]
        plain = not (work.after or work.not_before_s)
        ranges.append(extrapolate(known, number) if plain else None)
    return ranges


def extrapolate(ranges: Sequence[Range | None], ahead: int) -> Range | None:
    """When a run starts that has `ahead` before it, from the starts of the first of those."""
    for number in range(len(ranges) - 1, 0, -1):
        last = ranges[number]
        if last is not None:
            scale = max(1.0, ahead / number)
            return Range(last.low_s * scale, last.median_s * scale, last.high_s * scale)
    return None


class _Plan:
    """What all scenarios have in common."""

    def __init__(
        self,
        running: Sequence[Going],
        waiting: Sequence[Work],
        slots: Mapping[Any, int],
        limits: Mapping[Any, int],
    ) -> None:
        self._running, self._waiting = running, waiting
        self._slots, self._limits = slots, limits
        ordered = _Once()
        self._left = [
            None
            if len(going.durations) < ENOUGH_RUNS
            else [
                left_s(ordered.sorted(going.durations), max(0.0, going.elapsed_s), level)
                for level in _LEVELS
            ]
            for going in running
        ]
        self._takes = [
            None if len(work.durations) < ENOUGH_RUNS else ordered.at_levels(work.durations)
            for work in waiting
        ]
        known = {going.key for going in running} | {work.key for work in waiting}
        self._never = {
            number
            for number, work in enumerate(waiting)
            if any(key not in known for key in work.after)
        }

    def play(self, scenario: int) -> list[float]:
        """The start of each waiting run in one scenario; infinite for what never starts."""
        return _Play(self._waiting, *self._at_first(scenario), self._never).starts(
            [
                math.inf if takes is None else takes[_ranks(number)[scenario]]
                for number, takes in enumerate(self._takes)
            ]
        )

    def _at_first(
        self, scenario: int
    ) -> tuple[dict[Hashable, list[float]], dict[Hashable, list[float]], dict[Hashable, float]]:
        """When slots and limits become free, and when the running runs end."""
        free: dict[Hashable, list[float]] = {place: [] for place in self._slots}
        room: dict[Hashable, list[float]] = {limit: [] for limit in self._limits}
        ends: dict[Hashable, float] = {}
        for number, (going, left) in enumerate(zip(self._running, self._left, strict=True)):
            end = math.inf if left is None else left[_ranks(-1 - number)[scenario]]
            ends[going.key] = end
            if going.place in free:
                free[going.place] += [end] * going.slots
            for limit in going.limits:
                if limit in room:
                    room[limit].append(end)
        for work in self._waiting:
            for limit in work.admitted:
                room[limit].append(math.inf)
        for times, count in (
            *((free[place], count) for place, count in self._slots.items()),
            *((room[limit], count) for limit, count in self._limits.items()),
        ):
            # More than fit: the first ends free nothing.
            times.sort()
            del times[: max(0, len(times) - count)]
            times[:0] = [0.0] * (count - len(times))
        return free, room, ends


class _Play:
    """One scenario: who starts when, in order of time."""

    def __init__(
        self,
        waiting: Sequence[Work],
        free: dict[Hashable, list[float]],
        room: dict[Hashable, list[float]],
        ends: dict[Hashable, float],
        never: set[int],
    ) -> None:
        self._waiting, self._free, self._room = waiting, free, room
        self._since = [work.not_before_s for work in waiting]
        self._ready: list[int] = []
        self._later: list[tuple[float, int]] = []
        self._parked: dict[Hashable, list[int]] = {limit: [] for limit in room}
        self._woken: dict[int, Hashable] = {}
        self._open = [0] * len(waiting)
        self._followers: dict[Hashable, list[int]] = {}
        for number, work in enumerate(waiting):
            for key in work.after:
                if key in ends:
                    self._since[number] = max(self._since[number], ends[key])
                else:
                    self._open[number] += 1
                    self._followers.setdefault(key, []).append(number)
            if number in never or self._open[number]:
                continue
            if self._since[number] > 0:
                heapq.heappush(self._later, (self._since[number], number))
            else:
                self._ready.append(number)  # ascending, so it is a heap

    def starts(self, takes: list[float]) -> list[float]:
        """The starts, when each run takes as long as `takes` says."""
        starts = [math.inf] * len(self._waiting)
        while self._ready or self._later:
            if not self._ready:
                heapq.heappush(self._ready, heapq.heappop(self._later)[1])
            number = self._ready[0]
            work = self._waiting[number]
            place, start = self._first_place(work, self._since[number])
            if self._later and self._later[0][0] <= start < math.inf:
                heapq.heappush(self._ready, heapq.heappop(self._later)[1])
                continue
            heapq.heappop(self._ready)
            full = self._full(work, start)
            if full is not None:
                self._park(number, full)
                continue
            starts[number] = start
            self._take(number, place, start + takes[number])
        return starts

    def _first_place(self, work: Work, since: float) -> tuple[list[float], float]:
        """The slots of the place where it can start first, and when."""
        best: list[float] = []
        first = math.inf
        for place in work.places:
            times = self._free.get(place, [])
            if len(times) < work.slots:
                continue
            at = times[0] if work.slots == 1 else heapq.nsmallest(work.slots, times)[-1]
            if not best or at < first:
                best, first = times, at
        return best, max(first, since)

    def _full(self, work: Work, start: float) -> Hashable:
        for limit in work.limits:
            times = self._room[limit]
            if not times or times[0] > start:
                return limit
        return None

    def _park(self, number: int, limit: Hashable) -> None:
        heapq.heappush(self._parked[limit], number)
        self._woken.pop(number, None)
        if limit not in self._woken.values():
            self._wake(limit)

    def _wake(self, limit: Hashable) -> None:
        """Let the first of those that wait for this limit look again when it has room."""
        times = self._room[limit]
        if self._parked[limit] and times and times[0] < math.inf:
            number = heapq.heappop(self._parked[limit])
            self._woken[number] = limit
            self._since[number] = max(self._since[number], times[0])
            heapq.heappush(self._later, (self._since[number], number))

    def _take(self, number: int, place: list[float], end: float) -> None:
        work = self._waiting[number]
        self._woken.pop(number, None)
        if len(place) >= work.slots:
            for _ in range(work.slots):
                heapq.heappop(place)
            for _ in range(work.slots):
                heapq.heappush(place, end)
        for limit in work.limits:
            heapq.heapreplace(self._room[limit], end)
            self._wake(limit)
        for limit in work.admitted:
            times = self._room[limit]
            if math.inf in times:
                times.remove(math.inf)
                heapq.heapify(times)
                heapq.heappush(times, end)
            elif times:
                heapq.heappushpop(times, end)  # more than fit
            self._wake(limit)
        for follower in self._followers.get(work.key, ()):
            self._since[follower] = max(self._since[follower], end)
            self._open[follower] -= 1
            if not self._open[follower]:
                heapq.heappush(self._later, (self._since[follower], follower))


class _Once:
    """Each history sorted and looked up once, however many runs share it."""

    def __init__(self) -> None:
        self._sorted: dict[int, list[float]] = {}
        self._values: dict[int, list[float]] = {}

    def sorted(self, durations: Sequence[float]) -> list[float]:
        if id(durations) not in self._sorted:
            self._sorted[id(durations)] = in_order(durations)
        return self._sorted[id(durations)]

    def at_levels(self, durations: Sequence[float]) -> list[float]:
        if id(durations) not in self._values:
            ordered = self.sorted(durations)
            self._values[id(durations)] = [at_level(ordered, level) for level in _LEVELS]
        return self._values[id(durations)]


def _doubtful(running: Iterable[Going], waiting: Sequence[Work]) -> list[bool]:
    """Which of them go after a run of which nobody knows how long it takes."""
    unknown: set[Hashable] = set()
    for going in running:
        if len(going.durations) < ENOUGH_RUNS:
            unknown |= {going.place, *going.limits} - {None}
    doubtful = []
    for work in waiting:
        shared = {*work.places, *work.limits}
        doubtful.append(bool(shared & unknown))
        if len(work.durations) < ENOUGH_RUNS:
            unknown |= {*shared, *work.admitted}
    return doubtful


_LEVELS = [(number + 0.5) / SCENARIOS for number in range(SCENARIOS)]
_SCORES = [NormalDist().inv_cdf(level) for level in _LEVELS]


@lru_cache(maxsize=2048)
def _ranks(draw: int) -> tuple[int, ...]:
    """For each scenario which of the levels a run gets: each level once over all scenarios."""
    own = _SCORES[:]
    random.Random(draw).shuffle(own)
    mixed = [
        math.sqrt(COMMON) * common + math.sqrt(1 - COMMON) * each
        for common, each in zip(_SCORES, own, strict=True)
    ]
    ranks = [0] * SCENARIOS
    for rank, scenario in enumerate(sorted(range(SCENARIOS), key=mixed.__getitem__)):
        ranks[scenario] = rank
    return tuple(ranks)
