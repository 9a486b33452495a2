"""`manage.py import_runs`: a line for each folder, and an exit code for scripts."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from runs.models import Run
from tests.actions.run_folder_trees import make_folder
from tests.factories import make_account

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def data_folder(settings: Any, tmp_path: Path) -> None:
    settings.RUNSITE_DATA_DIR = tmp_path / "data"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "app" / ".nextmv" / "runs"


def said(*words: str) -> str:
    out = io.StringIO()
    call_command("import_runs", *words, stdout=out)
    return out.getvalue()


def test_it_imports_and_says_what_became_of_each(runs: Path):
    make_account("demo")
    make_folder(runs, "local-1")
    text = said(str(runs.parents[1]), "--account", "demo")
    run = Run.objects.get()
    assert f"local-1: imported as routing/{run.run_id}" in text
    assert "1 folders: 1 imported, 0 already here, 0 still changing, 0 not imported." in text
    assert "local-1: already here" in said(str(runs), "--account", "demo")
    assert Run.objects.count() == 1


def test_the_only_account_need_not_be_named_and_the_application_is_made(runs: Path):
    make_account("demo")
    make_folder(runs, "local-1")
    said(str(runs / "local-1"), "--application", "mine")
    assert Run.objects.get().application.application_id == "mine"


def test_it_ends_with_1_when_a_folder_could_not_be_imported(runs: Path):
    make_account("demo")
    make_folder(runs, "local-1")
    make_folder(runs, "local-2", document="{")
    out = io.StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("import_runs", str(runs), stdout=out)
    assert ended.value.code == 1
    assert "local-2: not imported. `local-2.json` is no JSON" in out.getvalue()
    assert Run.objects.count() == 1


def test_it_says_what_is_wrong_with_what_it_was_told(runs: Path, tmp_path: Path):
    with pytest.raises(CommandError, match="no account yet"):
        said(str(tmp_path))
    make_account("demo")
    with pytest.raises(CommandError, match="holds no runs"):
        said(str(tmp_path))
    with pytest.raises(CommandError, match="no account `other`"):
        said(str(tmp_path), "--account", "other")
    make_account("second")
    with pytest.raises(CommandError, match="--account: demo, second"):
        said(str(tmp_path))
    with pytest.raises(CommandError, match="can be no id"):
        said(str(tmp_path), "--account", "demo", "--application", "no id")
