"""Expected starts in words."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.utils import timezone

from runs.actions.estimates import Expected
from runs.models import Run
from runs.web import expected
from runs.web.expected import ExpectedWords, expected_words, known_words, span_words, told
from tests.factories import make_application, make_run, make_worker

SEEN_AT = datetime(2026, 11, 21, 14, 2, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("low_s", "high_s", "words"),
    [
        (0.0, 0.2, "within 1 s"),
        (0.4, 9.2, "within 10 s"),
        (3.1, 9.2, "3 to 10 s"),
        (12.0, 41.0, "10 to 45 s"),
        (125.0, 290.0, "2 to 5 min"),
        (240.0, 240.0, "about 4 min"),
        (10.0, 3000.0, "within 50 min"),
        (7300.0, 36000.0, "2 to 10 h"),
        (90_000.0, 400_000.0, "1 to 5 d"),
    ],
)
def test_a_range_is_said_in_one_unit(low_s: float, high_s: float, words: str):
    assert span_words(low_s, high_s) == words


def test_the_exact_times_stand_behind_the_words():
    shown = told(Expected(120.0, 180.0, 290.0), SEEN_AT)
    assert shown.words == "in 2 to 5 min"
    assert "14:04:00" in shown.exact
    assert "14:06:50" in shown.exact


def test_what_starts_at_once_starts_now():
    assert told(Expected(0.0, 0.0, 0.4), SEEN_AT).words == "now"


def test_without_a_range_the_reason_is_said():
    assert told(Expected(reason="Not enough history."), SEEN_AT) == ExpectedWords(
        reason="Not enough history."
    )


@pytest.mark.django_db
def test_an_outlook_is_kept_for_all_who_look_at_the_same(django_assert_num_queries):
    make_worker()
    run = make_run(make_application())
    assert known_words([run]) == {}
    first = expected_words(run.account, [run], now=timezone.now())
    with django_assert_num_queries(0):
        assert expected_words(run.account, [run], now=timezone.now()) == first
        assert known_words([run]) == first
    assert set(first) == {run.pk}


@pytest.mark.django_db
def test_what_is_known_of_a_run_ends_when_something_else_holds_it():
    make_worker()
    run = make_run(make_application())
    expected_words(run.account, [run], now=timezone.now())
    run.hold = "key"
    assert known_words([run]) == {}


def test_no_more_is_kept_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr(expected, "MOST_KEPT", 2)
    found = expected.Kept()
    runs = [Run(run_id=f"r{number}") for number in range(3)]
    for run in runs:
        found.keep(run, ExpectedWords("now"))
    assert [found.find(run, 10.0) is not None for run in runs] == [False, True, True]
