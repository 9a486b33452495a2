"""Objects as files in a directory: the store that needs nothing installed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from runs.storage.base import (
    CHUNK_BYTES,
    ObjectMissing,
    ObjectTooLarge,
    Stored,
    check_folder,
    check_key,
    check_prefix,
    open_regular,
)

_COPY_BYTES = 1024 * 1024
# Object files start with a character that no key may hold: `a/b` and `a/b/c` can both exist.
_MARK = "="
_RENAME_TRIES = 100


class LocalStore:
    """An `ObjectStore` in the directory `root`, which is made at the first write, for us alone.

    `objects/<shard>/<key>` holds the objects; the shard, made from the first two segments, keeps
    directories small. `tmp/` holds what is being written, so that it can be renamed into place.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._objects = root / "objects"
        self._tmp = root / "tmp"

    def put(self, key: str, stream: BinaryIO, *, limit_bytes: int | None = None) -> Stored:
        """Store what is left in `stream`; `ObjectTooLarge` beyond `limit_bytes`."""
        place = self._place(key)
        with self._temporary() as (temporary, file):
            digest, size = hashlib.sha256(), 0
            while data := stream.read(_COPY_BYTES):
                size += len(data)
                if limit_bytes is not None and size > limit_bytes:
                    raise ObjectTooLarge(key, limit_bytes)
                digest.update(data)
                file.write(data)
            _settle(file)
            _move_into_place(temporary, place)
        return Stored(size, digest.hexdigest())

    def put_bytes(self, key: str, data: bytes) -> Stored:
        """Store `data`."""
        place = self._place(key)
        with self._temporary() as (temporary, file):
            file.write(data)
            _settle(file)
            _move_into_place(temporary, place)
        return Stored(len(data), hashlib.sha256(data).hexdigest())

    def put_file(
        self, key: str, path: Path, *, limit_bytes: int | None = None, consume: bool = False
    ) -> Stored:
        """Store the regular file at `path`; with `consume` move it, if the file system allows."""
        place = self._place(key)
        with open_regular(path) as file:
            status = os.fstat(file.fileno())
            if limit_bytes is not None and status.st_size > limit_bytes:
                raise ObjectTooLarge(key, limit_bytes)
            # A second name of the file would let somebody change the object afterwards.
            if not consume or status.st_nlink != 1 or not self._same_file_system(status):
                stored = self.put(key, file, limit_bytes=limit_bytes)
            else:
                digest, size = hashlib.sha256(), 0
                while data := file.read(_COPY_BYTES):
                    size += len(data)
                    digest.update(data)
                os.fchmod(file.fileno(), 0o600)
                os.fsync(file.fileno())
                try:
                    _move_into_place(path, place)
                except OSError as error:
                    # One device can be mounted twice, and nothing can be moved across.
                    if error.errno != errno.EXDEV:
                        raise
                    file.seek(0)
                    stored = self.put(key, file, limit_bytes=limit_bytes)
                else:
                    return Stored(size, digest.hexdigest())
        if consume:
            path.unlink()
        return stored

    def open(self, key: str) -> BinaryIO:
        """A seekable reader, which the caller closes."""
        try:
            return self._place(key).open("rb")
        except FileNotFoundError:
            raise ObjectMissing(key) from None

    def size(self, key: str) -> int:
        """The size in bytes."""
        try:
            return self._place(key).stat().st_size
        except FileNotFoundError:
            raise ObjectMissing(key) from None

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """At most `length` bytes from byte `start`; fewer, or none, at the end."""
        with self.open(key) as file:
            file.seek(start)
            return file.read(length)

    def stream(
        self, key: str, start: int = 0, length: int | None = None, chunk: int = CHUNK_BYTES
    ) -> Iterator[bytes]:
        """The bytes from `start` (at most `length`), in pieces of at most `chunk`."""
        self.size(key)  # a missing object is an error of this call, not of the first piece
        return self._pieces(key, start, length, chunk)

    def _pieces(self, key: str, start: int, length: int | None, chunk: int) -> Iterator[bytes]:
        left = length
        with self.open(key) as file:
            file.seek(start)
            while left is None or left > 0:
                data = file.read(chunk if left is None else min(chunk, left))
                if not data:
                    return
                if left is not None:
                    left -= len(data)
                yield data

    def exists(self, key: str) -> bool:
        """Whether there is an object with this key."""
        return self._place(key).is_file()

    def delete(self, key: str) -> None:
        """Remove the object, and directories that become empty."""
        place = self._place(key)
        place.unlink(missing_ok=True)
        self._remove_empty(place.parent)

    def delete_prefix(self, prefix: str) -> int:
        """Remove all objects below `prefix`; how many there were."""
        removed = 0
        for folder in self._folders(check_folder(prefix)):
            removed += sum(1 for _ in _files(folder))
            shutil.rmtree(folder, ignore_errors=True)
            self._remove_empty(folder.parent)
        return removed

    def list(self, prefix: str) -> Iterator[str]:
        """The keys that start with `prefix`, sorted."""
        segments = check_prefix(prefix)
        keys = []
        for folder in self._folders(segments):
            above = "/".join((*segments, ""))
            for path in _files(folder):
                *folders, name = path.relative_to(folder).parts
                key = above + "/".join((*folders, name.removeprefix(_MARK)))
                if key.startswith(prefix):
                    keys.append(key)
        return iter(sorted(keys))

    def fetch(self, key: str, path: Path) -> int:
        """Copy the object into the file `path`; its size in bytes."""
        with self.open(key) as source:
            try:
                with path.open("wb") as target:
                    _copy(source, target)
            except OSError:
                path.unlink(missing_ok=True)
                raise
            return source.tell()

    def copy(self, source: str, target: str) -> int:
        """Make `target` an object with the bytes of `source`: another name of the same file.

        Files of objects are replaced and removed, never written to again, so they can be shared.
        """
        place, goal = self._place(source), self._place(target)
        _make_directory(self._tmp)
        temporary = self._tmp / uuid.uuid4().hex
        try:
            try:
                os.link(place, temporary)
            except FileNotFoundError:
                raise ObjectMissing(source) from None
            except OSError:
                # A file system without such names, or a file that has too many of them.
                with self.open(source) as file:
                    return self.put(target, file).size
            size = temporary.stat().st_size
            _move_into_place(temporary, goal)
            return size
        finally:
            # A rename onto another name of the same file does nothing at all.
            temporary.unlink(missing_ok=True)

    def presigned_put(self, key: str, *, lives_s: int) -> str | None:
        """None: a folder answers no client."""
        return None

    def presigned_get(
        self, key: str, *, lives_s: int, disposition: str, content_type: str
    ) -> str | None:
        """None: a folder answers no client."""
        return None

    def sweep(self, older_than_s: float) -> int:
        """Remove what a writer that was killed left behind; how many files."""
        removed, now = 0, time.time()
        with contextlib.suppress(FileNotFoundError):
            for path in self._tmp.iterdir():
                with contextlib.suppress(FileNotFoundError):
                    if now - path.stat().st_mtime > older_than_s:
                        path.unlink()
                        removed += 1
        return removed

    def _place(self, key: str) -> Path:
        *folders, name = check_key(key)
        return self._objects.joinpath(_shard(key.split("/")), *folders, _MARK + name)

    def _folders(self, segments: tuple[str, ...]) -> tuple[Path, ...]:
        """The directories in which keys that start with `segments` may lie."""
        shards = []
        if len(segments) >= 2:
            shards.append(self._objects / _shard(segments))
        elif self._objects.is_dir():
            shards.extend(sorted(self._objects.iterdir()))
        folders = (shard.joinpath(*segments) for shard in shards)
        return tuple(folder for folder in folders if folder.is_dir())

    @contextlib.contextmanager
    def _temporary(self) -> Iterator[tuple[Path, BinaryIO]]:
        """A new file to write and then rename; whatever happens, it is not left behind."""
        _make_directory(self._tmp)
        path = self._tmp / uuid.uuid4().hex
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield path, file
        finally:
            path.unlink(missing_ok=True)

    def _same_file_system(self, status: os.stat_result) -> bool:
        _make_directory(self._objects)
        return self._objects.stat().st_dev == status.st_dev

    def _remove_empty(self, folder: Path) -> None:
        while folder != self._objects and self._objects in folder.parents:
            try:
                folder.rmdir()
            except FileNotFoundError:
                pass
            except OSError:
                return
            folder = folder.parent


def _shard(segments: tuple[str, ...] | list[str]) -> str:
    first_two = "/".join(segments[:2])
    return hashlib.sha256(first_two.encode()).hexdigest()[:2]


def _files(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        for name in names:
            yield Path(parent, name)


def _settle(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _move_into_place(path: Path, place: Path) -> None:
    """Rename `path` to `place`; afterwards the name itself survives a power cut."""
    for left in reversed(range(_RENAME_TRIES)):
        try:
            _make_directory(place.parent)
            path.replace(place)
            break
        except FileNotFoundError:
            # A removal at the same time may have taken a directory, which looked empty.
            if not left or not path.exists():
                raise
    with contextlib.suppress(FileNotFoundError):
        _settle_directory(place.parent)


def _make_directory(folder: Path) -> None:
    """Make `folder` and those above it with mode 0700, which `mkdir(parents=True)` would not."""
    if folder.is_dir():
        return
    if folder.parent != folder:
        _make_directory(folder.parent)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)


def _settle_directory(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _copy(source: BinaryIO, target: BinaryIO) -> None:
    """Copy all of `source`; where the file system can, by sharing its blocks."""
    try:
        while os.copy_file_range(source.fileno(), target.fileno(), 1 << 30):
            pass
        source.seek(os.lseek(source.fileno(), 0, os.SEEK_CUR))
    except OSError:
        source.seek(0)
        target.seek(0)
        target.truncate()
        shutil.copyfileobj(source, target, _COPY_BYTES)
