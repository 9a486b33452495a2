"""Finds the files of a result in a working directory, whatever else a program left there."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

MIB = 1024 * 1024
LEGACY_FOLDER = "output"
_NAMED = 10
_MANY = 50


@dataclass(frozen=True)
class Limits:
    """How much of the output is taken."""

    result_bytes: int = 4 * 1024 * MIB
    """Sum of all solution files."""
    files: int = 100_000
    parse_bytes: int = 16 * MIB
    """A larger stdout is not read whole: only metrics, statistics and assets are taken from it."""
    member_bytes: int = 64 * MIB
    """Largest metrics, statistics or assets that are read."""
    action: Literal["fail", "truncate"] = "fail"
    """What too many or too large solution files do: `too_large`, or the files that fit, in order,
    are kept and a warning names the others."""


@dataclass(frozen=True)
class SolutionFile:
    """One file of the result."""

    path: str
    """As it is shown and downloaded: relative, with slashes, always valid text."""
    source: Path
    size_bytes: int


@dataclass
class SolutionFiles:
    """Looks for files below `work`; links are never followed, and files not read.

    `warnings` is the list that is added to; `tick` is called now and then.
    """

    work: Path
    limits: Limits
    warnings: list[str]
    tick: Callable[[], None]
    too_large: str = ""
    """Which limit the result is above, in words; empty when it is within all of them."""

    def find(self, *, content_format: str, solutions: str) -> list[SolutionFile]:
        """The files of the solutions folder and of the legacy folder `output`."""
        found: dict[str, SolutionFile] = {}
        total = 0
        left = _Left()
        roots: list[tuple[Path, str]] = []
        if content_format == "multi-file":
            folder = self.inside(solutions)
            if folder is not None:
                roots.append((folder, ""))
        legacy = self.inside(LEGACY_FOLDER)
        if legacy is not None and all(root != legacy for root, _prefix in roots):
            roots.append((legacy, f"{LEGACY_FOLDER}/" if roots else ""))
        for root, prefix in roots:
            # The legacy folder may hold the solutions folder, or the other way round.
            others = {other for other, _prefix in roots if other != root}
            for path, size in self._walk(root, others):
                shown = _unique(prefix + _shown(path.relative_to(root)), found)
                above = ""
                if len(found) >= self.limits.files:
                    above = f"more than {self.limits.files} files"
                elif total + size > self.limits.result_bytes:
                    above = f"files of more than {self.limits.result_bytes} bytes"
                if not above:
                    total += size
                    found[shown] = SolutionFile(shown, path, size)
                elif self.limits.action == "truncate":
                    left.add(shown, size)
                else:
                    self.too_large = above
                    self.warnings.append(
                        f"The result has {above}; the rest was not kept. Write less, or raise the"
                        " limit."
                    )
                    return list(found.values())
        if left.files:
            self.warnings.append(left.told(kept=len(found)))
        return list(found.values())

    def inside(self, place: str) -> Path | None:
        """The path of `place` if no step to it is a link or leaves the working directory."""
        parts = [part for part in PurePosixPath(place).parts if part != "."]
        if not parts:
            return self.work
        if PurePosixPath(place).is_absolute() or ".." in parts or "\0" in place:
            self.warnings.append(f"`{place}` lies outside the working directory; it was not read.")
            return None
        path = self.work
        for part in parts:
            path = path / part
            try:
                if path.is_symlink():
                    self._skipped(path, "is a link; links are not followed")
                    return None
            except OSError:
                return None
        return path

    def _walk(self, root: Path, others: set[Path]) -> Iterator[tuple[Path, int]]:
        """Regular files below `root`, in order of their names; links and the like are told."""
        waiting = [root]
        while waiting:
            folder = waiting.pop()
            try:
                with os.scandir(folder) as scanned:
                    entries = sorted(scanned, key=lambda entry: entry.name)
            except FileNotFoundError:
                continue
            except OSError as problem:
                self._skipped(folder, f"could not be opened ({problem.strerror})")
                continue
            self.tick()
            for entry in entries:
                path = Path(entry.path)
                mode = entry.stat(follow_symlinks=False).st_mode
                if stat.S_ISDIR(mode):
                    if path not in others:
                        waiting.append(path)
                elif stat.S_ISREG(mode):
                    yield path, entry.stat(follow_symlinks=False).st_size
                elif stat.S_ISLNK(mode):
                    self._skipped(path, "is a link; links are not followed")
                else:
                    self._skipped(path, "is neither a file nor a folder")

    def _skipped(self, path: Path, why: str) -> None:
        text = f"`{_shown(path.relative_to(self.work))}` was left out: it {why}."
        if text not in self.warnings and len(self.warnings) < _MANY:
            self.warnings.append(text)


@dataclass
class _Left:
    """Files that were left out because they did not fit."""

    files: int = 0
    size_bytes: int = 0
    names: list[str] = field(default_factory=list)

    def add(self, name: str, size_bytes: int) -> None:
        self.files += 1
        self.size_bytes += size_bytes
        if len(self.names) < _NAMED:
            self.names.append(name)

    def told(self, *, kept: int) -> str:
        named = ", ".join(f"`{name}`" for name in self.names)
        more = f" and {self.files - len(self.names)} more" if self.files > len(self.names) else ""
        return (
            f"The result is above its limit: {kept} files were kept and {self.files} of"
            f" {self.size_bytes} bytes left out ({named}{more}). Write less, or raise the output"
            " limit."
        )


def _shown(path: Path) -> str:
    """A path as valid text: file names may be any bytes."""
    return path.as_posix().encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _unique(path: str, taken: dict[str, SolutionFile]) -> str:
    """Two names that differ only in broken bytes must not become one."""
    number = 2
    made = path
    while made in taken:
        made = f"{path}~{number}"
        number += 1
    return made
