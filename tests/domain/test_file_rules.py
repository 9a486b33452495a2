"""Which files the patterns of a manifest select."""

from __future__ import annotations

# glob, not pathlib: the contract's rules for dotfiles and `**` are those of glob.
import glob
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runs.domain.errors import ManifestInvalid
from runs.domain.file_rules import matches_name, select_files

PATHS = (
    "main.py",
    "notes.txt",
    ".env",
    "src/a.py",
    "src/b.txt",
    "src/.hidden.py",
    "src/deep/c.py",
    "src/deep/er/d.py",
    "src/.git/config",
    "data/x1.csv",
    "data/x2.csv",
    "data/y1.csv",
    "empty/",
)


@pytest.mark.parametrize(
    ("pattern", "files"),
    [
        ("main.py", ["main.py"]),
        ("./main.py", ["main.py"]),
        ("*.py", ["main.py"]),
        ("*", ["main.py", "notes.txt"]),
        (".env", [".env"]),
        (".*", [".env"]),
        ("src/", ["src/a.py", "src/b.txt"]),
        ("src/*", ["src/a.py", "src/b.txt"]),
        ("src//a.py", ["src/a.py"]),
        ("src/**", ["src/a.py", "src/b.txt", "src/deep/c.py", "src/deep/er/d.py"]),
        ("src/**/*.py", ["src/a.py", "src/deep/c.py", "src/deep/er/d.py"]),
        ("**/*.py", ["main.py", "src/a.py", "src/deep/c.py", "src/deep/er/d.py"]),
        ("**/**/d.py", ["src/deep/er/d.py"]),
        ("**/.hidden.py", ["src/.hidden.py"]),
        ("src/.git/*", ["src/.git/config"]),
        ("*/deep/*", ["src/deep/c.py"]),
        ("data/x?.csv", ["data/x1.csv", "data/x2.csv"]),
        ("data/[xy]1.csv", ["data/x1.csv", "data/y1.csv"]),
        ("data/[!x]?.csv", ["data/y1.csv"]),
        ("data/[a-x]1.csv", ["data/x1.csv"]),
    ],
)
def test_a_pattern_selects(pattern: str, files: list[str]) -> None:
    found = select_files([pattern], PATHS)
    assert list(found.files) == files
    assert found.missing_patterns == ()
    assert found.warnings == ()
    assert found.errors == ()


@pytest.mark.parametrize(
    "pattern",
    ["nothing", "*.md", "src/nothing/", "../main.py", "/main.py", "MAIN.PY", "main.py/x", ""],
)
def test_a_pattern_without_a_match_is_an_error(pattern: str) -> None:
    found = select_files(["main.py", pattern], PATHS)
    if pattern:
        assert found.missing_patterns == (pattern,)
        assert found.errors == (f"could not find files listed in manifest: {pattern}",)
    assert found.files == ("main.py",)


@pytest.mark.parametrize("pattern", ["src", "src/deep", "empty", "s*c", "."])
def test_a_bare_folder_copies_nothing_and_is_warned_about(pattern: str) -> None:
    found = select_files([pattern], PATHS)
    assert found.files == ()
    assert found.missing_patterns == ()
    assert f"`{pattern}/**`" in found.warnings[0]


def test_patterns_are_taken_in_order() -> None:
    assert select_files(["src/**", "!src/**/*.py"], PATHS).files == ("src/b.txt",)
    assert select_files(["!src/a.py", "src/a.py"], PATHS).files == ("src/a.py",)
    assert select_files(["src/**", "!**", "src/a.py"], PATHS).files == ("src/a.py",)


def test_an_exclusion_without_a_match_is_fine_and_one_of_a_folder_is_warned_about() -> None:
    assert select_files(["main.py", "!gone"], PATHS).errors == ()
    found = select_files(["src/**", "!src/deep"], PATHS)
    assert "src/deep/c.py" in found.files
    assert "`!src/deep/**`" in found.warnings[0]


def test_the_entry_file_must_be_selected() -> None:
    assert select_files(["*.py"], PATHS, "./main.py").errors == ()
    found = select_files(["src/**", "gone"], PATHS, "main.py")
    assert found.errors == (
        "could not find files listed in manifest: gone",
        "missing mandatory files: main.py",
    )


def test_many_files_and_patterns_end_with_files_or_a_message() -> None:
    paths = [f"d{number % 50}/f{number}.py" for number in range(20_000)]
    assert len(select_files(["**/*.py"], paths).files) == 20_000
    with pytest.raises(ManifestInvalid, match="too costly"):
        select_files(["*" + "a*" * 400 + "b"] * 500, ["a" * 250 + str(n) for n in range(5000)])


def test_stars_cost_no_backtracking() -> None:
    assert not matches_name("a" * 5000, "*a" * 400 + "b")
    assert matches_name("a" * 5000 + "b", "*a" * 400 + "*b")


NAMES = st.text("ab.[]-!", min_size=1, max_size=4).filter(lambda name: name not in {".", ".."})
PATTERNS = st.text("ab.*?[]-!", min_size=1, max_size=6)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.lists(NAMES, min_size=1, max_size=6, unique=True), PATTERNS)
def test_one_name_is_matched_as_glob_does(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], pattern: str
) -> None:
    folder = tmp_path_factory.mktemp("names")
    for name in names:
        (folder / name).touch()
    if pattern in {".", ".."}:
        return
    expected = set(glob.glob(pattern, root_dir=folder)) & set(names)  # noqa: PTH207
    if pattern != "**":
        assert {name for name in names if matches_name(name, pattern)} == expected


PARTS = st.sampled_from(["a", "b", "ab", ".h", "x.py"])
TREES = st.lists(st.lists(PARTS, min_size=1, max_size=4).map("/".join), min_size=1, max_size=8)
GLOBS = st.lists(
    st.sampled_from(["a", "b", "*", "**", "a*", "?", ".h", ".*", "*.py", "[ab]"]),
    min_size=1,
    max_size=4,
).map("/".join)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(TREES, GLOBS, st.booleans())
def test_trees_are_matched_as_glob_does(
    tmp_path_factory: pytest.TempPathFactory, paths: list[str], pattern: str, folder_only: bool
) -> None:
    root = tmp_path_factory.mktemp("tree")
    files = set()
    for path in paths:
        target = root / path
        if target.exists() or any(parent.is_file() for parent in target.parents):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
        files.add(path)
    searched = f"{pattern}/*" if folder_only else pattern
    # glob also answers `file/` and worse for `file/**`; the system knows no such paths.
    matches = [
        match
        for match in glob.glob(searched, root_dir=root, recursive=True)  # noqa: PTH207
        if os.path.lexists(f"{root}/{match}")
    ]
    found = select_files([f"{pattern}/" if folder_only else pattern], files)
    assert set(found.files) == {path for path in matches if (Path(root) / path).is_file()}
    if pattern != "**":
        assert bool(found.missing_patterns) == (not matches)
