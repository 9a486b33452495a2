"""Signing in by password, slowed down for those who guess."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from runs.actions.sign_in import PAIR_LIMIT, SINGLE_LIMIT, sign_in_with_password
from runs.domain.errors import FieldsInvalid, TooManyAttempts
from runs.models import AuditEvent
from tests.factories import make_user

pytestmark = pytest.mark.django_db
NOW = timezone.now()
RIGHT = "the right long one"


def attempt(password: str, *, email: str = "ann@b.org", address: str = "10.0.0.1", now=NOW):
    return sign_in_with_password(email=email, password=password, address=address, now=now)


def fail(times: int, **how) -> None:
    for _ in range(times):
        with pytest.raises(FieldsInvalid):
            attempt("wrong", **how)


def test_the_right_password_signs_in_however_the_address_is_written():
    user = make_user("ann@b.org", password=RIGHT)
    assert attempt(RIGHT, email=" Ann@B.org") == user
    event = AuditEvent.objects.get()
    assert (event.verb, event.user, event.actor) == ("signed in", user, "ann@b.org")


def test_a_wrong_password_and_an_unknown_person_get_the_same_words():
    make_user("ann@b.org", password=RIGHT)
    with pytest.raises(FieldsInvalid) as wrong:
        attempt("wrong")
    with pytest.raises(FieldsInvalid) as unknown:
        attempt("wrong", email="nobody@b.org")
    assert wrong.value.errors == unknown.value.errors


def test_who_has_no_password_or_is_switched_off_stays_out():
    make_user("ann@b.org")
    fail(1)
    make_user("off@b.org", password=RIGHT, is_active=False)
    with pytest.raises(FieldsInvalid):
        attempt(RIGHT, email="off@b.org")


def test_after_ten_failures_even_the_right_password_waits_ten_minutes():
    make_user("ann@b.org", password=RIGHT)
    fail(PAIR_LIMIT)
    with pytest.raises(TooManyAttempts):
        attempt(RIGHT)
    with pytest.raises(TooManyAttempts):
        attempt(RIGHT, now=NOW + timedelta(minutes=9))
    assert attempt(RIGHT, now=NOW + timedelta(minutes=10))


def test_others_and_other_places_are_not_slowed_by_a_few_failures():
    make_user("ann@b.org", password=RIGHT)
    make_user("bob@b.org", password=RIGHT)
    fail(PAIR_LIMIT)
    assert attempt(RIGHT, address="10.0.0.2")
    assert attempt(RIGHT, email="bob@b.org")


def test_one_place_that_tries_many_people_is_slowed():
    make_user("ann@b.org", password=RIGHT)
    for number in range(SINGLE_LIMIT):
        fail(1, email=f"person{number}@b.org")
    with pytest.raises(TooManyAttempts):
        attempt(RIGHT)
    assert attempt(RIGHT, address="10.0.0.2")


def test_many_places_that_try_one_person_are_slowed():
    make_user("ann@b.org", password=RIGHT)
    for number in range(SINGLE_LIMIT):
        fail(1, address=f"10.1.0.{number}")
    with pytest.raises(TooManyAttempts):
        attempt(RIGHT)


def test_signing_in_often_slows_nobody():
    make_user("ann@b.org", password=RIGHT)
    for _ in range(PAIR_LIMIT + 1):
        assert attempt(RIGHT)


def test_passwords_are_not_written_down():
    fail(1)
    assert "wrong" not in str(AuditEvent.objects.values().get())
