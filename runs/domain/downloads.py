"""What a download is called, of which type it is, and which part of it was asked for."""

from __future__ import annotations

import re
import unicodedata
from pathlib import PurePosixPath

POLICY = "default-src 'none'; sandbox; frame-ancestors 'none'"
"""The Content-Security-Policy of bytes that programs wrote: nothing in them runs."""
PLAIN_TYPE = "application/octet-stream"

_TYPES = {
    ".json": "application/json",
    ".geojson": "application/json",
    ".csv": "text/csv; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".log": "text/plain; charset=utf-8",
    ".zip": "application/zip",
    ".gz": "application/gzip",
    ".tgz": "application/gzip",
}
_HARMLESS = frozenset(_TYPES.values()) | {"text/csv", "text/plain", PLAIN_TYPE}
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


def safe_name(name: str) -> str:
    """The last part of a path as a file name without characters that mislead or break a header."""
    last = PurePosixPath(name.replace("\\", "/")).name
    kept = "".join(
        "_" if unicodedata.category(letter) in {"Cc", "Cf", "Cs", "Zl", "Zp"} else letter
        for letter in last
    )
    return kept.strip(". ")[:150] or "download"


def type_by_name(file_name: str) -> str:
    """The content type of a file of this name: one that no browser draws as a page."""
    return _TYPES.get(PurePosixPath(file_name).suffix.lower(), PLAIN_TYPE)


def harmless_type(content_type: str) -> str:
    """`content_type` if no browser draws it as a page or a picture, else that of plain bytes."""
    return content_type if content_type in _HARMLESS else PLAIN_TYPE


def wanted_range(header: str, size: int) -> tuple[int, int] | None:
    """The bytes that a `Range` header asks for, as (start, end before which to stop).

    None stands for the whole of it, also for several ranges, as the standard allows (RFC 9110,
    14.2). A start that is not before the end cannot be had: 416.
    """
    found = _RANGE.fullmatch(header.strip())
    if found is None or (not found[1] and not found[2]):
        return None
    if not found[1]:
        return (max(0, size - int(found[2])), size if int(found[2]) else 0)
    start = int(found[1])
    if found[2] and int(found[2]) < start:
        return None
    end = min(size, int(found[2]) + 1) if found[2] else size
    return (start, end) if start < size else (size, size)
