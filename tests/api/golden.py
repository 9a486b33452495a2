"""Compares whole answers of the API with the JSON kept in `golden/`.

`RUNSITE_TEST_WRITE_GOLDEN=1` writes the files anew; look at their changes before you keep them.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "golden"
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_TICKET = re.compile(r"(expires|signature|X-Amz-[A-Za-z]+)=[^&]+")
_OURS = re.compile(r"(?<![0-9a-z])(?:[0-9a-hjkmnp-tv-z]{20}|[0-9a-hjkmnp-tv-z]{16})(?![0-9a-z])")


def check_golden(name: str, answer: Any, **known: str) -> None:
    """Assert that `answer` is what `golden/<name>.json` holds, key for key.

    Before, instants with a zone become `<time>`, ids that we make up `<id 1>`, `<id 2>` … (the
    same id the same number), what is signed of an address `<signed>`; and each text in `known`,
    wherever it stands, the name it is given by: `person="ann@example.org"` becomes `<person>`.
    """
    path = FOLDER / f"{name}.json"
    found = settle(answer, **known)
    if os.environ.get("RUNSITE_TEST_WRITE_GOLDEN"):
        FOLDER.mkdir(exist_ok=True)
        path.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    assert found == json.loads(path.read_text(encoding="utf-8"))


def settle(answer: Any, **known: str) -> Any:
    """`answer` with everything replaced that is another one in each test run."""
    return _settle(answer, known, {})


def _settle(value: Any, known: dict[str, str], ids: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {
            _settle(key, known, ids): _settle(inner, known, ids) for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_settle(inner, known, ids) for inner in value]
    if not isinstance(value, str):
        return value
    if _TIME.fullmatch(value):
        return "<time>"
    for name, text in known.items():
        value = value.replace(text, f"<{name}>")
    value = _TICKET.sub(lambda found: f"{found[1]}=<signed>", value)
    return _OURS.sub(lambda found: ids.setdefault(found[0], f"<id {len(ids) + 1}>"), value)
