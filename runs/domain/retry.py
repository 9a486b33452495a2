"""Retry rules: after which ends a run is tried again, and how long it waits before that."""

from __future__ import annotations

import re
from collections.abc import Iterable

from runs.domain.errors import FieldsInvalid
from runs.domain.status import END_REASONS, EndReason, Status

REASONS = tuple(
    reason.value
    for reason in EndReason
    if reason in END_REASONS[Status.FAILED]
    and reason not in {EndReason.QUEUE_LIMIT, EndReason.WAIT_FAILED}
)
"""The words of a rule: why an attempt can fail. What never started has no attempt to repeat."""
USUAL_RETRY_ON = f"{EndReason.EXIT_CODE} {EndReason.SIGNAL}"
"""The causes of a rule that names none: what the program did by itself."""
MOST_RETRIES = 20
LONGEST_DELAY_S = 3600.0
LONGEST_RULE = 300
JITTER = 0.2

_ONE_CODE = re.compile(rf"{EndReason.EXIT_CODE}:([1-9][0-9]{{0,2}})", re.ASCII)


def parse_retry_on(text: str) -> tuple[str, ...]:
    """The causes that `text` names, each once; separated by blanks or commas.

    Each is an end reason of a failed run, or `exit_code:N` for one exit code from 1 to 255.
    Raises `FieldsInvalid` (field `retry_on`) naming the first word that is none.
    """
    words = tuple(dict.fromkeys(text.replace(",", " ").split()))
    for word in words:
        if word not in REASONS and not _is_one_code(word):
            raise FieldsInvalid({"retry_on": [_fault(word)]})
    if len(" ".join(words)) > LONGEST_RULE:
        raise FieldsInvalid(
            {"retry_on": [f"Name causes of {LONGEST_RULE} characters at most, with blanks."]}
        )
    return words


def wants_retry(retry_on: str | Iterable[str], reason: str, exit_code: int | None) -> bool:
    """Whether a rule names the end of an attempt: its end reason, and the exit code if any.

    Words that this release does not know match nothing.
    """
    words = retry_on.split() if isinstance(retry_on, str) else list(retry_on)
    if reason not in REASONS:
        return False
    if reason in words:
        return True
    return reason == EndReason.EXIT_CODE and f"{reason}:{exit_code}" in words


def delay_s(base_s: float, made: int, jitter: float) -> float:
    """Seconds to wait before the next attempt, after `made` retries: doubled each time.

    An hour at most, give or take a fifth: `jitter` from -1 to 1 keeps runs that failed together
    from coming back together.
    """
    doubled = min(max(0.0, base_s) * 2.0 ** min(max(0, made), 64), LONGEST_DELAY_S)
    return doubled * (1.0 + JITTER * min(1.0, max(-1.0, jitter)))


def _is_one_code(word: str) -> bool:
    found = _ONE_CODE.fullmatch(word)
    return found is not None and int(found[1]) <= 255


def _fault(word: str) -> str:
    if word.startswith(f"{EndReason.EXIT_CODE}:"):
        return f"`{word[:40]}` names no exit code. Write a number from 1 to 255, as `exit_code:75`."
    return (
        f"`{word[:40]}` is no cause to try again. Use {', '.join(f'`{one}`' for one in REASONS)}"
        " or `exit_code:N`."
    )
