"""The ids that people choose, and those that the product makes."""

from __future__ import annotations

import re
import secrets

LONGEST_ID = 128
_CHOSEN = re.compile(r"[A-Za-z0-9._-]{1,128}")
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def is_chosen_id(text: str) -> bool:
    """Whether `text` may name an application, version, instance or managed input."""
    return bool(_CHOSEN.fullmatch(text)) and text.strip(".") != "" and ".." not in text


def suggest_id(name: str) -> str:
    """An id made of `name`: lower case, dashes for the rest; empty when nothing is left."""
    return re.sub(r"[^a-z0-9._]+", "-", name.lower()).strip("-._")[:LONGEST_ID]


def new_run_id() -> str:
    """A random run id of 20 characters (100 bits), never used again."""
    return _random(20)


def new_id() -> str:
    """A random id of 16 characters (80 bits) for what nobody names."""
    return _random(16)


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
