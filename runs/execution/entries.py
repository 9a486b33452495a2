"""What an archive may hold: names that stay inside, each once, within limits."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

NAME_BYTES = 1024
SEGMENT_BYTES = 255
DEPTH = 100

_DRIVE = re.compile(r"[A-Za-z]:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class ArchiveRefused(ValueError):
    """The archive is broken, hostile or above a limit; the text says where and what to do."""


class ArchiveEmpty(ArchiveRefused):
    """The archive is sound and holds no files."""


@dataclass(frozen=True)
class Limits:
    """How much an archive may unpack to."""

    bytes: int
    files: int


@dataclass(frozen=True)
class Entry:
    """A file in an archive: its path with `/`, relative and normal, and what is kept of it."""

    name: str
    size: int
    executable: bool = False
    modified_at: float = 0.0
    """Seconds since 1970; 0 if the archive does not say."""


@dataclass(frozen=True)
class Member:
    """An entry as the readers give it: a folder, or a file with its content."""

    entry: Entry
    is_folder: bool
    content: Callable[[], Iterator[bytes]]
    """Exactly `entry.size` bytes, or `ArchiveRefused`; to be read before the next member."""


def clean_name(name: str) -> str:
    """The path `name` without needless parts, empty for the top; `ArchiveRefused` if unsafe."""
    if _CONTROL.search(name):
        raise refused(name, "has a control character in its name", "Rename it and pack again.")
    if "\\" in name:
        raise refused(
            name, "has a backslash in its name", "Use a program that separates folders with `/`."
        )
    if name.startswith("/") or _DRIVE.match(name):
        raise refused(
            name, "has an absolute name", "Pack from inside the folder, with relative names."
        )
    segments = [segment for segment in name.split("/") if segment not in ("", ".")]
    if ".." in segments:
        raise refused(name, "leads out of the archive with `..`", "Pack from inside the folder.")
    if len(segments) > DEPTH:
        raise refused(name, f"lies more than {DEPTH} folders deep", "Flatten the folders.")
    cleaned = "/".join(segments)
    longest = max((len(segment.encode()) for segment in segments), default=0)
    if longest > SEGMENT_BYTES or len(cleaned.encode()) > NAME_BYTES:
        raise refused(
            name,
            f"has a name longer than {SEGMENT_BYTES} bytes, or {NAME_BYTES} with its folders",
            "Shorten it.",
        )
    return cleaned


def is_junk(name: str) -> bool:
    """Whether a file was added by macOS behind the user's back."""
    first, _, _ = name.partition("/")
    last = name.rpartition("/")[2]
    return first == "__MACOSX" or last == ".DS_Store" or last.startswith("._")


def common_root(names: list[str]) -> str:
    """The single top folder that holds all files, with its `/`; empty if there is none."""
    roots = {name.partition("/")[0] if "/" in name else "" for name in names}
    if len(roots) != 1:
        return ""
    root = roots.pop()
    return f"{root}/" if root else ""


def refused(name: str, problem: str, remedy: str) -> ArchiveRefused:
    """The error for one entry."""
    return ArchiveRefused(f"Archive entry `{shown(name)}` {problem}. {remedy}")


def shown(name: str) -> str:
    """`name` as it can be printed in a message."""
    printable = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)
    return printable if len(printable) <= 120 else printable[:60] + "…" + printable[-55:]


@dataclass
class Ledger:
    """What was seen of one archive, so that nothing comes twice or beyond the limits."""

    limits: Limits
    size: int = 0
    files: int = 0
    folders: int = 0
    _is_folder: dict[str, bool] = field(default_factory=dict)

    def admit(self, name: str, *, is_folder: bool, size: int, may_repeat: bool = False) -> None:
        """Count one entry with its folders; raises `ArchiveRefused` if it must not come.

        A file that `may_repeat` can come again, and counts each time.
        """
        above = name.rpartition("/")[0]
        while above and above not in self._is_folder:
            self._add_folder(above)
            above = above.rpartition("/")[0]
        if above and not self._is_folder[above]:
            raise refused(
                name, f"lies below `{shown(above)}`, which is a file", "Rename one and pack again."
            )
        known = self._is_folder.get(name)
        if is_folder:
            if known is False:
                raise refused(name, "is both a file and a folder", "Rename one and pack again.")
            if known is None:
                self._add_folder(name)
            return
        if known is not None and (known or not may_repeat):
            what = "is both a file and a folder" if known else "occurs twice"
            raise refused(name, what, "Pack the folder again into a new archive.")
        self._is_folder[name] = False
        self.files += 1
        self.size += size
        if self.files > self.limits.files:
            raise ArchiveRefused(
                f"The archive holds more than {self.limits.files} files. Leave out what the"
                " application does not need, or pack many small files into few."
            )
        if self.size > self.limits.bytes:
            raise refused(
                name,
                f"brings the unpacked size above the limit of {self.limits.bytes} bytes",
                "Leave out what is not needed.",
            )

    def _add_folder(self, name: str) -> None:
        self._is_folder[name] = True
        self.folders += 1
        if self.folders > self.limits.files:
            raise ArchiveRefused(
                f"The archive holds more than {self.limits.files} folders. Leave out what is not"
                " needed."
            )
