"""Canceling and deleting runs: at once, by request, by whom, and together with a claim."""

from __future__ import annotations

import threading

import pytest
from django.db import connection
from django.utils import timezone

from runs.actions.actors import person, product
from runs.actions.runs import cancel_run, delete_run
from runs.domain.errors import Conflict, NotAllowed
from runs.domain.ids import new_id
from runs.domain.status import Status
from runs.models import AuditEvent, Run, RunEvent
from runs.storage import keys, object_store
from tests.factories import make_run, make_user


@pytest.mark.django_db
def test_a_queued_run_is_canceled_at_once_and_says_by_whom():
    run = make_run()
    actor = person(make_user("dev@example.org"), role="developer")
    assert cancel_run(run=run, actor=actor)
    run.refresh_from_db()
    assert (run.status, run.end_reason) == (Status.CANCELED, "canceled")
    assert run.error == "canceled by dev@example.org"
    assert run.detail == "Canceled by dev@example.org before it started."
    assert run.ended_at is not None
    event = run.events.last()
    assert (event.before, event.after, event.actor) == ("queued", "canceled", "dev@example.org")


@pytest.mark.django_db
def test_a_running_run_is_asked_to_end_once():
    run = make_run(status=Status.RUNNING)
    assert cancel_run(run=run, actor=product())
    run.refresh_from_db()
    assert (run.status, run.cancel_actor) == (Status.RUNNING, "Runsite")
    asked_at = run.cancel_requested_at
    assert asked_at is not None
    assert not cancel_run(run=run, actor=product("somebody else"))
    run.refresh_from_db()
    assert (run.cancel_requested_at, run.cancel_actor) == (asked_at, "Runsite")
    assert run.events.filter(kind=RunEvent.CANCEL_REQUESTED).count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize("status", [Status.SUCCEEDED, Status.FAILED, Status.CANCELED])
def test_a_run_that_has_ended_stays_as_it_is(status: Status):
    run = make_run(status=status)
    assert not cancel_run(run=run, actor=product())
    run.refresh_from_db()
    assert (run.status, run.cancel_requested_at) == (status, None)


@pytest.mark.django_db
def test_operators_cancel_their_own_runs_only():
    mine = make_user()
    run, other = make_run(submitted_by=mine), make_run(submitted_by=make_user())
    actor = person(mine, role="operator")
    assert cancel_run(run=run, actor=actor)
    for foreign in (other, make_run()):
        with pytest.raises(NotAllowed):
            cancel_run(run=foreign, actor=actor)
    with pytest.raises(NotAllowed):
        cancel_run(run=make_run(submitted_by=mine), actor=person(mine, role="viewer"))
    assert cancel_run(run=other, actor=person(make_user(), role="developer"))


@pytest.mark.django_db(transaction=True)
def test_a_cancel_and_a_claim_at_once_leave_one_of_two_states():
    for _ in range(8):
        run = make_run()
        start = threading.Barrier(2)
        results: dict[str, object] = {}

        def claim(run: Run = run, start: threading.Barrier = start, results=results) -> None:
            fresh = Run.objects.get(pk=run.pk)
            start.wait(60)
            results["claimed"] = fresh.move_to(
                Status.RUNNING,
                now=timezone.now(),
                changes={"token": new_id(), "attempt_number": 1, "phase": "preparing"},
            )
            connection.close()

        def cancel(run: Run = run, start: threading.Barrier = start, results=results) -> None:
            start.wait(60)
            results["canceled"] = cancel_run(run=run, actor=product())
            connection.close()

        threads = [threading.Thread(target=target) for target in (claim, cancel)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        run.refresh_from_db()
        assert results["canceled"] is True
        if results["claimed"]:
            assert (run.status, run.cancel_requested_at is None) == (Status.RUNNING, False)
        else:
            assert run.status == Status.CANCELED


@pytest.mark.django_db
def test_a_deleted_run_takes_its_objects_along_and_leaves_a_trace(
    django_capture_on_commit_callbacks,
):
    run = make_run(status=Status.SUCCEEDED)
    key = keys.stdout(run.run_id, 1)
    object_store().put_bytes(key, b"{}")
    kept = keys.stdout(make_run(status=Status.SUCCEEDED).run_id, 1)
    object_store().put_bytes(kept, b"{}")
    with django_capture_on_commit_callbacks(execute=True):
        delete_run(run=run, actor=person(make_user("dev@example.org"), role="developer"))
        assert object_store().exists(key), "a rolled back delete must lose nothing"
    assert not Run.objects.filter(pk=run.pk).exists()
    assert not object_store().exists(key)
    assert object_store().exists(kept)
    trace = AuditEvent.objects.get()
    assert (trace.verb, trace.noun, trace.target) == ("deleted", "run", run.run_id)


@pytest.mark.django_db
def test_a_run_that_has_not_ended_is_not_deleted_nor_by_operators():
    with pytest.raises(Conflict, match="Cancel it first"):
        delete_run(run=make_run(status=Status.RUNNING), actor=product())
    done = make_run(status=Status.FAILED)
    with pytest.raises(NotAllowed):
        delete_run(run=done, actor=person(make_user(), role="operator"))
    assert Run.objects.filter(pk=done.pk).exists()
