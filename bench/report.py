"""What every script of bench/ shares: one line of JSON, medians, a limit in time."""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

KEYS = ("bench", "promise", "unit", "floor", "figure", "ratio", "load", "cores")
"""What every report holds; each script adds what belongs to its figure."""


class TookTooLong(Exception):
    """The time that a script may take is over."""


def parser(description: str | None, *, limit_s: int) -> argparse.ArgumentParser:
    """A parser of the command line, with the option that bounds the script in time."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument(
        "--limit",
        type=int,
        default=limit_s,
        metavar="SECONDS",
        help=f"give up and end everything after this time ({limit_s})",
    )
    return made


@contextmanager
def bounded(limit_s: int) -> Iterator[None]:
    """Raise `TookTooLong` in the main thread after `limit_s` seconds; also leave on SIGTERM."""

    def too_long(number: int, frame: FrameType | None) -> None:
        raise TookTooLong(f"not done within {limit_s} s; give more with --limit")

    def stopped(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, too_long)
    signal.signal(signal.SIGTERM, stopped)
    signal.alarm(max(1, limit_s))
    try:
        yield
    finally:
        signal.alarm(0)


class Report:
    """Gathers one report. Notes the load of the machine when made, and again when printed."""

    def __init__(self, bench: str, *, promise: str, unit: str) -> None:
        self._words: dict[str, object] = {"bench": bench, "promise": promise, "unit": unit}
        self._load = os.getloadavg()[0]

    def line(self, *, floor: float, figure: float, **more: object) -> str:
        """The report as one line; `more` are further figures of this script."""
        ratio = figure / floor if floor > 0 else None
        return json.dumps(
            {
                **self._words,
                "floor": rounded(floor),
                "figure": rounded(figure),
                "ratio": None if ratio is None else rounded(ratio),
                **more,
                # One minute's average before and after: the script itself is in the second.
                "load": [rounded(self._load), rounded(os.getloadavg()[0])],
                "cores": len(os.sched_getaffinity(0)),
            }
        )

    def say(self, *, floor: float, figure: float, **more: object) -> None:
        """Print the report."""
        print(self.line(floor=floor, figure=figure, **more), flush=True)


def rounded(value: float) -> float:
    """Three significant digits are more than any of these figures is worth."""
    if value == 0 or not math.isfinite(value):
        return value
    return round(value, max(0, 2 - math.floor(math.log10(abs(value)))))


def median_ms(seconds: Sequence[float]) -> float:
    """The median, in milliseconds."""
    return rounded(statistics.median(seconds) * 1000)


def p95_ms(seconds: Sequence[float]) -> float:
    """The value that 95 of 100 do not exceed, in milliseconds."""
    ordered = sorted(seconds)
    return rounded(ordered[max(0, math.ceil(0.95 * len(ordered)) - 1)] * 1000)
