"""A workspace is private, and goes whatever was left in it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from runs.execution.workspace import Workspace, remove_tree


def made(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path / "runs" / "r1")
    workspace.create()
    return workspace


def test_a_workspace_is_private(tmp_path: Path) -> None:
    workspace = made(tmp_path)
    assert stat.S_IMODE(workspace.root.stat().st_mode) == 0o700
    assert workspace.work.is_dir()
    assert workspace.tmp.is_dir()


def test_what_was_there_before_is_gone(tmp_path: Path) -> None:
    workspace = made(tmp_path)
    (workspace.work / "old").touch()
    workspace.create()
    assert list(workspace.work.iterdir()) == []


def test_links_are_removed_and_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    workspace = made(tmp_path)
    (workspace.work / "folder").symlink_to(outside)
    (workspace.work / "file").symlink_to(outside / "precious")
    (workspace.work / "broken").symlink_to("nowhere")
    assert workspace.remove()
    assert (outside / "precious").read_text() == "x"
    assert not workspace.root.exists()


def test_a_link_in_place_of_the_workspace_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    link = tmp_path / "link"
    link.symlink_to(outside)
    assert remove_tree(link)
    assert not link.is_symlink()
    assert (outside / "precious").exists()


def test_folders_without_permissions_are_removed(tmp_path: Path) -> None:
    workspace = made(tmp_path)
    inner = workspace.work / "a" / "b"
    inner.mkdir(parents=True)
    (inner / "file").touch()
    inner.chmod(0)
    inner.parent.chmod(0o500)
    workspace.work.chmod(0)
    assert workspace.remove()


def test_special_files_and_odd_names_are_removed(tmp_path: Path) -> None:
    workspace = made(tmp_path)
    os.mkfifo(workspace.work / "fifo")
    Path(os.fsdecode(bytes(workspace.work) + b"/\xff\xfe")).touch()
    (workspace.work / "new\nline").mkdir()
    (workspace.root / ".removed-0").mkdir()
    assert workspace.remove()


def test_a_very_deep_tree_is_removed(tmp_path: Path) -> None:
    workspace = made(tmp_path)
    here = os.open(workspace.work, os.O_RDONLY)
    for _level in range(3000):  # far longer than a path may be
        os.mkdir("deeper", dir_fd=here)
        below = os.open("deeper", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    assert workspace.remove()


def test_removing_what_is_not_there_is_fine(tmp_path: Path) -> None:
    assert Workspace(tmp_path / "never").remove()


def test_the_size_counts_regular_files(tmp_path: Path) -> None:
    workspace = made(tmp_path)
    (workspace.work / "a").write_bytes(b"x" * 1000)
    (workspace.tmp / "b").write_bytes(b"x" * 500)
    (workspace.work / "link").symlink_to(workspace.work / "a")
    assert workspace.size_bytes() == 1500
