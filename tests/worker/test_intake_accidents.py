"""What goes wrong while pushed executables are checked holds up no other, and nobody for ever."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import DataError, OperationalError

from runs.actions import pushes
from runs.actions.actors import Actor, product
from runs.models import Executable
from runs.storage import object_store
from runs.worker import intake as intake_module
from runs.worker.intake import Intake
from runs.worker.places import Places
from tests.actions.applying import app_files, tar_bytes
from tests.actions.pushing import Push, activated
from tests.factories import make_application
from tests.processes import until

pytestmark = pytest.mark.django_db(transaction=True)
DECLARED = {"requirements": {"executable_type": "python"}}


@pytest.fixture
def intake(data_dir: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Intake]:
    settings.RUNSITE_DATA_DIR = data_dir
    monkeypatch.setattr(pushes, "SMALL_BYTES", 0)
    monkeypatch.setattr(intake_module, "LOOK_S", 0.05)
    monkeypatch.setattr(intake_module, "PAUSE_S", 0.05)
    monkeypatch.setattr(intake_module, "STOP_S", 0.2)
    places = Places(data_dir, "w1")
    places.make()
    intake = Intake(places, worker_name="w1", boot_id="new")
    yield intake
    intake.stop()


@pytest.fixture
def actor() -> Actor:
    return product()


def waiting(actor: Actor, files: Any = None) -> Executable:
    return activated(make_application(), actor, Push(tar_bytes(files or app_files()), DECLARED))


def state(executable: Executable) -> str:
    return Executable.objects.get(pk=executable.pk).state


def test_a_fault_of_ours_while_the_database_is_away_is_checked_again(
    intake: Intake, actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    check, tries = intake_module.check_executable, []

    def breaks(**words: Any) -> bool:
        tries.append(words)
        if len(tries) == 1:
            raise RuntimeError("a fault")
        return check(**words)

    def away(**_: Any) -> bool:
        raise OperationalError("The connection is closed.")

    monkeypatch.setattr(intake_module, "check_executable", breaks)
    monkeypatch.setattr(intake_module, "fail_check", away)
    executable = waiting(actor)
    intake.start()
    until(lambda: state(executable) == Executable.READY)


def test_one_that_was_taken_without_an_answer_is_checked(
    intake: Intake, actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection may break after the database has written that it is ours."""
    take, tries = Intake._next, []

    def unanswered(self: Intake) -> Executable | None:
        taken = take(self)
        if taken is not None and not tries:
            tries.append(taken)
            raise OperationalError("The connection is closed.")
        return taken

    monkeypatch.setattr(Intake, "_next", unanswered)
    executable = waiting(actor)
    intake.start()
    until(lambda: bool(tries) and state(executable) == Executable.READY)


def test_one_that_never_fits_on_the_disk_holds_up_no_other(
    intake: Intake, actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    large, later = waiting(actor), waiting(actor)
    fetch = object_store().fetch

    def full(key: str, path: Path) -> int:
        if key == large.archive_key:
            raise OSError(28, "No space left on device")
        return fetch(key, path)

    monkeypatch.setattr(object_store(), "fetch", full)
    intake.start()
    until(lambda: state(later) == Executable.READY)
    assert state(large) in {Executable.WAITING, Executable.CHECKING}
    monkeypatch.setattr(object_store(), "fetch", fetch)
    until(lambda: state(large) == Executable.READY)


def test_what_the_database_refuses_refuses_the_build(
    intake: Intake, actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is no outage: waiting would hold up its runs for ever."""

    def refuses(**_: Any) -> bool:
        raise DataError("value too long for type character varying(32)")

    monkeypatch.setattr(intake_module, "check_executable", refuses)
    executable = waiting(actor)
    intake.start()
    until(lambda: state(executable) == Executable.FAILED)
    assert "DataError" in Executable.objects.get(pk=executable.pk).error


@pytest.mark.parametrize(
    ("python", "requirements"),
    [
        ("python: {pip-requirements: requirements.txt}", "numpy==1\0"),
        (f"python: {{version: '3.{'1' * 100}'}}", ""),
    ],
)
def test_what_no_database_keeps_is_found_by_the_check(
    python: str, requirements: str, intake: Intake, actor: Actor
) -> None:
    """Not by the database, which is PostgreSQL or SQLite: one of them would take it."""
    manifest = f"type: python\nfiles: ['*']\n{python}\n"
    executable = waiting(actor, app_files(manifest, requirements__txt=requirements))
    intake.start()
    until(lambda: state(executable) in {Executable.READY, Executable.FAILED})
    found = Executable.objects.get(pk=executable.pk)
    assert "Runsite itself" not in found.error
    assert ("zero bytes" in found.error) == bool(requirements)
