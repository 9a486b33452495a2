"""What a store of objects can do, whatever holds the bytes, and the errors it raises."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

CHUNK_BYTES = 256 * 1024
KEY_LENGTH = 900
SEGMENT_LENGTH = 200

_SEGMENT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


class StorageError(Exception):
    """The store could not do what was asked.

    `operation` says what that was, where it is known: `put`, `get`, `list` or `delete`.
    """

    operation = "other"


class ObjectMissing(StorageError):
    """No object has this key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"The store has no object `{key}`. It was never stored, or was removed.")
        self.key = key


class ObjectTooLarge(StorageError):
    """More bytes came than the caller allows; nothing of them was kept."""

    def __init__(self, key: str, limit_bytes: int) -> None:
        super().__init__(
            f"Object `{key}` is larger than the {limit_bytes} bytes allowed. Nothing was stored."
        )
        self.key = key
        self.limit_bytes = limit_bytes


class InvalidKey(StorageError, ValueError):
    """The key could name something outside the store, or not be kept by every backend."""

    def __init__(self, key: str) -> None:
        super().__init__(
            f"{key[:200]!r} is not a key. Use segments of A-Z, a-z, 0-9, `.`, `_`, `-` that do not"
            f" start with a dot, at least two, joined by `/`, {KEY_LENGTH} characters at most."
        )
        self.key = key


@dataclass(frozen=True)
class Stored:
    """What was stored: its size in bytes and the SHA-256 of its bytes in hexadecimal."""

    size: int
    sha256: str


class ObjectStore(Protocol):
    """Bytes under keys. Objects appear whole or not at all, and are replaced, never changed.

    Every method raises `InvalidKey` for a key that `check_key` refuses, and those that read
    raise `ObjectMissing`. Safe to use from several threads and processes at once.
    """

    def put(self, key: str, stream: BinaryIO, *, limit_bytes: int | None = None) -> Stored:
        """Store what is left in `stream`, in pieces; `ObjectTooLarge` beyond `limit_bytes`."""
        ...

    def put_bytes(self, key: str, data: bytes) -> Stored:
        """Store `data`."""
        ...

    def put_file(
        self, key: str, path: Path, *, limit_bytes: int | None = None, consume: bool = False
    ) -> Stored:
        """Store the regular file at `path` (a link is refused with `OSError`).

        With `consume` the file is gone afterwards; a store on the same file system then moves it
        instead of copying it, so nobody may write to it any more.
        """
        ...

    def open(self, key: str) -> BinaryIO:
        """A seekable reader, which the caller closes."""
        ...

    def size(self, key: str) -> int:
        """The size in bytes."""
        ...

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """At most `length` bytes from byte `start`; fewer, or none, at the end."""
        ...

    def stream(
        self, key: str, start: int = 0, length: int | None = None, chunk: int = CHUNK_BYTES
    ) -> Iterator[bytes]:
        """The bytes from `start` (at most `length`), in pieces of at most `chunk`."""
        ...

    def exists(self, key: str) -> bool:
        """Whether there is an object with this key."""
        ...

    def delete(self, key: str) -> None:
        """Remove the object; one that is missing is fine."""
        ...

    def delete_prefix(self, prefix: str) -> int:
        """Remove all objects below `prefix`, which ends in `/`; how many there were."""
        ...

    def list(self, prefix: str) -> Iterator[str]:
        """The keys that start with `prefix`, sorted; all keys for an empty one."""
        ...

    def sweep(self, older_than_s: float) -> int:
        """Remove what a writer that was killed left behind so long ago; how many files."""
        ...

    def fetch(self, key: str, path: Path) -> int:
        """Copy the object into the file `path` (replaced if it exists); its size in bytes."""
        ...

    def copy(self, source: str, target: str) -> int:
        """Make `target` an object with the bytes of `source`; its size in bytes.

        The bytes do not pass through this process. The two are independent afterwards.
        """
        ...

    def presigned_put(self, key: str, *, lives_s: int) -> str | None:
        """An address to which anybody may PUT this one object for so many seconds.

        None when the store cannot be reached by clients. The store takes any size and tells nobody.
        """
        ...

    def presigned_get(
        self, key: str, *, lives_s: int, disposition: str, content_type: str
    ) -> str | None:
        """An address from which anybody may GET this object, with these two headers; or None.

        Nobody looks whether the object exists.
        """
        ...


def check_key(key: str) -> tuple[str, ...]:
    """The segments of `key`; raises `InvalidKey` unless every backend can keep it."""
    segments = tuple(key.split("/"))
    if len(key) > KEY_LENGTH or len(segments) < 2 or not all(map(_is_segment, segments)):
        raise InvalidKey(key)
    return segments


def check_prefix(prefix: str) -> tuple[str, ...]:
    """The whole segments of `prefix`; raises `InvalidKey` unless keys can start with it."""
    if not prefix:
        return ()
    *segments, last = prefix.split("/")
    whole = all(map(_is_segment, segments))
    if len(prefix) > KEY_LENGTH or not whole or not (last == "" or _is_segment(last)):
        raise InvalidKey(prefix)
    return tuple(segments)


def check_folder(prefix: str) -> tuple[str, ...]:
    """The segments of a `prefix` that ends in `/`; raises `InvalidKey` for any other."""
    segments = check_prefix(prefix)
    if not segments or not prefix.endswith("/"):
        raise InvalidKey(prefix)
    return segments


def open_regular(path: Path) -> BinaryIO:
    """Open a file that a program left: no link is followed, no pipe waited for."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"`{path}` is not a regular file and cannot be stored.")
    return os.fdopen(descriptor, "rb")


def _is_segment(segment: str) -> bool:
    return len(segment) <= SEGMENT_LENGTH and _SEGMENT.fullmatch(segment) is not None
