"""Reads a folder that others wrote: no link is followed at any step, nothing special is opened."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from runs.execution.entries import DEPTH, shown

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


class NotPlain(OSError):
    """A link or something special stands where a file or folder was expected."""

    def __init__(self, name: str) -> None:
        super().__init__(f"`{shown(name)}` is, or lies behind, a link or a special file.")


@dataclass(frozen=True)
class PlainFile:
    """A regular file: its name below the folder that was listed, its bytes, its last change."""

    name: str
    size: int
    changed_at: float


@dataclass
class Listing:
    """The regular files below a folder by name, and what is there besides, in words."""

    files: list[PlainFile] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    size: int = 0
    complete: bool = True
    """False when there were more files than asked for."""


def open_plain(root: Path, name: str) -> BinaryIO:
    """The regular file `name` (with `/`) below `root`, which itself is trusted.

    Raises `FileNotFoundError` and `NotPlain`.
    """
    folder, _, last = name.rpartition("/")
    with _folder(root, folder) as descriptor:
        file = _open(last, name, os.O_NONBLOCK, descriptor)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise NotPlain(name)
    return os.fdopen(file, "rb")


def stat_plain(root: Path, name: str) -> PlainFile | None:
    """The regular file `name` below `root`; None without one. Raises `NotPlain` for a link."""
    folder, _, last = name.rpartition("/")
    try:
        with _folder(root, folder) as descriptor:
            status = os.stat(last, dir_fd=descriptor, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(status.st_mode):
        return None
    if not stat.S_ISREG(status.st_mode):
        raise NotPlain(name)
    return PlainFile(last, status.st_size, status.st_mtime)


def plain_folders(root: Path, name: str = "") -> list[str]:
    """The names of the folders directly in `name` below `root`, sorted; none when it is missing.

    Raises `NotPlain` when a step to it is a link.
    """
    try:
        with _folder(root, name) as descriptor, os.scandir(descriptor) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []


def list_plain(root: Path, name: str, *, limit_files: int) -> Listing:
    """All regular files below the folder `name` of `root`; an empty listing when it is missing.

    Raises `NotPlain` when a step to it is a link.
    """
    found = Listing()
    try:
        with _folder(root, name) as descriptor:
            for above, folders, names, inside in os.fwalk(
                ".", dir_fd=descriptor, follow_symlinks=False, onerror=_raise
            ):
                prefix = "" if above == "." else above.removeprefix("./") + "/"
                if prefix.count("/") >= DEPTH and folders:
                    found.left_out.append(f"`{shown(prefix)}`: its folders lie too deep.")
                    folders.clear()
                for one in sorted(folders):
                    if not _is_folder(one, inside):
                        found.left_out.append(f"`{shown(prefix + one)}` is a link.")
                for one in sorted(names):
                    if len(found.files) >= limit_files:
                        found.complete = False
                        return found
                    _take(found, prefix + one, os.stat(one, dir_fd=inside, follow_symlinks=False))
    except FileNotFoundError:
        return Listing()
    found.files.sort(key=lambda file: file.name)
    return found


def _take(found: Listing, name: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        what = "a link" if stat.S_ISLNK(status.st_mode) else "no regular file"
        found.left_out.append(f"`{shown(name)}` is {what}.")
        return
    found.files.append(PlainFile(name, status.st_size, status.st_mtime))
    found.size += status.st_size


def _is_folder(name: str, inside: int) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=inside, follow_symlinks=False).st_mode)


def _raise(error: OSError) -> None:
    raise error


@contextmanager
def _folder(root: Path, name: str) -> Iterator[int]:
    """A descriptor of the folder `name` below `root`, reached without passing a link."""
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in filter(None, name.split("/")):
            if part in {".", ".."}:
                raise NotPlain(name)
            inner = _open(part, name, os.O_DIRECTORY, descriptor)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def _open(part: str, name: str, flags: int, folder: int) -> int:
    try:
        return os.open(part, _OPEN | flags, dir_fd=folder)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise NotPlain(name) from error
