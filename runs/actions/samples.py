"""The sample input that an executable brings along: what it holds, and as input of a run."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import chain
from typing import BinaryIO, cast

from runs.actions.inputs import (
    SAMPLE_FOLDER,
    STDIN_SAMPLES,
    NewFile,
    input_folder,
    scratch_folder,
    store_folder_input,
    store_text_input,
)
from runs.domain.content import is_folder_format
from runs.domain.manifest import manifest_from_json
from runs.execution import archive
from runs.execution.entries import Member
from runs.models import Account, Executable, InputData
from runs.storage import StorageError, object_store

HEAD_BYTES = 4096
LISTED_FILES = 200
SAMPLE_BYTES = 64 * 1024 * 1024
"""A sample for stdin beyond this is not offered."""


@dataclass(frozen=True)
class Sample:
    """What a sample holds: its files with sizes (the first few) and, of a text, its start.

    `sha256` is that of the stored input, empty where only storing it would tell.
    """

    content_format: str
    files: tuple[tuple[str, int], ...]
    file_count: int
    size_bytes: int
    head: bytes = b""
    sha256: str = ""


def look_at_sample(executable: Executable, content_format: str = "") -> Sample | None:
    """The sample of an executable without storing it; None when it brings none, or is unchecked.

    The archive is read once per process: executables never change.
    """
    if executable.state != Executable.READY:
        return None  # nobody knows yet what is in it
    manifest = manifest_from_json(executable.manifest)
    try:
        return _look(
            executable.archive_key,
            content_format or manifest.content.format,
            manifest.content.input_path,
        )
    except (StorageError, archive.ArchiveRefused, OSError):
        return None  # the run page says what is wrong with the executable; a sample is a help


def sample_input(
    *, account: Account, executable: Executable, content_format: str = ""
) -> InputData | None:
    """Store the sample of an executable: `input.json`, `input`, or its input folder.

    None when it brings none, or is unchecked. Raises `InputRejected` and `TooLarge` as other inputs
    do.
    """
    if executable.state != Executable.READY:
        return None
    manifest = manifest_from_json(executable.manifest)
    content_format = content_format or manifest.content.format
    with object_store().open(executable.archive_key) as stream:
        if not is_folder_format(content_format):
            found = _find_text(stream)
            if found is None:
                return None
            name, data = found
            return store_text_input(
                account=account, content_format=content_format, data=data, file_name=name
            )
        for inside in _folders(content_format, manifest.content.input_path):
            with archive.open_archive(stream) as reader:
                files = (
                    NewFile(member.entry.name.removeprefix(inside), partial(_spooled, member))
                    for member in reader.members()
                    if not member.is_folder and member.entry.name.startswith(inside)
                )
                first = next(files, None)
                if first is not None:
                    return store_folder_input(
                        account=account, content_format=content_format, files=chain([first], files)
                    )
    return None


@lru_cache(maxsize=256)
def _look(archive_key: str, content_format: str, input_path: str) -> Sample | None:
    with object_store().open(archive_key) as stream:
        if not is_folder_format(content_format):
            found = _find_text(stream)
            if found is None:
                return None
            name, data = found
            return Sample(
                content_format=content_format,
                files=((name, len(data)),),
                file_count=1,
                size_bytes=len(data),
                head=data[:HEAD_BYTES],
                sha256=hashlib.sha256(data).hexdigest(),
            )
        entries = archive.list_entries(stream)
        for inside in _folders(content_format, input_path):
            files = [
                (entry.name.removeprefix(inside), entry.size)
                for entry in entries
                if entry.name.startswith(inside)
            ]
            if files:
                return Sample(
                    content_format=content_format,
                    files=tuple(files[:LISTED_FILES]),
                    file_count=len(files),
                    size_bytes=sum(size for _, size in files),
                )
    return None


def _folders(content_format: str, input_path: str) -> tuple[str, str]:
    """Where the files of a sample lie: those packed as a sample, else the app's own."""
    inside = input_folder(content_format, input_path) + "/"
    return f"{SAMPLE_FOLDER}/{inside}", inside


def _find_text(stream: BinaryIO) -> tuple[str, bytes] | None:
    there = {entry.name for entry in archive.list_entries(stream)}
    for folder in (f"{SAMPLE_FOLDER}/", ""):
        for name in STDIN_SAMPLES:
            if f"{folder}{name}" in there:
                data = archive.read_member(stream, f"{folder}{name}", SAMPLE_BYTES)
                return None if data is None else (name, data)
    return None


def _spooled(member: Member) -> BinaryIO:
    """The content of a member as a file; in memory while it is small."""
    file = tempfile.SpooledTemporaryFile(max_size=2**20, dir=str(scratch_folder()))  # noqa: SIM115
    for piece in member.content():
        file.write(piece)
    file.seek(0)
    return cast(BinaryIO, file)
