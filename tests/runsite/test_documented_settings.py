"""docs/settings.md has one entry for each variable, and none for a variable that is gone."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
READER = re.compile(r"(?:env\.\w+|_networks)\(\s*\"(RUNSITE_[A-Z0-9_]+)\"")


def _read_by_settings() -> set[str]:
    return set(READER.findall((ROOT / "runsite" / "settings.py").read_text()))


def _documented() -> list[str]:
    text = (ROOT / "docs" / "settings.md").read_text()
    return re.findall(r"^### `(RUNSITE_[A-Z0-9_]+)`", text, re.MULTILINE)


def test_every_variable_is_documented_once():
    documented = _documented()
    assert len(documented) == len(set(documented))
    # The set-up script's own variable is read before Python is there.
    assert set(documented) == _read_by_settings() | {"RUNSITE_PYTHON"}


def test_the_readers_are_found():
    found = _read_by_settings()
    assert {"RUNSITE_DATA_DIR", "RUNSITE_DATABASE_URL", "RUNSITE_TRUSTED_PROXIES"} <= found
    assert len(found) > 30
