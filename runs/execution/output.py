"""Collects what a program left: its result, files, metrics, statistics and assets."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from runs.execution.documents import (
    Document,
    Scanned,
    Unreadable,
    read_document,
    scan_members,
    write_document,
)
from runs.execution.solution_files import MIB, Limits, SolutionFile, SolutionFiles
from runs.execution.workspace import Workspace

__all__ = [
    "KEYS",
    "Collected",
    "Limits",
    "Places",
    "SolutionFile",
    "collect",
    "collect_sent",
]

KEYS = ("metrics", "statistics", "assets")

ResultKind = Literal["json", "text", "none", "unreadable", "files"]


@dataclass(frozen=True)
class Places:
    """Where the manifest says the output is, relative to the working directory."""

    solutions: str = "outputs/solutions/"
    metrics: str = ""
    statistics: str = ""
    assets: str = ""


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
    work = work or workspace.work
    limits = limits or Limits()
    warnings: list[str] = []
    finder = SolutionFiles(work, limits, warnings, tick)
    places = places or Places()
    collector = _Collector(
        document=_Place(
            "stdout", workspace.stdout, "on stdout", " Write everything else to stderr."
        ),
        content_format=content_format,
        limits=limits,
        cleaned_path=workspace.root / "result.json",
        tick=tick,
        warnings=warnings,
        find_files=lambda: finder.find(content_format=content_format, solutions=places.solutions),
        find_documents=lambda key: _places_of(key, content_format, places, finder),
    )
    collected = collector.collect()
    return replace(collected, too_large=finder.too_large)


def collect_sent(
    document: Path | None,
    *,
    content_format: str,
    files: Sequence[SolutionFile],
    documents: Mapping[str, Path],
    scratch: Path,
    limits: Limits,
) -> Collected:
    """The result of a program that was executed elsewhere, from the parts that were sent.

    `document` is what it wrote to stdout, `documents` are its metrics, statistics and assets, as
    far as they were sent. All are files of ours in the folder `scratch`.
    """
    collector = _Collector(
        document=_Place("the output", document or scratch / "nothing", "in the output"),
        content_format=content_format,
        limits=limits,
        cleaned_path=scratch / "result.json",
        find_files=lambda: list(files),
        find_documents=lambda key: (
            [_Place(f"{key}.json", documents[key])] if key in documents else []
        ),
    )
    return collector.collect()


@dataclass(frozen=True)
class _Place:
    """A file that may hold a part of the result, and how it is called."""

    name: str
    path: Path
    within: str = ""
    advice: str = ""


def _places_of(
    key: str, content_format: str, places: Places, finder: SolutionFiles
) -> Iterator[_Place]:
    """Where metrics, statistics or assets may lie, in the order in which they count."""
    named = getattr(places, key) if content_format == "multi-file" else ""
    for place in (named, f"outputs/{key}.json", f"outputs/{key}/{key}.json"):
        path = finder.inside(place) if place else None
        if path is not None:
            yield _Place(place, path)


@dataclass
class _Collector:
    document: _Place
    content_format: str
    limits: Limits
    cleaned_path: Path
    find_files: Callable[[], list[SolutionFile]]
    find_documents: Callable[[str], Iterable[_Place]]
    tick: Callable[[], None] = lambda: None
    warnings: list[str] = field(default_factory=list)
    problem: str = ""
    cleaned: Path | None = None
    members: dict[str, Any] = field(default_factory=dict)
    is_document: bool = False

    def collect(self) -> Collected:
        stdout = self.document.path
        size = stdout.stat().st_size if stdout.is_file() else 0
        self._read_stdout(stdout, size)
        files = self.find_files()
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
            too_large="",
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
            f"The result is unreadable: {self.document.name} is not one JSON document"
            f" ({self.problem}).{self.document.advice}"
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
        try:
            write_document(document, self.cleaned_path)
        except (OSError, RecursionError) as problem:
            self.warnings.append(f"NaN and infinity stay in the result as they are: {problem}.")
            return
        self.cleaned = self.cleaned_path
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
                f"The {key} {self.document.within} are above"
                f" {self.limits.member_bytes // MIB} MiB and were not taken. Write less."
            )
        for key in scanned.broken:
            self.warnings.append(
                f"The {key} {self.document.within} are not valid JSON and were not taken."
            )

    # Any: the shape belongs to the program.
    def _value(self, key: str) -> Any | None:
        """From the first place that exists; a broken one is told, not passed over."""
        for place in self.find_documents(key):
            if _is_file(place.path):
                return self._from_file(key, place.name, place.path)
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


_EMPTY = "nothing but white space"


def _replaced(count: int, where: str) -> str:
    numbers = "1 number" if count == 1 else f"{count} numbers"
    return f"{numbers} in {where} (NaN or infinity) became null: JSON does not know them."


def _is_file(path: Path) -> bool:
    """A regular file, not a link: opening anything else could block for ever."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except (OSError, ValueError):
        return False
