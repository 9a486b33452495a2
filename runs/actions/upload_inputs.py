"""What came by a ticket, as an input or as a document; the upload is not used up."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypeVar

from runs.actions.inputs import scratch_folder, store_archive_input, store_object_input
from runs.actions.tickets import is_filled
from runs.domain.content import is_folder_format, size_words
from runs.domain.errors import ArchiveRejected, FieldsInvalid, InputRejected, TooLarge
from runs.models import InputData, Upload
from runs.storage import ObjectMissing, object_store

T = TypeVar("T")


def input_of_upload(*, upload: Upload, content_format: str) -> InputData:
    """The input that `upload` holds: a text as it came, or the files of an archive.

    Raises `FieldsInvalid` for an upload that was never filled, `InputRejected` for JSON that is
    broken or no object, `ArchiveRejected` for a bad archive, `TooLarge` above the limit. Each
    message names the upload; nothing is kept then.
    """

    def store(upload: Upload) -> InputData:
        if not is_folder_format(content_format):
            return store_object_input(
                account=upload.account,
                content_format=content_format,
                source_key=upload.key,
                sha256=upload.sha256,
                name=f"Upload {upload.upload_id}",
            )
        with tempfile.TemporaryDirectory(dir=scratch_folder()) as folder:
            archive = Path(folder) / "archive"
            object_store().fetch(upload.key, archive)
            return store_archive_input(
                account=upload.account, content_format=content_format, source=archive, strip=False
            )

    try:
        return _with_bytes(upload, store)
    except InputRejected as error:
        raise InputRejected(f"Upload {upload.upload_id}: {error.message}") from error
    except ArchiveRejected as error:
        raise ArchiveRejected(f"Upload {upload.upload_id}: {error.message}") from error


def read_upload_json(upload: Upload, limit: int) -> object:
    """The JSON document of at most `limit` bytes that `upload` holds.

    Raises `InputRejected` when it is none, `TooLarge` above the limit, `FieldsInvalid` when the
    upload was never filled.
    """
    with open_upload(upload) as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise TooLarge(
            f"Upload {upload.upload_id} is larger than {size_words(limit)}, too much for a document"
            " of this kind. Send less."
        )
    try:
        return json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        words = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InputRejected(
            f"Upload {upload.upload_id} is not JSON: {words}. Send one JSON document as UTF-8."
        ) from error


def open_upload(upload: Upload) -> BinaryIO:
    """A seekable reader of what came, which the caller closes.

    Raises `FieldsInvalid` when the upload was never filled.
    """
    return _with_bytes(upload, lambda upload: object_store().open(upload.key))


def _with_bytes(upload: Upload, act: Callable[[Upload], T]) -> T:
    """What `act` makes of the bytes; once more where they were sent again meanwhile."""
    if not is_filled(upload):
        raise _never_filled(upload)
    try:
        return act(upload)
    except ObjectMissing:
        former = upload.key
        try:
            upload.refresh_from_db()
        except Upload.DoesNotExist:
            raise _gone(upload) from None
        if upload.key == former:
            raise _gone(upload) from None
    try:
        return act(upload)
    except ObjectMissing:
        raise _gone(upload) from None


def _never_filled(upload: Upload) -> FieldsInvalid:
    text = (
        f"Upload {upload.upload_id} is empty: nothing was sent to its address. Send the bytes"
        " there by PUT, and when its 15 minutes are over, ask for a new one."
    )
    return FieldsInvalid({"upload_id": [text]})


def _gone(upload: Upload) -> FieldsInvalid:
    text = (
        f"What was sent for upload {upload.upload_id} is not there any more: uploads are kept for"
        " a day. Ask for a new address and send it again."
    )
    return FieldsInvalid({"upload_id": [text]})
