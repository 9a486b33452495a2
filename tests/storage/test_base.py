"""One suite for every store of objects."""

from __future__ import annotations

import hashlib
import io
import re
import threading
from pathlib import Path

import pytest
import requests

from runs.storage.base import InvalidKey, ObjectMissing, ObjectStore, ObjectTooLarge
from runs.storage.local import LocalStore
from runs.storage.s3 import S3Store
from tests.fakes import MemoryStore
from tests.s3_servers import S3Server


@pytest.fixture(params=["local", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "local":
        return LocalStore(tmp_path / "store")
    if request.param == "memory":
        return MemoryStore()
    server: S3Server = request.getfixturevalue("s3")
    return S3Store(server.address(server.new_bucket(), "some/where"))


def test_what_was_put_is_read_back_with_its_size_and_digest(store):
    stored = store.put("runs/a/1/stdout", io.BytesIO(b"hello"))
    assert (stored.size, stored.sha256) == (5, hashlib.sha256(b"hello").hexdigest())
    assert store.size("runs/a/1/stdout") == 5
    with store.open("runs/a/1/stdout") as file:
        assert file.read() == b"hello"
        assert file.seek(1) == 1
        assert file.read(2) == b"el"


def test_put_bytes_says_the_same_as_put(store):
    assert store.put_bytes("a/b", b"x" * 10) == store.put("a/c", io.BytesIO(b"x" * 10))
    assert store.put_bytes("a/empty", b"").size == 0
    assert store.read_range("a/empty", 0, 10) == b""


def test_putting_again_replaces(store):
    store.put_bytes("a/b", b"first, long")
    store.put_bytes("a/b", b"second")
    assert b"".join(store.stream("a/b")) == b"second"


def test_put_stores_what_is_left_in_the_stream(store):
    stream = io.BytesIO(b"0123456789")
    stream.seek(4)
    assert store.put("a/b", stream).size == 6
    assert store.read_range("a/b", 0, 100) == b"456789"


def test_a_key_and_a_longer_key_below_it_can_both_exist(store):
    store.put_bytes("a/b", b"1")
    store.put_bytes("a/b/c", b"2")
    assert list(store.list("a/")) == ["a/b", "a/b/c"]
    store.delete("a/b")
    assert store.read_range("a/b/c", 0, 9) == b"2"


def test_up_to_the_limit_is_stored_and_beyond_nothing_is(store):
    assert store.put("a/b", io.BytesIO(b"12345"), limit_bytes=5).size == 5
    with pytest.raises(ObjectTooLarge) as refusal:
        store.put("a/c", io.BytesIO(b"123456"), limit_bytes=5)
    assert "a/c" in str(refusal.value)
    assert refusal.value.limit_bytes == 5
    assert not store.exists("a/c")
    assert list(store.list("")) == ["a/b"]


def test_a_refused_put_leaves_the_old_object(store):
    store.put_bytes("a/b", b"old")
    with pytest.raises(ObjectTooLarge):
        store.put("a/b", io.BytesIO(b"x" * 100), limit_bytes=5)
    assert store.read_range("a/b", 0, 9) == b"old"


def test_a_stream_that_breaks_leaves_nothing(store):
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell():
                raise ConnectionResetError("gone")
            return super().read(3)

    class BrokenAtOnce(Broken):
        def read(self, size: int | None = -1) -> bytes:
            raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError):
        store.put("a/b", BrokenAtOnce(b"abcdef"))
    assert not store.exists("a/b")


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [(0, 4, b"0123"), (3, 4, b"3456"), (8, 100, b"89"), (10, 5, b""), (99, 5, b""), (0, 0, b"")],
)
def test_a_range_is_cut_at_the_end(store, start, length, expected):
    store.put_bytes("a/b", b"0123456789")
    assert store.read_range("a/b", start, length) == expected


def test_stream_gives_pieces_of_the_wanted_part(store):
    store.put_bytes("a/b", b"0123456789")
    assert list(store.stream("a/b", 2, 7, chunk=3)) == [b"234", b"567", b"8"]
    assert list(store.stream("a/b", 8)) == [b"89"]
    assert list(store.stream("a/b", 50)) == []
    assert list(store.stream("a/b", 0, 0)) == []


def test_a_missing_object_is_said_by_every_reading_method(store, tmp_path):
    for read in (
        lambda: store.open("a/b"),
        lambda: store.size("a/b"),
        lambda: store.read_range("a/b", 0, 1),
        lambda: store.stream("a/b"),
        lambda: store.fetch("a/b", tmp_path / "copy"),
    ):
        with pytest.raises(ObjectMissing, match="a/b"):
            read()
    assert not store.exists("a/b")
    assert not (tmp_path / "copy").exists()


def test_delete_removes_and_a_missing_one_is_fine(store):
    store.put_bytes("a/b", b"1")
    store.delete("a/b")
    store.delete("a/b")
    assert not store.exists("a/b")
    assert list(store.list("")) == []


def test_delete_prefix_removes_what_is_below_and_nothing_else(store):
    for key in ("runs/r1/1/log", "runs/r1/2/output/0", "runs/r10/1/log", "runs/r2/1/log"):
        store.put_bytes(key, b"x")
    assert store.delete_prefix("runs/r1/") == 2
    assert list(store.list("runs/")) == ["runs/r10/1/log", "runs/r2/1/log"]
    assert store.delete_prefix("runs/none/") == 0
    assert store.delete_prefix("runs/") == 2
    assert list(store.list("")) == []


def test_list_is_sorted_and_follows_the_prefix(store):
    for key in ("b/1", "a/2/x", "a/10", "a/1", "a-b/1"):
        store.put_bytes(key, b"x")
    assert list(store.list("")) == ["a-b/1", "a/1", "a/10", "a/2/x", "b/1"]
    assert list(store.list("a/")) == ["a/1", "a/10", "a/2/x"]
    assert list(store.list("a/1")) == ["a/1", "a/10"]
    assert list(store.list("a/2/x")) == ["a/2/x"]
    assert list(store.list("none/")) == []


@pytest.mark.parametrize(
    "key",
    [
        "",
        "single",
        "/a/b",
        "a/b/",
        "a//b",
        "../a/b",
        "a/../b",
        "a/./b",
        "a/.hidden",
        "a/..",
        "a/b\n",
        "a/b c",
        "a/b\0c",
        "a/b\\c",
        "a/ü",
        "a/=b",
        "a/" + "b" * 201,
        "a/" * 460 + "b",
    ],
)
def test_a_key_that_could_leave_the_store_is_refused_everywhere(store, key, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"x")
    for use in (
        lambda: store.put(key, io.BytesIO(b"x")),
        lambda: store.put_bytes(key, b"x"),
        lambda: store.put_file(key, file),
        lambda: store.open(key),
        lambda: store.size(key),
        lambda: store.read_range(key, 0, 1),
        lambda: store.stream(key),
        lambda: store.exists(key),
        lambda: store.delete(key),
        lambda: store.fetch(key, tmp_path / "copy"),
    ):
        with pytest.raises(InvalidKey):
            use()


@pytest.mark.parametrize("prefix", ["", "a", "a/b", "/", "../", "a/../", "a//", "./"])
def test_only_whole_folders_are_deleted_by_prefix(store, prefix):
    store.put_bytes("a/b", b"x")
    with pytest.raises(InvalidKey):
        store.delete_prefix(prefix)
    assert store.exists("a/b")


def test_put_file_keeps_the_file_unless_told_to_consume_it(store, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"content")
    kept = store.put_file("a/b", file)
    assert file.read_bytes() == b"content"
    consumed = store.put_file("a/c", file, consume=True)
    assert not file.exists()
    assert kept == consumed
    assert store.read_range("a/c", 0, 99) == b"content"


def test_put_file_keeps_the_limit(store, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"content")
    with pytest.raises(ObjectTooLarge):
        store.put_file("a/b", file, limit_bytes=6, consume=True)
    assert file.exists()
    assert not store.exists("a/b")


def test_put_file_follows_no_link_and_takes_no_folder(store, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    link = tmp_path / "link"
    link.symlink_to(secret)
    for path in (link, tmp_path, tmp_path / "missing"):
        with pytest.raises(OSError, match=re.escape(str(path))):
            store.put_file("a/b", path)
    assert not store.exists("a/b")


def test_an_object_does_not_change_with_another_name_of_its_file(store, tmp_path):
    file, other = tmp_path / "file", tmp_path / "other"
    file.write_bytes(b"content")
    other.hardlink_to(file)
    store.put_file("a/b", file, consume=True)
    other.write_bytes(b"changed")
    assert store.read_range("a/b", 0, 99) == b"content"


def test_fetch_makes_a_copy_of_its_own(store, tmp_path):
    data = bytes(range(256)) * 5000
    store.put_bytes("a/b", data)
    copy = tmp_path / "copy"
    copy.write_bytes(b"older and " + data)
    assert store.fetch("a/b", copy) == len(data)
    assert copy.read_bytes() == data
    copy.write_bytes(b"changed")
    assert store.size("a/b") == len(data)


def test_threads_can_write_and_remove_neighbours_at_once(store):
    failures: list[Exception] = []

    def work(name: str) -> None:
        try:
            for number in range(30):
                key = f"runs/shared/deep/{name}/{number}"
                store.put_bytes(key, name.encode())
                assert store.read_range(key, 0, 9) == name.encode()
                store.delete(key)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("a", "b", "c", "d")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert list(store.list("runs/")) == []


def test_a_copy_has_the_bytes_and_a_life_of_its_own(store):
    store.put_bytes("a/b", b"first")
    store.put_bytes("c/d", b"something else")
    assert store.copy("a/b", "c/d") == 5
    assert store.copy("a/b", "e/f/g") == 5
    store.put_bytes("a/b", b"second, long")
    assert store.read_range("c/d", 0, 99) == b"first"
    store.delete("a/b")
    assert store.read_range("e/f/g", 0, 99) == b"first"
    store.put_bytes("c/d", b"third")
    assert store.read_range("e/f/g", 0, 99) == b"first"


def test_a_copy_onto_itself_or_its_equal_changes_nothing(store):
    store.put_bytes("a/b", b"12345")
    for _ in range(2):
        assert store.copy("a/b", "a/c") == 5
    assert store.read_range("a/c", 0, 9) == b"12345"
    assert list(store.list("")) == ["a/b", "a/c"]


def test_what_is_missing_cannot_be_copied_and_nothing_appears(store):
    store.put_bytes("a/c", b"kept")
    with pytest.raises(ObjectMissing) as failure:
        store.copy("a/b", "a/c")
    assert failure.value.key == "a/b"
    assert store.read_range("a/c", 0, 9) == b"kept"
    assert list(store.list("")) == ["a/c"]
    for names in (("../b", "a/c"), ("a/c", "../b")):
        with pytest.raises(InvalidKey):
            store.copy(*names)


def test_a_signed_address_takes_and_gives_exactly_one_object(store):
    put = store.presigned_put("a/b", lives_s=60)
    words = {"disposition": 'attachment; filename="ä.json"', "content_type": "application/json"}
    if put is None:
        assert store.presigned_get("a/b", lives_s=60, **words) is None
        return
    # As the published client sends runs (no content type) and executables.
    for headers in ({}, {"Content-Type": "application/octet-stream"}):
        answer = requests.put(put, data=b"\x00bytes", headers=headers, timeout=20)
        assert answer.status_code == 200, answer.text
        assert store.read_range("a/b", 0, 99) == b"\x00bytes"
        store.delete("a/b")
    store.put_bytes("a/b", b'{"a": 1}')
    get = store.presigned_get("a/b", lives_s=60, **words)
    got = requests.get(get, headers={"Content-Type": "application/json"}, timeout=20)
    assert (got.status_code, got.content) == (200, b'{"a": 1}')
    assert got.headers["Content-Disposition"].startswith("attachment")
    assert got.headers["Content-Type"] == "application/json"
