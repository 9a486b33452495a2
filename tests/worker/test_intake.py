"""Pushed executables are checked one by one; what an accident left is checked again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runs.actions import pushes
from runs.actions.actors import Actor, product
from runs.models import Application, Executable, Run
from runs.storage import StorageError, object_store
from runs.worker import intake as intake_module
from runs.worker.intake import Intake
from runs.worker.places import Places
from tests.actions.applying import app_files, tar_bytes
from tests.actions.pushing import Push, activated
from tests.factories import make_application, make_run
from tests.processes import until

pytestmark = pytest.mark.django_db(transaction=True)
DECLARED = {"requirements": {"executable_type": "python"}}


@pytest.fixture
def places(data_dir: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Places:
    settings.RUNSITE_DATA_DIR = data_dir
    monkeypatch.setattr(pushes, "SMALL_BYTES", 0)
    monkeypatch.setattr(intake_module, "LOOK_S", 0.05)
    monkeypatch.setattr(intake_module, "PAUSE_S", 0.05)
    monkeypatch.setattr(intake_module, "STOP_S", 0.2)
    places = Places(data_dir, "w1")
    places.make()
    return places


@pytest.fixture
def intake(places: Places) -> Iterator[Intake]:
    intake = Intake(places, worker_name="w1", boot_id="new")
    yield intake
    intake.stop()


@pytest.fixture
def actor() -> Actor:
    return product()


def waiting(actor: Actor, application: Application | None = None, **more: str) -> Executable:
    archive = tar_bytes(app_files(**more))
    return activated(application or make_application(), actor, Push(archive, DECLARED))


def state(executable: Executable) -> str:
    return Executable.objects.get(pk=executable.pk).state


def test_what_waits_is_checked_in_the_order_of_the_pushes(
    intake: Intake, actor: Actor, places: Places
) -> None:
    executables = [waiting(actor) for _ in range(3)]
    intake.start()
    until(lambda: all(state(one) == Executable.READY for one in executables))
    times = [Executable.objects.get(pk=one.pk).checked_at for one in executables]
    assert times == sorted(times, key=str)
    until(lambda: list(places.checks.iterdir()) == [])
    later = waiting(actor)
    until(lambda: state(later) == Executable.READY)


def test_what_a_former_boot_began_is_checked_again(
    intake: Intake, actor: Actor, places: Places
) -> None:
    mine, of_another = waiting(actor), waiting(actor)
    left = places.checks / "check-left"
    left.mkdir(parents=True)
    for one, name in ((mine, "w1"), (of_another, "w2")):
        Executable.objects.filter(pk=one.pk).update(
            state=Executable.CHECKING, worker_name=name, boot_id="former"
        )
    intake.start()
    until(lambda: state(mine) == Executable.READY)
    assert state(of_another) == Executable.CHECKING
    assert not left.exists()


def test_a_store_that_is_away_is_waited_for(
    intake: Intake, actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    executable = waiting(actor)
    fetch, tries = object_store().fetch, []

    def fails_twice(key: str, path: Path) -> int:
        tries.append(key)
        if len(tries) < 3:
            raise StorageError("The store does not answer.")
        return fetch(key, path)

    monkeypatch.setattr(object_store(), "fetch", fails_twice)
    intake.start()
    until(lambda: state(executable) == Executable.READY)
    assert len(tries) == 3


def test_a_fault_of_ours_refuses_the_build_and_says_so(
    intake: Intake, actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(**_: Any) -> bool:
        raise RuntimeError("a fault")

    monkeypatch.setattr(intake_module, "check_executable", breaks)
    executable = waiting(actor)
    intake.start()
    until(lambda: state(executable) == Executable.FAILED)
    assert "RuntimeError" in Executable.objects.get(pk=executable.pk).error


def test_a_worker_that_leaves_gives_back_what_it_checks(
    intake: Intake, actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, at_it = threading.Event(), threading.Event()
    check = intake_module.check_executable

    def slow(**words: Any) -> bool:
        at_it.set()
        go_on.wait(30)
        return check(**words)

    monkeypatch.setattr(intake_module, "check_executable", slow)
    executable = waiting(actor)
    intake.start()
    assert at_it.wait(30)
    assert state(executable) == Executable.CHECKING
    intake.stop()
    assert state(executable) == Executable.WAITING
    go_on.set()
    until(lambda: not intake._thread.is_alive())
    assert state(executable) == Executable.WAITING  # who was too late changes nothing


def test_nothing_is_taken_while_the_disk_is_full(
    intake: Intake, actor: Actor, settings: Any
) -> None:
    looks = []
    settings.RUNSITE_FREE_SPACE = 2**62
    executable = waiting(actor)
    free = intake_module.free_bytes

    def look() -> int:
        looks.append(1)
        return free()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intake_module, "free_bytes", look)
        intake.start()
        until(lambda: len(looks) > 2)
    assert state(executable) == Executable.WAITING
    settings.RUNSITE_FREE_SPACE = 0
    until(lambda: state(executable) == Executable.READY)


def test_runs_that_an_accident_left_are_let_go(intake: Intake, actor: Actor) -> None:
    application = make_application()
    executable = waiting(actor, application)
    Executable.objects.filter(pk=executable.pk).update(state=Executable.READY)
    run = make_run(application, executable=executable, hold=Run.WAITS_FOR_EXECUTABLE)
    intake.start()
    until(lambda: Run.objects.get(pk=run.pk).hold == Run.NO_HOLD)
