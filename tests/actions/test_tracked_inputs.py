"""Inputs of runs that were executed elsewhere are taken as what they are."""

from __future__ import annotations

import io
import tarfile

import pytest
from django.utils import timezone

from runs.actions.tracked_inputs import input_of_tracked
from runs.domain.errors import ArchiveRejected, FieldsInvalid
from runs.domain.ids import new_id
from runs.models import InputData, Upload
from runs.storage import keys, object_store
from tests.factories import make_account

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def store(settings, tmp_path):
    settings.RUNSITE_DATA_DIR = tmp_path


def uploaded(data: bytes) -> Upload:
    upload_id = new_id()
    stored = object_store().put_bytes(keys.upload(upload_id), data)
    return Upload.objects.create(
        account=make_account(),
        upload_id=upload_id,
        key=keys.upload(upload_id),
        size_bytes=stored.size,
        sha256=stored.sha256,
        completed_at=timezone.now(),
    )


def packed(name: str = "a/b.csv") -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = 3
        archive.addfile(entry, io.BytesIO(b"1,2"))
    return target.getvalue()


@pytest.mark.parametrize(
    ("data", "announced", "taken", "size"),
    [
        (b'{"a": 1}', "json", "json", 8),
        (b'{"a": 1}', "text", "text", 8),
        (b'{"a": 1}', "multi-file", "json", 8),
        (b"some text", "json", "text", 9),
        (b"[1, 2]", "json", "text", 6),
        (b"some text", "multi-file", "text", 9),
        (packed(), "json", "multi-file", 3),
        (packed(), "multi-file", "multi-file", 3),
        (packed(), "csv-archive", "csv-archive", 3),
    ],
    # Archives hold the time at which they were made: no names for tests.
    ids=range(9),
)
def test_what_was_sent_decides_the_format(data: bytes, announced: str, taken: str, size: int):
    found = input_of_tracked(upload=uploaded(data), content_format=announced)
    assert (found.content_format, found.size_bytes) == (taken, size)


@pytest.mark.parametrize("data", [packed("../evil"), packed()[:-30]], ids=["hostile", "cut off"])
def test_a_bad_archive_is_refused_and_nothing_is_kept(data: bytes):
    with pytest.raises(ArchiveRejected, match=r"^Upload "):
        input_of_tracked(upload=uploaded(data), content_format="json")
    assert InputData.objects.count() == 0
    assert list(object_store().list("inputs/")) == []


def test_an_upload_that_was_never_filled_is_named():
    upload_id = new_id()
    upload = Upload.objects.create(
        account=make_account(), upload_id=upload_id, key=keys.upload(upload_id)
    )
    with pytest.raises(FieldsInvalid, match=upload_id):
        input_of_tracked(upload=upload, content_format="json")
