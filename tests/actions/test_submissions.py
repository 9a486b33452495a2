"""A repeated request gets the run of the first one; a second one that is wanted makes a run."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from runs.actions.accounts import create_api_key
from runs.actions.actors import Actor, key_holder, product
from runs.actions.runs import submit_run
from runs.actions.submissions import KeyReused, digest_of, submit_once
from runs.domain.errors import Conflict, FieldsInvalid, TooManyAttempts
from runs.models import Account, Application, Run, Submission
from tests.actions.submitting import make_app

START = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
SAME = digest_of("/v1/applications/a/runs", "", b"{}")
OTHER = digest_of("/v1/applications/a/runs", "", b"{ }")


class Clock:
    """A clock that stands still until it is set; waiting moves it."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Sender:
    """Sends requests with a key of its own; an answer takes `takes` seconds."""

    def __init__(self, application: Application, clock: Clock) -> None:
        self.account: Account = application.account
        self.application = application
        self.clock = clock
        key, _ = create_api_key(
            account=self.account, name="k", role="developer", actor=product(), now=START
        )
        self.actor: Actor = key_holder(key)

    def send(self, digest: str = SAME, *, takes: float = 0, key: str = "", **words: Any) -> Run:
        def submit(note: Any) -> Run:
            run = submit_run(
                account=self.account, application=self.application, actor=self.actor, **words
            )
            self.clock.wait(takes)
            note(run)
            return run

        return submit_once(
            account=self.account,
            actor=self.actor,
            digest=digest,
            submit=submit,
            key=key,
            clock=self.clock,
            wait=self.clock.wait,
        )


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sender(db: None, clock: Clock) -> Sender:
    return Sender(make_app(), clock)


def test_two_identical_quick_requests_make_two_runs(sender, clock):
    first = sender.send()
    assert sender.send() != first
    clock.wait(60)
    assert sender.send() not in {first}
    assert Run.objects.count() == 3


def test_after_a_slow_answer_the_same_request_is_the_same_run_for_five_minutes(sender, clock):
    first = sender.send(takes=16)
    assert sender.send() == first
    clock.wait(299)
    assert sender.send() == first
    clock.wait(2)
    assert sender.send() != first


def test_an_answer_within_fifteen_seconds_is_not_slow(sender, clock):
    first = sender.send(takes=15)
    clock.wait(5)
    assert sender.send() != first


def test_another_body_or_another_key_is_never_a_repetition(sender, clock):
    first = sender.send(takes=16)
    assert sender.send(OTHER) != first
    assert Sender(sender.application, clock).send() != first


def test_the_digest_is_of_path_query_and_body():
    digests = {
        digest_of(*parts)
        for parts in (
            ("/a", "", b"{}"),
            ("/b", "", b"{}"),
            ("/a", "instance_id=x", b"{}"),
            ("/a", "", b"{} "),
            ("/a{}", "", b""),
        )
    }
    assert len(digests) == 5
    assert all(len(digest) == 64 for digest in digests)


def test_a_request_that_failed_is_forgotten(sender):
    with pytest.raises(FieldsInvalid):
        sender.send(takes=16, priority=99)
    assert not Submission.objects.exists()
    assert sender.send(takes=16)


def test_a_deleted_run_is_not_answered_again(sender):
    first = sender.send(takes=16)
    first.delete()
    assert sender.send().run_id != first.run_id


# --- While the first is under way ---------------------------------------------------------------


def test_while_it_is_under_way_a_repetition_comes_again_later(sender, clock):
    """It waits for 10 s, then asks to come again; what was killed is dead after 5 minutes."""
    row = Submission.objects.create(
        account=sender.account, api_key=sender.actor.key, digest=SAME, received_at=START
    )
    clock.wait(20)
    with pytest.raises(TooManyAttempts, match="still being worked on"):
        sender.send()
    assert clock.now >= START + timedelta(seconds=30)
    assert not Run.objects.exists()
    clock.now = START + timedelta(minutes=5, seconds=1)
    assert sender.send()
    assert Submission.objects.filter(pk=row.pk, run=None).exists()


def test_what_comes_at_the_same_time_is_no_repetition(sender, clock):
    """A client waits 20 s before it repeats: threads that send the same at once want two runs."""
    Submission.objects.create(
        account=sender.account, api_key=sender.actor.key, digest=SAME, received_at=START
    )
    clock.wait(14)
    assert sender.send()


@pytest.mark.django_db(transaction=True)
def test_a_repetition_waits_for_the_first_and_gets_its_run():
    clock = Clock()
    sender = Sender(make_app(), clock)
    begun, go_on, waiting = threading.Event(), threading.Event(), threading.Event()
    found: dict[str, Run] = {}

    def first() -> None:
        def submit(note: Any) -> Run:
            begun.set()
            assert go_on.wait(30)
            run = submit_run(
                account=sender.account, application=sender.application, actor=sender.actor
            )
            note(run)
            return run

        found["first"] = once(submit, lambda seconds: None)

    def second() -> None:
        def wait(seconds: float) -> None:
            waiting.set()
            assert go_on.wait(30)

        def submit(note: Any) -> Run:
            raise AssertionError("a second run")

        found["second"] = once(submit, wait)

    def once(submit: Any, wait: Any) -> Run:
        try:
            return submit_once(
                account=sender.account,
                actor=sender.actor,
                digest=SAME,
                submit=submit,
                clock=clock,
                wait=wait,
            )
        finally:
            connection.close()

    threads = [threading.Thread(target=first)]
    threads[0].start()
    assert begun.wait(30)
    clock.wait(20)
    threads.append(threading.Thread(target=second))
    threads[1].start()
    assert waiting.wait(30)
    go_on.set()
    for thread in threads:
        thread.join(60)
    assert found["first"] == found["second"]
    assert Run.objects.count() == 1


# --- With a key of the sender -------------------------------------------------------------------


def test_the_same_key_is_the_same_run_for_a_day(sender, clock):
    first = sender.send(key="order 7")
    assert sender.send(key="order 7") == first
    assert sender.send(key="order 8") != first
    assert sender.send() != first
    clock.now = START + timedelta(hours=23)
    assert sender.send(key="order 7") == first
    clock.now = START + timedelta(hours=25)
    assert sender.send(key="order 7") != first


def test_a_key_names_one_request_only(sender, clock):
    first = sender.send(key="order 7")
    with pytest.raises(KeyReused):
        sender.send(OTHER, key="order 7")
    assert issubclass(KeyReused, Conflict)
    assert Sender(sender.application, clock).send(key="order 7") != first


def test_a_key_whose_request_was_killed_can_be_used_after_five_minutes(sender, clock):
    Submission.objects.create(
        account=sender.account,
        api_key=sender.actor.key,
        digest=SAME,
        key=f"{sender.actor.key.pk}:order 7",
        received_at=START,
    )
    with pytest.raises(TooManyAttempts):
        sender.send(key="order 7")
    clock.now = START + timedelta(minutes=6)
    run = sender.send(key="order 7")
    assert sender.send(key="order 7") == run


@pytest.mark.parametrize("key", ["x" * 129, "größer", "a\nb"])
def test_a_key_is_short_and_plain(sender, key):
    with pytest.raises(FieldsInvalid):
        sender.send(key=key)


def test_it_costs_a_query_and_two_small_writes(sender, django_assert_num_queries):
    key = sender.actor.key
    run = sender.send()
    with django_assert_num_queries(5) as found:  # two of them open and close the savepoint
        submit_once(
            account=sender.account,
            actor=sender.actor,
            digest=OTHER,
            submit=lambda note: note(run) or run,
        )
    statements = [query["sql"].split()[0] for query in found.captured_queries]
    assert statements == ["SELECT", "SAVEPOINT", "INSERT", "RELEASE", "UPDATE"]
    assert Submission.objects.filter(api_key=key).count() == 2
