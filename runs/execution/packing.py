"""Archives out: a folder as a reproducible tar.gz, many objects as a streamed zip or tar.gz."""

from __future__ import annotations

import gzip
import os
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from runs.execution.entries import ArchiveRefused, clean_name

_CHUNK = 256 * 1024
_LARGE = 1024**3
_PACKED_ALREADY = frozenset(
    {".7z", ".bz2", ".gif", ".gz", ".jar", ".jpeg", ".jpg", ".mp4", ".parquet", ".pdf", ".png"}
    | {".tgz", ".webp", ".whl", ".xlsx", ".xz", ".zip", ".zst"}
)


@dataclass(frozen=True)
class Packed:
    """What `pack_folder` packed: its files, their bytes before compression, what it left out."""

    files: int
    size: int
    warnings: tuple[str, ...]


def pack_folder(
    source: Path,
    target_file: Path,
    *,
    files: Iterable[str] | None = None,
    limit_bytes: int | None = None,
    limit_files: int | None = None,
    level: int = 6,
) -> Packed:
    """Pack the folder `source` into `target_file` (tar.gz); equal content gives equal bytes.

    `files` are the relative names to take, by default all. Links and special files are skipped,
    each with a warning. `level` is gzip's, 1 for speed and 9 for size. Raises `ArchiveRefused`
    above a limit; then no file is left.
    """
    names = sorted(_walk(source) if files is None else set(files))
    warnings: list[str] = []
    count = size = 0
    descriptor, temporary_name = tempfile.mkstemp(prefix=".packing-", dir=target_file.parent)
    temporary = Path(temporary_name)
    try:
        with (
            os.fdopen(descriptor, "wb") as raw,
            gzip.GzipFile(
                filename="", fileobj=raw, mode="wb", compresslevel=level, mtime=0
            ) as packed,
            tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as archive,
        ):
            for name in names:
                file = _open_inside(source, name, warnings)
                if file is None:
                    continue
                with file:
                    status = os.fstat(file.fileno())
                    count += 1
                    size += status.st_size
                    _check_limits(source, count, size, limit_bytes, limit_files)
                    archive.addfile(_header(name, status), file)
        temporary.replace(target_file)
    finally:
        temporary.unlink(missing_ok=True)
    return Packed(count, size, tuple(warnings))


def pack_zip_stream(
    files: Iterable[tuple[str, int | None, Callable[[], BinaryIO]]],
    *,
    folders: Iterable[str] = (),
) -> Iterator[bytes]:
    """A zip of `files` as it is made, in pieces; memory stays the same whatever their size.

    Each is a relative name, the size in bytes (None: not known) and a function that opens it; it
    is opened when its turn comes, and closed. A name that comes again gets a number. `folders` are
    there even if no file lies in them. Raises `ArchiveRefused` for a name that could be unpacked
    elsewhere.
    """
    sink = _Sink()
    taken: set[str] = set()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=3) as archive:
        for folder in folders:
            archive.mkdir(clean_name(folder))
        for name, size, opener in files:
            info = zipfile.ZipInfo(_free_name(clean_name(name), taken))
            packed_already = Path(name).suffix.lower() in _PACKED_ALREADY
            info.compress_type = zipfile.ZIP_STORED if packed_already else zipfile.ZIP_DEFLATED
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            large = size is None or size > _LARGE
            with opener() as source, archive.open(info, "w", force_zip64=large) as entry:
                while data := source.read(_CHUNK):
                    entry.write(data)
                    yield from sink.taken()
            yield from sink.taken()
    yield from sink.taken()


def pack_tar_stream(files: Iterable[tuple[str, Callable[[], BinaryIO]]]) -> Iterator[bytes]:
    """A tar.gz of `files` as it is made, in pieces; equal files give equal bytes.

    Each is a relative name and a function that opens a seekable file, when its turn comes. There
    are regular files only, without times and owners; none at all is a valid archive as well. A
    name that comes again gets a number. Raises `ArchiveRefused` for a name that could be unpacked
    elsewhere, and `OSError` for a file that ends before its size: the archive is then broken.
    """
    sink = _Sink()
    taken: set[str] = set()
    position = 0
    with gzip.GzipFile(filename="", fileobj=sink, mode="wb", compresslevel=3, mtime=0) as packed:
        yield from sink.taken()
        for name, opener in files:
            header = tarfile.TarInfo(_free_name(clean_name(name), taken))
            with opener() as source:
                header.size = source.seek(0, os.SEEK_END)
                source.seek(0)
                head = header.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
                packed.write(head)
                left = header.size
                while left:
                    data = source.read(min(_CHUNK, left))
                    if not data:
                        raise OSError(f"`{name}` ended {left} bytes before its size.")
                    left -= len(data)
                    packed.write(data)
                    yield from sink.taken()
            padding = -header.size % tarfile.BLOCKSIZE
            packed.write(bytes(padding))
            position += len(head) + header.size + padding
            yield from sink.taken()
        # Two empty blocks end it, and readers expect whole records.
        ending = 2 * tarfile.BLOCKSIZE
        packed.write(bytes(ending + -(position + ending) % tarfile.RECORDSIZE))
    yield from sink.taken()


class _Sink:
    """A file that cannot seek, from which the written bytes are taken."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing waits anywhere."""

    def close(self) -> None:
        """Nothing is open."""

    def taken(self) -> Iterator[bytes]:
        pieces, self._pieces = self._pieces, []
        data = b"".join(pieces)
        if data:
            yield data


def _free_name(name: str, taken: set[str]) -> str:
    free, number = name, 2
    folder, slash, last = name.rpartition("/")
    stem, dot, suffix = last.rpartition(".")
    while free in taken:
        numbered = f"{stem} ({number}).{suffix}" if stem and dot else f"{last} ({number})"
        free = f"{folder}{slash}{numbered}"
        number += 1
    taken.add(free)
    return free


def _walk(source: Path) -> Iterator[str]:
    """The relative names of everything below `source` that is not a folder; links unfollowed."""
    for parent, folders, names in os.walk(source, onerror=_raise):
        links = [name for name in folders if Path(parent, name).is_symlink()]
        for name in (*names, *links):
            yield Path(parent, name).relative_to(source).as_posix()


def _raise(error: OSError) -> None:
    raise error


def _open_inside(source: Path, name: str, warnings: list[str]) -> BinaryIO | None:
    """Open `name` below `source` without passing a link; None, with a warning, if that fails."""
    try:
        cleaned = clean_name(name)
        cleaned.encode()
    except (ArchiveRefused, UnicodeEncodeError) as error:
        shown = name.encode(errors="replace").decode()
        warnings.append(f"`{shown}` was left out: {error}")
        return None
    descriptor = os.open(source, os.O_RDONLY | os.O_DIRECTORY)
    try:
        *folders, last = cleaned.split("/")
        for folder in folders:
            descriptor = _step(descriptor, folder, os.O_DIRECTORY)
        descriptor = _step(descriptor, last, os.O_NONBLOCK)
    except FileNotFoundError:
        raise ArchiveRefused(f"`{name}` is not in the folder `{source}`.") from None
    except OSError:
        warnings.append(f"`{name}` was left out: it is, or lies behind, a link or a special file.")
        return None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        warnings.append(f"`{name}` was left out: it is not a regular file.")
        return None
    return os.fdopen(descriptor, "rb")


def _step(folder: int, name: str, flags: int) -> int:
    """Open `name` in the open `folder`, which is closed."""
    try:
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | flags, dir_fd=folder)
    finally:
        os.close(folder)


def _check_limits(
    source: Path, count: int, size: int, limit_bytes: int | None, limit_files: int | None
) -> None:
    if limit_files is not None and count > limit_files:
        raise ArchiveRefused(
            f"The folder `{source.name}` holds more than {limit_files} files. Leave out what is"
            " not needed."
        )
    if limit_bytes is not None and size > limit_bytes:
        raise ArchiveRefused(
            f"The folder `{source.name}` is larger than {limit_bytes} bytes. Leave out what is"
            " not needed."
        )


def _header(name: str, status: os.stat_result) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.size = status.st_size
    header.mode = 0o755 if status.st_mode & 0o111 else 0o644
    return header
