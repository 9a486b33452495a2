"""Reads the JSON that programs write: strictly, with positions, and in bounded memory."""

from __future__ import annotations

import json
import math
import mmap
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_BOM = b"\xef\xbb\xbf"
_WINDOW = 4 * 1024 * 1024
_SPACE = re.compile(rb"[^ \t\r\n]")
_QUOTE = re.compile(rb'["\\]')
_BRACKET = re.compile(rb'["{}\[\]]')
_SCALAR_END = re.compile(rb"[,}\]\s]")
_ESCAPED = re.compile(rb"\\.", re.DOTALL)
_STRING = re.compile(rb'"[^"]*"')
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_CLOSING = bytes.maketrans(b"[{", b"]}")
_PIECE = 128 * 1024
_LONG_KEY = 1024


class Unreadable(Exception):
    """Bytes that are no JSON document; the text says what is wrong and where."""

    def __init__(self, what: str, *, line: int = 0, column: int = 0, byte: int = 0) -> None:
        where = f" at line {line}, column {column} (byte {byte})" if line else f" at byte {byte}"
        super().__init__(what + where)
        self.line = line
        """From 1; 0 when it is not known."""
        self.column = column
        self.byte = byte
        """Offset from 0."""


@dataclass(frozen=True)
class Document:
    """A JSON document as it was read."""

    # Any: the shape belongs to the program that wrote it.
    value: Any
    replaced: int
    """How many numbers that JSON does not know (NaN, infinity) became null."""


@dataclass
class Scanned:
    """The wanted members of a large object, and what became of the others."""

    is_object: bool
    values: dict[str, Any] = field(default_factory=dict)
    too_large: list[str] = field(default_factory=list)
    """Wanted members that are larger than the limit."""
    broken: list[str] = field(default_factory=list)
    """Wanted members that are no valid JSON."""
    replaced: int = 0


def read_document(data: bytes) -> Document:
    """The document in `data`, which must be UTF-8; NaN and infinities become null.

    Raises Unreadable with the position of the first error.
    """
    body = data.removeprefix(_BOM)
    skipped = len(data) - len(body)
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as problem:
        before = body[: problem.start]
        raise Unreadable(
            "a byte that is not UTF-8",
            line=before.count(b"\n") + 1,
            column=len(before[before.rfind(b"\n") + 1 :].decode("utf-8", "replace")) + 1,
            byte=problem.start + skipped,
        ) from problem
    replaced = 0

    def no_number(_text: str) -> None:
        nonlocal replaced
        replaced += 1

    def finite(text: str) -> float | None:
        nonlocal replaced
        value = float(text)
        if math.isfinite(value):
            return value
        replaced += 1
        return None

    def integer(text: str) -> int | float | None:
        # Python refuses to convert very long ones; as a float they are out of range mostly.
        return int(text) if len(text) < 4000 else finite(text)

    try:
        value = json.loads(text, parse_constant=no_number, parse_float=finite, parse_int=integer)
    except json.JSONDecodeError as problem:
        raise Unreadable(
            problem.msg,
            line=problem.lineno,
            column=problem.colno,
            byte=len(text[: problem.pos].encode()) + skipped,
        ) from problem
    except RecursionError as problem:
        raise Unreadable("brackets nested too deeply to be read") from problem
    try:
        value = _storable(value) if b"\\u" in data else value
    except RecursionError as problem:
        raise Unreadable("brackets nested too deeply to be read") from problem
    return Document(value, replaced)


def write_document(document: Document, target: Path) -> None:
    """Write it as strict JSON."""
    with target.open("w", encoding="ascii") as handle:
        handle.write(json.dumps(document.value, allow_nan=False, separators=(",", ":")))


def scan_members(
    path: Path,
    wanted: Collection[str],
    *,
    limit_bytes: int,
    tick: Callable[[], None] = lambda: None,
) -> Scanned:
    """The `wanted` members of the object in a file of any size, each at most `limit_bytes`.

    Only the structure of the rest is looked at, not whether all of it is valid. Holds a few MiB
    and the wanted members. Raises Unreadable where the structure is broken.
    """
    with path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _Scan(data, tick).members(frozenset(wanted), limit_bytes)


class _Scan:
    """Walks one mapped document from left to right."""

    def __init__(self, data: mmap.mmap, tick: Callable[[], None]) -> None:
        self.data = data
        self.size = len(data)
        self.tick = tick
        self.freed = 0

    def members(self, wanted: frozenset[str], limit_bytes: int) -> Scanned:
        at = self.skip_space(len(_BOM) if self.data[:3] == _BOM else 0)
        if self.byte(at) != b"{":
            self.end_of_document(self.skip_value(at))
            return Scanned(is_object=False)
        found = Scanned(is_object=True)
        at = self.skip_space(at + 1)
        if self.byte(at) == b"}":
            self.end_of_document(at + 1)
            return found
        while True:
            if self.byte(at) != b'"':
                raise Unreadable("a member name was expected", byte=at)
            end = self.skip_string(at)
            name = self.name(at, end)
            at = self.skip_space(end)
            if self.byte(at) != b":":
                raise Unreadable("a colon was expected", byte=at)
            at = self.skip_space(at + 1)
            end = self.skip_value(at)
            if name in wanted:
                self.take(found, name, at, end, limit_bytes)
            at = self.skip_space(end)
            if self.byte(at) == b"}":
                self.end_of_document(at + 1)
                return found
            if self.byte(at) != b",":
                raise Unreadable("a comma or the end of the object was expected", byte=at)
            at = self.skip_space(at + 1)

    def take(self, found: Scanned, name: str, at: int, end: int, limit_bytes: int) -> None:
        """Read one wanted member; as everywhere in JSON here, the last of a name counts."""
        found.values.pop(name, None)
        if end - at > limit_bytes:
            found.too_large.append(name)
            return
        try:
            document = read_document(self.data[at:end])
        except Unreadable:
            found.broken.append(name)
            return
        found.values[name] = document.value
        found.replaced += document.replaced

    def name(self, at: int, end: int) -> str:
        if end - at > _LONG_KEY:
            return ""
        try:
            return str(json.loads(self.data[at:end]))
        except ValueError as problem:
            raise Unreadable("a broken member name", byte=at) from problem

    def skip_value(self, at: int) -> int:
        first = self.byte(at)
        if first == b'"':
            return self.skip_string(at)
        if first in (b"{", b"["):
            return self.skip_nested(at)
        end = self.search(_SCALAR_END, at)
        end = self.size if end is None else end
        try:
            if end - at > 5000:
                raise ValueError("no scalar is that long")
            json.loads(self.data[at:end])
        except ValueError as problem:
            raise Unreadable("a value was expected", byte=at) from problem
        return end

    def skip_nested(self, at: int) -> int:
        closing = bytearray()
        single_until = at
        while True:
            if at >= single_until:
                at = self.skip_bulk(at, closing)
                single_until = at + _PIECE  # that piece is one for single steps
            found = self.search(_BRACKET, at)
            if found is None:
                raise Unreadable("the document ends within a value", byte=self.size)
            char = self.data[found]
            at = found + 1
            if char == 0x22:
                at = self.skip_string(found)
            elif char in b"{[":
                closing.append(char + 2)  # in ASCII the closing one stands two further on
            elif not closing or closing.pop() != char:
                raise Unreadable("a bracket that nothing opened", byte=found)
            elif not closing:
                return at

    def skip_bulk(self, at: int, closing: bytearray) -> int:
        """Skip pieces in which the value that `closing` tells of does not end, many tokens at once.

        `at` is outside of strings, and so is the position returned.
        """
        while closing and self.size - at > _PIECE:
            piece = self.data[at : at + _PIECE]
            # An escaped quote is no quote; a backslash at the end belongs to the next piece.
            bare = _ESCAPED.sub(b"__", piece.rstrip(b"\\"))
            if bare.count(b'"') % 2:
                bare = bare[: bare.rfind(b'"')]
            left = _STRING.sub(b"", bare).translate(None, _NO_BRACKETS)
            while True:
                shorter = left.replace(b"[]", b"").replace(b"{}", b"")
                if len(shorter) == len(left):
                    break
                left = shorter
            opened = left.lstrip(b"]}")
            closed = left[: len(left) - len(opened)]
            if not bare or len(closed) >= len(closing) or opened.strip(b"[{"):
                return at  # its end is here, or an error: look token by token
            if closed and bytes(reversed(closing[-len(closed) :])) != closed:
                return at
            del closing[len(closing) - len(closed) :]
            closing += opened.translate(_CLOSING)
            at += len(bare)
            self.let_go(at)
        return at

    def skip_string(self, at: int) -> int:
        at += 1
        while True:
            found = self.search(_QUOTE, at)
            if found is None:
                raise Unreadable("the document ends within a string", byte=self.size)
            if self.data[found] == 0x22:
                return found + 1
            at = found + 2

    def skip_space(self, at: int) -> int:
        found = self.search(_SPACE, at)
        if found is None:
            raise Unreadable("the document ends too early", byte=self.size)
        return found

    def end_of_document(self, at: int) -> None:
        found = self.search(_SPACE, at)
        if found is not None:
            raise Unreadable("something follows the document", byte=found)

    def byte(self, at: int) -> bytes:
        return self.data[at : at + 1]

    def search(self, pattern: re.Pattern[bytes], at: int) -> int | None:
        """Where the next match of one byte begins; lets go of the pages behind it."""
        while at < self.size:
            end = min(self.size, at + _WINDOW)
            match = pattern.search(self.data, at, end)
            if match:
                end = match.start()
            self.let_go(end)
            if match:
                return end
            at = end
        return None

    def let_go(self, before: int) -> None:
        """What was read does not stay in the memory of this process."""
        if before - self.freed > _WINDOW:
            self.tick()
            keep = before - before % mmap.PAGESIZE
            self.data.madvise(mmap.MADV_DONTNEED, self.freed, keep - self.freed)
            self.freed = keep


# Any: the shape belongs to the program that wrote it.
def _storable(value: Any) -> Any:
    """Without what no database keeps in a text: zero characters and halves of characters."""
    if isinstance(value, str):
        if "\0" in value:
            value = value.replace("\0", "\ufffd")
        return value.encode("utf-8", "replace").decode() if not value.isascii() else value
    if isinstance(value, list):
        return [_storable(item) for item in value]
    if isinstance(value, dict):
        return {_storable(key): _storable(item) for key, item in value.items()}
    return value
