"""Deleting runs while others begin to wait for them."""

from __future__ import annotations

import threading

import pytest
from django.db import connection, transaction

from runs.actions.actors import product
from runs.actions.run_waits import lock_awaited
from runs.actions.runs import delete_run
from runs.models import Run, RunWait
from tests.actions.submitting import end, make_app, submit
from tests.processes import until


@pytest.mark.django_db(transaction=True)
def test_a_run_that_is_named_to_wait_for_in_this_moment_goes_with_that_wait():
    if not connection.features.has_select_for_update:
        pytest.skip("there is one writer at a time")
    app = make_app()
    awaited, waiting = submit(app), submit(app)
    end(awaited)
    errors: list[BaseException] = []
    pids: list[int] = []

    def delete() -> None:
        try:
            connection.ensure_connection()
            pids.append(connection.connection.info.backend_pid)
            delete_run(run=Run.objects.get(pk=awaited.pk), actor=product())
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=delete)
    with transaction.atomic():
        lock_awaited([awaited.pk])
        thread.start()
        until(lambda: pids and _waits_for_a_lock(pids[0]))
        RunWait.objects.create(run=waiting, awaited=awaited, open=False, outcome="succeeded")
    thread.join(60)
    assert errors == []
    assert list(Run.objects.all()) == [waiting]
    assert not RunWait.objects.exists()


def _waits_for_a_lock(pid: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT wait_event_type FROM pg_stat_activity WHERE pid = %s", [pid])
        return cursor.fetchone() == ("Lock",)
