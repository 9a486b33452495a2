"""Reads zip archives strictly: what the directory at the end says must be what is there."""

from __future__ import annotations

import calendar
import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

from runs.execution.entries import NAME_BYTES, ArchiveRefused, Entry, Limits, Member, refused

_CHUNK = 64 * 1024
_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s4B4H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_MAX16, _MAX32 = 0xFFFF, 0xFFFFFFFF
# Checked here too, so that a hostile directory cannot fill the memory with names.
_NAME_BYTES = NAME_BYTES + 128
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_UTF8 = 0x800
_STORED, _DEFLATED = 0, 8
_OTHER_METHODS = {9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "xz"}
_AGAIN = "Pack the files again into a new zip or tar.gz."


@dataclass(frozen=True, slots=True)
class _Record:
    name: str
    raw_name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    mode: int
    modified_at: float
    offset: int
    is_folder: bool


class ZipReader:
    """The members of a zip. Everything declared is checked at once, contents while they are read.

    Own code instead of `zipfile`, which takes memory for every record of a hostile directory,
    reads overlapping entries (each byte unpacked many times) and skips bytes around the archive.
    """

    def __init__(self, file: BinaryIO, limits: Limits) -> None:
        self._file = file
        start, end, count = _find_directory(file)
        # Folders have records too, and what macOS adds can double the number of all.
        if count > 3 * limits.files + 100:
            raise ArchiveRefused(
                f"The archive holds {count} entries, the limit is {limits.files} files."
                " Leave out what is not needed."
            )
        self._records = list(_read_directory(file, start, end, count))
        self._data_starts = _check_places(file, self._records, start)

    def members(self) -> Iterator[Member]:
        """All entries, in the order of the directory."""
        for record, data_start in zip(self._records, self._data_starts, strict=True):
            entry = Entry(
                record.name,
                record.size,
                executable=bool(record.mode & 0o111) and not record.is_folder,
                modified_at=record.modified_at,
            )
            content = partial(self._content, record, data_start)
            yield Member(entry, record.is_folder, content)

    def _content(self, record: _Record, data_start: int) -> Iterator[bytes]:
        crc = total = 0
        for data in self._inflated(record, data_start):
            total += len(data)
            if total > record.size:
                raise refused(record.name, "is larger than the archive says", _AGAIN)
            crc = zlib.crc32(data, crc)
            yield data
        if total != record.size:
            raise refused(record.name, "is shorter than the archive says", _AGAIN)
        if crc != record.crc:
            raise refused(record.name, "is damaged (its checksum is wrong)", _AGAIN)

    def _inflated(self, record: _Record, data_start: int) -> Iterator[bytes]:
        left = record.packed
        self._file.seek(data_start)
        if record.method == _STORED:
            while left:
                data = _exactly(self._file, min(left, _CHUNK))
                left -= len(data)
                yield data
            return
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            while not inflater.eof:
                data = inflater.unconsumed_tail
                if not data and left:
                    data = _exactly(self._file, min(left, _CHUNK))
                    left -= len(data)
                piece = inflater.decompress(data, _CHUNK)
                if piece:
                    yield piece
                elif not data and not inflater.eof:
                    raise refused(record.name, "is cut off", _AGAIN)
        except zlib.error as error:
            raise refused(record.name, f"is damaged ({error})", _AGAIN) from None
        if left or inflater.unused_data:
            raise refused(record.name, "has bytes after its end", _AGAIN)


def _find_directory(file: BinaryIO) -> tuple[int, int, int]:
    """Where the directory starts and ends, and how many records it says to have."""
    size = file.seek(0, 2)
    base = max(0, size - _END.size - _MAX16)
    file.seek(base)
    tail = file.read()
    at = len(tail)
    while (at := tail.rfind(b"PK\x05\x06", 0, at)) >= 0:
        if len(tail) - at >= _END.size:
            record = _END.unpack_from(tail, at)
            if at + _END.size + record[7] == len(tail):
                break
    else:
        raise ArchiveRefused(
            f"The zip archive has no end mark as its last bytes: it is cut off, or something"
            f" follows it. {_AGAIN}"
        )
    _, disk, start_disk, here, count, length, start, _ = record
    end = base + at
    if _MAX16 in (count, here) or _MAX32 in (length, start):
        found = _find_directory64(file, end)
        if found:
            disk, start_disk, here, count, length, start, end = found
    if disk or start_disk or here != count:
        raise ArchiveRefused(f"The zip archive is one of several parts. {_AGAIN}")
    if start + length != end:
        raise ArchiveRefused(
            f"The zip archive does not lie where it says: bytes were added or lost. {_AGAIN}"
        )
    return start, end, count


def _find_directory64(file: BinaryIO, end: int) -> tuple[int, int, int, int, int, int, int] | None:
    if end < _LOCATOR.size + _END64.size:
        return None
    file.seek(end - _LOCATOR.size)
    mark, _, at, disks = _LOCATOR.unpack(_exactly(file, _LOCATOR.size))
    if mark != b"PK\x06\x07":
        return None
    if disks > 1 or at > end - _LOCATOR.size - _END64.size:
        raise ArchiveRefused(f"The end of the zip archive is damaged. {_AGAIN}")
    file.seek(at)
    record = _END64.unpack(_exactly(file, _END64.size))
    mark, length_of_record, _, _, disk, start_disk, here, count, length, start = record
    if mark != b"PK\x06\x06" or at + 12 + length_of_record != end - _LOCATOR.size:
        raise ArchiveRefused(f"The end of the zip archive is damaged. {_AGAIN}")
    return disk, start_disk, here, count, length, start, at


def _read_directory(file: BinaryIO, start: int, end: int, count: int) -> Iterator[_Record]:
    file.seek(start)
    at = start
    for _ in range(count):
        fields = _CENTRAL.unpack(_exactly(file, _CENTRAL.size))
        mark, _, _, _, _, flags, method, time, date, crc, packed, size = fields[:12]
        name_length, extra_length, comment_length, disk, _, attributes, offset = fields[12:]
        at += _CENTRAL.size + name_length + extra_length + comment_length
        if mark != b"PK\x01\x02" or at > end:
            raise ArchiveRefused(f"The directory of the zip archive is damaged. {_AGAIN}")
        raw_name = _exactly(file, name_length)
        extra = dict(_extra_fields(_exactly(file, extra_length)))
        _exactly(file, comment_length)
        name = _decoded(raw_name, flags, extra.get(0x7075, b""))
        if max(name_length, len(name)) > _NAME_BYTES:
            raise refused(name, "has too long a name", f"Use {NAME_BYTES} bytes at most.")
        size, packed, offset = _wide(name, extra.get(0x0001, b""), size, packed, offset)
        mode = attributes >> 16
        yield _checked(
            _Record(
                name=name,
                raw_name=raw_name,
                flags=flags,
                method=method,
                crc=crc,
                packed=packed,
                size=size,
                mode=mode,
                modified_at=_seconds(date, time),
                offset=offset,
                is_folder=name.endswith("/") or stat.S_ISDIR(mode),
            ),
            disk,
        )
    if at != end:
        raise ArchiveRefused(f"The directory of the zip archive is damaged. {_AGAIN}")


def _checked(record: _Record, disk: int) -> _Record:
    name = record.name
    if record.flags & _ENCRYPTED:
        raise refused(name, "is encrypted", "Pack it again without a password.")
    kind = stat.S_IFMT(record.mode)
    if kind == stat.S_IFLNK:
        raise refused(name, "is a symbolic link", "Put the file itself in its place.")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise refused(name, "is neither a file nor a folder", "Leave it out.")
    if record.method not in (_STORED, _DEFLATED):
        method = _OTHER_METHODS.get(record.method, f"method {record.method}")
        raise refused(name, f"is compressed with {method}", "Choose Deflate, or make a tar.gz.")
    if record.is_folder and record.size:
        raise refused(name, "is a folder with content", _AGAIN)
    if record.method == _STORED and record.packed != record.size:
        raise refused(name, "has two different sizes", _AGAIN)
    if disk not in (0, _MAX16):
        raise refused(name, "lies in another part of the archive", _AGAIN)
    return record


def _check_places(file: BinaryIO, records: list[_Record], end: int) -> list[int]:
    """Where the content of each record starts; raises unless all lie apart before `end`."""
    starts = [0] * len(records)
    reached = 0
    for index in sorted(range(len(records)), key=lambda index: records[index].offset):
        record = records[index]
        if record.offset < reached:
            raise refused(record.name, "shares its bytes with another entry", _AGAIN)
        if record.offset + _LOCAL.size > end:
            raise refused(record.name, "lies outside of the archive", _AGAIN)
        file.seek(record.offset)
        header = _LOCAL.unpack(_exactly(file, _LOCAL.size))
        mark, _, flags, method, *_, name_length, extra_length = header
        if mark != b"PK\x03\x04" or _exactly(file, name_length) != record.raw_name:
            raise refused(record.name, "is not where the archive says", _AGAIN)
        if flags & _ENCRYPTED or method != record.method:
            raise refused(record.name, "is described in two different ways", _AGAIN)
        starts[index] = record.offset + _LOCAL.size + name_length + extra_length
        reached = starts[index] + record.packed
        if reached > end:
            raise refused(record.name, "reaches out of the archive", _AGAIN)
    return starts


def _extra_fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    while len(extra) >= 4:
        number, length = struct.unpack_from("<HH", extra)
        yield number, extra[4 : 4 + length]
        extra = extra[4 + length :]


def _decoded(raw: bytes, flags: int, unicode_path: bytes) -> str:
    """The name; without a mark for UTF-8 it is tried first, then the code page of old DOS."""
    if len(unicode_path) > 5 and unicode_path[1:5] == struct.pack("<L", zlib.crc32(raw)):
        raw, flags = unicode_path[5:], _UTF8
    try:
        return raw.decode()
    except UnicodeDecodeError:
        if not flags & _UTF8:
            return raw.decode("cp437")
    shown = raw.decode(errors="replace")
    raise refused(shown, "has a name that is not UTF-8", "Rename it and pack again.")


def _wide(name: str, extra: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int]:
    """The three numbers with those too large for 32 bits read from the zip64 field."""
    numbers = [size, packed, offset]
    for index, number in enumerate(numbers):
        if number == _MAX32 and extra:
            if len(extra) < 8:
                raise refused(name, "has a damaged size", _AGAIN)
            numbers[index] = int.from_bytes(extra[:8], "little")
            extra = extra[8:]
    return numbers[0], numbers[1], numbers[2]


def _seconds(date: int, time: int) -> float:
    """The instant of a DOS date, which has no zone and is taken as UTC; 0 if it is none."""
    year, month, day = (date >> 9) + 1980, (date >> 5) & 0xF, date & 0x1F
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return 0.0
    parts = (year, month, day, time >> 11, (time >> 5) & 0x3F, (time & 0x1F) * 2)
    return float(calendar.timegm(parts))


def _exactly(file: BinaryIO, length: int) -> bytes:
    data = file.read(length)
    if len(data) != length:
        raise ArchiveRefused(f"The zip archive is cut off. {_AGAIN}")
    return data
