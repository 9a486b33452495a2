"""Receives what people send: piece by piece, within a limit, with nothing kept on failure."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from django.conf import settings

from runs.actions.inputs import scratch_file, scratch_folder, store_archive_input
from runs.actions.inputs import store_folder_input as _store_folder
from runs.actions.inputs import store_text_input as _store_text
from runs.domain.content import is_folder_format, size_words
from runs.domain.errors import InputRejected, TooLarge
from runs.models import Account, InputData

ARCHIVE_ENDS = (".zip", ".tar.gz", ".tgz", ".tar")


class Receiver:
    """One file while it arrives. It lies in the scratch folder, on the disk of the store.

    Memory is that of one piece. `close` ends the writing, `discard` removes what is left; both may
    be called more than once.
    """

    def __init__(self, file_name: str, *, limit_bytes: int | None = None) -> None:
        self.file_name = file_name
        self.size_bytes = 0
        self._limit = settings.RUNSITE_UPLOAD_LIMIT if limit_bytes is None else limit_bytes
        descriptor, path = tempfile.mkstemp(prefix="upload-", dir=scratch_folder())
        self.path = Path(path)
        self._stream = os.fdopen(descriptor, "wb", buffering=0)

    def write(self, data: bytes) -> None:
        """Take a piece. Raises `TooLarge` above the limit and `OSError` when the disk is full."""
        self.size_bytes += len(data)
        if self.size_bytes > self._limit:
            raise TooLarge(
                f"{self.file_name} is too large: at most {size_words(self._limit)} are taken here."
                " Send less, or ask your administrator to raise the limit."
            )
        rest = memoryview(data)
        while rest:
            rest = rest[self._stream.write(rest) or 0 :]

    def close(self) -> None:
        """End the writing; the file stays until `discard`."""
        self._stream.close()

    def discard(self) -> None:
        """Remove the file, unless it was moved into the store."""
        self._stream.close()
        self.path.unlink(missing_ok=True)


def input_of_uploads(
    *,
    account: Account,
    content_format: str,
    received: list[Receiver],
    paths: list[str] | None = None,
    unpack: bool = True,
) -> InputData:
    """The input that was sent as files, a folder or one archive; the files are used up.

    `paths` are the names within the folder, in the order of the files; without them the plain
    names count. A single archive of a folder format is unpacked if `unpack`. Raises
    `InputRejected`, `ArchiveRejected`, `TooLarge`; nothing is stored then.
    """
    if not received:
        raise InputRejected("No file was sent. Choose one, or take another input.")
    if not is_folder_format(content_format):
        if len(received) > 1:
            raise InputRejected(
                f"An app of format {content_format} reads one file, but {len(received)} were sent."
                " Choose one."
            )
        only = received[0]
        return _store_text(
            account=account,
            content_format=content_format,
            data=only.path,
            file_name=only.file_name,
        )
    if len(received) == 1 and unpack and is_archive_name(received[0].file_name):
        return store_archive_input(
            account=account, content_format=content_format, source=received[0].path
        )
    names = [each.file_name for each in received]
    if paths and len(paths) == len(received):
        names = without_common_folder(paths)
    return _store_folder(
        account=account,
        content_format=content_format,
        files=(scratch_file(name, each.path) for name, each in zip(names, received, strict=True)),
    )


def is_archive_name(file_name: str) -> bool:
    """Whether a file of this name is taken for an archive."""
    return file_name.lower().endswith(ARCHIVE_ENDS)


def without_common_folder(paths: list[str]) -> list[str]:
    """`paths` without the one folder that all lie in: people drop a folder, not its files."""
    tops = {path.split("/", 1)[0] for path in paths}
    if len(tops) == 1 and not tops & {"", ".", ".."} and all("/" in path for path in paths):
        return [path.split("/", 1)[1] for path in paths]
    return paths
