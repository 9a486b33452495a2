"""Environments that runs wait for are built; what a former boot began is built again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runs.execution import dependencies
from runs.models import Environment, EnvironmentBuild
from runs.worker.builder import Builder
from runs.worker.places import Places
from tests.factories import make_application, make_build, make_environment, make_run
from tests.processes import until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys of the environments that were built; nothing is installed."""
    keys: list[str] = []

    def build(target: Path, **words: Any) -> None:
        keys.append(target.name)
        if words["requirements"] == ("missing",):
            raise dependencies.BuildFailed("There is no package `missing`.", tail="")

    monkeypatch.setattr(dependencies, "build_environment", build)
    return keys


@pytest.fixture
def places(data_dir: Path, settings: Any) -> Places:
    settings.RUNSITE_DATA_DIR = data_dir
    places = Places(data_dir, "w1")
    places.make()
    return places


@pytest.fixture
def builder(places: Places, built: list[str]) -> Iterator[Builder]:
    builder = Builder(places, worker_name="w1", boot_id="new")
    yield builder
    builder.stop()


def _state(environment: Environment, host: str) -> str:
    build = EnvironmentBuild.objects.filter(environment=environment, host=host).first()
    return build.state if build else ""


def test_what_a_waiting_run_needs_is_built_here(
    builder: Builder, places: Places, built: list[str]
) -> None:
    environment = make_environment()
    make_run(make_application(), environment=environment)
    builder.start()
    until(lambda: _state(environment, places.host) == EnvironmentBuild.READY)
    assert built == [environment.key]


def test_a_build_that_waits_is_built_and_a_failure_is_said(
    builder: Builder, places: Places
) -> None:
    environment = make_environment(requirements=["missing"])
    make_build(environment, host=places.host, state=EnvironmentBuild.WAITING)
    elsewhere = make_build(host="elsewhere", state=EnvironmentBuild.WAITING)
    builder.start()
    until(lambda: _state(environment, places.host) == EnvironmentBuild.FAILED)
    assert "no package `missing`" in EnvironmentBuild.objects.get(environment=environment).error
    elsewhere.refresh_from_db()
    assert elsewhere.state == EnvironmentBuild.WAITING


def test_what_a_former_boot_of_the_worker_began_is_built_again(
    builder: Builder, places: Places, built: list[str]
) -> None:
    builds = {
        name: make_build(
            host=places.host,
            state=EnvironmentBuild.BUILDING,
            worker_name=name,
            boot_id="former",
        )
        for name in ("w1", "w2")
    }
    builder.start()
    until(lambda: _state(builds["w1"].environment, places.host) == EnvironmentBuild.READY)
    assert built == [builds["w1"].environment.key]
    builds["w2"].refresh_from_db()  # that of a living neighbour is its own
    assert builds["w2"].state == EnvironmentBuild.BUILDING


def test_nothing_is_built_on_a_full_disk_and_everything_when_there_is_space_again(
    builder: Builder, places: Places, built: list[str], settings: Any
) -> None:
    """A build that fails for the disk would fail all runs that need it, also later."""
    build = make_build(host=places.host, state=EnvironmentBuild.WAITING)
    settings.RUNSITE_FREE_SPACE = 2**60
    assert builder._next() is None
    build.refresh_from_db()
    assert build.state == EnvironmentBuild.WAITING
    settings.RUNSITE_FREE_SPACE = 0
    builder.start()
    until(lambda: _state(build.environment, places.host) == EnvironmentBuild.READY)
    assert built == [build.environment.key]
