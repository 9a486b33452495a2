"""The worker's disk: what is used stays, what nobody used for long goes whole."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from runs.models import EnvironmentBuild
from runs.worker.places import Places
from runs.worker.upkeep import (
    COMPLETE,
    Upkeep,
    in_use,
    remove_unused,
    remove_unused_environments,
    touch,
)
from tests.factories import make_build, make_environment


@pytest.fixture
def places(data_dir: Path) -> Places:
    found = Places(data_dir, "w1")
    found.make()
    return found


def _at_once(look: Callable[[], bool]) -> None:
    assert look()


def _make(folder: Path, *, unused: bool) -> Path:
    (folder / "files").mkdir(parents=True)
    (folder / COMPLETE).write_text(json.dumps({"python_version": "3", "packages": []}))
    touch(folder)
    if unused:
        os.utime(folder.parent / f".{folder.name}.used", (0, 0))
    return folder


def test_what_was_not_used_for_long_goes(places: Places) -> None:
    old = _make(places.executables / "old", unused=True)
    young = _make(places.executables / "young", unused=False)
    assert remove_unused(places.executables, older_than_s=3600) == 1
    assert not old.exists()
    assert (young / COMPLETE).exists()


def test_what_is_in_use_stays_whole(places: Places) -> None:
    old = _make(places.executables / "old", unused=True)
    with in_use(old, exclusive=False, wait=_at_once):
        assert remove_unused(places.executables, older_than_s=3600) == 0
        assert (old / COMPLETE).exists()
    assert remove_unused(places.executables, older_than_s=3600) == 1


def test_two_runs_may_use_a_folder_and_nobody_may_make_it_meanwhile(places: Places) -> None:
    folder = _make(places.executables / "one", unused=False)
    looks: list[bool] = []
    with ExitStack() as stack:
        stack.enter_context(in_use(folder, exclusive=False, wait=_at_once))
        stack.enter_context(in_use(folder, exclusive=False, wait=_at_once))
        with in_use(folder, exclusive=True, wait=lambda look: looks.append(look())):
            pass
    assert looks == [False]


@pytest.mark.django_db
def test_an_unused_environment_goes_with_its_build(places: Places) -> None:
    environment = make_environment()
    make_build(environment, host=places.host)
    make_build(environment, host="elsewhere")
    folder = _make(places.environments / environment.key, unused=True)
    assert remove_unused_environments(places, older_than_s=3600) == 1
    assert not folder.exists()
    assert EnvironmentBuild.objects.get().host == "elsewhere"


@pytest.mark.django_db
def test_an_environment_that_a_run_uses_stays_with_its_build(places: Places) -> None:
    environment = make_environment()
    make_build(environment, host=places.host)
    folder = _make(places.environments / environment.key, unused=True)
    with in_use(folder, exclusive=False, wait=_at_once):
        assert remove_unused_environments(places, older_than_s=3600) == 0
    assert (folder / COMPLETE).exists()
    assert EnvironmentBuild.objects.get().state == EnvironmentBuild.READY


def test_a_boot_clears_the_workspaces_of_this_worker_only(places: Places) -> None:
    other = Places(places.data_dir, "w1-2")
    other.make()
    left = places.workspace("run", 1) / "locked"
    left.mkdir(parents=True)
    (left / "file").touch()
    left.chmod(0)
    kept = other.workspace("run", 2)
    kept.mkdir()
    Upkeep(places).clear_workspaces()
    assert list(places.runs.iterdir()) == []
    assert kept.exists()
