"""Applications: made, changed, archived; deleted with their runs only when that is asked for."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from runs.actions import applications
from runs.actions.actors import Actor, product
from runs.actions.application_figures import application_figures
from runs.actions.applications import (
    archive_application,
    create_application,
    delete_application,
    pin_application,
    restore_application,
    update_application,
)
from runs.actions.executables import add_executable
from runs.actions.instances import InstanceValues, create_instance, set_default_instance
from runs.actions.tickets import new_upload
from runs.actions.versions import create_version
from runs.domain.errors import Conflict, FieldsInvalid, NotAllowed
from runs.domain.status import Status
from runs.models import Application, AuditEvent, Executable, Instance, Run, Version
from runs.storage import keys, object_store
from tests.actions.applying import app_files, zip_file
from tests.factories import make_account, make_application, make_run

pytestmark = pytest.mark.django_db
ROOT = product()
OPERATOR = Actor(user=None, key=None, role="operator", name="op")


@pytest.fixture(autouse=True)
def own_store(settings, data_dir: Path) -> Path:
    settings.RUNSITE_DATA_DIR = data_dir
    return data_dir


def test_an_application_is_made_and_recorded():
    account = make_account()
    application = create_application(account=account, application_id="a.b-C_1", actor=ROOT)
    assert (application.name, application.executable) == ("a.b-C_1", None)
    event = AuditEvent.objects.get()
    assert (event.verb, event.noun, event.target) == ("created", "application", "a.b-C_1")


@pytest.mark.parametrize("bad", ["", "a b", "..", "a..b", "a/b", "ä", "x" * 129, "new"])
def test_an_id_that_is_none_is_refused(bad: str):
    with pytest.raises(FieldsInvalid) as caught:
        create_application(account=make_account(), application_id=bad, actor=ROOT)
    assert list(caught.value.errors) == ["application_id"]
    assert not Application.objects.exists()


def test_an_id_is_taken_once_in_an_account():
    account = make_account()
    create_application(account=account, application_id="a", actor=ROOT)
    with pytest.raises(FieldsInvalid, match="already"):
        create_application(account=account, application_id="a", actor=ROOT)
    create_application(account=make_account(), application_id="a", actor=ROOT)


def test_who_may_not_manage_changes_nothing():
    application = make_application()
    for call in (
        lambda: create_application(account=application.account, application_id="x", actor=OPERATOR),
        lambda: update_application(application=application, name="x", actor=OPERATOR),
        lambda: pin_application(application=application, pinned=True, actor=OPERATOR),
        lambda: archive_application(application=application, actor=OPERATOR),
        lambda: restore_application(application=application, actor=OPERATOR),
        lambda: delete_application(application=application, actor=OPERATOR),
    ):
        with pytest.raises(NotAllowed):
            call()
    assert Application.objects.get() == application


def test_settings_are_changed_together_or_not_at_all():
    application = make_application()
    with pytest.raises(FieldsInvalid) as caught:
        update_application(
            application=application, name=" ", running_limit=0, time_limit_s=0, actor=ROOT
        )
    assert set(caught.value.errors) == {"name", "running_limit", "time_limit_s"}
    update_application(
        application=application, name="New", running_limit=2, repeatable=False, actor=ROOT
    )
    application.refresh_from_db()
    assert (application.name, application.running_limit) == ("New", 2)
    assert not application.repeatable
    assert "name, running_limit" in AuditEvent.objects.get().detail


def test_archiving_is_undone_and_said_once():
    application = make_application(pinned=True)
    assert archive_application(application=application, actor=ROOT)
    assert not archive_application(application=application, actor=ROOT)
    application.refresh_from_db()
    assert application.archived_at is not None
    assert not application.pinned
    assert restore_application(application=application, actor=ROOT)
    assert not restore_application(application=application, actor=ROOT)


def test_an_application_with_runs_is_not_deleted():
    application = make_application()
    make_run(application, status=Status.SUCCEEDED)
    with pytest.raises(Conflict, match="Archive it instead"):
        delete_application(application=application, actor=ROOT)
    assert Application.objects.exists()


def test_runs_go_with_an_application_when_that_is_asked_for():
    application = make_application()
    run = make_run(application, status=Status.SUCCEEDED)
    make_run(make_application(application.account), status=Status.SUCCEEDED)
    upload = new_upload(account=application.account, actor=ROOT, application=application)
    mine = [keys.run_prefix(run.run_id) + "1/log", keys.upload(upload.upload_id)]
    for key in mine:
        object_store().put(key, io.BytesIO(b"bytes"))
    delete_application(application=application, actor=ROOT, with_runs=True)
    assert Application.objects.count() == Run.objects.count() == 1
    assert not any(object_store().exists(key) for key in mine)
    assert AuditEvent.objects.get(verb="deleted").detail == "runs deleted with it: 1"


def test_open_or_too_many_runs_keep_an_application(monkeypatch: pytest.MonkeyPatch):
    application = make_application()
    make_run(application, status=Status.SUCCEEDED)
    open_run = make_run(application, status=Status.QUEUED)
    with pytest.raises(Conflict, match=f"have not ended, as {open_run.run_id}"):
        delete_application(application=application, actor=ROOT, with_runs=True)
    Run.objects.filter(pk=open_run.pk).delete()
    make_run(application, status=Status.SUCCEEDED)
    monkeypatch.setattr(applications, "MOST_DELETED_RUNS", 1)
    with pytest.raises(Conflict, match="Archive it"):
        delete_application(application=application, actor=ROOT, with_runs=True)
    assert Run.objects.count() == 2


def test_deleting_takes_everything_along(tmp_path: Path):
    application = create_application(account=make_account(), application_id="a", actor=ROOT)
    source = zip_file(tmp_path, app_files())
    executable = add_executable(application=application, source=source, actor=ROOT)
    version = create_version(application=application, version_id="v1", actor=ROOT)
    instance = create_instance(
        application=application,
        instance_id="i",
        values=InstanceValues(version=version),
        actor=ROOT,
    )
    set_default_instance(application=application, instance=instance, actor=ROOT)
    delete_application(application=application, actor=ROOT)
    for model in (Application, Executable, Version, Instance):
        assert not model.objects.exists()
    assert not object_store().exists(executable.archive_key)


def test_figures_are_of_the_newest_runs_of_each_application():
    one = make_application()
    other, idle = make_application(one.account), make_application(one.account)
    for _ in range(55):
        make_run(one, status=Status.FAILED)
    for seconds in (1.0, 3.0, 9.0):
        last = make_run(other, status=Status.SUCCEEDED, execution_s=seconds)
    make_run(other, status=Status.CANCELED)
    figures = application_figures([one, other, idle])
    assert (figures[one.pk].runs, figures[one.pk].success_rate) == (50, 0.0)
    assert (figures[other.pk].success_rate, figures[other.pk].median_s) == (1.0, 3.0)
    assert figures[other.pk].last_status == "canceled"
    assert last.run_id in [run_id for _, run_id, _ in figures[other.pk].outcomes]
    assert idle.pk not in figures


def test_figures_take_two_queries(django_assert_num_queries):
    account = make_account()
    applications = [make_application(account) for _ in range(30)]
    for application in applications:
        make_run(application, status=Status.SUCCEEDED)
    with django_assert_num_queries(2):
        assert len(application_figures(applications)) == 30
