"""Folders of others: no link is followed at any step, nothing special is opened."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runs.execution.plain_folders import (
    NotPlain,
    list_plain,
    open_plain,
    plain_folders,
    stat_plain,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("secret")
    root = tmp_path / "root"
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "b" / "file").write_text("12345")
    (root / "a" / "link").symlink_to(tmp_path / "secret")
    (root / "linked").symlink_to(tmp_path)
    os.mkfifo(root / "a" / "pipe")
    return root


def test_a_file_is_opened_and_told_of(root: Path):
    with open_plain(root, "a/b/file") as stream:
        assert stream.read() == b"12345"
    found = stat_plain(root, "a/b/file")
    assert found is not None
    assert (found.name, found.size) == ("file", 5)
    assert stat_plain(root, "a/b/none") is None
    assert stat_plain(root, "no/such") is None
    assert stat_plain(root, "a/b") is None
    with pytest.raises(FileNotFoundError):
        open_plain(root, "a/none")


@pytest.mark.parametrize(
    "name", ["a/link", "linked/secret", "a/pipe", "a", "../secret", "a/../../secret"]
)
def test_links_and_special_files_are_not_opened(root: Path, name: str):
    with pytest.raises(NotPlain):
        open_plain(root, name)


@pytest.mark.parametrize("name", ["a/link", "linked/secret", "a/pipe", "a/../../secret"])
def test_nor_told_of(root: Path, name: str):
    with pytest.raises(NotPlain):
        stat_plain(root, name)


def test_a_listing_has_regular_files_and_says_what_it_left_out(root: Path):
    found = list_plain(root, "", limit_files=10)
    assert [file.name for file in found.files] == ["a/b/file"]
    assert found.size == 5
    assert found.complete
    assert sorted(found.left_out) == [
        "`a/link` is a link.",
        "`a/pipe` is no regular file.",
        "`linked` is a link.",
    ]
    assert list_plain(root, "none", limit_files=10).files == []
    with pytest.raises(NotPlain):
        list_plain(root, "linked", limit_files=10)


def test_a_listing_stops_at_its_limit_and_at_its_depth(tmp_path: Path):
    for number in range(5):
        (tmp_path / str(number)).write_text("x")
    assert not list_plain(tmp_path, "", limit_files=4).complete
    assert list_plain(tmp_path, "", limit_files=5).complete
    deep = tmp_path / "deep"
    deep.mkdir()
    inner = deep
    for _ in range(130):
        inner = inner / "d"
        inner.mkdir()
    (inner / "file").write_text("x")
    found = list_plain(deep, "", limit_files=10)
    assert found.files == []
    assert "too deep" in found.left_out[0]


def test_folders_are_listed_without_links(root: Path):
    assert plain_folders(root) == ["a"]
    assert plain_folders(root, "a") == ["b"]
    assert plain_folders(root, "none") == []
    with pytest.raises(NotPlain):
        plain_folders(root, "linked")
