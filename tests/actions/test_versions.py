"""Versions: they name a build for good, and stay while anything uses them."""

from __future__ import annotations

import pytest
from django.utils import timezone

from runs.actions.actors import Actor, product
from runs.actions.versions import (
    create_version,
    delete_version,
    suggest_version_id,
    update_version,
)
from runs.domain.errors import Conflict, FieldsInvalid, NotAllowed, NotFound
from runs.domain.status import Status
from runs.models import AuditEvent, Version
from tests.factories import (
    make_application,
    make_executable,
    make_instance,
    make_run,
    make_version,
)

pytestmark = pytest.mark.django_db
ROOT = product()


def test_a_version_names_the_executable_in_use_and_keeps_it():
    application = make_application()
    first = make_executable(application)
    version = create_version(application=application, version_id="v1", actor=ROOT)
    make_executable(application)
    version.refresh_from_db()
    assert version.executable == first


def test_an_older_build_can_be_named():
    application = make_application()
    first = make_executable(application)
    make_executable(application)
    version = create_version(
        application=application, version_id="old", executable=first, actor=ROOT
    )
    assert version.executable == first


def test_without_an_executable_there_is_nothing_to_name():
    with pytest.raises(Conflict, match="no executable"):
        create_version(application=make_application(), version_id="v1", actor=ROOT)


def test_builds_of_others_and_taken_or_bad_ids_are_refused():
    application = make_application()
    make_executable(application)
    create_version(application=application, version_id="v1", actor=ROOT)
    with pytest.raises(FieldsInvalid, match="another application"):
        create_version(
            application=application, version_id="v2", executable=make_executable(), actor=ROOT
        )
    for bad in ("v1", "", "a/b"):
        with pytest.raises(FieldsInvalid) as caught:
            create_version(application=application, version_id=bad, actor=ROOT)
        assert list(caught.value.errors) == ["version_id"]


def test_only_the_words_about_a_version_change():
    version = make_version()
    now = timezone.now()
    update_version(version=version, name="Spring", description="words", actor=ROOT, now=now)
    version.refresh_from_db()
    assert (version.name, version.description) == ("Spring", "words")
    assert version.updated_at == now


def test_the_same_words_again_change_nothing():
    version = make_version(name="Spring")
    update_version(version=version, name="Spring ", description="", actor=ROOT)
    version.refresh_from_db()
    assert version.updated_at is None
    assert not AuditEvent.objects.exists()


def test_a_version_that_instances_or_open_runs_use_stays():
    version = make_version()
    instance = make_instance(version.application, version=version)
    with pytest.raises(Conflict, match="is used by"):
        delete_version(version=version, actor=ROOT)
    instance.delete()
    make_run(version.application, status=Status.QUEUED, version=version)
    with pytest.raises(Conflict, match="have not ended"):
        delete_version(version=version, actor=ROOT)
    assert Version.objects.get() == version


def test_ended_runs_keep_the_id_of_a_deleted_version():
    version = make_version(version_id="spring")
    run = make_run(
        version.application,
        status=Status.SUCCEEDED,
        version=version,
        executable=version.executable,
    )
    other = make_run(version.application, status=Status.SUCCEEDED)
    delete_version(version=version, actor=ROOT)
    run.refresh_from_db()
    other.refresh_from_db()
    assert (run.version, run.former_version_id) == (None, "spring")
    assert run.executable == version.executable
    assert other.former_version_id == ""
    with pytest.raises(NotFound):
        delete_version(version=Version(pk=0, version_id="spring"), actor=ROOT)


def test_latest_names_no_version():
    application = make_executable().application
    with pytest.raises(FieldsInvalid, match="newest executable"):
        create_version(application=application, version_id="latest", actor=ROOT)


def test_the_next_id_is_suggested():
    application = make_application()
    executable = make_executable(application)
    assert suggest_version_id(application) == "v1"
    make_version(executable, version_id="v2")
    assert suggest_version_id(application) == "v3"


def test_operators_make_and_delete_nothing():
    version = make_version()
    actor = Actor(user=None, key=None, role="operator", name="op")
    with pytest.raises(NotAllowed):
        create_version(application=version.application, version_id="x", actor=actor)
    with pytest.raises(NotAllowed):
        delete_version(version=version, actor=actor)
