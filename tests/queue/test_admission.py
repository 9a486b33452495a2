"""A run that may not wait is refused, unless it could start now."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from runs.domain.errors import QueueFull
from runs.domain.status import Status
from runs.models import Application, Run
from tests.actions.submitting import make_app, submit
from tests.factories import get_queue, make_attempt, make_run, make_worker

pytestmark = pytest.mark.django_db


@pytest.fixture
def app(db: None) -> Application:
    return make_app()


def assert_refused(app: Application, words: str, **fields: Any) -> None:
    before = Run.objects.count()
    with pytest.raises(QueueFull, match=words) as caught:
        submit(app, queuing_disabled=True, **fields)
    assert caught.value.status == 429
    assert Run.objects.count() == before


def test_without_a_worker_there_is_no_slot(app):
    assert_refused(app, "No worker is running")
    make_worker(queues=["gpu"])
    assert_refused(app, "No worker serves queue `default`")


def test_as_many_start_as_slots_are_free(app):
    make_worker(slots=2)
    for _ in range(2):
        assert submit(app, queuing_disabled=True).status == Status.QUEUED
    assert_refused(app, "All 2 slots are in use")
    assert submit(app).status == Status.QUEUED  # one that may wait


def test_what_runs_takes_its_slots_whatever_the_last_heartbeat_said(app):
    worker = make_worker(slots=2, slots_used=0)
    running = make_run(app, status=Status.RUNNING)
    attempt = make_attempt(running, worker=worker)
    assert submit(app, queuing_disabled=True)
    assert_refused(app, "All 2 slots are in use")
    attempt.ended_at = timezone.now()
    attempt.save(update_fields=["ended_at"])
    assert submit(app, queuing_disabled=True)


def test_a_busy_worker_of_yesterday_is_not_asked(app):
    make_worker(slots=4, state="stopped")
    make_worker(slots=4, drain_wanted=True)
    assert_refused(app, "draining")


def test_what_is_held_takes_no_slot(app):
    make_worker(slots=1)
    first = make_run(make_app(account=app.account), hold=Run.WAITS_FOR_KEY)
    assert first.status == Status.QUEUED
    assert submit(app, queuing_disabled=True)


def test_a_pause_and_a_limit_keep_it(app):
    make_worker(slots=8)
    queue = get_queue(app.account)
    queue.running_limit = 1
    queue.save(update_fields=["running_limit"])
    assert submit(app, queuing_disabled=True)
    assert_refused(app, "As many runs as may run at once go first")
    queue.running_limit, queue.paused_at = None, timezone.now()
    queue.save(update_fields=["running_limit", "paused_at"])
    assert_refused(app, "`default` is paused")


def test_the_limit_of_the_application_keeps_it(app):
    make_worker(slots=8)
    app.running_limit = 1
    app.save(update_fields=["running_limit"])
    make_run(app, status=Status.RUNNING)
    assert_refused(app, "1 of 1 runs of")


def test_a_run_of_several_slots_needs_them_on_one_worker(app):
    make_worker(slots=2)
    make_worker(slots=2)
    app.slots = 3
    app.save(update_fields=["slots"])
    assert_refused(app, "the largest worker has 2")
    app.slots = 2
    app.save(update_fields=["slots"])
    assert submit(app, queuing_disabled=True)


def test_a_run_that_waits_for_others_waits(app):
    make_worker(slots=4)
    first = submit(app)
    assert_refused(app, "Waits for run", waits_for=[first])


@pytest.mark.django_db(transaction=True)
def test_of_many_at_once_only_one_gets_the_slot():
    app = make_app()
    get_queue(app.account)
    make_worker(slots=1)
    submit(app).delete()  # the lane is there
    results: list[str] = []
    barrier = threading.Barrier(4)

    def send() -> None:
        try:
            barrier.wait(30)
            submit(app, queuing_disabled=True)
            results.append("accepted")
        except QueueFull:
            results.append("refused")
        finally:
            connection.close()

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(results) == ["accepted", "refused", "refused", "refused"]
