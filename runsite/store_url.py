"""Reads the address of the store: which bucket of which service holds the objects."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from runsite import env

FORM = "s3://bucket/prefix?endpoint=https://host:port&region=name&path_style=1"
WORDS = ("endpoint", "region", "path_style", "presign", "public")
PREFIX_LENGTH = 100

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}")
_PREFIX = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")


def parse_store_url(name: str, value: str) -> dict[str, Any] | None:
    """The parts of an address of the form `FORM`; None for none, which is the folder.

    No message repeats the value: somebody may have written keys into it.
    """
    if not value:
        return None
    env.check_url(name, value, ("s3",))
    parts = urlsplit(value)
    if parts.username is not None or parts.password is not None:
        raise env.SettingError(
            f"{name} holds keys; give them as RUNSITE_S3_ACCESS_KEY and RUNSITE_S3_SECRET_KEY."
        )
    bucket, prefix = parts.netloc, unquote(parts.path).strip("/")
    if not _BUCKET.fullmatch(bucket):
        raise env.SettingError(f"{name} names no bucket; give {FORM}")
    if prefix and (len(prefix) > PREFIX_LENGTH or not _PREFIX.fullmatch(prefix)):
        raise env.SettingError(
            f"{name} has a prefix that cannot be used; give letters, digits, '.', '_', '-' and '/',"
            f" {PREFIX_LENGTH} characters at most."
        )
    words = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := sorted(set(words) - set(WORDS)):
        raise env.SettingError(f"{name} has no option {unknown[0][:40]!r}; give {FORM}")
    return {
        "bucket": bucket,
        "prefix": prefix,
        "endpoint": _endpoint(name, "endpoint", words.get("endpoint", "")),
        "region": words.get("region") or None,
        "path_style": _flag(name, "path_style", words.get("path_style", "")),
        "presign": _flag(name, "presign", words.get("presign", "")) is not False,
        "public": _endpoint(name, "public", words.get("public", "")),
    }


def _endpoint(name: str, word: str, value: str) -> str | None:
    if not value:
        return None
    env.check_url(f"The {word} in {name}", value, ("https", "http"))
    parts = urlsplit(value)
    if parts.username is not None or not parts.hostname or parts.path.strip("/") or parts.query:
        raise env.SettingError(
            f"The {word} in {name} is more than a host; give it as {word}=https://host:port"
        )
    return f"{parts.scheme}://{parts.netloc}"


def _flag(name: str, word: str, value: str) -> bool | None:
    known = {"": None, "1": True, "0": False}
    if value not in known:
        raise env.SettingError(f"{word} in {name} is {value[:20]!r}; give 1 or 0.")
    return known[value]
