"""A connection may break after a commit: what the rows name stays in the store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection

from runs.actions.actors import product
from runs.actions.executables import add_executable
from runs.actions.tracked_runs import TrackedResult, record_run
from runs.models import Application, Executable, Run
from runs.storage import object_store
from tests.actions.applying import app_files, zip_file
from tests.factories import make_application

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def app(settings: Any, data_dir: Path) -> Application:
    settings.RUNSITE_DATA_DIR = data_dir
    return make_application()


@pytest.fixture
def unanswered(app: Application, monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """Whether the next commit of rows `counts` that is not answered is carried out."""
    commit, words = connection.commit, {"carried out": True}

    def breaks() -> None:
        if not (Executable.objects.exists() or Run.objects.exists()):
            commit()  # something before it
            return
        monkeypatch.undo()
        if words["carried out"]:
            commit()
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(connection, "commit", breaks)
    return words


@pytest.mark.parametrize("carried_out", [True, False])
def test_the_archive_of_an_executable_is_there_if_its_row_is(
    carried_out: bool, app: Application, unanswered: dict[str, bool], tmp_path: Path
) -> None:
    unanswered["carried out"] = carried_out
    archive = zip_file(tmp_path, app_files())
    with pytest.raises(OperationalError):
        add_executable(application=app, source=archive, actor=product())
    keys = [one.archive_key for one in Executable.objects.all()]
    assert len(keys) == carried_out
    assert list(object_store().list("executables/")) == keys


@pytest.mark.parametrize("carried_out", [True, False])
def test_the_output_of_a_recorded_run_is_there_if_its_row_is(
    carried_out: bool, app: Application, unanswered: dict[str, bool]
) -> None:
    unanswered["carried out"] = carried_out
    with pytest.raises(OperationalError):
        record_run(
            account=app.account,
            application=app,
            actor=product(),
            status="succeeded",
            result=TrackedResult(output=b"{}"),
            input_format="json",
            output_format="json",
        )
    keys = [file.key for run in Run.objects.all() for file in run.files.all()]
    assert len(keys) == carried_out
    assert list(object_store().list("runs/")) == keys
