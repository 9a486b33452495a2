"""Concurrency keys: text with the names of options in braces, evaluated for each run."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from runs.domain.errors import FieldsInvalid
from runs.domain.option_values import OptionValue, to_wire
from runs.domain.status import EndReason

POLICIES = ("queue", "drop", "replace", "reuse")
"""What a run does that comes while its key is full: wait, end at once, take the place of those
that are under way, or be the same run as one of them."""
WHOLE_APPLICATION = "*"
"""The key of all runs where a limit is set, but no expression."""
REPLACED_BY = "replaced by run "
"""How the actor of a cancel begins that makes room for another run of the key."""
LONGEST_EXPRESSION = 300
LONGEST_KEY = 200

_PARTS = re.compile(r"\{([^{}]*)\}|([^{}]+)|([{}])", re.DOTALL)


def option_names(expression: str) -> tuple[str, ...]:
    """The options named in the braces of an expression, each once, in their order.

    Raises `FieldsInvalid` (field `concurrency_expression`) for braces that name nothing.
    """
    return tuple(dict.fromkeys(name for name, _ in _parts(expression) if name))


def check_expression(expression: str, known: tuple[str, ...] | None) -> None:
    """Raise `FieldsInvalid` unless the expression can be evaluated.

    `known` are the options that there are; None when that cannot be said yet.
    """
    if len(expression) > LONGEST_EXPRESSION:
        raise _fault(f"A key has at most {LONGEST_EXPRESSION} characters.")
    for name in option_names(expression):
        if known is not None and name not in known:
            raise _unknown(name, known)


def evaluate_key(expression: str, options: Mapping[str, OptionValue]) -> str:
    """The key of a run with these options in force: at most 200 characters, and never empty.

    Equal options give equal keys. A value may hold braces: only the expression is read, so options
    cannot name other options. What is too long ends in a hash of the whole. An option without a
    value counts as empty text; one that is not in `options` raises `FieldsInvalid`.
    """
    written = []
    for name, text in _parts(expression):
        if name and name not in options:
            raise _unknown(name, tuple(options))
        written.append(_text_of(options[name]) if name else text)
    key = "".join(written)
    if not key:
        return WHOLE_APPLICATION
    # A database cannot keep NUL, and what it cannot keep apart must not be one key.
    if len(key) <= LONGEST_KEY and "\0" not in key:
        return key
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return f"{key.replace(chr(0), ' ')[: LONGEST_KEY - len(digest) - 1]}#{digest}"


def cancel_reason(actor: str) -> EndReason:
    """Why a run ends that `actor` canceled: another run took its place, or a person wanted it."""
    return EndReason.SUPERSEDED if actor.startswith(REPLACED_BY) else EndReason.CANCELED


def _parts(expression: str) -> list[tuple[str, str]]:
    """Pairs of an option's name and text between names; one of both is empty."""
    parts = []
    for name, text, stray in _PARTS.findall(expression):
        if stray:
            raise _fault(f"The key has a single `{stray}`. Write options as `{{name}}`.")
        if not text and not name.strip():
            raise _fault("The key has braces without a name. Write options as `{name}`.")
        parts.append((name.strip(), text))
    return parts


def _text_of(value: OptionValue) -> str:
    return "" if value is None else to_wire(value)


def _unknown(name: str, known: tuple[str, ...]) -> FieldsInvalid:
    there = ", ".join(f"`{one}`" for one in known[:20]) + (" …" if len(known) > 20 else "")
    return _fault(
        f"`{name[:40]}` is no option of this application. "
        + (f"Name one of {there}." if known else "It has none; leave the braces out.")
    )


def _fault(message: str) -> FieldsInvalid:
    return FieldsInvalid({"concurrency_expression": [message]})
