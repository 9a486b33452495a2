"""What breaks while a run is submitted never makes a second one of a repeated request."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError, transaction

from runs.actions.accounts import create_api_key
from runs.actions.actors import Actor, key_holder, product
from runs.actions.runs import submit_run
from runs.actions.submissions import digest_of, submit_once
from runs.actions.tracked_runs import TrackedResult, record_run
from runs.domain.errors import Conflict
from runs.models import Application, Executable, Run, Submission
from runs.storage import object_store
from tests.actions.submitting import make_app

pytestmark = pytest.mark.django_db(transaction=True)
START = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
SAME = digest_of("/v1/applications/a/runs", "", b"{}")


@pytest.fixture
def app() -> Application:
    return make_app()


@pytest.fixture
def actor(app: Application) -> Actor:
    key, _ = create_api_key(
        account=app.account, name="k", role="developer", actor=product(), now=START
    )
    return key_holder(key)


def send(app: Application, actor: Actor, act: Any = None, *, now: datetime = START) -> Run:
    def submit(note: Any) -> Run:
        with transaction.atomic():
            run = submit_run(account=app.account, application=app, actor=actor)
            note(run)
        if act is not None:
            act()
        return run

    return submit_once(
        account=app.account,
        actor=actor,
        digest=SAME,
        key="once",
        submit=submit,
        clock=lambda: now,
        wait=lambda seconds: None,
    )


def test_a_run_that_was_written_is_not_forgotten_when_something_fails_after_it(app, actor):
    def fails() -> None:
        raise OperationalError("The connection is closed.")

    with pytest.raises(OperationalError):
        send(app, actor, fails)
    run = Run.objects.get()
    assert send(app, actor) == run
    assert Run.objects.count() == 1


def test_runs_that_cannot_be_let_go_after_a_submit_do_not_refuse_it(app, actor, monkeypatch):
    """Whoever checks the executable finds them later."""
    Executable.objects.filter(application=app).update(state=Executable.WAITING)
    app.refresh_from_db()

    def fails(*_: Any, **__: Any) -> int:
        raise OperationalError("The connection is closed.")

    monkeypatch.setattr("runs.actions.runs.release_held", fails)
    run = send(app, actor)
    assert Run.objects.get() == run
    assert run.hold == Run.WAITS_FOR_EXECUTABLE


def test_a_request_that_was_given_up_makes_no_run_after_its_key_was_taken_over(app, actor):
    """One that takes longer than 5 minutes counts as gone: a repetition makes the run then."""
    later = START + timedelta(minutes=5, seconds=1)
    made: list[Run] = []

    def slow(note: Any) -> Run:
        made.append(send(app, actor, now=later))
        with transaction.atomic():
            run = submit_run(account=app.account, application=app, actor=actor)
            note(run)
        return run

    with pytest.raises(Conflict, match="another request"):
        submit_once(
            account=app.account,
            actor=actor,
            digest=SAME,
            key="once",
            submit=slow,
            clock=lambda: START,
            wait=lambda seconds: None,
        )
    assert list(Run.objects.all()) == made
    assert Submission.objects.get().run == made[0]


def test_a_run_of_elsewhere_is_recorded_with_its_request_or_not_at_all(
    app, actor, settings, tmp_path
):
    """A process that is killed between the two would leave a run that a repetition doubles."""
    settings.RUNSITE_DATA_DIR = tmp_path

    def fails(run: Run) -> None:
        assert Run.objects.filter(pk=run.pk).exists()
        raise OperationalError("The connection is closed.")

    with pytest.raises(OperationalError):
        record_run(
            account=app.account,
            application=app,
            actor=actor,
            status="succeeded",
            result=TrackedResult(output=b"{}"),
            input_format="json",
            output_format="json",
            note=fails,
        )
    assert not Run.objects.exists()
    assert list(object_store().list("runs/")) == []
