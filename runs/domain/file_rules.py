"""Which files of an application a manifest's `files` patterns select."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from runs.domain.errors import ManifestInvalid

LONGEST_PATTERN = 1000
MOST_PATTERNS = 1000
MOST_STEPS = 10_000_000
"""Comparisons of a name with a part of a pattern, for all patterns together; some ten seconds."""

_ANY_DEPTH = "**"


@dataclass(frozen=True)
class FileSelection:
    """What the patterns select: `files` sorted, and what is wrong or odd about the patterns."""

    files: tuple[str, ...]
    missing_patterns: tuple[str, ...] = ()
    missing_entry: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def errors(self) -> tuple[str, ...]:
        """The reasons why the application cannot run, in the words of the run contract."""
        found = []
        if self.missing_patterns:
            listed = ", ".join(self.missing_patterns)
            found.append(f"could not find files listed in manifest: {listed}")
        if self.missing_entry:
            found.append(f"missing mandatory files: {self.missing_entry}")
        return tuple(found)


@dataclass
class _Folder:
    """A folder of the tree that the paths make."""

    folders: dict[str, _Folder] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)


@dataclass
class _Found:
    files: set[str] = field(default_factory=set)
    folders: set[str] = field(default_factory=set)


class _Budget:
    """Counts comparisons, so that hostile patterns on many files end with a message."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def spend(self, steps: int) -> None:
        self.left -= steps
        if self.left < 0:
            raise ManifestInvalid(
                "The `files` patterns of app.yaml are too costly for this many files. "
                "Use fewer patterns with `*`, and `dir/**` for whole folders."
            )


def select_files(
    patterns: Sequence[str], paths: Iterable[str], entrypoint: str = ""
) -> FileSelection:
    """The files among `paths` that `patterns` select, as section 2 of the run contract says.

    `paths` are relative to the application's root, with `/`; one that ends in `/` is a folder
    without files. Patterns are taken in order, `!` removes. Without `entrypoint` no entry is asked
    for. Costs grow with the product of patterns and paths, never with backtracking; raises
    `ManifestInvalid` beyond ten million comparisons.
    """
    root = _tree(paths)
    budget = _Budget(MOST_STEPS)
    selected: set[str] = set()
    missing, warnings = [], []
    for pattern in patterns:
        excludes = pattern.startswith("!")
        bare = pattern.removeprefix("!")
        found = _find(bare, root, budget)
        if excludes:
            selected -= found.files
            if found.folders and not found.files:
                warnings.append(
                    f"the pattern `{pattern}` names a folder and removes nothing; "
                    f"write `{pattern.rstrip('/')}/**` to leave out what is in it"
                )
            continue
        selected |= found.files
        if not found.files and not found.folders:
            missing.append(pattern)
        elif not found.files:
            warnings.append(
                f"the pattern `{pattern}` matches folders only and copies nothing; "
                f"write `{_inside(bare)}` to copy what is in them"
            )
    entry = posixpath.normpath(entrypoint) if entrypoint else ""
    return FileSelection(
        files=tuple(sorted(selected)),
        missing_patterns=tuple(missing),
        missing_entry="" if not entry or entry in selected else entry,
        warnings=tuple(warnings),
    )


def leaves_root(path: str) -> bool:
    """Whether a path or pattern is absolute or goes up anywhere."""
    return path.startswith("/") or ".." in path.split("/")


def _inside(pattern: str) -> str:
    base = pattern.rstrip("/")
    return base if base.endswith(_ANY_DEPTH) else f"{base}/**"


def _tree(paths: Iterable[str]) -> _Folder:
    root = _Folder()
    for path in paths:
        *above, name = path.split("/")
        folder = root
        for part in above:
            if part not in {"", "."}:
                folder = folder.folders.setdefault(part, _Folder())
        if name:
            folder.files.add(name)
    return root


def _segments(pattern: str) -> list[str]:
    """The parts of a pattern: `dir/` is `dir/*`; `.`, empty parts and repeated `**` collapse."""
    if pattern.endswith("/"):
        pattern += "*"
    parts: list[str] = []
    for part in pattern.split("/"):
        if part in {"", "."} or (part == _ANY_DEPTH and parts[-1:] == [_ANY_DEPTH]):
            continue
        parts.append(part)
    return parts


def _find(pattern: str, root: _Folder, budget: _Budget) -> _Found:
    """What `pattern` matches.

    The tree is walked once: each folder carries the set of places in the pattern that may be
    reached there, so that `**/a/**/b` costs no more than the folders times the parts.
    """
    found = _Found()
    if leaves_root(pattern) or len(pattern) > LONGEST_PATTERN:
        return found
    parts = [_Part.read(part) for part in _segments(pattern)]
    end = len(parts)
    waiting = [("", root, _closed({0}, parts))]
    if not parts or [part.written for part in parts] == [_ANY_DEPTH]:
        found.folders.add(".")
    while waiting:
        prefix, folder, places = waiting.pop()
        steps = sorted(place for place in places if place < end)
        literal = len(steps) == 1 and not _is_wild(parts[steps[0]])
        if literal:
            # The usual pattern is a plain path: look it up instead of trying every name.
            budget.spend(1)
            name = parts[steps[0]].written
            files = [name] if name in folder.files else []
            folders = [name] if name in folder.folders else []
        else:
            weight = sum(parts[place].weight for place in steps)
            budget.spend((len(folder.files) + len(folder.folders)) * weight)
            files, folders = list(folder.files), list(folder.folders)
        for name in files:
            if _advanced(name, steps, parts) & {end}:
                found.files.add(prefix + name)
        for name in folders:
            reached = _closed(_advanced(name, steps, parts), parts)
            if end in reached:
                found.folders.add(prefix + name)
            if any(place < end for place in reached):
                waiting.append((f"{prefix}{name}/", folder.folders[name], reached))
    return found


def _closed(places: set[int], parts: list[_Part]) -> set[int]:
    """The places with those behind a `**`, which may stand for no folder at all."""
    reached = set(places)
    for place in places:
        if place < len(parts) and parts[place].written == _ANY_DEPTH:
            reached.add(place + 1)
    return reached


def _advanced(name: str, steps: list[int], parts: list[_Part]) -> set[int]:
    """The places in the pattern after `name`."""
    reached = set()
    for place in steps:
        part = parts[place]
        if part.written == _ANY_DEPTH:
            if not name.startswith("."):
                reached.add(place)
                if place + 1 == len(parts):
                    reached.add(place + 1)
        elif part.matches(name):
            reached.add(place + 1)
    return reached


def _is_wild(part: _Part) -> bool:
    return _has_wildcards(part.written)


def _has_wildcards(part: str) -> bool:
    return any(char in part for char in "*?[")


def matches_name(name: str, pattern: str) -> bool:
    """Whether one name matches one part of a pattern with `*`, `?` and `[..]`.

    Names with a leading dot are matched only by patterns with one.
    """
    return _Part.read(pattern).matches(name)


@dataclass(frozen=True)
class _Part:
    """One part of a pattern, cut at its stars, with what a comparison costs.

    Each piece between stars is looked for once, as early as possible, so a comparison never goes
    back. A piece is a text, or a list of characters and classes.
    """

    written: str
    pieces: tuple[_Piece, ...]
    weight: int

    @classmethod
    def read(cls, written: str) -> _Part:
        if written == _ANY_DEPTH or not _has_wildcards(written):
            return cls(written, (), 1)
        pieces = tuple(_pieces(written))
        slow = any(not isinstance(piece, str) for piece in pieces[1:-1])
        return cls(written, pieces, 1 + len(written) * (8 if slow else 1) // 8)

    def matches(self, name: str) -> bool:
        if not self.pieces:
            return name == self.written
        if name.startswith(".") and not self.written.startswith("."):
            return False
        first, last = self.pieces[0], self.pieces[-1]
        if len(self.pieces) == 1:
            return len(name) == len(first) and _fits(name, 0, first)
        at, stop = len(first), len(name) - len(last)
        if at > stop or not _fits(name, 0, first) or not _fits(name, stop, last):
            return False
        for piece in self.pieces[1:-1]:
            at = _index(name, piece, at, stop)
            if at < 0:
                return False
            at += len(piece)
        return True


_Piece = str | list[str | tuple[bool, str]]


def _pieces(pattern: str) -> list[_Piece]:
    """The pattern cut at its stars.

    A class is `(negated, members)`; `?` excludes nothing, so it is `(True, "")`.
    """
    pieces: list[list[str | tuple[bool, str]]] = [[]]
    at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*":
            pieces.append([])
        elif char == "?":
            pieces[-1].append((True, ""))
        elif char == "[":
            negated = pattern[at : at + 1] == "!"
            begin = at + 1 if negated else at
            close = pattern.find("]", begin + 1)
            if close < 0:
                pieces[-1].append("[")
            else:
                pieces[-1].append((negated, pattern[begin:close]))
                at = close + 1
        else:
            pieces[-1].append(char)
    texts: list[_Piece] = []
    for piece in pieces:
        literal = [char for char in piece if isinstance(char, str)]
        texts.append("".join(literal) if len(literal) == len(piece) else piece)
    return texts


def _index(name: str, piece: _Piece, at: int, stop: int) -> int:
    """Where `piece` is found first in `name[at:stop]`; -1 for nowhere."""
    if isinstance(piece, str):
        return name.find(piece, at, stop)
    for begin in range(at, stop - len(piece) + 1):
        if _fits(name, begin, piece):
            return begin
    return -1


def _fits(name: str, at: int, piece: _Piece) -> bool:
    if at + len(piece) > len(name):
        return False
    if isinstance(piece, str):
        return name.startswith(piece, at)
    for offset, wanted in enumerate(piece):
        char = name[at + offset]
        if isinstance(wanted, str):
            if char != wanted:
                return False
        elif _in_class(char, wanted[1]) == wanted[0]:
            return False
    return True


def _in_class(char: str, members: str) -> bool:
    at = 0
    while at < len(members):
        if members[at + 1 : at + 2] == "-" and at + 2 < len(members):
            if members[at] <= char <= members[at + 2]:
                return True
            at += 3
        else:
            if members[at] == char:
                return True
            at += 1
    return False
