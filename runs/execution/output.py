"""Collects what a program left: its result, files, metrics, statistics and assets."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from runs.execution.documents import (
    Document,
    Scanned,
    Unreadable,
    read_document,
    scan_members,
    write_document,
)
from runs.execution.workspace import Workspace

MIB = 1024 * 1024
KEYS = ("metrics", "statistics", "assets")
LEGACY_FOLDER = "output"

ResultKind = Literal["json", "text", "none", "unreadable", "files"]


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
class Places:
    """Where the manifest says the output is, relative to the working directory."""

    solutions: str = "outputs/solutions/"
    metrics: str = ""
    statistics: str = ""
    assets: str = ""


@dataclass(frozen=True)
class SolutionFile:
    """One file of the result."""

    path: str
    """As it is shown and downloaded: relative, with slashes, always valid text."""
    source: Path
    size_bytes: int


@dataclass(frozen=True)
class Collected:
    """The output of a program. Absent metrics, statistics or assets are None."""

    result_kind: ResultKind
    stdout: Path
    """What it wrote to stdout, untouched."""
    stdout_bytes: int
    output_bytes: int
    """Size of the result: stdout for json and text, the sum of the files for folder formats."""
    cleaned: Path | None
    """The JSON result with null for NaN and infinities; None when stdout is strict JSON itself."""
    problem: str
    """Why a result is unreadable and where, else empty."""
    files: tuple[SolutionFile, ...]
    # Any: the shape of all three belongs to the program.
    metrics: Any | None
    statistics: Any | None
    assets: Any | None
    too_large: str
    """Which limit the result is above, in words; empty when it is within all of them."""
    warnings: tuple[str, ...]


def collect(
    workspace: Workspace,
    *,
    content_format: str,
    places: Places | None = None,
    limits: Limits | None = None,
    work: Path | None = None,
    tick: Callable[[], None] = lambda: None,
) -> Collected:
    """What the ended program of a workspace left; never raises for what a program did.

    `content_format` is json, text, multi-file or csv-archive. `work` is the working directory when
    it is not that of the workspace. Files are not read and links never followed; `tick` is called
    now and then.
    """
    collector = _Collector(
        workspace=workspace,
        content_format=content_format,
        places=places or Places(),
        limits=limits or Limits(),
        work=work or workspace.work,
        tick=tick,
    )
    return collector.collect()


@dataclass
class _Collector:
    workspace: Workspace
    content_format: str
    places: Places
    limits: Limits
    work: Path
    tick: Callable[[], None]
    warnings: list[str] = field(default_factory=list)
    problem: str = ""
    too_large: str = ""
    cleaned: Path | None = None
    members: dict[str, Any] = field(default_factory=dict)
    is_document: bool = False

    def collect(self) -> Collected:
        stdout = self.workspace.stdout
        size = stdout.stat().st_size if stdout.is_file() else 0
        self._read_stdout(stdout, size)
        files = self._files()
        kind = self._kind(size, files)
        if kind != "unreadable":
            self.problem = ""
        if kind != "json":
            self.cleaned = None
        values = {key: self._value(key) for key in KEYS}
        return Collected(
            result_kind=kind,
            stdout=stdout,
            stdout_bytes=size,
            output_bytes=sum(file.size_bytes for file in files) if kind == "files" else size,
            cleaned=self.cleaned,
            problem=self.problem,
            files=tuple(files),
            metrics=values["metrics"],
            statistics=values["statistics"],
            assets=values["assets"],
            too_large=self.too_large,
            warnings=tuple(self.warnings),
        )

    def _kind(self, size: int, files: list[SolutionFile]) -> ResultKind:
        if self.content_format == "multi-file":
            return "files" if files else "none"
        if self.content_format == "csv-archive" and files:
            return "files"
        if not size or self.problem == _EMPTY:
            return "none"
        if self.content_format == "text":
            return "text"
        if self.is_document:
            return "json"
        if self.content_format == "csv-archive":
            return "text"
        self.warnings.append(
            f"The result is unreadable: stdout is not one JSON document ({self.problem}). Write"
            " everything else to stderr."
        )
        return "unreadable"

    def _read_stdout(self, stdout: Path, size: int) -> None:
        """Look for a JSON document in stdout, and for what is to be split off from it."""
        if not size:
            return
        try:
            if size > self.limits.parse_bytes:
                self._scan(stdout, size)
                return
            data = stdout.read_bytes()
            if not data.strip():
                self.problem = _EMPTY
                return
            # A log is looked at only where it can be an object at all: it has no errors to tell.
            document = read_document(data)
        except Unreadable as problem:
            self.problem = str(problem)
            return
        self.is_document = True
        if isinstance(document.value, dict):
            self.members = {key: document.value[key] for key in KEYS if key in document.value}
        if document.replaced and self.content_format == "json":
            self._clean(document)

    def _clean(self, document: Document) -> None:
        target = self.workspace.root / "result.json"
        try:
            write_document(document, target)
        except (OSError, RecursionError) as problem:
            self.warnings.append(f"NaN and infinity stay in the result as they are: {problem}.")
            return
        self.cleaned = target
        self.warnings.append(_replaced(document.replaced, "the result"))

    def _scan(self, stdout: Path, size: int) -> None:
        scanned: Scanned = scan_members(
            stdout, KEYS, limit_bytes=self.limits.member_bytes, tick=self.tick
        )
        self.is_document = True
        self.members = scanned.values
        if self.content_format == "json":
            self.warnings.append(
                f"The result of {size // MIB} MiB is too large to be checked whole; it is kept as"
                " it is."
            )
        if scanned.replaced:
            self.warnings.append(_replaced(scanned.replaced, "metrics, statistics or assets"))
        for key in scanned.too_large:
            self.warnings.append(
                f"The {key} on stdout are above {self.limits.member_bytes // MIB} MiB and were not"
                " taken. Write less."
            )
        for key in scanned.broken:
            self.warnings.append(f"The {key} on stdout are not valid JSON and were not taken.")

    # Any: the shape belongs to the program.
    def _value(self, key: str) -> Any | None:
        """From the first place that exists; a broken one is told, not passed over."""
        named = getattr(self.places, key) if self.content_format == "multi-file" else ""
        for place in (named, f"outputs/{key}.json", f"outputs/{key}/{key}.json"):
            path = self._inside(place) if place else None
            if path is not None and _is_file(path):
                return self._from_file(key, place, path)
        return self.members.get(key)

    def _from_file(self, key: str, place: str, path: Path) -> Any | None:
        try:
            if path.stat().st_size > self.limits.member_bytes:
                self.warnings.append(
                    f"`{place}` is above {self.limits.member_bytes // MIB} MiB and was not read."
                    " Write less."
                )
                return None
            document = read_document(path.read_bytes())
        except Unreadable as problem:
            self.warnings.append(f"The {key} in `{place}` could not be read: {problem}.")
            return None
        except OSError as problem:
            self.warnings.append(f"`{place}` could not be read: {problem.strerror}.")
            return None
        if document.replaced:
            self.warnings.append(_replaced(document.replaced, f"`{place}`"))
        value = document.value
        return value[key] if isinstance(value, dict) and key in value else value

    def _files(self) -> list[SolutionFile]:
        """The files of the solutions folder and of the legacy folder `output`."""
        found: dict[str, SolutionFile] = {}
        total = 0
        left = _Left()
        roots: list[tuple[Path, str]] = []
        if self.content_format == "multi-file":
            solutions = self._inside(self.places.solutions)
            if solutions is not None:
                roots.append((solutions, ""))
        legacy = self._inside(LEGACY_FOLDER)
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

    def _inside(self, place: str) -> Path | None:
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


_EMPTY = "nothing but white space"
_NAMED = 10
_MANY = 50


def _replaced(count: int, where: str) -> str:
    numbers = "1 number" if count == 1 else f"{count} numbers"
    return f"{numbers} in {where} (NaN or infinity) became null: JSON does not know them."


def _is_file(path: Path) -> bool:
    """A regular file, not a link: opening anything else could block for ever."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except (OSError, ValueError):
        return False


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
