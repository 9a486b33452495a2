"""Nudges: few, sent after commit, and never in the way of who submits."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from runs.models import Counter, Queue, Worker
from runs.queue import dispatch
from tests.factories import make_queue, make_worker


class FakeSender:
    """A broker in memory; `broken` makes it refuse."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []
        self.tries = 0
        self.broken = False

    def send(self, queue_name: str, target: str) -> None:
        self.tries += 1
        if self.broken:
            raise ConnectionError("nobody listens")
        self.sent.append((queue_name, target))


@pytest.fixture
def sender() -> Iterator[FakeSender]:
    sender = FakeSender()
    with dispatch.sent_through(sender):
        yield sender


@pytest.mark.django_db(transaction=True)
def test_a_nudge_is_sent_after_the_commit_and_not_before(sender: FakeSender) -> None:
    make_worker()
    queue = make_queue()
    with transaction.atomic():
        dispatch.nudge_after_commit(queue)
        assert sender.sent == []
    assert sender.sent == [("default", "runsite-all")]


@pytest.mark.django_db(transaction=True)
def test_a_transaction_that_is_undone_nudges_nobody(sender: FakeSender) -> None:
    make_worker()
    queue = make_queue()
    with transaction.atomic():
        dispatch.nudge_after_commit(queue)
        transaction.set_rollback(True)
    assert sender.sent == []


@pytest.mark.django_db
def test_one_nudge_is_under_way_at_most(sender: FakeSender) -> None:
    make_worker()
    queue, other = make_queue(), make_queue(name="other")
    now = timezone.now()
    assert dispatch.nudge(queue, now=now)
    assert not dispatch.nudge(queue, now=now + timedelta(seconds=1))
    assert dispatch.nudge(other, now=now)
    assert [name for name, _ in sender.sent] == ["default", "other"]


@pytest.mark.django_db
def test_a_nudge_that_arrived_lets_the_next_one_go(sender: FakeSender) -> None:
    make_worker()
    queue = make_queue()
    now = timezone.now()
    dispatch.nudge(queue, now=now)
    dispatch.nudge_arrived("default")
    assert dispatch.nudge(queue, now=now)
    assert len(sender.sent) == 2


@pytest.mark.django_db
def test_a_nudge_not_arrived_within_two_seconds_counts_as_lost(sender: FakeSender) -> None:
    make_worker()
    queue = make_queue()
    now = timezone.now()
    dispatch.nudge(queue, now=now)
    assert not Counter.objects.exists()
    assert dispatch.nudge(queue, now=now + timedelta(seconds=3))
    assert Counter.objects.values_list("name", "label", "value").get() == ("nudges_lost", "", 1)


@pytest.mark.django_db
def test_a_mark_from_the_future_stops_nobody(sender: FakeSender) -> None:
    make_worker()
    queue = make_queue(nudged_at=timezone.now() + timedelta(days=1))
    assert dispatch.nudge(queue)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("workers", "target"),
    [
        ([], None),
        ([{"state": Worker.LOST}, {"state": Worker.DRAINING}, {"drain_wanted": True}], None),
        ([{"queues": ["default"]}], None),
        ([{}], "runsite-all"),
        ([{"queues": ["gpu"]}], "runsite.gpu"),
        ([{}, {"queues": ["gpu"]}], "runsite.gpu"),
        ([{}, {"queues": ["gpu"], "slots_used": 2}], "runsite-all"),
        ([{"slots_used": 2}, {"queues": ["gpu"], "slots_used": 2}], "runsite.gpu"),
        ([{"slots_used": 2}], "runsite-all"),
    ],
)
def test_a_nudge_goes_where_somebody_can_take_it(
    workers: list[dict[str, object]], target: str | None, sender: FakeSender
) -> None:
    for fields in workers:
        make_worker(**fields)
    queue = make_queue(name="gpu")
    assert dispatch.nudge(queue) is (target is not None)
    assert sender.sent == ([("gpu", target)] if target else [])
    assert (Queue.objects.get().nudged_at is not None) is (target is not None)


@pytest.mark.django_db
def test_a_broken_broker_is_logged_once_and_left_alone_for_a_while(
    sender: FakeSender, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_worker()
    queue = make_queue()
    now = timezone.now()
    sender.broken = True
    with caplog.at_level(logging.WARNING, dispatch.logger.name):
        for minutes in range(5):
            assert not dispatch.nudge(queue, now=now + timedelta(minutes=minutes))
        assert sender.tries == 1
        monkeypatch.setattr(dispatch, "BROKER_PAUSE_S", 0)
        assert not dispatch.nudge(queue, now=now + timedelta(minutes=10))
        assert len(caplog.records) == 1
        sender.broken = False
        assert dispatch.nudge(queue, now=now + timedelta(minutes=20))
    assert [record.getMessage()[:10] for record in caplog.records] == ["The broker"] * 2
    assert "again" in caplog.records[1].getMessage()


def test_a_worker_consumes_from_its_queues_or_from_the_common_one() -> None:
    assert dispatch.celery_queues([]) == ("runsite-all",)
    assert dispatch.celery_queues(["gpu", "big"]) == ("runsite.gpu", "runsite.big")


def test_celery_knows_the_task_that_nudges() -> None:
    import runs.tasks

    assert runs.tasks.nudge.name == dispatch.TASK
