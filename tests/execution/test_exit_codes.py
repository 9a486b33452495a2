"""Every end has one short line and one sentence of cause and remedy."""

from __future__ import annotations

import pytest

from runs.execution.exit_codes import Figures, explain
from runs.execution.spec import Asked, Breach, Reason

MIB = 1024**2


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


@pytest.mark.parametrize(
    ("reason", "figures", "error", "part"),
    [
        (
            "memory_limit",
            Figures(Breach(Reason.MEMORY_LIMIT, 512 * MIB, 731 * MIB, 3, "solver -x", 400 * MIB)),
            "memory limit: 512 MiB allowed, 731 MiB used by 3 processes",
            "(`solver -x` had 400 MiB) and was ended; give it a smaller input, or raise",
        ),
        (
            "process_limit",
            Figures(Breach(Reason.PROCESS_LIMIT, 50, 73, 73, "python3", 70)),
            "process limit: 50 allowed, 73 alive",
            "(70 of them `python3`) and was ended; start fewer at once",
        ),
        (
            "log_too_large",
            Figures(log_limit_bytes=10 * MIB, logged_bytes=11 * MIB),
            "log limit of 10 MiB: 11 MiB were logged",
            "log less, or raise the log limit",
        ),
        (
            "stopped_early",
            Figures(asked=Asked("SIGINT", 10.0, at_limit=False, took_s=2.25)),
            "stopped early",
            "(SIGINT), as somebody wanted the result, and ended within 2.2 s",
        ),
        (
            "stopped_early",
            Figures(asked=Asked("SIGTERM", 10.0, at_limit=True, forced=True)),
            "stopped early at the time limit",
            "did not end within 10 s and was ended, as the time limit was reached",
        ),
    ],
)
def test_limits_are_told_with_figures_and_remedy(
    reason: str, figures: Figures, error: str, part: str
) -> None:
    told = explain(None, 9, reason=reason, figures=figures)
    assert told.error == error
    assert part in told.detail


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
