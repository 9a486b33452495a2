"""Single option values: their type, what they break, their form on the wire."""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from runs.domain.manifest_fields import OptionDefinition

LONGEST_VALUE_BYTES = 100_000
"""Linux takes at most 128 KiB in one argument."""
TRUE_WORDS = frozenset({"true", "1", "t", "y", "yes", "on"})
FALSE_WORDS = frozenset({"false", "0", "f", "n", "no", "off", ""})

_WHOLE = re.compile(r"[+-]?[0-9]{1,20}")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")
_LONGEST_NUMBER = 60
TYPE_WORDS: MappingProxyType[str, str] = MappingProxyType(
    {
        "string": "a text",
        "bool": "true or false",
        "int": "a whole number",
        "float": "a number",
    }
)


# Any: an option value is any JSON value; only those of declared options have a known shape.
OptionValue = Any


def to_wire(value: OptionValue) -> str:
    """The value as the program gets it: text as it is, everything else as compact JSON."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def fault_of(definition: OptionDefinition, value: str | int | float | bool) -> str:
    """What a value of the right type breaks, like `must be at least 1`; empty when it fits."""
    if definition.values and not _is_listed(definition, value):
        return f"must be one of {', '.join(_plain(item) for item in definition.values)}"
    if isinstance(value, bool):
        return ""
    if isinstance(value, str):
        if definition.min_length is not None and len(value) < definition.min_length:
            return f"must have at least {definition.min_length} characters"
        if definition.max_length is not None and len(value) > definition.max_length:
            return f"must have at most {definition.max_length} characters"
        return ""
    if definition.minimum is not None and value < definition.minimum:
        return f"must be at least {_plain(definition.minimum)}"
    if definition.maximum is not None and value > definition.maximum:
        return f"must be at most {_plain(definition.maximum)}"
    if definition.step is not None and not _is_on_step(value, definition):
        start = _plain(definition.minimum if definition.minimum is not None else 0)
        return f"must be {start} plus a multiple of {_plain(definition.step)}"
    return ""


def _is_on_step(value: int | float, definition: OptionDefinition) -> bool:
    """Whether `value` is a whole number of steps from the minimum, float error forgiven.

    Decimals of the written forms are exact for what people type (0.15 in steps of 0.01); what is
    left over may come from arithmetic and is measured against the step and against the precision
    of the value.
    """
    step = Decimal(repr(definition.step))
    if step <= 0:
        return True
    base = Decimal(repr(definition.minimum if definition.minimum is not None else 0))
    steps = (Decimal(repr(value)) - base) / step
    off = abs(steps - steps.to_integral_value())
    precision = Decimal(repr(math.ulp(float(value)))) * 4 / step
    return off <= max(Decimal("1e-6"), min(precision, Decimal("0.01")))


def _is_listed(definition: OptionDefinition, value: str | int | float | bool) -> bool:
    if definition.type == "float" and not isinstance(value, str):
        return any(
            not isinstance(item, str) and math.isclose(item, value, rel_tol=1e-9, abs_tol=1e-12)
            for item in definition.values
        )
    if value in definition.values:
        return True
    if definition.effective_control != "multiselect" or not isinstance(value, str):
        return False
    return value == "" or _splits_into(value, {str(item) for item in definition.values})


def _splits_into(text: str, words: set[str]) -> bool:
    """Whether `text` is some of `words` joined by commas; words may hold commas themselves."""
    parts = text.split(",")
    longest = max(word.count(",") for word in words) + 1
    reachable = {0}
    for end in range(1, len(parts) + 1):
        for start in range(max(0, end - longest), end):
            if start in reachable and ",".join(parts[start:end]) in words:
                reachable.add(end)
                break
    return len(parts) in reachable


def typed_value(option_type: str, value: OptionValue) -> str | int | float | bool | None:
    """`value`, possibly a text, as a value of the type; None when it is none.

    Whole numbers up to 64 bits; numbers finite; truth values also as the words that apps know.
    """
    if isinstance(value, list | dict) or value is None:
        return None
    if option_type == "string":
        return value if isinstance(value, str) else to_wire(value)
    if option_type == "bool":
        if isinstance(value, bool):
            return value
        word = str(value).strip().lower()
        return True if word in TRUE_WORDS else False if word and word in FALSE_WORDS else None
    if isinstance(value, bool):
        return None
    number = as_number(value) if isinstance(value, str) else value
    if not isinstance(number, int | float) or not math.isfinite(_as_float(number)):
        return None
    if option_type == "float":
        return float(number)
    if isinstance(value, str) and not _WHOLE.fullmatch(value.strip()):
        return None
    if number != int(number) or abs(number) >= 2**63:
        return None
    return int(number)


def as_number(text: str) -> int | float | None:
    """The number that `text` spells in digits, None when it is none."""
    text = text.strip()
    if len(text) > _LONGEST_NUMBER or not _NUMBER.fullmatch(text):
        return None
    return int(text) if _WHOLE.fullmatch(text) else float(text)


def _as_float(number: int | float) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf


def wire_fault(value: OptionValue) -> str:
    """Why the value cannot be an argument of a program; empty when it can."""
    try:
        wire = json.dumps(value, allow_nan=False) if not isinstance(value, str) else value
        size = len(wire.encode())
    except (TypeError, ValueError, RecursionError):
        return "must be text or plain JSON without NaN and infinities"
    if "\0" in wire:
        return "must not hold a zero byte"
    if size > LONGEST_VALUE_BYTES:
        return f"must have at most {LONGEST_VALUE_BYTES:,} bytes (put large values into the input)"
    return ""


def joined(value: OptionValue) -> str | None:
    """A list of texts as the text of a multiselect; None when it is something else."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ",".join(value)
    return None


def _plain(value: str | int | float | bool) -> str:
    return str(int(value)) if isinstance(value, float) and value == int(value) else to_wire(value)


def shown_value(value: OptionValue) -> str:
    """The value for messages: short, in backticks."""
    try:
        text = to_wire(value)
    except (TypeError, ValueError, RecursionError):
        text = type(value).__name__
    text = text if len(text) <= 60 else text[:59] + "…"
    return f"`{text}`" if text else "empty"
