"""In-memory versions of our interfaces, for tests."""

from __future__ import annotations

import hashlib
import io
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
)


class MemoryStore:
    """An `ObjectStore` that forgets everything with the process."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def put(self, key: str, stream: BinaryIO, *, limit_bytes: int | None = None) -> Stored:
        check_key(key)
        data = stream.read() if limit_bytes is None else stream.read(limit_bytes + 1)
        if limit_bytes is not None and len(data) > limit_bytes:
            raise ObjectTooLarge(key, limit_bytes)
        return self.put_bytes(key, data)

    def put_bytes(self, key: str, data: bytes) -> Stored:
        check_key(key)
        self.objects[key] = bytes(data)
        return Stored(len(data), hashlib.sha256(data).hexdigest())

    def put_file(
        self, key: str, path: Path, *, limit_bytes: int | None = None, consume: bool = False
    ) -> Stored:
        check_key(key)
        if path.is_symlink() or not path.is_file():
            raise OSError(f"`{path}` is not a regular file and cannot be stored.")
        with path.open("rb") as file:
            stored = self.put(key, file, limit_bytes=limit_bytes)
        if consume:
            path.unlink()
        return stored

    def open(self, key: str) -> BinaryIO:
        check_key(key)
        try:
            return io.BytesIO(self.objects[key])
        except KeyError:
            raise ObjectMissing(key) from None

    def size(self, key: str) -> int:
        with self.open(key) as file:
            return file.seek(0, io.SEEK_END)

    def read_range(self, key: str, start: int, length: int) -> bytes:
        with self.open(key) as file:
            file.seek(start)
            return file.read(length)

    def stream(
        self, key: str, start: int = 0, length: int | None = None, chunk: int = CHUNK_BYTES
    ) -> Iterator[bytes]:
        end = self.size(key) if length is None else start + length
        data = self.read_range(key, start, max(end - start, 0))
        return (data[at : at + chunk] for at in range(0, len(data), chunk))

    def exists(self, key: str) -> bool:
        check_key(key)
        return key in self.objects

    def delete(self, key: str) -> None:
        check_key(key)
        self.objects.pop(key, None)

    def delete_prefix(self, prefix: str) -> int:
        check_folder(prefix)
        keys = [key for key in self.objects if key.startswith(prefix)]
        for key in keys:
            del self.objects[key]
        return len(keys)

    def list(self, prefix: str) -> Iterator[str]:
        check_prefix(prefix)
        return iter(sorted(key for key in self.objects if key.startswith(prefix)))

    def sweep(self, older_than_s: float) -> int:
        return 0

    def fetch(self, key: str, path: Path) -> int:
        with self.open(key) as file:
            return path.write_bytes(file.read())

    def copy(self, source: str, target: str) -> int:
        check_key(target)
        with self.open(source) as file:
            return self.put_bytes(target, file.read()).size

    def presigned_put(self, key: str, *, lives_s: int) -> str | None:
        return None

    def presigned_get(
        self, key: str, *, lives_s: int, disposition: str, content_type: str
    ) -> str | None:
        return None
