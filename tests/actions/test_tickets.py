"""Tickets: what an address permits, for how long, and what came by it."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
import requests
from django.db import connection
from django.utils import timezone

from runs.actions.actors import key_holder, product
from runs.actions.tickets import (
    PATHS,
    archive_url,
    check_ticket,
    download_url,
    is_filled,
    new_upload,
    receive_upload,
    upload_url,
)
from runs.domain.errors import NotAllowed, NotFound, TooLarge
from runs.models import ApiKey, Upload
from runs.storage import keys, object_store
from runs.storage.tickets import ARCHIVE, OBJECT, UPLOAD
from runsite.store_url import parse_store_url
from tests.factories import make_account, make_application, make_executable, make_member, make_run
from tests.s3_servers import S3Server, s3_server

BASE = "https://runs.example.org"


@pytest.fixture(autouse=True)
def own_store(settings, tmp_path: Path):
    settings.RUNSITE_DATA_DIR = tmp_path


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture
def bucket(settings, s3: S3Server) -> str:
    """The name of the bucket in which everything is kept."""
    name = s3.new_bucket()
    variables = s3.variables(name)
    settings.RUNSITE_STORE = parse_store_url("X", variables["RUNSITE_STORE_URL"])
    settings.RUNSITE_S3_ACCESS_KEY = variables["RUNSITE_S3_ACCESS_KEY"]
    settings.RUNSITE_S3_SECRET_KEY = variables["RUNSITE_S3_SECRET_KEY"]
    return name


def some_upload(**fields) -> Upload:
    return new_upload(account=make_account(), actor=product(), **fields)


def receive(upload: Upload, data: bytes) -> Upload:
    return receive_upload(upload_id=upload.upload_id, stream=io.BytesIO(data), length=len(data))


def parts(address: str) -> tuple[str, dict[str, str]]:
    """What of an address of ours is behind the paths, and its query."""
    found = urlsplit(address)
    assert f"{found.scheme}://{found.netloc}" == BASE
    path = unquote(found.path)
    start = next(start for start in PATHS.values() if path.startswith(start))
    return path.removeprefix(start), dict(parse_qsl(found.query))


def objects(upload: Upload) -> list[str]:
    return list(object_store().list(keys.upload_prefix(upload.upload_id)))


# --- Tickets ------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_new_upload_knows_who_may_send_what_until_when():
    application = make_application()
    member = make_member(application.account)
    key = ApiKey.objects.create(
        account=application.account, name="ci", hint="k", hashed="h", created_by=member
    )
    now = timezone.now()
    upload = new_upload(
        account=application.account,
        actor=key_holder(key),
        application=application,
        purpose=Upload.EXECUTABLE,
        now=now,
    )
    upload.refresh_from_db()
    assert (upload.created_by, upload.api_key, upload.application) == (member, key, application)
    assert upload.expires_at == now + timedelta(minutes=15)
    assert (upload.completed_at, upload.size_bytes, upload.sha256) == (None, None, "")
    assert not is_filled(upload)


@pytest.mark.django_db
def test_the_address_of_an_upload_is_good_for_it_alone_and_for_15_minutes():
    upload = some_upload()
    assert upload.expires_at is not None
    subject, words = parts(upload_url(upload, base=BASE))
    assert subject == upload.upload_id
    almost, over = (upload.expires_at - timedelta(seconds=s) for s in (2, -1))
    check_ticket(purpose=UPLOAD, subject=subject, words=words, now=almost)
    with pytest.raises(NotAllowed, match="ran out") as refusal:
        check_ticket(purpose=UPLOAD, subject=subject, words=words, now=over)
    assert refusal.value.status == 403
    for wrong in (
        {"subject": some_upload().upload_id},
        {"purpose": OBJECT},
        {"purpose": ARCHIVE},
        {"words": words | {"expires": str(int(words["expires"]) + 1)}},
        {"words": words | {"name": "other"}},
        {"words": words | {"type": "text/html"}},
        {"words": words | {"signature": words["signature"][:-1] + "x"}},
        {"words": words | {"signature": "ä"}},
        {"words": {**words, "signature": ""}},
        {"words": {**words, "expires": "-1"}},
        {"words": {**words, "expires": "٣"}},
        {"words": {}},
    ):
        with pytest.raises(NotAllowed, match="not valid"):
            check_ticket(**{"purpose": UPLOAD, "subject": subject, "words": words} | wrong)


@pytest.mark.django_db
def test_another_installation_signs_otherwise(settings):
    subject, words = parts(upload_url(some_upload(), base=BASE))
    settings.SECRET_KEY = "another key of another installation"
    with pytest.raises(NotAllowed, match="not valid"):
        check_ticket(purpose=UPLOAD, subject=subject, words=words)


def test_a_download_is_named_and_typed_harmlessly():
    address = download_url(
        key="runs/a/1/stdout", file_name="../x/ü.html", content_type="text/html", base=BASE
    )
    subject, words = parts(address)
    ticket = check_ticket(purpose=OBJECT, subject=subject, words=words)
    assert (subject, ticket.name) == ("runs/a/1/stdout", "ü.html")
    assert ticket.content_type == "application/octet-stream"
    with pytest.raises(NotAllowed):
        check_ticket(purpose=OBJECT, subject="runs/a/1/log", words=words)
    with pytest.raises(NotAllowed):
        check_ticket(purpose=UPLOAD, subject=subject, words=words)


@pytest.mark.django_db
def test_an_archive_is_of_one_part_of_one_run():
    run = make_run()
    subject, words = parts(archive_url(run=run, part="output", base=BASE))
    assert subject == f"{run.run_id}/output"
    check_ticket(purpose=ARCHIVE, subject=subject, words=words)
    with pytest.raises(NotAllowed):
        check_ticket(purpose=ARCHIVE, subject=f"{run.run_id}/input", words=words)
    with pytest.raises(ValueError, match="no part"):
        archive_url(run=run, part="log", base=BASE)


# --- What comes ---------------------------------------------------------------------------------


@pytest.mark.django_db
def test_what_came_is_recorded_with_size_and_digest():
    upload = receive(some_upload(), b"hello")
    assert (upload.size_bytes, upload.sha256) == (5, hashlib.sha256(b"hello").hexdigest())
    assert upload.completed_at is not None
    assert is_filled(upload)
    assert object_store().read_range(upload.key, 0, 9) == b"hello"


@pytest.mark.django_db
def test_sent_again_it_replaces_and_leaves_nothing_else():
    upload = some_upload()
    first = receive(upload, b"first")
    again = receive(upload, b"first")
    assert (again.size_bytes, again.sha256) == (first.size_bytes, first.sha256)
    last = receive(upload, b"second, long")
    assert last.size_bytes == 12
    assert objects(upload) == [last.key]


@pytest.mark.django_db
def test_what_a_push_is_checked_of_is_kept_when_it_is_sent_again():
    application = make_application()
    upload = new_upload(
        account=application.account,
        actor=product(),
        application=application,
        purpose=Upload.EXECUTABLE,
    )
    first = receive(upload, b"first")
    executable = make_executable(application, archive_key=first.key, upload=upload)
    receive(upload, b"second")
    assert object_store().read_range(executable.archive_key, 0, 9) == b"first"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("purpose", "name"),
    [(Upload.DATA, "RUNSITE_UPLOAD_LIMIT"), (Upload.EXECUTABLE, "RUNSITE_EXECUTABLE_LIMIT")],
)
def test_each_purpose_has_its_limit_which_the_message_names(settings, purpose, name):
    settings.RUNSITE_UPLOAD_LIMIT = settings.RUNSITE_EXECUTABLE_LIMIT = 10**6
    setattr(settings, name, 5)
    upload = some_upload(purpose=purpose)
    with pytest.raises(TooLarge, match=name) as refusal:
        receive(upload, b"123456")
    assert upload.upload_id in refusal.value.message
    assert objects(upload) == []
    assert not is_filled(upload)
    assert receive(upload, b"12345").size_bytes == 5


@pytest.mark.django_db
def test_a_stream_that_breaks_keeps_what_was_there():
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell():
                raise ConnectionResetError("gone")
            return super().read(3)

    upload = receive(some_upload(), b"whole")
    with pytest.raises(ConnectionResetError):
        receive_upload(upload_id=upload.upload_id, stream=Broken(b"abcdef"), length=6)
    former = upload.key
    upload.refresh_from_db()
    assert (upload.key, objects(upload)) == (former, [former])


@pytest.mark.django_db
def test_an_upload_that_was_removed_meanwhile_leaves_nothing():
    upload = some_upload()

    class Removing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            Upload.objects.all().delete()
            return super().read(size)

    with pytest.raises(NotFound, match=upload.upload_id):
        receive_upload(upload_id=upload.upload_id, stream=Removing(b"abc"), length=3)
    assert objects(upload) == []
    with pytest.raises(NotFound, match=upload.upload_id):
        receive(upload, b"abc")


@pytest.mark.django_db(transaction=True)
def test_sent_several_times_at_once_one_whole_thing_stays():
    upload = some_upload()
    payloads = [bytes([65 + number]) * 300_000 for number in range(6)]
    together = threading.Barrier(len(payloads))

    def send(data: bytes) -> None:
        try:
            together.wait(30)
            receive(upload, data)
        finally:
            connection.close()

    threads = [threading.Thread(target=send, args=(data,)) for data in payloads]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    upload.refresh_from_db()
    kept = object_store().read_range(upload.key, 0, 10**6)
    assert kept in payloads
    assert upload.sha256 == hashlib.sha256(kept).hexdigest()
    assert objects(upload) == [upload.key]


@pytest.mark.django_db(transaction=True)
def test_while_much_comes_no_connection_to_the_database_is_held():
    held = []

    class Looking(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            held.append(connection.connection is not None)
            return super().read(size)

    upload = some_upload()
    data = bytes(9 * 2**20)
    receive_upload(upload_id=upload.upload_id, stream=Looking(data), length=len(data))
    assert not any(held)
    upload.refresh_from_db()
    assert upload.size_bytes == len(data)


# --- In a bucket --------------------------------------------------------------------------------


@pytest.mark.django_db
def test_in_a_bucket_the_store_takes_and_gives_the_bytes_itself(bucket, s3):
    upload = some_upload()
    address = upload_url(upload, base=BASE)
    assert address.startswith(s3.endpoint)
    assert not is_filled(upload)
    assert requests.put(address, data=b'{"a": 1}', timeout=20).status_code == 200
    assert is_filled(upload)
    assert (upload.size_bytes, upload.completed_at is not None) == (8, True)
    address = download_url(
        key=upload.key, file_name="ü.json", content_type="application/json", base=BASE
    )
    got = requests.get(address, headers={"Content-Type": "application/json"}, timeout=20)
    assert (got.status_code, got.json()) == (200, {"a": 1})
    assert got.headers["Content-Disposition"].startswith("attachment; filename")


@pytest.mark.django_db
def test_more_than_the_limit_is_removed_from_the_bucket(bucket, settings):
    settings.RUNSITE_UPLOAD_LIMIT = 5
    upload = some_upload()
    requests.put(upload_url(upload, base=BASE), data=b"123456", timeout=20).raise_for_status()
    with pytest.raises(TooLarge, match=upload.upload_id):
        is_filled(upload)
    assert objects(upload) == []
    assert not is_filled(upload)


@pytest.mark.django_db
def test_with_presign_0_the_addresses_are_ours(bucket, settings):
    settings.RUNSITE_STORE = settings.RUNSITE_STORE | {"presign": False}
    upload = some_upload()
    assert upload_url(upload, base=BASE).startswith(f"{BASE}/tickets/uploads/")
    receive(upload, b"hello")
    words = {"file_name": "a", "content_type": "text/plain"}
    assert download_url(key="a/b", base=BASE, **words).startswith(f"{BASE}/tickets/objects/a/b?")
