"""An object in a bucket as a file that can be read from any place."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from runs.storage.s3 import S3Store

READ_BYTES = 1024 * 1024
"""An open reader asks for so much at once."""


class Reader(io.RawIOBase):
    """An object as a file; each read is one request, the first comes with the opening."""

    def __init__(self, store: S3Store, key: str) -> None:
        super().__init__()
        self._store = store
        self._key = key
        self._position = 0
        self._head, self._size, self._tag = store.read_part(key, 0, READ_BYTES)

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a byte, which may lie beyond the end."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"byte {base + offset} is before the beginning")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """The byte that is read next."""
        return self._position

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill `buffer`; fewer bytes, or none, at the end."""
        view = memoryview(buffer).cast("B")
        data = self._read(len(view))
        view[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        """All that is left, by one request."""
        return self._read(self._size - self._position)

    def _read(self, length: int) -> bytes:
        start, end = self._position, min(self._position + length, self._size)
        if end <= start:
            return b""
        data = self._head[start:end]
        if len(data) < end - start:
            begin = start + len(data)
            data += self._store.read_part(self._key, begin, end - begin, self._tag)[0]
        self._position = start + len(data)
        return data
