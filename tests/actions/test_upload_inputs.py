"""Uploads as inputs and documents: copied, checked, and never used up."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from runs.actions.actors import product
from runs.actions.inputs import open_input_file, scratch_folder, store_text_input
from runs.actions.tickets import new_upload, receive_upload, upload_url
from runs.actions.upload_inputs import input_of_upload, open_upload, read_upload_json
from runs.domain.errors import ArchiveRejected, FieldsInvalid, InputRejected, TooLarge
from runs.models import Account, InputData, Upload
from runs.storage import keys, object_store
from runsite.store_url import parse_store_url
from tests.factories import make_account
from tests.s3_servers import s3_server

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_store(settings, tmp_path: Path):
    settings.RUNSITE_DATA_DIR = tmp_path


@pytest.fixture(scope="module")
def server() -> Iterator[object]:
    with s3_server() as found:
        yield found


@pytest.fixture(params=["local", "s3"])
def any_store(request, settings) -> str:
    if request.param == "s3":
        server = request.getfixturevalue("server")
        variables = server.variables(server.new_bucket())
        settings.RUNSITE_STORE = parse_store_url("X", variables["RUNSITE_STORE_URL"])
        settings.RUNSITE_S3_ACCESS_KEY = variables["RUNSITE_S3_ACCESS_KEY"]
        settings.RUNSITE_S3_SECRET_KEY = variables["RUNSITE_S3_SECRET_KEY"]
    return request.param


def filled(data: bytes, account: Account | None = None) -> Upload:
    """An upload that came: by us, or by the store itself where it is a bucket."""
    upload = new_upload(account=account or make_account(), actor=product())
    address = upload_url(upload, base="http://here")
    if not address.startswith("http://here/"):
        requests.put(address, data=data, timeout=20).raise_for_status()
        return upload
    return receive_upload(upload_id=upload.upload_id, stream=io.BytesIO(data), length=len(data))


def tar_gz(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return packed.getvalue()


def contents(input_data: InputData) -> dict[str, bytes]:
    found = {}
    for file in input_data.files.order_by("number"):
        with open_input_file(file) as stream:
            found[file.path] = stream.read()
    return found


@pytest.mark.parametrize("content_format", ["json", "text"])
def test_a_text_becomes_an_input_and_the_upload_stays(any_store, content_format):
    data = b'{"stops": [1, 2]}\n'
    upload = filled(data)
    input_data = input_of_upload(upload=upload, content_format=content_format)
    assert (input_data.content_format, input_data.size_bytes) == (content_format, len(data))
    assert input_data.sha256 == hashlib.sha256(data).hexdigest()
    assert input_data.account == upload.account
    assert list(contents(input_data).values()) == [data]
    assert input_of_upload(upload=upload, content_format=content_format) == input_data
    object_store().delete(upload.key)
    assert list(contents(input_data).values()) == [data]


def test_the_same_content_is_one_input_however_it_came():
    account = make_account()
    data = b'{"a": 1}'
    pasted = store_text_input(account=account, content_format="json", data=data)
    assert input_of_upload(upload=filled(data, account), content_format="json") == pasted
    stored = list(object_store().list("inputs/"))
    assert stored == [keys.input_file(pasted.input_key, 0)]
    other = input_of_upload(upload=filled(data), content_format="json")
    assert other != pasted  # of another account


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"{", "column 2"), (b"[1]", "object"), (b"", "empty"), (b"\xff{}", "UTF-8")],
)
def test_json_that_no_app_could_read_is_refused_with_its_name(any_store, data, words):
    upload = filled(data)
    with pytest.raises(InputRejected, match=words) as refusal:
        input_of_upload(upload=upload, content_format="json")
    assert upload.upload_id in refusal.value.message
    assert not InputData.objects.exists()
    assert list(object_store().list("inputs/")) == []


def test_an_archive_is_unpacked_with_its_paths_as_they_are(any_store):
    files = {"data/a.csv": b"1\n", "data/sub/ü.csv": b"2\n"}
    upload = filled(tar_gz(files))
    for content_format in ("multi-file", "csv-archive"):
        input_data = input_of_upload(upload=upload, content_format=content_format)
        assert contents(input_data) == files
        assert (input_data.size_bytes, input_data.file_count) == (4, 2)
    assert list(scratch_folder().iterdir()) == []
    assert object_store().exists(upload.key)


@pytest.mark.parametrize(
    "data",
    [b"no archive", b"", tar_gz({"../up": b"x"}), tar_gz({"a": b"x" * 100})[:-20]],
    ids=["no archive", "nothing", "hostile", "cut off"],
)
def test_a_bad_archive_is_refused_with_its_name_and_nothing_stays(data):
    upload = filled(data)
    with pytest.raises(ArchiveRejected) as refusal:
        input_of_upload(upload=upload, content_format="multi-file")
    assert upload.upload_id in refusal.value.message
    assert list(object_store().list("inputs/")) == []
    assert list(scratch_folder().iterdir()) == []


@pytest.mark.parametrize("content_format", ["json", "multi-file"])
def test_an_upload_that_was_never_filled_is_named(any_store, content_format):
    upload = new_upload(account=make_account(), actor=product())
    for use in (
        lambda: input_of_upload(upload=upload, content_format=content_format),
        lambda: open_upload(upload),
        lambda: read_upload_json(upload, 10),
    ):
        with pytest.raises(FieldsInvalid, match="nothing was sent") as refusal:
            use()
        assert list(refusal.value.errors) == ["upload_id"]
        assert upload.upload_id in refusal.value.message


def test_bytes_that_are_gone_are_said_to_be():
    upload = filled(b"{}")
    object_store().delete(upload.key)
    with pytest.raises(FieldsInvalid, match=f"{upload.upload_id} is not there any more"):
        input_of_upload(upload=upload, content_format="json")
    Upload.objects.all().delete()
    with pytest.raises(FieldsInvalid, match=f"{upload.upload_id} is not there any more"):
        input_of_upload(upload=upload, content_format="json")


def test_bytes_that_were_sent_again_since_the_row_was_read_are_taken_as_a_whole():
    upload = filled(b'{"a": 1}')
    known = Upload.objects.get(pk=upload.pk)
    receive_upload(upload_id=upload.upload_id, stream=io.BytesIO(b'{"b": 2}'), length=8)
    input_data = input_of_upload(upload=known, content_format="json")
    assert list(contents(input_data).values()) == [b'{"b": 2}']
    assert input_data.sha256 == hashlib.sha256(b'{"b": 2}').hexdigest()


def test_an_input_above_the_limit_is_refused(settings):
    upload = filled(b"123456")
    settings.RUNSITE_UPLOAD_LIMIT = 5
    with pytest.raises(TooLarge, match=upload.upload_id):
        input_of_upload(upload=upload, content_format="text")
    assert list(object_store().list("inputs/")) == []


def test_a_document_is_read_within_its_limit(any_store):
    data = json.dumps({"ü": [1.5, None]}).encode()
    upload = filled(data)
    assert read_upload_json(upload, len(data)) == {"ü": [1.5, None]}
    with pytest.raises(TooLarge, match=upload.upload_id):
        read_upload_json(upload, len(data) - 1)
    for bad in (b"{", b"", b"\xff", b"[" * 100_000):
        upload = filled(bad)
        with pytest.raises(InputRejected, match=f"{upload.upload_id} is not JSON"):
            read_upload_json(upload, 10**6)
    with open_upload(filled(b"0123456789")) as stream:
        stream.seek(5)
        assert stream.read() == b"56789"
