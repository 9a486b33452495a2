"""The input of a run that was executed elsewhere: taken as what it is, whatever was announced."""

from __future__ import annotations

from runs.actions.tracked_results import ARCHIVES
from runs.actions.upload_inputs import input_of_upload, open_upload
from runs.domain.content import is_folder_format
from runs.domain.errors import InputRejected
from runs.models import InputData, Upload


def input_of_tracked(*, upload: Upload, content_format: str) -> InputData:
    """The input that `upload` holds; its format is that of the answer.

    The client announces `json` for a folder and for a text, too. No program of ours will read the
    input, so there is nothing that it would not fit: an archive is a folder of files, and what is
    no JSON object is a text. Raises `FieldsInvalid` for an upload that was never filled,
    `ArchiveRejected` for a broken or hostile archive, `TooLarge`; nothing is kept then.
    """
    with open_upload(upload) as stream:
        is_archive = stream.read(4).startswith(ARCHIVES)
    folder = is_folder_format(content_format)
    if is_archive and not folder:
        content_format = "multi-file"
    elif folder and not is_archive:
        content_format = "json"
    try:
        return input_of_upload(upload=upload, content_format=content_format)
    except InputRejected:
        if content_format != "json":
            raise
    return input_of_upload(upload=upload, content_format="text")
