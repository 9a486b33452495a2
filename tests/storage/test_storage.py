"""The store of the installation is chosen by the settings."""

from __future__ import annotations

from runs.storage import object_store


def test_the_store_lies_in_the_data_directory_and_follows_the_setting(settings, tmp_path):
    settings.RUNSITE_DATA_DIR = tmp_path / "one"
    first = object_store()
    assert object_store() is first
    first.put_bytes("a/b", b"x")
    assert (tmp_path / "one" / "store").is_dir()
    settings.RUNSITE_DATA_DIR = tmp_path / "two"
    assert not object_store().exists("a/b")
