"""The start of an input, and which files it has: enough to recognise it, whatever its size."""

from __future__ import annotations

from dataclasses import dataclass

from runs.actions.samples import HEAD_BYTES, LISTED_FILES, Sample
from runs.domain.content import is_folder_format
from runs.models import InputData
from runs.storage import StorageError, object_store


@dataclass(frozen=True)
class InputPreview:
    """At most `LISTED_FILES` files with sizes in bytes, and the first `HEAD_BYTES` of a text.

    `cut` says that the text goes on; `more_files` counts those that are not listed.
    """

    content_format: str
    size_bytes: int
    file_count: int
    files: tuple[tuple[str, int], ...]
    text: str
    cut: bool
    more_files: int


def preview_input(input_data: InputData) -> InputPreview:
    """What is in a stored input; one query and one read of at most `HEAD_BYTES`."""
    files = list(input_data.files.order_by("number")[:LISTED_FILES])
    head = b""
    if files and not is_folder_format(input_data.content_format):
        try:
            head = object_store().read_range(files[0].key, 0, HEAD_BYTES)
        except StorageError:
            head = b""  # its size still says what was there
    return _preview(
        input_data.content_format,
        input_data.size_bytes,
        input_data.file_count,
        tuple((file.path, file.size_bytes) for file in files),
        head,
    )


def preview_sample(sample: Sample) -> InputPreview:
    """What is in the sample of an executable."""
    return _preview(
        sample.content_format, sample.size_bytes, sample.file_count, sample.files, sample.head
    )


def _preview(
    content_format: str,
    size_bytes: int,
    file_count: int,
    files: tuple[tuple[str, int], ...],
    head: bytes,
) -> InputPreview:
    return InputPreview(
        content_format=content_format,
        size_bytes=size_bytes,
        file_count=file_count,
        files=files if is_folder_format(content_format) else (),
        text=_text(head, whole=len(head) == size_bytes),
        cut=bool(head) and len(head) < size_bytes,
        more_files=max(0, file_count - len(files)),
    )


def _text(head: bytes, *, whole: bool) -> str:
    """The bytes as text; a character that the cut went through is left out."""
    if not whole:
        for taken in range(min(3, len(head))):
            at = len(head) - taken - 1
            if head[at] & 0xC0 == 0xC0:  # the first byte of a character of several
                head = head[:at]
                break
            if head[at] & 0x80 == 0:
                break
    return head.decode("utf-8", "replace").replace("\x00", "\N{REPLACEMENT CHARACTER}")
