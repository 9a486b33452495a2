"""Limits of runs: what is a limit at all, and whose word goes first."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from runs.domain.errors import FieldsInvalid
from runs.domain.manifest_blocks import STOP_SIGNALS
from runs.domain.manifest_fields import RunsiteSettings

MIB = 1024**2
YEAR_S = 366 * 86_400
ACTIONS = ("fail", "truncate")
"""What follows when a log or an output grows over its limit."""


@dataclass(frozen=True)
class Bounds:
    """From where to where a number may go; `unit` says what it counts."""

    least: float
    most: float
    unit: str = ""


NUMBERS: MappingProxyType[str, Bounds] = MappingProxyType(
    {
        "time_limit_s": Bounds(1, YEAR_S, "seconds"),
        "queue_limit_s": Bounds(1, YEAR_S, "seconds"),
        "memory_limit_bytes": Bounds(MIB, 1024**5, "bytes"),
        "process_limit": Bounds(1, 100_000),
        "log_limit_bytes": Bounds(1024, 1024**5, "bytes"),
        "output_limit_bytes": Bounds(1024, 1024**5, "bytes"),
        "stop_grace_s": Bounds(0, 3600, "seconds"),
    }
)
CHOICES: MappingProxyType[str, tuple[str, ...]] = MappingProxyType(
    {"log_limit_action": ACTIONS, "output_limit_action": ACTIONS, "stop_signal": STOP_SIGNALS}
)
SWITCHES = ("keep_at_time_limit",)
NAMES = (*NUMBERS, *CHOICES, *SWITCHES)
"""All limits: the names of the columns of a run."""
FRACTIONS = frozenset({"stop_grace_s"})

_WORDS = {
    "time_limit_s": "a time limit",
    "queue_limit_s": "a queue limit",
    "memory_limit_bytes": "a memory limit",
    "process_limit": "a number of processes",
    "log_limit_bytes": "a log limit",
    "output_limit_bytes": "an output limit",
    "stop_grace_s": "a grace period",
}
_UNITS = {"": 1, "b": 1}
for _power, _letter in enumerate("kmgt", start=1):
    _UNITS |= {f"{_letter}b": 1000**_power, f"{_letter}ib": 1024**_power, _letter: 1024**_power}
_SIZE = re.compile(r"([0-9]{1,15}(?:[.][0-9]{1,6})?)\s*([a-z]{0,3})", re.ASCII | re.IGNORECASE)


def is_given(value: object) -> bool:
    """Whether a limit says anything: None and empty text leave it to whoever is asked next."""
    return value is not None and value != ""


def limit_errors(
    values: Mapping[str, object], *, most: Mapping[str, float] | None = None
) -> dict[str, list[str]]:
    """What is wrong with limits, as messages by name; empty when all can be used.

    `most` are the limits of the installation, above which none may go.
    """
    errors: dict[str, list[str]] = {}
    for name, value in values.items():
        if message := _fault(name, value, most or {}):
            errors[name] = [message]
    return errors


def resolve_limits(
    *sources: Mapping[str, object], most: Mapping[str, float] | None = None
) -> dict[str, object]:
    """The limits in force: of each the first that is given, in the order of the sources.

    The result has all names; what nobody gives is None, or empty where it is a word. None is above
    what the installation allows: what its administrator lowered since was fine when it was set.
    """
    found: dict[str, object] = {}
    for name in NAMES:
        given = (source[name] for source in sources if is_given(source.get(name)))
        value = next(given, "" if name in CHOICES else None)
        if name in NUMBERS and isinstance(value, int | float):
            highest = min(NUMBERS[name].most, (most or {}).get(name, math.inf))
            value = min(max(value, NUMBERS[name].least), highest)
            value = float(value) if name in FRACTIONS else int(value)
        found[name] = value
    return found


def manifest_limits(settings: RunsiteSettings) -> dict[str, object]:
    """What the `runsite` block of a manifest says about limits, by the names used here."""
    return {
        "time_limit_s": _whole(settings.time_limit_s),
        "keep_at_time_limit": settings.keep_at_time_limit,
        "queue_limit_s": _whole(settings.queue_limit_s),
        "memory_limit_bytes": _from_mib(settings.memory_limit_mb),
        "process_limit": settings.process_limit,
        "log_limit_bytes": _from_mib(settings.log_limit_mb),
        "log_limit_action": settings.log_limit_action,
        "output_limit_bytes": _from_mib(settings.output_limit_mb),
        "output_limit_action": settings.output_limit_action,
        "stop_signal": settings.stop_signal,
        "stop_grace_s": settings.stop_grace_s,
    }


def parse_size(text: str) -> int | None:
    """A size in bytes, written as `512 MiB`, `2g` or `1000`; None for empty text.

    `k`, `m`, `g`, `t` and `KiB` … are powers of 1024, `kB` … of 1000. Raises `FieldsInvalid`.
    """
    if not text.strip():
        return None
    found = _SIZE.fullmatch(text.strip())
    factor = _UNITS.get(found[2].lower()) if found else None
    if found is None or factor is None:
        raise FieldsInvalid({"size": [f"`{text[:40]}` is no size. Write it as `512 MiB`."]})
    return round(float(found[1]) * factor)


def _whole(seconds: float | None) -> int | None:
    return None if seconds is None else math.ceil(min(seconds, YEAR_S))


def _from_mib(size: int | None) -> int | None:
    return None if size is None else size * MIB


def _fault(name: str, value: object, most: Mapping[str, float]) -> str:
    if name not in NAMES:
        return f"`{name[:40]}` is no limit. Use one of {', '.join(NAMES)}."
    if not is_given(value):
        return ""
    if name in SWITCHES:
        return "" if isinstance(value, bool) else "Say yes or no."
    if name in CHOICES:
        return "" if value in CHOICES[name] else f"Choose one of {', '.join(CHOICES[name])}."
    bounds = NUMBERS[name]
    highest = min(bounds.most, most.get(name, bounds.most))
    whole = isinstance(value, int) and not isinstance(value, bool)
    fits = whole or (name in FRACTIONS and isinstance(value, float))
    if fits and isinstance(value, int | float) and bounds.least <= value <= highest:
        return ""
    unit = f" {bounds.unit}" if bounds.unit else ""
    return f"Give {_WORDS[name]} from {bounds.least:.0f} to {highest:.0f}{unit}."
