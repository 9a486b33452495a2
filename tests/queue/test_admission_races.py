"""Of runs that may not wait only as many are let in as can start, whoever else comes."""

from __future__ import annotations

import contextlib
import threading

import pytest
from django.db import connection

from runs.domain.errors import QueueFull
from runs.models import EnvironmentBuild, Executable, Lane
from runs.queue import admission
from tests.actions.submitting import make_app, submit
from tests.factories import get_queue, make_build, make_environment, make_queue, make_worker

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_slot_of_a_host_without_the_environment_is_of_no_use():
    app = make_app()
    environment = make_environment()
    make_build(environment, host="a", state=EnvironmentBuild.READY)
    Executable.objects.filter(application=app).update(environment=environment)
    app.refresh_from_db()
    make_worker(slots=1, host="a")
    make_worker(slots=1, host="b")
    assert submit(app, queuing_disabled=True)
    with pytest.raises(QueueFull):
        submit(app, queuing_disabled=True)


def test_one_of_a_higher_priority_takes_no_slot_that_was_promised():
    app = make_app()
    make_worker(slots=1)
    assert submit(app, queuing_disabled=True, priority=6)
    with pytest.raises(QueueFull):
        submit(app, queuing_disabled=True, priority=1)


def test_of_two_queues_at_once_only_one_gets_the_slot(monkeypatch):
    """A worker serves several queues: who looks at one has to wait for who looks at another."""
    app = make_app()
    names = ["default", "gpu"]
    queues = [get_queue(app.account), make_queue(app.account, name="gpu")]
    for queue in queues:
        Lane.objects.create(queue=queue, application=app, slots=1)
    make_worker(slots=1)
    results: list[str] = []
    met = threading.Barrier(2)
    refuse = admission.refuse_to_wait

    def together(run, *, now):
        refuse(run, now=now)
        with contextlib.suppress(threading.BrokenBarrierError):  # when the other one waits for us
            met.wait(3)  # both have looked, and neither has committed

    monkeypatch.setattr("runs.actions.runs.refuse_to_wait", together)

    def send(name: str) -> None:
        try:
            submit(app, queuing_disabled=True, execution_class=name)
            results.append("accepted")
        except QueueFull:
            results.append("refused")
        finally:
            connection.close()

    threads = [threading.Thread(target=send, args=[name]) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(results) == ["accepted", "refused"]
