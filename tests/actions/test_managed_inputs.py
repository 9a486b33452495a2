"""Managed inputs: names for stored inputs of an application."""

from __future__ import annotations

import pytest

from runs.actions.actors import Actor, product
from runs.actions.managed_inputs import (
    create_managed_input,
    delete_managed_input,
    keep_input_of_run,
    update_managed_input,
)
from runs.domain.errors import FieldsInvalid, InputRejected, NotAllowed
from runs.domain.status import Status
from runs.models import Application, InputData, ManagedInput
from tests.factories import make_application, make_executable, make_input, make_run

pytestmark = pytest.mark.django_db
ROOT = product()


@pytest.fixture
def application() -> Application:
    return make_executable(make_application()).application


def test_an_input_gets_a_name_once(application: Application):
    data = make_input(application.account)
    managed = create_managed_input(
        application=application, input_id="small", name="Small", input_data=data, actor=ROOT
    )
    assert (str(managed), managed.input_data) == ("Small", data)
    with pytest.raises(FieldsInvalid, match="already"):
        create_managed_input(application=application, input_id="small", input_data=data, actor=ROOT)


def test_inputs_of_the_wrong_kind_and_of_others_are_refused(application: Application):
    folder = make_input(application.account, content_format="multi-file")
    for data in (folder, make_input()):
        with pytest.raises(InputRejected):
            create_managed_input(application=application, input_id="a", input_data=data, actor=ROOT)
    assert not ManagedInput.objects.exists()


def test_the_input_of_a_run_is_kept_under_a_name(application: Application):
    data = make_input(application.account)
    run = make_run(application, status=Status.SUCCEEDED, input_data=data)
    managed = keep_input_of_run(application=application, run=run, input_id="kept", actor=ROOT)
    assert managed.input_data == data
    without = make_run(application, status=Status.SUCCEEDED)
    foreign = make_run(status=Status.SUCCEEDED, input_data=data)
    for bad in (without, foreign):
        with pytest.raises(InputRejected):
            keep_input_of_run(application=application, run=bad, input_id="x", actor=ROOT)


def test_a_program_may_keep_an_input_of_any_kind(application: Application):
    folder = make_input(application.account, content_format="multi-file")
    managed = create_managed_input(
        application=application,
        input_id="a",
        input_data=folder,
        output_format="json",
        from_upload="u1",
        any_kind=True,
        actor=ROOT,
    )
    assert (managed.output_format, managed.from_upload, managed.from_run) == ("json", "u1", "")
    with pytest.raises(FieldsInvalid, match="Choose one of"):
        create_managed_input(
            application=application,
            input_id="b",
            input_data=folder,
            output_format="pdf",
            any_kind=True,
            actor=ROOT,
        )


def test_only_the_words_about_an_input_change(application: Application):
    data = make_input(application.account)
    managed = create_managed_input(
        application=application, input_id="a", name="One", input_data=data, actor=ROOT
    )
    before = managed.updated_at
    update_managed_input(managed_input=managed, name="One ", actor=ROOT)
    assert managed.updated_at == before
    update_managed_input(managed_input=managed, description="words", actor=ROOT)
    managed.refresh_from_db()
    assert (managed.name, managed.description, managed.input_data) == ("One", "words", data)
    assert managed.updated_at > before
    with pytest.raises(FieldsInvalid, match="200 characters"):
        update_managed_input(managed_input=managed, name="x" * 201, actor=ROOT)
    with pytest.raises(NotAllowed):
        update_managed_input(
            managed_input=managed,
            actor=Actor(user=None, key=None, role="operator", name="op"),
            name="Two",
        )


def test_deleting_the_name_keeps_the_input_of_runs(application: Application):
    data = make_input(application.account)
    managed = create_managed_input(
        application=application, input_id="a", input_data=data, actor=ROOT
    )
    run = make_run(application, status=Status.SUCCEEDED, input_data=data, managed_input=managed)
    delete_managed_input(managed_input=managed, actor=ROOT)
    run.refresh_from_db()
    assert (run.managed_input, run.input_data) == (None, data)
    assert InputData.objects.filter(pk=data.pk).exists()


def test_operators_keep_nothing(application: Application):
    actor = Actor(user=None, key=None, role="operator", name="op")
    with pytest.raises(NotAllowed):
        create_managed_input(
            application=application,
            input_id="a",
            input_data=make_input(application.account),
            actor=actor,
        )
