"""Backup and restore: what is copied, what is refused, what is found to be missing."""

from __future__ import annotations

import io
import os
import sqlite3
import stat
from pathlib import Path

import pytest
from django.db import connection
from django.utils import timezone

from runs.actions.backups import NeedsDump, make_backup, restore_backup
from runs.domain.errors import Conflict
from runs.models import InputFile, Run
from runs.storage import object_store
from tests.factories import make_input, make_run

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(
        "postgres" in os.environ.get("RUNSITE_TEST_DATABASE_URL", ""),
        reason="PostgreSQL has a program of its own for this",
    ),
]


@pytest.fixture(autouse=True)
def data_dir(settings, tmp_path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    settings.RUNSITE_DATA_DIR = folder
    settings.RUNSITE_SECRET_KEY_FILE = folder / "secret_key"
    (folder / "secret_key").write_text("k" * 40)
    return folder


@pytest.fixture
def file() -> InputFile:
    """A stored file that a row names."""
    found = make_input(size_bytes=5).files.get()
    object_store().put(found.key, io.BytesIO(b"hello"))
    return found


def backup_into(folder: Path):
    return make_backup(folder=folder, now=timezone.now())


def restore_into(folder: Path, backup: Path, settings, monkeypatch):
    settings.RUNSITE_DATA_DIR = folder
    monkeypatch.setattr("runs.actions.backups._database", lambda: folder / "runsite.sqlite3")
    return restore_backup(folder=backup)


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_backup_is_restored_whole(file, tmp_path, settings, monkeypatch):
    run = make_run()
    made = backup_into(tmp_path / "backup")
    assert (made.runs, made.objects, made.object_bytes, made.missing) == (1, 1, 5, ())
    restored = restore_into(tmp_path / "new", tmp_path / "backup", settings, monkeypatch)
    assert (restored.runs, restored.copied) == (1, 1)
    assert object_store().read_range(file.key, 0, 99) == b"hello"
    with sqlite3.connect(tmp_path / "new" / "runsite.sqlite3") as database:
        assert database.execute("SELECT run_id FROM runs_run").fetchall() == [(run.run_id,)]
    database.close()
    key = tmp_path / "new" / "secret_key"
    assert (key.read_text(), stat.S_IMODE(key.stat().st_mode)) == ("k" * 40, 0o600)
    modes = {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in (tmp_path / "new").rglob("*")}
    assert modes == {0}


def test_a_second_backup_copies_what_is_new_and_drops_what_is_gone(file, tmp_path):
    first = backup_into(tmp_path / "backup")
    assert backup_into(tmp_path / "backup").copied == 0
    other = make_input(size_bytes=3).files.get()
    object_store().put_bytes(other.key, b"abc")
    object_store().delete(file.key)
    file.delete()
    second = backup_into(tmp_path / "backup")
    assert (first.copied, second.copied, second.objects, second.object_bytes) == (1, 1, 1, 3)


@pytest.mark.parametrize("harm", ["delete", "shorten"])
def test_an_object_that_rows_name_in_vain_is_told(file, tmp_path, harm: str):
    if harm == "delete":
        object_store().delete(file.key)
    else:
        object_store().put_bytes(file.key, b"hell")
    assert backup_into(tmp_path / "backup").missing == (file.key,)


def test_what_was_missing_already_does_not_keep_the_rest_from_being_restored(
    file, tmp_path, settings, monkeypatch
):
    object_store().delete(file.key)
    other = make_input(size_bytes=3).files.get()
    object_store().put_bytes(other.key, b"abc")
    backup_into(tmp_path / "backup")
    restored = restore_into(tmp_path / "new", tmp_path / "backup", settings, monkeypatch)
    assert (restored.objects, restored.missing) == (1, (file.key,))


def test_what_is_deleted_while_objects_are_copied_is_looked_for_again(file, tmp_path, monkeypatch):
    from runs.actions import backups

    copy, asked = backups._copy_database, []

    def deleted_afterwards(source: Path, target: Path) -> None:
        copy(source, target)
        asked.append(target)
        if len(asked) == 1:
            late = make_input(size_bytes=1).files.get()  # in no copy of the objects
            late.delete()
            with sqlite3.connect(target) as database:
                database.execute("UPDATE runs_inputfile SET key = 'inputs/gone/00000000'")
            database.close()

    monkeypatch.setattr(backups, "_copy_database", deleted_afterwards)
    assert backup_into(tmp_path / "backup").missing == ()
    assert len(asked) == 2


def test_a_damaged_backup_is_refused_and_leaves_nothing(file, tmp_path, settings, monkeypatch):
    backup_into(tmp_path / "backup")
    [stored] = [p for p in (tmp_path / "backup" / "store").rglob("*") if p.is_file()]
    stored.write_bytes(b"hell")
    with pytest.raises(Conflict, match="have another size"):
        restore_into(tmp_path / "new", tmp_path / "backup", settings, monkeypatch)
    assert not (tmp_path / "new").exists()


def test_a_restore_that_breaks_off_leaves_nothing(file, tmp_path, settings, monkeypatch):
    backup_into(tmp_path / "backup")

    def full(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("runs.actions.backups._copy_key", full)
    with pytest.raises(OSError, match="No space"):
        restore_into(tmp_path / "new", tmp_path / "backup", settings, monkeypatch)
    assert not (tmp_path / "new").exists()


def test_nothing_is_restored_over_what_is_there(file, tmp_path, data_dir):
    backup_into(tmp_path / "backup")
    before = names(data_dir)
    with pytest.raises(Conflict, match="not empty"):
        restore_backup(folder=tmp_path / "backup")
    assert names(data_dir) == before


def test_a_folder_without_a_whole_backup_is_refused(tmp_path):
    with pytest.raises(Conflict, match="holds no whole backup"):
        restore_backup(folder=tmp_path)


def test_a_folder_with_other_things_is_not_taken(tmp_path):
    (tmp_path / "backup").mkdir()
    (tmp_path / "backup" / "letter.txt").write_text("dear")
    with pytest.raises(Conflict, match="other things"):
        backup_into(tmp_path / "backup")
    assert names(tmp_path / "backup") == {"letter.txt"}


def test_a_backup_lies_outside_of_the_data_directory(data_dir):
    for folder in (data_dir, data_dir / "backup", data_dir.parent):
        with pytest.raises(Conflict, match="outside"):
            backup_into(folder)


def test_postgresql_is_dumped_by_its_own_program(tmp_path, monkeypatch):
    monkeypatch.setattr(connection, "vendor", "postgresql")
    with pytest.raises(NeedsDump, match="pg_dump"):
        backup_into(tmp_path / "backup")
    assert not (tmp_path / "backup").exists()


def test_every_column_with_a_key_is_looked_at():
    from django.apps import apps

    from runs.actions.backups import _REFERENCES

    known = {(model, column) for model, column, _ in _REFERENCES}
    found = {
        (model, field.name)
        for model in apps.get_app_config("runs").get_models()
        for field in model._meta.get_fields()
        if field.name == "key" or field.name.endswith("_key")
        if getattr(field, "max_length", 0) == 300
    }
    not_kept = {(model, column) for model, column in found if model.__name__ == "Upload"}
    assert found - not_kept == known
    assert Run._meta.db_table == "runs_run"
