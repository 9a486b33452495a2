"""Reads tar archives strictly and in one pass, plain or compressed with gzip."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from runs.execution.entries import ArchiveRefused, Entry, Limits, Member, refused

BLOCK = 512
_CHUNK = 64 * 1024
_EXTENSION_BYTES = 1024 * 1024
"""Of all special headers before one entry."""
_EXTENSION_SHARE = 2048
"""So much more may all special headers have for each entry: a long name, times, a few others."""
_SLACK_BYTES = 16 * 1024 * 1024
_AGAIN = "Pack the files again, for example with `tar -czf archive.tar.gz -C FOLDER .`"
_KINDS = {
    b"1": ("is a hard link", "Put the file itself in its place."),
    b"2": ("is a symbolic link", "Put the file itself in its place."),
    b"3": ("is a device", "Leave it out."),
    b"4": ("is a device", "Leave it out."),
    b"6": ("is a named pipe", "Leave it out."),
    b"S": ("is a sparse file", "Pack it without `--sparse`."),
    b"M": ("is continued from another archive", "Pack into one archive."),
}


def is_header(block: bytes) -> bool:
    """Whether `block` is a tar header: the checksum in it is right."""
    if len(block) != BLOCK:
        return False
    try:
        said = _number(block[148:156])
    except ValueError:
        return False
    plain = sum(block) - sum(block[148:156]) + 8 * 32
    signed = plain - 256 * sum(1 for byte in block[:148] + block[156:] if byte > 127)
    return said in (plain, signed)


@dataclass
class _Extension:
    """What the special headers before an entry say about it."""

    long_name: bytes | None = None
    pax: dict[str, bytes] = field(default_factory=dict)
    size: int = 0


class TarReader:
    """The members of a tar, in its order.

    Own code instead of `tarfile`, which reads a name or an extended header of any announced size
    into memory, and takes a broken header for the end.
    """

    def __init__(self, file: BinaryIO, limits: Limits, *, compressed: bool) -> None:
        # What is not content (headers, padding, zeros at the end) is bounded too, or a small
        # file could keep the unpacker busy for hours.
        allowance = limits.bytes + limits.files * 8 * BLOCK + _SLACK_BYTES
        self._source = _Source(file, allowance, compressed=compressed)
        # These two cost more time for each byte than content does, and pack to nearly nothing.
        self._extensions_left = _EXTENSION_BYTES
        self._zeros_left = _SLACK_BYTES

    def members(self) -> Iterator[Member]:
        """All entries. The content of one can be read until the next one is asked for."""
        ended = False
        extension = _Extension()
        while block := self._source.block():
            if not any(block):
                # An end mark. What follows (another tar, joined with `cat`) is read as well.
                ended = True
                self._zeros_left -= BLOCK
                if self._zeros_left < 0:
                    raise ArchiveRefused(
                        f"The tar archive has empty blocks above the limit of {_SLACK_BYTES} bytes."
                        f" {_AGAIN}"
                    )
                continue
            ended = False
            if not is_header(block):
                raise ArchiveRefused(f"The tar archive has a damaged header. {_AGAIN}")
            kind, size = block[156:157], _size(block)
            if kind in (b"x", b"g", b"L", b"K"):
                self._extend(extension, kind, size)
                continue
            yield from self._member(block, kind, size, extension)
            extension = _Extension()
            self._extensions_left += _EXTENSION_SHARE
        if not ended:
            raise ArchiveRefused(f"The tar archive is cut off: its end mark is missing. {_AGAIN}")

    def _extend(self, extension: _Extension, kind: bytes, size: int) -> None:
        extension.size += size + BLOCK
        if size > _EXTENSION_BYTES:
            raise ArchiveRefused(
                f"The tar archive has a header of {size} bytes, at most {_EXTENSION_BYTES} are"
                f" accepted. {_AGAIN}"
            )
        self._extensions_left -= size
        if self._extensions_left < 0 or extension.size > _EXTENSION_BYTES + 4 * BLOCK:
            raise ArchiveRefused(f"The tar archive has too many special headers. {_AGAIN}")
        data = self._source.exactly(size)
        self._source.skip(-size % BLOCK)
        if kind == b"L":
            extension.long_name = data.split(b"\0", 1)[0]
        elif kind == b"x":
            extension.pax.update(_pax_records(data))
        elif kind == b"g" and {"path", "size"} & _pax_records(data).keys():
            raise ArchiveRefused(f"The tar archive gives all entries the same name. {_AGAIN}")

    def _member(
        self, block: bytes, kind: bytes, size: int, extension: _Extension
    ) -> Iterator[Member]:
        name = _name(block, extension)
        if any(key.startswith("GNU.sparse.") for key in extension.pax):
            kind = b"S"
        if "size" in extension.pax:
            size = _pax_size(name, extension.pax["size"])
        is_folder = kind == b"5" or (kind in (b"0", b"\0") and name.endswith("/"))
        if not is_folder and kind not in (b"0", b"\0", b"7"):
            unknown = ("is of an unknown kind", _AGAIN)
            raise refused(name, *_KINDS.get(kind, unknown))
        if kind == b"5":
            size = 0  # some programs write a size there, none writes content
        elif is_folder and size:
            raise refused(name, "is a folder with content", _AGAIN)
        entry = Entry(
            name,
            size,
            executable=bool(_field(name, block[100:108]) & 0o111) and not is_folder,
            modified_at=_modified_at(block, extension),
        )
        content = _Content(self._source, size)
        yield Member(entry, is_folder, content.read)
        content.finish()


class _Content:
    """The bytes of one member; what nobody read is skipped."""

    def __init__(self, source: _Source, size: int) -> None:
        self._source = source
        self._left = size
        self._padding = -size % BLOCK

    def read(self) -> Iterator[bytes]:
        while self._left:
            data = self._source.exactly(min(self._left, _CHUNK))
            self._left -= len(data)
            yield data

    def finish(self) -> None:
        self._source.skip(self._left + self._padding)
        self._left = self._padding = 0


class _Source:
    """The unpacked bytes of the archive in order, at most `allowance` of them."""

    def __init__(self, file: BinaryIO, allowance: int, *, compressed: bool) -> None:
        self._file: BinaryIO = file
        self._left = allowance
        if compressed:
            # Reads all members of a file made of several, as `cat` and parallel packers make.
            self._file = gzip.GzipFile(fileobj=file, mode="rb")  # type: ignore[assignment]

    def block(self) -> bytes:
        """The next block; none at the end of the file."""
        data = self._read(BLOCK)
        if data and len(data) != BLOCK:
            raise _cut_off()
        return data

    def exactly(self, length: int) -> bytes:
        """The next `length` bytes, which must be there."""
        data = self._read(length)
        if len(data) != length:
            raise _cut_off()
        return data

    def skip(self, length: int) -> None:
        """Pass over `length` bytes, which must be there."""
        while length:
            length -= len(self.exactly(min(length, _CHUNK)))

    def _read(self, length: int) -> bytes:
        self._left -= length
        if self._left < 0:
            raise ArchiveRefused(
                "The archive unpacks to more than the limit allows. Leave out what is not needed."
            )
        try:
            return self._file.read(length)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            problem = str(error).rstrip(".")
            raise ArchiveRefused(
                f"The gzip data of the archive is broken or cut off ({problem}). {_AGAIN}"
            ) from None


def _cut_off() -> ArchiveRefused:
    return ArchiveRefused(f"The tar archive is cut off. {_AGAIN}")


def _name(block: bytes, extension: _Extension) -> str:
    raw = block[:100].split(b"\0", 1)[0]
    prefix = block[345:500].split(b"\0", 1)[0]
    if prefix and block[257:263] == b"ustar\0":
        raw = prefix + b"/" + raw
    if extension.long_name is not None:
        raw = extension.long_name
    raw = extension.pax.get("path", raw)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        shown = raw.decode(errors="replace")
        raise refused(shown, "has a name that is not UTF-8", "Rename it and pack again.") from None


def _pax_records(data: bytes) -> dict[str, bytes]:
    """The records `LENGTH KEY=VALUE\\n` of an extended header."""
    records = {}
    at = 0
    while at < len(data):
        length_text, space, _ = data[at : at + 10].partition(b" ")
        if not space or not length_text.isdigit():
            raise ArchiveRefused(f"The tar archive has a damaged extended header. {_AGAIN}")
        end = at + int(length_text)
        record = data[at + len(length_text) + 1 : end]
        key, equals, value = record.partition(b"=")
        if end > len(data) or not equals or not value.endswith(b"\n"):
            raise ArchiveRefused(f"The tar archive has a damaged extended header. {_AGAIN}")
        records[key.decode(errors="replace")] = value[:-1]
        at = end
    return records


def _pax_size(name: str, value: bytes) -> int:
    if not value.isdigit() or len(value) > 19:
        raise refused(name, "has a damaged size", _AGAIN)
    return int(value)


def _modified_at(block: bytes, extension: _Extension) -> float:
    try:
        return float(
            extension.pax["mtime"] if "mtime" in extension.pax else _number(block[136:148])
        )
    except ValueError:
        return 0.0


def _size(block: bytes) -> int:
    return _field(block[:100].split(b"\0", 1)[0].decode(errors="replace"), block[124:136])


def _field(name: str, text: bytes) -> int:
    try:
        return _number(text)
    except ValueError:
        raise refused(name, "has a damaged number in its header", _AGAIN) from None


def _number(text: bytes) -> int:
    """A number of a header: octal digits, or binary when the first bit is set."""
    if text[0] == 0x80:
        return int.from_bytes(text[1:], "big")
    digits = text.split(b"\0", 1)[0].strip(b" ")
    if digits.strip(b"01234567"):
        raise ValueError("not octal")
    return int(digits, 8) if digits else 0
