"""Archives out: reproducible, without links, and streamed."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from runs.execution.archive import ArchiveRefused, list_entries, unpack
from runs.execution.packing import pack_folder, pack_tar_stream, pack_zip_stream


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "app.yaml").write_bytes(b"type: python\n")
    (folder / "sub" / "täble.csv").write_bytes(b"a,b\n" * 1000)
    (folder / "main").write_bytes(b"#!/bin/sh\n")
    (folder / "main").chmod(0o700)
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_packed_folder_is_unpacked_again_with_its_executable_bits(folder, tmp_path):
    packed = pack_folder(folder, tmp_path / "a.tar.gz")
    assert (packed.files, packed.size, packed.warnings) == (3, 13 + 4000 + 10, ())
    unpack(tmp_path / "a.tar.gz", tmp_path / "out")
    assert tree(tmp_path / "out") == tree(folder)
    assert os.access(tmp_path / "out" / "main", os.X_OK)
    executable = {entry.name: entry.executable for entry in list_entries(tmp_path / "a.tar.gz")}
    assert executable == {"app.yaml": False, "main": True, "sub/täble.csv": False}


def test_equal_content_gives_equal_bytes(folder, tmp_path):
    pack_folder(folder, tmp_path / "one")
    for path in folder.rglob("*"):
        os.utime(path, (1, 1))
    (folder / "app.yaml").chmod(0o600)
    pack_folder(folder, tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    (folder / "app.yaml").write_bytes(b"type: binary\n")
    pack_folder(folder, tmp_path / "three")
    assert (tmp_path / "one").read_bytes() != (tmp_path / "three").read_bytes()


def test_links_and_special_files_are_left_out_with_a_warning(folder, tmp_path):
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_bytes(b"private")
    (folder / "link").symlink_to(secret / "key")
    (folder / "linked").symlink_to(secret)
    os.mkfifo(folder / "pipe")
    packed = pack_folder(folder, tmp_path / "a.tar.gz")
    assert packed.files == 3
    assert len(packed.warnings) == 3
    for name in ("link", "linked", "pipe"):
        assert any(f"`{name}`" in warning for warning in packed.warnings)


def test_chosen_files_do_not_leave_the_folder(folder, tmp_path):
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_bytes(b"private")
    (folder / "linked").symlink_to(tmp_path / "secret")
    packed = pack_folder(
        folder,
        tmp_path / "a.tar.gz",
        files=["main", "linked/key", "../secret/key", "/etc/hostname", "sub"],
    )
    assert packed.files == 1
    assert len(packed.warnings) == 4
    assert [entry.name for entry in list_entries(tmp_path / "a.tar.gz")] == ["main"]


def test_a_chosen_file_that_is_missing_is_an_error(folder, tmp_path):
    with pytest.raises(ArchiveRefused, match="missing"):
        pack_folder(folder, tmp_path / "a.tar.gz", files=["missing"])
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_folder_above_a_limit_leaves_no_file(folder, tmp_path):
    with pytest.raises(ArchiveRefused, match="larger than 100 bytes"):
        pack_folder(folder, tmp_path / "a.tar.gz", limit_bytes=100)
    with pytest.raises(ArchiveRefused, match="more than 2 files"):
        pack_folder(folder, tmp_path / "a.tar.gz", limit_files=2)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_name_that_is_not_utf8_is_left_out_with_a_warning(folder, tmp_path):
    os.close(os.open(os.fsencode(folder) + b"/bad\xff", os.O_CREAT | os.O_WRONLY))
    packed = pack_folder(folder, tmp_path / "a.tar.gz")
    assert packed.files == 3
    assert len(packed.warnings) == 1
    packed.warnings[0].encode()


def read_zip(pieces: list[bytes]) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_a_streamed_zip_holds_the_files():
    files = {"run/log.txt": b"line\n" * 5000, "run/ergebnis ü.json": b"{}", "empty": b""}
    pieces = list(
        pack_zip_stream(
            (name, len(data), lambda data=data: io.BytesIO(data)) for name, data in files.items()
        )
    )
    assert all(pieces)
    assert read_zip(pieces) == files


def test_a_streamed_zip_can_be_unpacked_by_us(tmp_path):
    files = {"a.png": os.urandom(300_000), "b/c.txt": b"text" * 100_000}
    data = b"".join(pack_zip_stream((n, None, lambda d=d: io.BytesIO(d)) for n, d in files.items()))
    unpack(io.BytesIO(data), tmp_path / "out")
    assert tree(tmp_path / "out") == files


def test_equal_names_in_a_streamed_zip_get_numbers():
    names = ["a/x.csv", "a/x.csv", "a/x.csv", "plain", "plain", ".hidden", ".hidden"]
    pieces = pack_zip_stream((name, 1, lambda: io.BytesIO(b"1")) for name in names)
    assert list(read_zip(list(pieces))) == [
        "a/x.csv",
        "a/x (2).csv",
        "a/x (3).csv",
        "plain",
        "plain (2)",
        ".hidden",
        ".hidden (2)",
    ]


@pytest.mark.parametrize("name", ["../x", "/x", "a\\b", "C:/x"])
def test_a_streamed_zip_takes_no_name_that_leads_elsewhere(name):
    with pytest.raises(ArchiveRefused):
        list(pack_zip_stream([(name, 1, lambda: io.BytesIO(b"1"))]))


def test_a_streamed_zip_needs_little_memory_and_closes_what_it_opened():
    opened: list[io.BytesIO] = []

    class Noise(io.BytesIO):
        left = 20_000_000

        def read(self, size: int | None = -1) -> bytes:
            assert size is not None
            assert size > 0
            size = min(size, self.left)
            self.left -= size
            return os.urandom(size)

    def opener() -> io.BytesIO:
        opened.append(Noise())
        return opened[-1]

    tracemalloc.start()
    try:
        total = sum(len(piece) for piece in pack_zip_stream([("a", 20_000_000, opener)]))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert total > 20_000_000
    assert peak < 8_000_000
    assert all(file.closed for file in opened)


def test_an_abandoned_stream_closes_its_file():
    file = io.BytesIO(os.urandom(3_000_000))
    stream = pack_zip_stream([("a", None, lambda: file)])
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert file.closed


# --- Streamed tar.gz ----------------------------------------------------------------------------


def entry(name: str, data: bytes) -> tuple[str, Callable[[], io.BytesIO]]:
    return name, lambda: io.BytesIO(data)


def test_a_streamed_tar_is_read_by_ours_and_by_others(tmp_path):
    files = {"a.json": b"{}", "sub/ü" + "x" * 150 + ".csv": b"1\n" * 5000, "empty": b""}
    path = tmp_path / "a.tar.gz"
    path.write_bytes(b"".join(pack_tar_stream(entry(*each) for each in files.items())))
    unpack(path, tmp_path / "out")
    assert tree(tmp_path / "out") == files
    listed = subprocess.run(["tar", "-tzf", path], capture_output=True, text=True, check=True)
    assert listed.stderr == ""
    assert len(listed.stdout.splitlines()) == 3


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 8704, 9216, 10240, 300_000])
def test_a_streamed_tar_is_as_long_as_tar_wants_it(size):
    packed = b"".join(pack_tar_stream([entry("a", b"x" * size)]))
    assert len(gzip.decompress(packed)) % tarfile.RECORDSIZE == 0
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
        assert [member.size for member in archive] == [size]


def test_a_streamed_tar_begins_before_any_file_is_opened():
    def refuse() -> io.BytesIO:
        raise AssertionError("opened")

    assert next(pack_tar_stream([("a", refuse)])).startswith(b"\x1f\x8b")


def test_a_streamed_tar_of_nothing_is_an_empty_archive():
    packed = b"".join(pack_tar_stream([]))
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
        assert archive.getmembers() == []
    assert packed == b"".join(pack_tar_stream([]))


def test_a_streamed_tar_numbers_doubles_and_refuses_hostile_names():
    packed = b"".join(pack_tar_stream([entry("a.txt", b"1"), entry("a.txt", b"2")]))
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
        assert archive.getnames() == ["a.txt", "a (2).txt"]
    with pytest.raises(ArchiveRefused):
        list(pack_tar_stream([entry("../a", b"1")]))


def test_a_streamed_tar_breaks_off_when_a_file_is_cut():
    class Cut(io.BytesIO):
        def seek(self, offset: int, whence: int = 0) -> int:
            return super().seek(offset, whence) + (10 if whence == io.SEEK_END else 0)

    with pytest.raises(OSError, match="ended 10 bytes before"):
        list(pack_tar_stream([("a", lambda: Cut(b"12345"))]))
