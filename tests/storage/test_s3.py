"""What the store in a bucket promises beyond the shared suite."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import io
import os
import signal
import socket
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.exceptions import ReadTimeoutError

from runs.storage import s3 as s3_module
from runs.storage import s3_client
from runs.storage.base import ObjectTooLarge, StorageError, Stored
from runs.storage.s3 import PART_BYTES, S3Store
from runs.storage.s3_client import S3Address
from tests import s3_servers
from tests.processes import until
from tests.s3_servers import S3Server, s3_server

ROOT = Path(__file__).resolve().parents[2]
LARGE = 2 * PART_BYTES + 12345


@pytest.fixture
def store(s3: S3Server) -> S3Store:
    return S3Store(s3.address(s3.new_bucket(), "runsite"))


def uploads(s3: S3Server, store: S3Store) -> list[Any]:
    """The multipart uploads of the bucket that have not ended."""
    answer = s3.client().list_multipart_uploads(Bucket=store.address.bucket)
    return list(answer.get("Uploads", []))


def random_bytes(size: int) -> bytes:
    return os.urandom(1024) * (size // 1024 + 1)


# --- Large objects ------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, LARGE])
def test_an_object_of_any_number_of_parts_is_read_back(s3, store, tmp_path, size):
    data = random_bytes(size)[:size]
    stored = store.put("a/b", io.BytesIO(data))
    assert stored == Stored(size, hashlib.sha256(data).hexdigest())
    assert store.fetch("a/b", tmp_path / "copy") == size
    assert (tmp_path / "copy").read_bytes() == data
    with store.open("a/b") as file:
        file.seek(-1000, io.SEEK_END)
        assert file.read(2000) == data[-1000:]
        file.seek(PART_BYTES - 10)
        assert file.read(20) == data[PART_BYTES - 10 : PART_BYTES + 10]
    assert store.put_bytes("a/c", data) == stored
    assert uploads(s3, store) == []


def test_a_large_object_passes_through_little_memory(store):
    class Zeros(io.RawIOBase):
        left = 6 * PART_BYTES

        def read(self, size: int = -1) -> bytes:
            size = min(self.left, size)
            self.left -= size
            return bytes(size)

    tracemalloc.start()
    try:
        store.put("a/b", Zeros())
        read = sum(len(piece) for piece in store.stream("a/b"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert read == 6 * PART_BYTES
    assert peak < 4 * PART_BYTES


def test_beyond_the_limit_no_part_is_kept(s3, store):
    with pytest.raises(ObjectTooLarge):
        store.put("a/b", io.BytesIO(bytes(LARGE)), limit_bytes=LARGE - 1)
    assert uploads(s3, store) == []
    assert list(store.list("")) == []


def test_a_stream_that_breaks_after_the_first_part_leaves_nothing(s3, store):
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > PART_BYTES:
                raise ConnectionResetError("gone")
            return super().read(size)

    with pytest.raises(ConnectionResetError):
        store.put("a/b", Broken(bytes(LARGE)))
    assert uploads(s3, store) == []
    assert not store.exists("a/b")


def test_a_killed_upload_is_not_visible_and_the_sweep_aborts_it(s3, store):
    code = (
        "import sys; from runs.storage.s3 import S3Store\n"
        "from runs.storage.s3_client import S3Address\n"
        "class Slow:\n"
        "    given = 0\n"
        "    def read(self, size):\n"
        f"        if self.given > {PART_BYTES}: sys.stdin.read()\n"
        "        self.given += size\n"
        "        return bytes(size)\n"
        "bucket, endpoint = sys.argv[1:]\n"
        "S3Store(S3Address(bucket, 'runsite', endpoint, 'us-east-1', access_key='a',"
        " secret_key='b')).put('a/b', Slow())"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", code, store.address.bucket, s3.endpoint],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
    )
    try:
        until(lambda: any(has_parts(s3, store, each) for each in uploads(s3, store)))
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
    assert not store.exists("a/b")
    assert list(store.list("")) == []
    assert store.sweep(3600) == 1  # this server says of each that it is years old
    assert uploads(s3, store) == []


def test_an_upload_that_goes_on_is_not_swept(s3):
    class Dated(S3Store):
        def _uploads(self) -> Iterator[tuple[str, str, datetime]]:
            for name, upload_id, _ in super()._uploads():
                yield name, upload_id, begun[name]

    store = Dated(s3.address(s3.new_bucket()))
    now = datetime.now(UTC)
    begun = {"a/old": now - timedelta(hours=25), "a/young": now - timedelta(hours=23)}
    for name in begun:
        s3.client().create_multipart_upload(Bucket=store.address.bucket, Key=name)
    assert store.sweep(24 * 3600) == 1
    assert [each["Key"] for each in uploads(s3, store)] == ["a/young"]


def has_parts(s3: S3Server, store: S3Store, upload: Any) -> bool:
    answer = s3.client().list_parts(
        Bucket=store.address.bucket, Key=upload["Key"], UploadId=upload["UploadId"]
    )
    return bool(answer.get("Parts"))


def test_the_sweep_leaves_uploads_of_others_alone(s3, store):
    s3.client().create_multipart_upload(Bucket=store.address.bucket, Key="somebody/else")
    assert store.sweep(0) == 0
    assert len(uploads(s3, store)) == 1


def test_an_upload_whose_confirmation_was_lost_counts_when_it_is_there(s3):
    class Late(S3Store):
        """Does not hear what the service says when an object is made of its parts."""

        class Deaf:
            def __init__(self, client: Any) -> None:
                self.client = client

            def complete_multipart_upload(self, **words: Any) -> None:
                self.client.complete_multipart_upload(**words)
                raise ReadTimeoutError(endpoint_url="https://s3.example.org")

        @property
        def _finisher(self) -> Any:
            return self.Deaf(super()._finisher)

    store = Late(s3.address(s3.new_bucket()))
    assert store.put("a/b", io.BytesIO(bytes(LARGE))).size == LARGE
    assert store.size("a/b") == LARGE
    assert uploads(s3, store) == []


def test_an_upload_that_the_service_does_not_confirm_is_an_error_and_leaves_nothing(
    s3, store, monkeypatch
):
    class Broken:
        asked = 0

        def complete_multipart_upload(self, **words: Any) -> None:
            self.asked += 1
            raise ReadTimeoutError(endpoint_url="https://s3.example.org")

    broken = Broken()
    store.put_bytes("a/b", b"older")
    monkeypatch.setattr(s3_module, "make_finisher", lambda address: broken)
    monkeypatch.setattr(s3_module, "JOIN_BYTES_PER_S", LARGE * 10)
    with pytest.raises(StorageError, match="does not answer"):
        store.put("a/b", io.BytesIO(bytes(LARGE)))
    assert broken.asked >= 2
    assert store.read_range("a/b", 0, 9) == b"older"
    assert uploads(s3, store) == []


# --- What else lies in the bucket ---------------------------------------------------------------


def test_more_objects_than_one_answer_holds_are_listed_and_removed(store, monkeypatch):
    monkeypatch.setattr(s3_module, "BATCH", 3)
    wanted = [f"runs/r/{number:02d}" for number in range(10)]
    for key in wanted:
        store.put_bytes(key, b"x")
    assert list(store.list("runs/")) == wanted
    assert store.delete_prefix("runs/r/") == 10
    assert list(store.list("")) == []


def test_objects_of_others_are_neither_listed_nor_removed(s3, store):
    client, bucket = s3.client(), store.address.bucket
    for name in ("elsewhere/a/b", "runsite/", "runsite/a/.hidden", "runsite-2/a/b"):
        client.put_object(Bucket=bucket, Key=name, Body=b"x")
    store.put_bytes("a/b", b"x")
    assert list(store.list("")) == ["a/b"]
    store.delete_prefix("a/")
    left = [each["Key"] for each in client.list_objects_v2(Bucket=bucket)["Contents"]]
    assert {"elsewhere/a/b", "runsite-2/a/b"} <= set(left)


def test_two_installations_can_share_a_bucket(s3):
    bucket = s3.new_bucket()
    one, two = (S3Store(s3.address(bucket, prefix)) for prefix in ("one", "two"))
    one.put_bytes("a/b", b"1")
    two.put_bytes("a/b", b"2")
    assert (one.read_range("a/b", 0, 9), two.read_range("a/b", 0, 9)) == (b"1", b"2")
    assert two.delete_prefix("a/") == 1
    assert one.exists("a/b")


def test_an_object_that_is_replaced_while_it_is_read_is_an_error_and_no_mixture(store):
    store.put_bytes("a/b", b"1" * 3_000_000)
    with store.open("a/b") as file:
        assert file.read(10) == b"1" * 10
        pieces = store.stream("a/b", chunk=1000)
        store.put_bytes("a/b", b"2" * 3_000_000)
        with pytest.raises(StorageError, match="Read it again"):
            file.read()
    with pytest.raises(StorageError, match="Read it again"):
        list(pieces)


# --- Outages ------------------------------------------------------------------------------------


@contextlib.contextmanager
def cutting(s3: S3Server, cuts: list[int]) -> Iterator[str]:
    """The endpoint of a proxy that cuts connections after so many bytes of answers, in turn."""
    listener = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, target: socket.socket, left: int | None) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536 if left is None else min(65536, left)):
                target.sendall(data)
                if left is not None and not (left := left - len(data)):
                    break
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection((s3.host, s3.port))
                left = cuts.pop(0) if cuts else None
                threading.Thread(target=pump, args=(near, far, None), daemon=True).start()
                threading.Thread(target=pump, args=(far, near, left), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def test_reading_goes_on_where_a_connection_was_cut(s3, store, tmp_path):
    data = random_bytes(3_000_000)
    store.put_bytes("a/b", data)
    cuts = [1_200_000, 700_000]
    with cutting(s3, cuts) as endpoint:
        through = S3Store(
            S3Address(
                store.address.bucket,
                "runsite",
                endpoint,
                "us-east-1",
                access_key="a",
                secret_key="b",
            )
        )
        assert through.fetch("a/b", tmp_path / "copy") == len(data)
    assert cuts == []
    assert (tmp_path / "copy").read_bytes() == data


def test_a_connection_that_is_cut_again_and_again_is_an_error_and_leaves_no_file(
    s3, store, tmp_path
):
    store.put_bytes("a/b", random_bytes(3_000_000))
    with cutting(s3, [2000] * 50) as endpoint:
        through = S3Store(
            S3Address(
                store.address.bucket,
                "runsite",
                endpoint,
                "us-east-1",
                access_key="a",
                secret_key="b",
            )
        )
        with pytest.raises(StorageError):
            through.fetch("a/b", tmp_path / "copy")
        with pytest.raises(StorageError):
            through.read_range("a/b", 0, 3_000_000)
    assert list(tmp_path.iterdir()) == []


def every_call(store: S3Store, folder: Path) -> list[Any]:
    file = folder / "file"
    file.write_bytes(b"x")
    return [
        lambda: store.put("a/b", io.BytesIO(b"x")),
        lambda: store.put("a/b", io.BytesIO(bytes(LARGE))),
        lambda: store.put_bytes("a/b", b"x"),
        lambda: store.put_file("a/b", file, consume=True),
        lambda: store.open("a/b"),
        lambda: store.size("a/b"),
        lambda: store.read_range("a/b", 0, 1),
        lambda: store.stream("a/b"),
        lambda: store.exists("a/b"),
        lambda: store.delete("a/b"),
        lambda: store.delete_prefix("a/"),
        lambda: list(store.list("")),
        lambda: store.sweep(0),
        lambda: store.fetch("a/b", folder / "copy"),
    ]


def test_every_call_says_that_the_service_is_away(tmp_path):
    with s3_server() as server:
        address = server.address(server.new_bucket())
    store = S3Store(address)
    for call in every_call(store, tmp_path):
        with pytest.raises(StorageError, match="does not answer") as failure:
            call()
        assert failure.value.operation in {"put", "get", "list", "delete"}
        assert "RUNSITE_STORE_URL" in str(failure.value)
        assert "test-secret" not in str(failure.value)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_service_that_takes_calls_and_never_answers_is_given_up(monkeypatch, tmp_path):
    monkeypatch.setattr(s3_client, "READ_S", 0.2)
    asked = []
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                asked.append(listener.accept()[0])

    threading.Thread(target=accept, daemon=True).start()
    endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
    store = S3Store(S3Address("some", "", endpoint, access_key="a", secret_key="b"))
    with pytest.raises(StorageError, match="does not answer"):
        store.size("a/b")
    assert len(asked) == s3_client.ATTEMPTS
    for connection in asked:
        connection.close()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def test_a_missing_bucket_is_no_missing_object(s3, tmp_path):
    store = S3Store(s3.address("never-made-bucket"))
    for call in every_call(store, tmp_path):
        with pytest.raises(StorageError, match="no such bucket") as failure:
            call()
        assert type(failure.value) is StorageError


def test_without_any_key_the_message_names_the_settings(s3, monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    store = S3Store(S3Address("some", "", s3.endpoint))
    with pytest.raises(StorageError, match="RUNSITE_S3_ACCESS_KEY"):
        store.size("a/b")


def test_the_secret_key_is_not_part_of_what_an_address_shows():
    address = S3Address("some", access_key="the-id", secret_key="the-secret")
    assert "the-" not in f"{address} {address!r}"


# --- Signed addresses and copies ----------------------------------------------------------------


def test_a_large_object_is_copied_in_parts(s3, store, monkeypatch):
    monkeypatch.setattr(s3_module, "COPY_PART_BYTES", PART_BYTES)
    data = random_bytes(LARGE)[:LARGE]
    store.put("a/b", io.BytesIO(data))
    assert store.copy("a/b", "c/d") == LARGE
    assert hashlib.sha256(store.read_range("c/d", 0, LARGE)).digest() == (
        hashlib.sha256(data).digest()
    )
    assert uploads(s3, store) == []


def test_a_copy_in_parts_that_fails_leaves_nothing(s3, store, monkeypatch):
    monkeypatch.setattr(s3_module, "COPY_PART_BYTES", PART_BYTES)
    store.put("a/b", io.BytesIO(random_bytes(LARGE)))

    def fail(*_: object) -> None:
        raise StorageError("no")

    monkeypatch.setattr(store, "_complete", fail)
    with pytest.raises(StorageError, match="no"):
        store.copy("a/b", "c/d")
    assert uploads(s3, store) == []
    assert not store.exists("c/d")


def test_nothing_but_the_host_is_signed_beside_the_address(store):
    words = {"disposition": "attachment", "content_type": "text/plain"}
    for address in (
        store.presigned_put("a/b", lives_s=77),
        store.presigned_get("a/b", lives_s=77, **words),
    ):
        query = parse_qs(urlsplit(address).query)
        assert query["X-Amz-SignedHeaders"] == ["host"]
        assert query["X-Amz-Expires"] == ["77"]
        assert s3_servers.SECRET_KEY not in address


def test_addresses_lead_to_the_endpoint_that_clients_reach(s3):
    inside = s3.address("some", "runsite")
    outside = S3Store(replace(inside, public="https://files.example.org"))
    address = urlsplit(outside.presigned_put("a/b", lives_s=60))
    assert (address.scheme, address.netloc) == ("https", "files.example.org")
    assert address.path == "/some/runsite/a/b"


def test_a_bucket_that_clients_cannot_reach_gives_no_address(s3):
    store = S3Store(replace(s3.address("some"), presign=False))
    assert store.presigned_put("a/b", lives_s=60) is None
    words = {"disposition": "attachment", "content_type": "text/plain"}
    assert store.presigned_get("a/b", lives_s=60, **words) is None


def test_no_keys_are_said_when_an_address_is_to_be_signed(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    store = S3Store(S3Address("some", "", "http://127.0.0.1:9"))
    with pytest.raises(StorageError, match="RUNSITE_S3_ACCESS_KEY"):
        store.presigned_put("a/b", lives_s=60)


def signature_of(method: str, address: str, secret: str) -> str:
    """The signature that a service computes of a request, of whose headers it takes `host` alone.

    As "Authenticating Requests: Using Query Parameters (AWS Signature Version 4)" says it.
    """
    parts = urlsplit(address)
    words = [word for word in parts.query.split("&") if not word.startswith("X-Amz-Signature=")]
    query = parse_qs(parts.query)
    [scope] = ["/".join(query["X-Amz-Credential"][0].split("/")[1:])]
    headers = [f"host:{parts.netloc}", "", "host"]
    request = "\n".join([method, parts.path, "&".join(sorted(words)), *headers, "UNSIGNED-PAYLOAD"])
    digest = hashlib.sha256(request.encode()).hexdigest()
    text = "\n".join(["AWS4-HMAC-SHA256", query["X-Amz-Date"][0], scope, digest])
    key = f"AWS4{secret}".encode()
    for part in (*scope.split("/"), text):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key.hex()


def test_the_signature_is_of_the_host_and_no_other_header(store):
    words = {"disposition": 'attachment; filename="a b.json"', "content_type": "text/plain"}
    for method, address in (
        ("PUT", store.presigned_put("a/b", lives_s=60)),
        ("GET", store.presigned_get("a/b", lives_s=60, **words)),
    ):
        [signature] = parse_qs(urlsplit(address).query)["X-Amz-Signature"]
        assert signature == signature_of(method, address, s3_servers.SECRET_KEY)
        assert signature != signature_of("DELETE", address, s3_servers.SECRET_KEY)
