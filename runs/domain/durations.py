"""What runs take, as a range: from the earlier ones with inputs of about the same size."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

ENOUGH_RUNS = 10
LOW, HIGH = 0.1, 0.9
SIZE_FACTORS = (1.25, 2.0, 4.0)
SHORTEST_S = 0.001
TAIL = 0.25


@dataclass(frozen=True)
class Range:
    """From `low_s` to `high_s` seconds, most likely about `median_s`."""

    low_s: float
    median_s: float
    high_s: float


def duration_range(durations: Sequence[float]) -> Range | None:
    """What runs take of which these are known; None when they are fewer than `ENOUGH_RUNS`."""
    if len(durations) < ENOUGH_RUNS:
        return None
    return range_of(durations)


def of_similar_size(history: Sequence[tuple[int, float]], size: int | None) -> tuple[float, ...]:
    """The durations of those (size, duration) whose size is near.

    Within a factor of 1.25, else 2, else 4: the first that holds `ENOUGH_RUNS`, else all.
    """
    if size is not None:
        for factor in SIZE_FACTORS:
            low, high = (size + 1) / factor, (size + 1) * factor
            near = tuple(seconds for other, seconds in history if low <= other + 1 <= high)
            if len(near) >= ENOUGH_RUNS:
                return near
    return tuple(seconds for _, seconds in history)


def in_order(seconds: Iterable[float]) -> list[float]:
    """The durations, shortest first; the other functions want them so."""
    return sorted(max(SHORTEST_S, each) for each in seconds)


def range_of(seconds: Sequence[float]) -> Range:
    """What 8 of 10 of these are."""
    ordered = sorted(seconds)
    low, median, high = (at_level(ordered, level) for level in (LOW, 0.5, HIGH))
    return Range(low, median, high)


def at_level(ordered: Sequence[float], level: float) -> float:
    """The value that a next one stays below with the chance `level`.

    The n known ones part all chance into n + 1 equal pieces. Beyond the largest the chance falls
    with the fourth power of the duration.
    """
    count = len(ordered)
    position = level * (count + 1)
    if position <= 1:
        return ordered[0]
    if position >= count:
        return float(ordered[-1] * (1 / ((count + 1) * (1 - level))) ** TAIL)
    below = int(position)
    first, second = ordered[below - 1], ordered[below]
    return first + (second - first) * (position - below)


def left_s(ordered: Sequence[float], elapsed_s: float, level: float) -> float:
    """What is left after `elapsed_s`: as `at_level`, of those that take longer than that."""
    if elapsed_s >= ordered[-1]:
        return float(elapsed_s * (1 / (1 - level)) ** TAIL - elapsed_s)
    before = _level_of(ordered, elapsed_s)
    return max(0.0, at_level(ordered, before + level * (1 - before)) - elapsed_s)


def _level_of(ordered: Sequence[float], seconds: float) -> float:
    """The chance to take less, below the longest; the inverse of `at_level`."""
    count = len(ordered)
    if seconds < ordered[0]:
        return 0.0
    below = bisect_right(ordered, seconds)
    first, second = ordered[below - 1], ordered[below]
    return (below + (seconds - first) / (second - first)) / (count + 1)
