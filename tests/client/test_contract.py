"""Every item of section 5 of the contract ("What breaks if you get it wrong") has its test here."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
ITEMS = range(1, 31)


def test_every_item_of_section_5_is_named_by_a_test() -> None:
    """Search for `5.12` in this folder to find what shows item 12."""
    found: set[int] = set()
    for path in HERE.glob("test_*.py"):
        if path != Path(__file__):
            for line in path.read_text().splitlines():
                if "ontract" in line or "(5." in line:
                    found |= {int(number) for number in re.findall(r"\b5\.(\d+)\b", line)}

    assert sorted(set(ITEMS) - found) == []
