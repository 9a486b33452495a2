"""Keeps the worker's disk in order: unpacked executables, workspaces, environments."""

from __future__ import annotations

import fcntl
import logging
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runs.worker.places import Places

log = logging.getLogger(__name__)

EVERY_S = 600.0
UNUSED_S = 7 * 24 * 3600.0
"""What no run has used for a week is removed; it comes back from the store when it is needed."""


class Upkeep:
    """Removes what is not used any more, every ten minutes."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="upkeep", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(5)

    def clear_workspaces(self) -> None:
        """Remove what former boots left; called before anything is claimed."""
        for folder in self._places.runs.iterdir():
            shutil.rmtree(folder, ignore_errors=True)

    def _loop(self) -> None:
        while not self._over.wait(EVERY_S):
            remove_unused(self._places.executables, older_than_s=UNUSED_S)
            remove_unused(self._places.environments, older_than_s=UNUSED_S)


def touch(folder: Path) -> None:
    """Note that `folder` is used now."""
    (folder.parent / f".{folder.name}.used").touch(mode=0o600)


@contextmanager
def in_use(folder: Path, *, exclusive: bool) -> Iterator[None]:
    """Hold `folder` while it is used (shared) or made or removed (exclusive); waits."""
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder.parent / f".{folder.name}.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield


def remove_unused(parent: Path, *, older_than_s: float) -> int:
    """Remove folders in `parent` that were last used long ago; how many."""
    count = 0
    for folder in list(parent.iterdir()):
        used = parent / f".{folder.name}.used"
        if folder.name.startswith(".") or not folder.is_dir() or not used.exists():
            continue
        if time.time() - used.stat().st_mtime < older_than_s:
            continue
        try:
            with (parent / f".{folder.name}.lock").open("ab") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                used.unlink(missing_ok=True)
                shutil.rmtree(folder, ignore_errors=True)
                count += 1
        except BlockingIOError:
            continue
    return count
