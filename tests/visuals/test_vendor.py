"""The vendored files are those that their list names, and ask no other host."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

VENDOR = Path(__file__).parents[2] / "static" / "vendor"


def test_every_file_has_its_sum_in_the_list() -> None:
    listed = {
        name: digest
        for digest, name in re.findall(
            r"^([0-9a-f]{64})  (\S+)$", (VENDOR / "README.md").read_text(), re.M
        )
    }
    found = {
        str(path.relative_to(VENDOR)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in VENDOR.rglob("*")
        if path.is_file() and path.name != "README.md"
    }
    assert found == listed


def test_every_folder_has_a_version_and_a_licence() -> None:
    for folder in VENDOR.iterdir():
        if folder.is_dir():
            assert re.search(r"-\d+\.\d+\.\d+$", folder.name), folder
            assert any("LICEN" in path.name.upper() for path in folder.iterdir()), folder


def test_no_style_sheet_loads_from_outside() -> None:
    sheets = list(VENDOR.rglob("*.css"))
    assert sheets
    for sheet in sheets:
        text = sheet.read_text()
        assert not re.search(r"url\(\s*['\"]?(?:https?:)?//", text), sheet
        assert "@import" not in text, sheet


def test_files_that_scripts_and_sheets_name_are_there() -> None:
    for path in [*VENDOR.rglob("*.js"), *VENDOR.rglob("*.css")]:
        text = path.read_text()
        names = re.findall(r"^//# sourceMappingURL=(\S+)$", text, re.M)
        if path.suffix == ".css":
            names += re.findall(r"url\(([^#)]+)\)", text)
        for name in names:
            assert (path.parent / name).is_file(), (path, name)
