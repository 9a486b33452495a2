"""Every end has one short line and one sentence of cause and remedy."""

from __future__ import annotations

import pytest

from runs.execution.exit_codes import explain
from runs.execution.spec import Reason


def test_a_good_end_says_nothing() -> None:
    told = explain(0)
    assert (told.error, told.detail) == ("", "")


@pytest.mark.parametrize(
    ("code", "word"),
    [
        (1, "log"),
        (2, "option"),
        (3, "code of its own"),
        (126, "executable"),
        (127, "not found"),
        (134, "SIGABRT"),
        (137, "memory"),
        (139, "SIGSEGV"),
        (143, "SIGTERM"),
        (255, "code of its own"),
    ],
)
def test_exit_codes(code: int, word: str) -> None:
    told = explain(code)
    assert told.error == f"exit code {code}"
    assert word in told.detail


@pytest.mark.parametrize(
    ("number", "word"),
    [(6, "check"), (9, "memory"), (11, "library"), (15, "asked"), (64, "SIGRTMAX")],
)
def test_signals(number: int, word: str) -> None:
    told = explain(None, number)
    assert told.error == f"killed by signal {number}"
    assert word in told.detail


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        ("timed_out", "time limit of 60 s"),
        ("canceled", "canceled"),
        ("worker_stopped", "worker stopped"),
        ("output_too_large", "output limit of 4 GiB"),
        ("out_of_memory", "killed by signal 9 (memory limit)"),
    ],
)
def test_reasons_count_more_than_codes(reason: str, error: str) -> None:
    told = explain(0, 9, reason=reason, time_limit_s=60.0, output_limit_bytes=4 * 1024**3)
    assert told.error == error


def test_every_reason_is_one_line_and_one_sentence() -> None:
    for reason in Reason:
        told = explain(None, None, reason=reason)
        assert told.error
        assert "\n" not in told.error
        assert told.detail.endswith(".")
        assert told.detail.count(". ") == 0


def test_reasons_are_those_of_the_runs() -> None:
    from runs.domain.status import EndReason

    assert {str(reason) for reason in Reason} <= {str(reason) for reason in EndReason}
