"""Keeps the worker's disk in order: unpacked executables, workspaces, environments."""

from __future__ import annotations

import fcntl
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from django.db import connection

from runs.execution import dependencies
from runs.execution.workspace import remove_tree
from runs.models import EnvironmentBuild
from runs.worker.places import Places

log = logging.getLogger(__name__)

EVERY_S = 600.0
COMPLETE = ".complete"
"""Lies in a folder once everything is in it."""
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
            if not remove_tree(folder):
                log.warning("the old workspace %s could not be removed whole", folder.name)

    def _loop(self) -> None:
        while not self._over.wait(EVERY_S):
            try:
                remove_unused(self._places.executables, older_than_s=UNUSED_S)
                remove_unused_environments(self._places, older_than_s=UNUSED_S)
            except Exception:  # tried again later; the disk is all that suffers
                log.exception("the worker's disk could not be put in order")
            connection.close()


def touch(folder: Path) -> None:
    """Note that `folder` is used now."""
    (folder.parent / f".{folder.name}.used").touch(mode=0o600)


@contextmanager
def in_use(
    folder: Path, *, exclusive: bool, wait: Callable[[Callable[[], bool]], object]
) -> Iterator[None]:
    """Hold `folder` while it is used (shared) or made or removed (exclusive).

    `wait` calls what it is given until that is true, and may raise instead. The lock ends with
    the process at the latest; it is the one under which environments are built and removed.
    """
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
    with (folder.parent / f".{folder.name}.lock").open("ab") as lock:
        wait(lambda: _locks(lock, kind))
        yield


def _locks(lock: IO[bytes], kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def remove_unused(parent: Path, *, older_than_s: float) -> int:
    """Remove folders in `parent` that were last used long ago; how many."""
    count = 0
    for folder in _long_unused(parent, older_than_s):
        with (parent / f".{folder.name}.lock").open("ab") as lock:
            if not _locks(lock, fcntl.LOCK_EX):
                continue
            # First: half a folder must not be taken for a whole one, should we be killed here.
            (folder / COMPLETE).unlink(missing_ok=True)
            (parent / f".{folder.name}.used").unlink(missing_ok=True)
            count += remove_tree(folder)
    return count


def remove_unused_environments(places: Places, *, older_than_s: float) -> int:
    """Remove environments of this host that were last used long ago; how many.

    Their builds are forgotten first, so that a run which needs one waits until it is built anew.
    One that a run uses now stays, and so does its build.
    """
    count = 0
    for folder in _long_unused(places.environments, older_than_s):
        builds = EnvironmentBuild.objects.filter(
            environment__key=folder.name, host=places.host, state=EnvironmentBuild.READY
        )
        if not _is_free(folder):
            continue
        builds.delete()
        if dependencies.remove_environment(folder):
            (folder.parent / f".{folder.name}.used").unlink(missing_ok=True)
            count += 1
    return count


def _is_free(folder: Path) -> bool:
    with (folder.parent / f".{folder.name}.lock").open("ab") as lock:
        return _locks(lock, fcntl.LOCK_EX)


def _long_unused(parent: Path, older_than_s: float) -> list[Path]:
    found = []
    for folder in parent.iterdir():
        used = parent / f".{folder.name}.used"
        if folder.name.startswith(".") or not folder.is_dir() or not used.exists():
            continue
        if time.time() - used.stat().st_mtime >= older_than_s:
            found.append(folder)
    return found
