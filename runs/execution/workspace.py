"""The directory of one run: its layout, and its removal whatever the program left in it."""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Workspace:
    """The places of a run below one directory that belongs to it alone."""

    root: Path

    @property
    def work(self) -> Path:
        """The working copy of the application; the program starts here."""
        return self.root / "work"

    @property
    def tmp(self) -> Path:
        """Its HOME and TMPDIR."""
        return self.root / "tmp"

    @property
    def stdin(self) -> Path:
        """The file fed to its stdin, where the format has one."""
        return self.root / "stdin"

    @property
    def stdout(self) -> Path:
        """What it wrote to stdout, byte by byte."""
        return self.root / "stdout"

    @property
    def incoming(self) -> Path:
        """Where archives are put before they are unpacked into `work`."""
        return self.root / "incoming"

    def create(self) -> None:
        """Make the directories, readable by nobody else; what was there before is removed."""
        if os.path.lexists(self.root):
            self.remove()
        self.root.mkdir(mode=0o700, parents=True)
        for folder in (self.work, self.tmp, self.incoming):
            folder.mkdir(mode=0o700)

    def remove(self) -> bool:
        """Remove everything; whether nothing is left.

        Links are removed, never followed; directories without permissions are opened first; no
        depth of directories and no length of a path stops it. Call it when no process of the run
        is alive.
        """
        return remove_tree(self.root)

    def size_bytes(self) -> int:
        """Sum of the sizes of all regular files."""
        total = 0
        for folder, _folders, names in os.walk(self.root):
            for name in names:
                with contextlib.suppress(OSError):
                    found = Path(folder, name).lstat()
                    total += found.st_size if stat.S_ISREG(found.st_mode) else 0
        return total


def remove_tree(root: Path) -> bool:
    """Remove `root` with all that is in it; whether it has gone. Missing is fine."""
    try:
        if not stat.S_ISDIR(root.lstat().st_mode):
            root.unlink()
            return True
    except FileNotFoundError:
        return True
    except OSError:
        return False
    moved = 0
    waiting = [root]
    emptied: list[Path] = []
    while waiting:
        folder = waiting.pop()
        emptied.append(folder)
        with contextlib.suppress(OSError):
            folder.chmod(0o700)
        for entry in _entries(folder):
            with contextlib.suppress(OSError):
                if not entry.is_dir(follow_symlinks=False):
                    os.unlink(entry.path)  # noqa: PTH108 - may be undecodable, and there are many
                    continue
                # Directories are moved up before they are emptied: then no path is ever too long.
                flat = root / f".removed-{moved}"
                while os.path.lexists(flat):
                    moved += 1
                    flat = root / f".removed-{moved}"
                moved += 1
                inside = Path(entry.path)
                with contextlib.suppress(OSError):
                    inside.chmod(0o700)
                waiting.append(inside if folder == root else inside.rename(flat))
    for folder in reversed(emptied):
        with contextlib.suppress(OSError):
            folder.rmdir()
    return not os.path.lexists(root)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []
