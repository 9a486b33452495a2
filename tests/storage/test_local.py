"""What the store in a directory promises beyond the shared suite."""

from __future__ import annotations

import errno
import io
import os
import stat
import tempfile
import tracemalloc
from pathlib import Path

import pytest

from runs.storage.base import ObjectTooLarge
from runs.storage.local import LocalStore


class Zeros(io.RawIOBase):
    """A stream of `size` zero bytes that are nowhere in memory."""

    def __init__(self, size: int) -> None:
        self.left = size

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        size = min(self.left, size)
        self.left -= size
        return bytes(size)


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_only_the_owner_may_read_files_and_folders(tmp_path):
    store = LocalStore(tmp_path / "store")
    source = tmp_path / "source"
    source.write_bytes(b"x")
    source.chmod(0o644)
    store.put_bytes("runs/a/1/log", b"x")
    store.put("runs/a/1/stdout", io.BytesIO(b"x"))
    store.put_file("runs/a/1/output", source, consume=True)
    for path in [store.root, *store.root.rglob("*")]:
        expected = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == expected


def test_consuming_on_the_same_file_system_moves_the_very_file(tmp_path):
    store = LocalStore(tmp_path / "store")
    source = tmp_path / "source"
    source.write_bytes(b"x")
    number = source.stat().st_ino
    store.put_file("a/b", source, consume=True)
    with store.open("a/b") as file:
        assert os.fstat(file.fileno()).st_ino == number


def test_consuming_across_file_systems_copies_even_where_they_look_like_one(tmp_path, monkeypatch):
    store = LocalStore(tmp_path / "store")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        source = Path(elsewhere) / "source"
        source.write_bytes(b"content")
        if source.stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("/dev/shm and the folder of tests are one file system")
        # What a second mount of one device looks like.
        monkeypatch.setattr(store, "_same_file_system", lambda status: True)
        assert store.put_file("a/b", source, consume=True).size == 7
        assert not source.exists()
    assert store.read_range("a/b", 0, 99) == b"content"


def test_a_refused_object_leaves_no_file_behind(tmp_path):
    store = LocalStore(tmp_path / "store")
    with pytest.raises(ObjectTooLarge):
        store.put("a/b", io.BytesIO(bytes(5_000_000)), limit_bytes=4_000_000)
    assert files_below(tmp_path) == []


def test_a_large_object_passes_through_little_memory(tmp_path):
    store = LocalStore(tmp_path / "store")
    size = 200 * 1024 * 1024
    tracemalloc.start()
    try:
        store.put("a/b", Zeros(size))
        read = sum(len(piece) for piece in store.stream("a/b"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert read == size
    assert peak < 16 * 1024 * 1024


def test_removing_the_last_object_removes_its_folders(tmp_path):
    store = LocalStore(tmp_path / "store")
    store.put_bytes("runs/a/1/log", b"x")
    store.put_bytes("runs/b/1/log", b"x")
    store.delete("runs/a/1/log")
    store.delete_prefix("runs/b/")
    assert list((store.root / "objects").iterdir()) == []


def test_the_sweep_removes_what_a_killed_writer_left_and_nothing_else(tmp_path):
    store = LocalStore(tmp_path / "store")
    assert store.sweep(0) == 0
    store.put_bytes("a/b", b"x")
    old, young = store.root / "tmp" / "old", store.root / "tmp" / "young"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    assert store.sweep(24 * 3600) == 1
    assert young.exists()
    assert not old.exists()
    assert store.exists("a/b")


def test_an_open_reader_still_sees_the_object_it_opened(tmp_path):
    store = LocalStore(tmp_path / "store")
    store.put_bytes("a/b", b"old")
    with store.open("a/b") as file:
        store.put_bytes("a/b", b"new")
        assert file.read() == b"old"


def test_a_copy_shares_the_file_and_leaves_nothing_behind(tmp_path):
    store = LocalStore(tmp_path / "store")
    store.put_bytes("a/b", b"x" * 100)
    store.copy("a/b", "c/d")
    store.copy("a/b", "c/d")
    assert list((tmp_path / "store" / "tmp").iterdir()) == []
    (first,), (second,) = (list((tmp_path / "store").rglob(name)) for name in ("=b", "=d"))
    assert first.samefile(second)


def test_where_files_cannot_be_shared_a_copy_is_made(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.EMLINK, "too many links")

    store = LocalStore(tmp_path / "store")
    store.put_bytes("a/b", b"x" * 100)
    monkeypatch.setattr(os, "link", refuse)
    assert store.copy("a/b", "c/d") == 100
    assert store.read_range("c/d", 0, 200) == b"x" * 100
    assert list((tmp_path / "store" / "tmp").iterdir()) == []
