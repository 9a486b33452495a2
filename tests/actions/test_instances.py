"""Instances: checked values, no lost changes, locks, and history that stays."""

from __future__ import annotations

import pytest

from runs.actions.actors import Actor, product
from runs.actions.instances import (
    InstanceValues,
    create_instance,
    delete_instance,
    lock_instance,
    set_default_instance,
    update_instance,
)
from runs.domain.errors import Conflict, FieldsInvalid, NotAllowed, NotFound, OptionsInvalid
from runs.domain.manifest import manifest_to_json, parse_manifest
from runs.domain.status import Status
from runs.models import Application, Instance
from tests.factories import (
    make_application,
    make_executable,
    make_queue,
    make_run,
    make_version,
)

pytestmark = pytest.mark.django_db
ROOT = product()
MANIFEST = """\
files: [main.py]
configuration:
  options:
    strict: true
    items:
      - {name: seconds, option_type: int, additional_attributes: {min: 1, max: 9}}
      - {name: needed, option_type: string, required: true}
"""


@pytest.fixture
def application() -> Application:
    application = make_application()
    make_executable(application, manifest=manifest_to_json(parse_manifest(MANIFEST)))
    return application


def make(application: Application, **values) -> Instance:
    return create_instance(
        application=application, instance_id="i", values=InstanceValues(**values), actor=ROOT
    )


def test_an_instance_keeps_its_values(application: Application):
    make_queue(application.account, name="gpu")
    version = make_version(application.executable)
    instance = make(
        application,
        name="Fast",
        version=version,
        options={"seconds": 3},
        execution_class="gpu",
        priority=2,
        time_limit_s=60,
    )
    instance.refresh_from_db()
    assert (instance.options, instance.execution_class) == ({"seconds": 3}, "gpu")
    assert (instance.version, instance.priority, instance.time_limit_s) == (version, 2, 60)


def test_the_default_queue_is_written_as_none(application: Application):
    assert make(application, execution_class="default").execution_class == ""


def test_options_must_fit_and_required_ones_are_left_to_the_run(application: Application):
    for options in ({"seconds": 99}, {"seconds": "x"}, {"unknown": 1}):
        with pytest.raises(OptionsInvalid) as caught:
            make(application, options=options)
        assert list(caught.value.errors) == list(options)
    make(application, options={"seconds": 1})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("execution_class", "nowhere"),
        ("priority", 0),
        ("priority", 10),
        ("time_limit_s", 0),
        ("time_limit_s", 10**9),
        ("content_format", "xml"),
        ("name", "x" * 201),
    ],
)
def test_fields_are_checked(field: str, value: object, application: Application):
    with pytest.raises(FieldsInvalid) as caught:
        make(application, **{field: value})
    assert list(caught.value.errors) == [field]


def test_versions_of_others_and_taken_ids_are_refused(application: Application):
    with pytest.raises(FieldsInvalid, match="another application"):
        make(application, version=make_version())
    make(application)
    with pytest.raises(FieldsInvalid, match="already"):
        make(application)


def test_of_two_who_change_the_same_the_second_is_told(application: Application):
    instance = make(application)
    seen_at = instance.updated_at
    update_instance(
        instance=instance, values=InstanceValues(name="One"), seen_at=seen_at, actor=ROOT
    )
    with pytest.raises(Conflict, match="somebody else"):
        update_instance(
            instance=instance, values=InstanceValues(name="Two"), seen_at=seen_at, actor=ROOT
        )
    instance.refresh_from_db()
    assert instance.name == "One"


def test_a_locked_instance_is_neither_changed_nor_deleted(application: Application):
    instance = make(application, name="Day")
    assert lock_instance(instance=instance, locked=True, actor=ROOT)
    assert not lock_instance(instance=instance, locked=True, actor=ROOT)
    with pytest.raises(Conflict, match="is locked"):
        update_instance(
            instance=instance,
            values=InstanceValues(),
            seen_at=instance.updated_at,
            actor=ROOT,
        )
    # What changes nothing: the client sends it before it unlocks.
    update_instance(instance=instance, values=InstanceValues(name="Day"), seen_at=None, actor=ROOT)
    with pytest.raises(Conflict, match="is locked"):
        delete_instance(instance=instance, actor=ROOT)
    assert lock_instance(instance=instance, locked=False, actor=ROOT)
    delete_instance(instance=instance, actor=ROOT)


def test_an_instance_with_open_runs_stays(application: Application):
    instance = make(application)
    make_run(application, status=Status.RUNNING, instance=instance)
    with pytest.raises(Conflict, match="have not ended"):
        delete_instance(instance=instance, actor=ROOT)
    assert Instance.objects.get() == instance


def test_ended_runs_keep_the_id_of_a_deleted_instance(application: Application):
    instance = make(application)
    run = make_run(application, status=Status.FAILED, instance=instance)
    delete_instance(instance=instance, actor=ROOT)
    run.refresh_from_db()
    assert (run.instance, run.former_instance_id) == (None, instance.instance_id)
    with pytest.raises(NotFound):
        delete_instance(instance=Instance(pk=0, instance_id="gone"), actor=ROOT)


def test_nobody_else_is_called_latest(application: Application):
    with pytest.raises(FieldsInvalid, match="there already"):
        create_instance(
            application=application, instance_id="latest", values=InstanceValues(), actor=ROOT
        )


def test_a_form_checks_options_and_a_program_only_as_the_manifest_asks(application: Application):
    manifest = application.executable.manifest
    manifest["options"]["strict"] = False
    application.executable.save()
    values = InstanceValues(options={"never-declared": "1", "seconds": "soon"})
    with pytest.raises(OptionsInvalid):
        create_instance(application=application, instance_id="a", values=values, actor=ROOT)
    made = create_instance(
        application=application, instance_id="a", values=values, actor=ROOT, enforce=False
    )
    assert made.options == values.options
    for block in ({"strict": True}, {"enforce": "all"}):
        manifest["options"] |= {"strict": False, "enforce": "none", **block}
        application.executable.save()
        with pytest.raises(OptionsInvalid):
            create_instance(
                application=application, instance_id="b", values=values, actor=ROOT, enforce=False
            )


def test_the_default_instance_is_one_of_the_application(application: Application):
    instance = make(application)
    set_default_instance(application=application, instance=instance, actor=ROOT)
    application.refresh_from_db()
    assert application.default_instance == instance
    with pytest.raises(FieldsInvalid):
        set_default_instance(application=make_application(), instance=instance, actor=ROOT)
    set_default_instance(application=application, instance=None, actor=ROOT)
    application.refresh_from_db()
    assert application.default_instance is None


def test_operators_change_nothing(application: Application):
    instance = make(application)
    actor = Actor(user=None, key=None, role="operator", name="op")
    for call in (
        lambda: lock_instance(instance=instance, locked=True, actor=actor),
        lambda: delete_instance(instance=instance, actor=actor),
        lambda: set_default_instance(application=application, instance=instance, actor=actor),
    ):
        with pytest.raises(NotAllowed):
            call()
