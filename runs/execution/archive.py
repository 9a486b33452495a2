"""Archives in: zip, tar and tar.gz, told apart by content; hostile ones are refused whole."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from runs.execution.entries import (
    ArchiveEmpty,
    ArchiveRefused,
    Entry,
    Ledger,
    Limits,
    Member,
    clean_name,
    common_root,
    is_junk,
)
from runs.execution.packing import Packed, pack_folder, pack_zip_stream
from runs.execution.requirements import BUNDLED
from runs.execution.tar_reader import BLOCK, TarReader, is_header
from runs.execution.zip_reader import ZipReader

__all__ = [
    "LIMIT_BYTES",
    "LIMIT_FILES",
    "ArchiveEmpty",
    "ArchiveReader",
    "ArchiveRefused",
    "Entry",
    "Packed",
    "common_root",
    "list_entries",
    "open_archive",
    "pack_folder",
    "pack_zip_stream",
    "read_member",
    "unpack",
]

LIMIT_BYTES = 4 * 1024**3
LIMIT_FILES = 100_000

_YEAR_1980 = 315_532_800
_DAY_S = 86_400
_ACCEPTED = "Accepted are zip, tar and tar.gz."
_OTHERS = {
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "Zstandard",
    b"7z\xbc\xaf\x27\x1c": "7-Zip",
    b"Rar!\x1a\x07": "RAR",
}


class ArchiveReader:
    """An open archive; made by `open_archive`, closed as a context manager."""

    def __init__(self, file: BinaryIO, limits: Limits, *, owns_file: bool) -> None:
        self._file = file
        self._limits = limits
        self._owns_file = owns_file
        self.kind = _kind(file)
        """`zip`, `tar` or `tar.gz`."""

    def __enter__(self) -> ArchiveReader:
        return self

    def __exit__(self, *_: object) -> None:
        if self._owns_file:
            self._file.close()

    def members(self) -> Iterator[Member]:
        """All folders and files with normal names, each file once, without what macOS adds.

        A push joins the archives of its packages to one tar, so files of bundled packages may come
        again there: the last one counts.

        Raises `ArchiveRefused` as soon as something is met that must not be unpacked.
        """
        self._file.seek(0)
        reader: ZipReader | TarReader
        if self.kind == "zip":
            reader = ZipReader(self._file, self._limits)
        else:
            reader = TarReader(self._file, self._limits, compressed=self.kind == "tar.gz")
        ledger = Ledger(self._limits)
        for count, member in enumerate(reader.members(), 1):
            # What the ledger does not count: what macOS adds, and folders that come again.
            if count > 3 * self._limits.files + 100:
                raise ArchiveRefused(
                    f"The archive holds more than {count - 1} entries, the limit is"
                    f" {self._limits.files} files. Leave out what is not needed."
                )
            name = clean_name(member.entry.name)
            if not name and member.is_folder:
                continue
            if not name:
                raise ArchiveRefused("The archive has a file without a name. Pack it again.")
            if is_junk(name):
                continue
            ledger.admit(
                name,
                is_folder=member.is_folder,
                size=member.entry.size,
                may_repeat=self.kind != "zip" and name.startswith(f"{BUNDLED}/"),
            )
            entry = Entry(
                name, member.entry.size, member.entry.executable, member.entry.modified_at
            )
            yield Member(entry, member.is_folder, member.content)
        if not ledger.files:
            raise ArchiveEmpty("The archive holds no files. Pack the folder with its content.")


def open_archive(
    source: Path | BinaryIO, *, limit_bytes: int = LIMIT_BYTES, limit_files: int = LIMIT_FILES
) -> ArchiveReader:
    """Open a zip, tar or tar.gz; `source` is a path or a seekable binary file.

    Raises `ArchiveRefused` for anything else. The limits are those of the unpacked content.
    """
    limits = Limits(limit_bytes, limit_files)
    if not isinstance(source, Path):
        return ArchiveReader(source, limits, owns_file=False)
    file = source.open("rb")
    try:
        return ArchiveReader(file, limits, owns_file=True)
    except BaseException:
        file.close()
        raise


def list_entries(
    source: Path | BinaryIO, *, limit_bytes: int = LIMIT_BYTES, limit_files: int = LIMIT_FILES
) -> list[Entry]:
    """The files of an archive in its order; raises `ArchiveRefused` as `unpack` does.

    Damaged contents of a zip are found by `unpack` only.
    """
    with open_archive(source, limit_bytes=limit_bytes, limit_files=limit_files) as archive:
        return [member.entry for member in archive.members() if not member.is_folder]


def read_member(source: Path | BinaryIO, name: str, limit: int) -> bytes | None:
    """The content of the file `name`, or None if there is none.

    Raises `ArchiveRefused` if it is larger than `limit` bytes or the archive is bad up to there.
    """
    with open_archive(source) as archive:
        for member in archive.members():
            if member.entry.name != name or member.is_folder:
                continue
            if member.entry.size > limit:
                raise ArchiveRefused(
                    f"`{name}` in the archive has {member.entry.size} bytes,"
                    f" at most {limit} are read. Make it smaller."
                )
            return b"".join(member.content())
    return None


def unpack(
    source: Path | BinaryIO,
    target: Path,
    *,
    limit_bytes: int = LIMIT_BYTES,
    limit_files: int = LIMIT_FILES,
    strip_root_of: str | None = None,
) -> list[Entry]:
    """Unpack into the new folder `target` and return its files; all of it or nothing.

    With `strip_root_of="app.yaml"`, a single top folder that holds everything, and that file
    directly, is left out: people pack the folder instead of its content. Raises `ArchiveRefused`
    (nothing is left on disk) and `FileExistsError` if `target` exists and is not empty.
    """
    if target.is_symlink() or (target.exists() and not _is_empty_folder(target)):
        raise FileExistsError(f"`{target}` exists. Unpack into a new folder.")
    temporary = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=target.parent))
    try:
        with open_archive(source, limit_bytes=limit_bytes, limit_files=limit_files) as archive:
            found = (member.entry for member in archive.members() if _write(member, temporary))
            entries = list({entry.name: entry for entry in found}.values())
        root = ""
        if strip_root_of is not None:
            names = [entry.name for entry in entries]
            root = common_root(names)
            if f"{root}{strip_root_of}" not in names:
                root = ""
        content = temporary / root
        content.chmod(0o755)
        content.replace(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return [
        Entry(entry.name.removeprefix(root), entry.size, entry.executable, entry.modified_at)
        for entry in entries
    ]


def _write(member: Member, folder: Path) -> bool:
    """Write one member below `folder`, which only we write to; whether it was a file."""
    path = folder / member.entry.name
    if member.is_folder:
        path.mkdir(parents=True, exist_ok=True)
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # only what may come again can be there
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        for data in member.content():
            file.write(data)
        file.flush()
        # Nothing but the executable bit is taken over: no owner, no set-user-id.
        os.fchmod(descriptor, 0o755 if member.entry.executable else 0o644)
        modified_at = _sensible(member.entry.modified_at)
        os.utime(descriptor, (modified_at, modified_at))
    return True


def _sensible(modified_at: float) -> float:
    """`modified_at` unless it is before 1980 or in the future, then now."""
    now = time.time()
    if math.isfinite(modified_at) and _YEAR_1980 <= modified_at <= now + _DAY_S:
        return modified_at
    return now


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _kind(file: BinaryIO) -> str:
    """Which kind of archive `file` is, by its first bytes."""
    file.seek(0)
    start = file.read(BLOCK)
    if not start:
        raise ArchiveRefused(f"The archive is empty. {_ACCEPTED}")
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    if start.startswith(b"\x1f\x8b"):
        return "tar.gz"
    if is_header(start) or (len(start) == BLOCK and not any(start)):
        return "tar"
    for mark, name in _OTHERS.items():
        if start.startswith(mark):
            raise ArchiveRefused(f"The archive is packed with {name}. {_ACCEPTED}")
    raise ArchiveRefused(f"The file is not an archive. {_ACCEPTED}")
