"""Workers: drain and resume."""

from __future__ import annotations

import pytest

from runs.actions.actors import person
from runs.actions.workers import drain_worker, resume_worker
from runs.domain.errors import Conflict, NotAllowed
from runs.models import AuditEvent, Worker
from tests.factories import make_user, make_worker

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin():
    return person(make_user("ann@example.org"), role="admin")


def test_a_worker_is_drained_once_and_resumed_once(admin):
    worker = make_worker()
    assert drain_worker(worker=worker, actor=admin)
    assert not drain_worker(worker=worker, actor=admin)
    worker.refresh_from_db()
    assert worker.drain_wanted
    assert resume_worker(worker=worker, actor=admin)
    assert not resume_worker(worker=worker, actor=admin)
    worker.refresh_from_db()
    assert not worker.drain_wanted
    verbs = AuditEvent.objects.order_by("pk").values_list("verb", flat=True)
    assert list(verbs) == ["drained", "resumed"]


@pytest.mark.parametrize("state", [Worker.LOST, Worker.STOPPED])
def test_a_worker_that_does_not_live_cannot_be_drained(admin, state: str):
    worker = make_worker(state=state)
    with pytest.raises(Conflict, match="not running"):
        drain_worker(worker=worker, actor=admin)
    assert not AuditEvent.objects.exists()


def test_developers_do_not_manage_workers():
    worker = make_worker()
    developer = person(make_user(), role="developer")
    for act in (drain_worker, resume_worker):
        with pytest.raises(NotAllowed):
            act(worker=worker, actor=developer)
    worker.refresh_from_db()
    assert not worker.drain_wanted
