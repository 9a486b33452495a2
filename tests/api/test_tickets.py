"""Signed addresses as clients use them: without a key, in pieces, nothing drawn, errors as JSON."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.test import Client

from runs.actions.actors import product
from runs.actions.tickets import archive_url, download_url, new_upload, upload_url
from runs.domain.status import Status
from runs.models import RunFile, Upload
from runs.storage import StorageError, keys, object_store
from runs.storage.local import LocalStore
from tests.actions.test_run_archives import unpacked
from tests.factories import make_account, make_run

BASE = "http://testserver"
KEY = "runs/a/1/stdout"
DATA = b'{"a": "0123456789"}'


@pytest.fixture(autouse=True)
def own_store(settings, tmp_path: Path):
    settings.RUNSITE_DATA_DIR = tmp_path


@pytest.fixture
def client() -> Client:
    """A client that nobody knows, and that is checked for forged forms like a browser."""
    return Client(enforce_csrf_checks=True, raise_request_exception=False)


@pytest.fixture
def upload(db: None) -> Upload:
    return new_upload(account=make_account(), actor=product())


@pytest.fixture
def stored() -> str:
    """The address of an object without its host."""
    object_store().put_bytes(KEY, DATA)
    return path_of(
        download_url(key=KEY, file_name="r.json", content_type="application/json", base=BASE)
    )


def path_of(address: str) -> str:
    return address.removeprefix(BASE)


def put(client: Client, address: str, data: bytes = b"{}", **words):
    return client.generic("PUT", path_of(address), data, **{"content_type": "", **words})


def assert_refused(response, status: int, words: str = "") -> None:
    assert response.status_code == status
    assert response["Content-Type"] == "application/json"
    assert set(response.json()) == {"error", "status"}
    assert response.json()["status"] == status
    assert words in response.json()["error"]
    assert "Retry-After" not in response


# --- Sending ------------------------------------------------------------------------------------


@pytest.mark.parametrize("content_type", ["", "application/octet-stream", "multipart/form-data"])
def test_bytes_are_kept_as_they_are_whatever_their_type_says(client, upload, content_type):
    data = b"--x\r\nname=a&b\x00\xff"
    response = put(client, upload_url(upload, base=BASE), data, content_type=content_type)
    assert response.status_code == 200
    digest = hashlib.sha256(data).hexdigest()
    assert response.json() == {
        "upload_id": upload.upload_id,
        "size": len(data),
        "sha256": digest,
    }
    upload.refresh_from_db()
    assert object_store().read_range(upload.key, 0, 99) == data
    assert (upload.size_bytes, upload.sha256) == (len(data), digest)


def test_the_same_sent_again_is_harmless_and_other_bytes_replace(client, upload):
    address = upload_url(upload, base=BASE)
    first = put(client, address, b"one")
    assert put(client, address, b"one").json() == first.json()
    assert put(client, address, b"two, long").json()["size"] == 9
    upload.refresh_from_db()
    assert list(object_store().list("uploads/")) == [upload.key]


def test_nothing_at_all_can_be_sent(client, upload):
    response = put(client, upload_url(upload, base=BASE), b"", CONTENT_LENGTH="0")
    assert response.json()["size"] == 0


def test_an_upload_without_a_length_is_refused(client, upload):
    address = upload_url(upload, base=BASE)
    for words in (
        {"CONTENT_LENGTH": ""},
        {"CONTENT_LENGTH": "x"},
        {"CONTENT_LENGTH": "-1"},
        {"HTTP_TRANSFER_ENCODING": "chunked"},
    ):
        assert_refused(put(client, address, b"data", **words), 411, "Content-Length")
    assert list(object_store().list("uploads/")) == []


def test_an_upload_above_the_limit_is_refused_before_a_byte_is_read(client, upload, settings):
    class Unread(io.RawIOBase):
        def readinto(self, buffer) -> int:
            raise AssertionError("read")

    settings.RUNSITE_UPLOAD_LIMIT = 1000
    address = upload_url(upload, base=BASE)
    for length in ("1001", "9" * 18, "9" * 5000):
        words = {"CONTENT_LENGTH": length, "wsgi.input": Unread()}
        response = put(client, address, b"", **words)
        assert_refused(response, 413, upload.upload_id)


def test_an_upload_that_breaks_off_leaves_nothing(client, upload):
    address = upload_url(upload, base=BASE)
    put(client, address, b"whole")
    words = {"CONTENT_LENGTH": "8", "wsgi.input": io.BytesIO(b"half")}
    response = put(client, address, b"", **words)
    assert_refused(response, 400, "broke off after 4 of 8 bytes")
    upload.refresh_from_db()
    assert object_store().read_range(upload.key, 0, 99) == b"whole"
    assert list(object_store().list("uploads/")) == [upload.key]


def test_forged_old_and_foreign_addresses_are_refused(client, upload):
    address = upload_url(upload, base=BASE)
    other = new_upload(account=make_account(), actor=product())
    query = urlsplit(address).query
    for forged in (
        address[:-1] + ("0" if address[-1] != "0" else "1"),
        f"{BASE}/tickets/uploads/{upload.upload_id}",
        f"{BASE}/tickets/uploads/{other.upload_id}?{query}",
        f"{BASE}/tickets/uploads/..%2f{upload.upload_id}?{query}",
        address.replace("expires=1", "expires=9"),
        address + "&name=x",
    ):
        assert put(client, forged).status_code in {403, 404}, forged
        assert put(client, forged)["Content-Type"] == "application/json"
    assert_refused(put(client, f"{BASE}/tickets/uploads/{upload.upload_id}?{query}x"), 403, "new")
    Upload.objects.filter(pk=upload.pk).update(expires_at="2020-01-01T00:00:00Z")
    upload.refresh_from_db()
    assert_refused(put(client, upload_url(upload, base=BASE)), 403, "ran out")
    assert list(object_store().list("uploads/")) == []


def test_an_address_is_for_one_method(client, upload, stored):
    to_send = path_of(upload_url(upload, base=BASE))
    for method in ("GET", "HEAD", "POST", "DELETE", "PATCH", "OPTIONS"):
        response = client.generic(method, to_send)
        assert response.status_code == 405
        assert response["Allow"] == "PUT"
    for method in ("PUT", "POST", "DELETE"):
        assert_refused(client.generic(method, stored), 405, "GET and HEAD")
    assert_refused(client.get(to_send.replace("uploads", "objects")), 403)


def test_an_upload_that_was_removed_is_not_there(client, upload):
    address = upload_url(upload, base=BASE)
    Upload.objects.all().delete()
    assert_refused(put(client, address), 404, upload.upload_id)


def test_a_store_that_fails_is_said_in_json(client, upload, stored, monkeypatch):
    def broken(error: Exception):
        def fail(*_: object, **__: object) -> None:
            raise error

        return fail

    address = upload_url(upload, base=BASE)
    monkeypatch.setattr(LocalStore, "put", broken(StorageError("secret words")))
    assert_refused(put(client, address), 503, "Try again")
    monkeypatch.setattr(LocalStore, "put", broken(OSError(28, "No space left")))
    assert_refused(put(client, address), 503, "disk")
    monkeypatch.setattr(LocalStore, "put", broken(RuntimeError("secret words")))
    assert_refused(put(client, address), 500)
    monkeypatch.setattr(LocalStore, "size", broken(StorageError("secret words")))
    assert_refused(client.get(stored), 503, "Try again")


def test_what_is_nowhere_is_json_as_well(client):
    for path in ("/tickets", "/tickets/", "/tickets/other/x", "/tickets/uploads/"):
        assert_refused(client.get(path), 404)
    response = client.get("/tickets/uploads/x", headers={"host": "evil.example.org"})
    assert_refused(response, 400)


# --- Fetching -----------------------------------------------------------------------------------


def test_an_object_is_sent_as_a_download_without_any_query(client, stored):
    # This test may not use the database at all.
    response = client.get(stored, headers={"content-type": "application/json"})
    assert response.status_code == 200
    assert b"".join(response.streaming_content) == DATA
    assert response["Content-Type"] == "application/json"
    assert response["Content-Length"] == str(len(DATA))
    assert response["Content-Disposition"] == 'attachment; filename="r.json"'
    assert response["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in response["Content-Security-Policy"]
    assert "Set-Cookie" not in response


def test_no_object_is_drawn_as_a_page(client):
    object_store().put_bytes("a/b", b"<script>alert(1)</script>")
    for kind in ("text/html", "image/svg+xml"):
        address = download_url(key="a/b", file_name="a.html", content_type=kind, base=BASE)
        response = client.get(path_of(address))
        assert response["Content-Type"] == "application/octet-stream"
        assert response["Content-Disposition"].startswith("attachment")


def test_head_says_what_get_would_send(client, stored):
    response = client.head(stored)
    assert response.status_code == 200
    assert response.content == b""
    assert response["Content-Length"] == str(len(DATA))
    assert response["Accept-Ranges"] == "bytes"


def test_one_range_is_answered_and_several_are_the_whole(client, stored):
    response = client.get(stored, headers={"range": "bytes=1-3"})
    assert response.status_code == 206
    assert b"".join(response.streaming_content) == DATA[1:4]
    assert response["Content-Range"] == f"bytes 1-3/{len(DATA)}"
    assert response["Content-Length"] == "3"
    several = client.get(stored, headers={"range": "bytes=0-1,4-5"})
    assert several.status_code == 200
    assert b"".join(several.streaming_content) == DATA
    beyond = client.get(stored, headers={"range": "bytes=999-"})
    assert_refused(beyond, 416, "r.json")
    assert beyond["Content-Range"] == f"bytes */{len(DATA)}"


def test_a_download_goes_on_where_it_was_cut_unless_it_changed(client, stored):
    tag = client.get(stored)["ETag"]
    same = {"range": "bytes=5-", "if-range": tag}
    assert client.get(stored, headers=same).status_code == 206
    other = {"range": "bytes=5-", "if-range": '"other"'}
    assert client.get(stored, headers=other).status_code == 200
    assert client.get(stored, headers={"if-none-match": tag}).status_code == 304


def test_forged_and_old_downloads_are_refused(client, stored):
    object_store().put_bytes("runs/b/1/stdout", b"of another")
    for forged in (
        stored.replace("runs/a", "runs/b"),
        stored.replace("r.json", "r.html"),
        stored.replace("application%2Fjson", "text%2Fplain"),
        stored[:-1],
        stored.partition("?")[0],
    ):
        assert forged != stored
        assert_refused(client.get(forged), 403, "new one")


def test_an_object_that_is_gone_is_said_in_json(client, stored):
    object_store().delete(KEY)
    assert_refused(client.get(stored), 404, "r.json")


@pytest.mark.django_db
@pytest.mark.parametrize("status", [Status.SUCCEEDED, Status.FAILED, Status.CANCELED])
def test_the_files_of_a_run_come_as_one_archive(client, status):
    run = make_run(status=status)
    address = path_of(archive_url(run=run, part="output", base=BASE))
    response = client.get(address)
    assert (response.status_code, response["Content-Type"]) == (200, "application/gzip")
    assert f'filename="{run.run_id}-output.tar.gz"' in response["Content-Disposition"]
    assert unpacked(b"".join(response.streaming_content)) == {}
    key = keys.output_file(run.run_id, 1, 0)
    object_store().put_bytes(key, b"1\n")
    RunFile.objects.create(run=run, role="solution", path="a/b.csv", size_bytes=2, key=key)
    assert unpacked(b"".join(client.get(address).streaming_content)) == {"a/b.csv": b"1\n"}
    whole = client.get(address, headers={"range": "bytes=0-1"})
    assert (whole.status_code, whole["Accept-Ranges"]) == (200, "none")
    head = client.head(address)
    assert b"".join(head.streaming_content) == b""
    assert "Content-Length" not in head
    assert_refused(client.get(address.replace("/output?", "/input?")), 403)
    assert_refused(client.get(address.replace(run.run_id, make_run().run_id)), 403)
    run.delete()
    assert_refused(client.get(address), 404, run.run_id)
