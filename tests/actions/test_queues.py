"""Queues: pause, resume, limits, new ones."""

from __future__ import annotations

import pytest

from runs.actions.actors import person
from runs.actions.queues import (
    create_queue,
    move_run_first,
    pause_queue,
    resume_queue,
    set_running_limit,
)
from runs.domain.errors import FieldsInvalid, NotAllowed
from runs.domain.status import Status
from runs.models import AuditEvent, Queue, RunEvent
from tests.factories import make_account, make_queue, make_run, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def dev():
    return person(make_user("dev@example.org"), role="developer")


@pytest.fixture
def operator():
    return person(make_user("operator@example.org"), role="operator")


def test_a_queue_is_paused_once_and_by_somebody(dev):
    queue = make_queue()
    assert pause_queue(queue=queue, actor=dev)
    queue.refresh_from_db()
    assert queue.paused_by == "dev@example.org"
    paused_at = queue.paused_at
    assert not pause_queue(queue=queue, actor=dev)
    queue.refresh_from_db()
    assert queue.paused_at == paused_at
    assert AuditEvent.objects.filter(verb="paused").count() == 1


def test_a_queue_goes_on_once(dev):
    queue = make_queue()
    assert not resume_queue(queue=queue, actor=dev)
    pause_queue(queue=queue, actor=dev)
    assert resume_queue(queue=queue, actor=dev)
    queue.refresh_from_db()
    assert (queue.paused_at, queue.paused_by) == (None, "")


def test_a_limit_is_changed_and_written_down(dev):
    queue = make_queue()
    assert set_running_limit(queue=queue, limit=2, actor=dev)
    assert not set_running_limit(queue=queue, limit=2, actor=dev)
    assert set_running_limit(queue=queue, limit=None, actor=dev)
    details = AuditEvent.objects.order_by("pk").values_list("detail", flat=True)
    assert list(details) == ["no limit → 2", "2 → no limit"]


@pytest.mark.parametrize("limit", [0, -1, 100_001])
def test_a_limit_out_of_bounds_is_refused(dev, limit: int):
    queue = make_queue()
    with pytest.raises(FieldsInvalid):
        set_running_limit(queue=queue, limit=limit, actor=dev)


@pytest.mark.parametrize("name", ["", "a b", "../x", "x" * 65, "é", "a/b", ".."])
def test_a_queue_needs_a_usable_name(dev, name: str):
    with pytest.raises(FieldsInvalid):
        create_queue(account=make_account(), name=name, actor=dev)


def test_a_name_is_taken_once_in_an_account(dev):
    account = make_account()
    queue = create_queue(account=account, name=" gpu ", running_limit=1, actor=dev)
    assert (queue.name, queue.running_limit) == ("gpu", 1)
    with pytest.raises(FieldsInvalid, match="already"):
        create_queue(account=account, name="gpu", actor=dev)
    create_queue(account=make_account(), name="gpu", actor=dev)
    assert AuditEvent.objects.filter(verb="created", noun="queue").count() == 2


def test_operators_change_no_queue(operator):
    queue = make_queue()
    for act in (
        lambda: pause_queue(queue=queue, actor=operator),
        lambda: resume_queue(queue=queue, actor=operator),
        lambda: set_running_limit(queue=queue, limit=1, actor=operator),
        lambda: create_queue(account=queue.account, name="x", actor=operator),
        lambda: move_run_first(run=make_run(), actor=operator),
    ):
        with pytest.raises(NotAllowed):
            act()
    assert Queue.objects.filter(paused_at__isnull=True, running_limit__isnull=True).count() == 2
    assert not AuditEvent.objects.exists()


def test_a_run_is_moved_first_while_it_waits(dev):
    waiting, running = make_run(), make_run(status=Status.RUNNING)
    assert move_run_first(run=waiting, actor=dev)
    assert not move_run_first(run=running, actor=dev)
    waiting.refresh_from_db()
    assert waiting.priority == 1
    assert RunEvent.objects.get(run=waiting, kind="noted").text == "Priority 6 → 1"
