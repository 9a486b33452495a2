"""Stopping a run early to keep its result."""

from __future__ import annotations

import pytest

from runs.actions.actors import person, product
from runs.actions.runs import cancel_run, stop_run
from runs.domain.errors import Conflict, NotAllowed
from runs.domain.status import Status
from runs.models import Run, RunEvent
from tests.factories import make_run, make_user

pytestmark = pytest.mark.django_db


def test_a_running_run_is_asked_once_and_says_by_whom():
    run = make_run(status=Status.RUNNING)
    actor = person(make_user("dev@example.org"), role="developer")
    assert stop_run(run=run, actor=actor)
    assert not stop_run(run=run, actor=product())
    run = Run.objects.get(pk=run.pk)
    assert (run.status, run.stop_actor) == (Status.RUNNING, "dev@example.org")
    assert run.stop_requested_at is not None
    (event,) = run.events.filter(kind=RunEvent.STOP_REQUESTED)
    assert (event.actor, event.attempt_number) == ("dev@example.org", 1)


def test_a_run_that_has_not_started_has_nothing_to_keep():
    run = make_run()
    with pytest.raises(Conflict, match=r"has not started.*Cancel it"):
        stop_run(run=run, actor=product())
    assert Run.objects.get(pk=run.pk).stop_requested_at is None


@pytest.mark.parametrize("status", [Status.SUCCEEDED, Status.FAILED, Status.CANCELED])
def test_a_run_that_has_ended_stays_as_it_is(status: Status):
    assert not stop_run(run=make_run(status=status), actor=product())


def test_a_cancel_goes_before_a_stop_in_either_order():
    run = make_run(status=Status.RUNNING)
    assert stop_run(run=run, actor=product())
    assert cancel_run(run=run, actor=product())
    assert Run.objects.get(pk=run.pk).cancel_requested_at is not None
    other = make_run(status=Status.RUNNING)
    assert cancel_run(run=other, actor=product())
    assert not stop_run(run=other, actor=product())
    assert Run.objects.get(pk=other.pk).stop_requested_at is None


def test_operators_stop_their_own_runs_only():
    mine = make_user()
    actor = person(mine, role="operator")
    assert stop_run(run=make_run(status=Status.RUNNING, submitted_by=mine), actor=actor)
    with pytest.raises(NotAllowed):
        stop_run(run=make_run(status=Status.RUNNING), actor=actor)
