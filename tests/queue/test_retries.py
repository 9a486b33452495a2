"""Further attempts by rule: which ends, how often, and how long until the next one."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from runs.domain.status import EndReason, Status
from runs.models import Run
from runs.queue.retries import in_words, may_retry, retry_columns, retry_words
from tests.factories import make_run

pytestmark = pytest.mark.django_db


def _failing(**fields: object) -> Run:
    words = {"retries": 3, "retry_on": "exit_code:75 signal", "retry_delay_s": 10, **fields}
    return make_run(status=Status.RUNNING, **words)  # type: ignore[arg-type]


def test_only_the_ends_that_the_rule_names_are_tried_again() -> None:
    run = _failing()
    assert may_retry(run, EndReason.EXIT_CODE, 75)
    assert may_retry(run, EndReason.SIGNAL)
    assert not may_retry(run, EndReason.EXIT_CODE, 1)
    assert not may_retry(run, EndReason.TIMED_OUT)


def test_a_run_without_retries_left_is_not_tried_again() -> None:
    assert not may_retry(_failing(retries_made=3), EndReason.SIGNAL)
    assert not may_retry(_failing(retries=0), EndReason.SIGNAL)


@pytest.mark.parametrize("wish", ["cancel_requested_at", "stop_requested_at"])
def test_a_run_that_somebody_wants_ended_is_not_tried_again(wish: str) -> None:
    assert not may_retry(_failing(**{wish: timezone.now()}), EndReason.SIGNAL)


def test_each_retry_waits_twice_as_long_and_an_hour_at_most() -> None:
    now = timezone.now()
    for made, least, most in ((0, 8, 12), (1, 16, 24), (2, 32, 48), (19, 2880, 4320)):
        columns = retry_columns(_failing(retries_made=made), now)
        wait_s = (columns["held_until"] - now).total_seconds()
        assert least <= wait_s <= most
        assert (columns["hold"], columns["retries_made"]) == (Run.WAITS_FOR_RETRY, made + 1)


def test_the_words_say_when_and_which_retry_it_is() -> None:
    now = timezone.now()
    run = _failing(retries_made=1)
    columns = {"held_until": now + timedelta(seconds=21), "retries_made": 2}
    assert retry_words(columns, run, now) == "tried again in 21 s (retry 2 of 3)"
    assert [in_words(wait_s) for wait_s in (0.2, 119, 600)] == ["at once", "in 119 s", "in 10 min"]
