"""Environments: one for each content, asked to be built once, tried again after a failure."""

from __future__ import annotations

import pytest

from runs.actions.actors import Actor, product
from runs.actions.environments import ensure_environment, rebuild_environment
from runs.domain.errors import Conflict, NotAllowed
from runs.models import AuditEvent, Environment, EnvironmentBuild
from tests.factories import make_account

pytestmark = pytest.mark.django_db
ROOT = product()


def test_equal_requirements_share_an_environment_and_its_request():
    first = ensure_environment(requirements=["numpy", "scipy"], python_version="3.11")
    second = ensure_environment(requirements=["scipy", "numpy"], python_version="3.11")
    assert first == second
    assert [(build.host, build.state) for build in first.builds.all()] == [("", "waiting")]


def test_another_python_or_package_is_another_environment():
    ensure_environment(requirements=["numpy"], python_version="3.11")
    ensure_environment(requirements=["numpy"], python_version="3.12")
    ensure_environment(requirements=[])
    assert Environment.objects.count() == 3


def test_what_a_host_has_begun_is_not_asked_for_again():
    environment = ensure_environment(requirements=[])
    environment.builds.update(host="h1", state=EnvironmentBuild.READY)
    ensure_environment(requirements=[])
    assert environment.builds.count() == 1


def test_only_failed_builds_are_tried_again():
    environment = ensure_environment(requirements=[])
    environment.builds.update(host="h1", state=EnvironmentBuild.READY)
    EnvironmentBuild.objects.create(
        environment=environment, host="h2", state=EnvironmentBuild.FAILED, error="no index"
    )
    account = make_account()
    assert rebuild_environment(environment=environment, account=account, actor=ROOT) == 1
    states = dict(environment.builds.values_list("host", "state"))
    assert states == {"h1": "ready", "h2": "waiting"}
    assert AuditEvent.objects.get().verb == "rebuilt"
    with pytest.raises(Conflict):
        rebuild_environment(environment=environment, account=account, actor=ROOT)


def test_an_environment_without_any_build_is_asked_for():
    environment = ensure_environment(requirements=[])
    environment.builds.all().delete()
    assert rebuild_environment(environment=environment, account=make_account(), actor=ROOT) == 1
    assert environment.builds.get().state == EnvironmentBuild.WAITING


def test_operators_build_nothing():
    environment = ensure_environment(requirements=[])
    environment.builds.update(state=EnvironmentBuild.FAILED)
    actor = Actor(user=None, key=None, role="operator", name="op")
    with pytest.raises(NotAllowed):
        rebuild_environment(environment=environment, account=make_account(), actor=actor)
