"""Checks what programs pushed: one thread of the worker, one executable at a time."""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
from pathlib import Path

from django.conf import settings
from django.db import DatabaseError, DataError, IntegrityError, ProgrammingError, connection
from django.db.models import QuerySet
from django.utils import timezone

from runs.actions.checking import (
    check_executable,
    fail_check,
    is_anything_to_check,
    release_left,
)
from runs.models import Executable
from runs.storage import StorageError
from runs.worker.places import Places
from runs.worker.slots import free_bytes

log = logging.getLogger(__name__)

LOOK_S = 1.0
PAUSE_S = 10.0
"""After the store or the disk failed, nothing is tried for so long."""
STOP_S = 2.0


class Intake:
    """Takes executables that wait to be checked, and checks them."""

    def __init__(self, places: Places, *, worker_name: str, boot_id: str) -> None:
        self._worker_name = worker_name
        self._boot_id = boot_id
        self._scratch = places.checks
        self._put_off: set[int] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="intake", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread. A check under way is not waited for long: another worker begins anew."""
        self._over.set()
        if not self._thread.is_alive():
            return
        self._thread.join(STOP_S)
        if self._thread.is_alive():
            try:
                _give_back(Executable.objects.filter(boot_id=self._boot_id))
            except DatabaseError as error:
                log.warning("the reaper gives back what is being checked: %s", error)

    def _loop(self) -> None:
        failing = False
        settled = False
        pause = 0.0
        while not self._over.wait(pause):
            pause = LOOK_S
            try:
                if not settled:
                    shutil.rmtree(self._scratch, ignore_errors=True)
                    # To be checked again: what a former boot of this worker did not finish, and
                    # what this one took without knowing, or could not give back.
                    _give_back(Executable.objects.filter(worker_name=self._worker_name))
                    settled = True
                if is_anything_to_check():
                    release_left(timezone.now())  # first: a check may take minutes, or fail
                    while not self._over.is_set() and (taken := self._next()) is not None:
                        self._check(taken)
                        release_left(timezone.now())
                failing = False
            except Exception as error:  # a dead intake would hold every run that waits for it
                if not failing:
                    known = isinstance(error, DatabaseError | StorageError | OSError)
                    words = "no pushed executable can be checked: %s"
                    log.warning(words, error, exc_info=None if known else error)
                failing, settled = True, False
                pause = LOOK_S if isinstance(error, DatabaseError) else PAUSE_S
                connection.close()
        connection.close()

    def _next(self) -> Executable | None:
        """Take the next executable, if any; it is then `checking` and ours.

        One at which store or disk failed comes after the others: they may be at fault for it alone.
        """
        waiting = Executable.objects.filter(state=Executable.WAITING)
        in_order = waiting.select_related("application").order_by("id")
        found = in_order.exclude(pk__in=self._put_off).first()
        if found is None and self._put_off:
            self._put_off.clear()
            found = in_order.first()
        if found is None:
            return None
        if free_bytes() < settings.RUNSITE_FREE_SPACE:
            return None  # it would fail for the disk; the worker's page says why
        taken = waiting.filter(pk=found.pk).update(
            state=Executable.CHECKING, worker_name=self._worker_name, boot_id=self._boot_id
        )
        return found if taken else None

    def _check(self, executable: Executable) -> None:
        self._scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="check-", dir=self._scratch))
        try:
            check_executable(executable=executable, boot_id=self._boot_id, scratch=folder)
        except (IntegrityError, DataError, ProgrammingError) as failed:
            self._refuse(executable, failed)  # no outage: it would come again and again
        except (DatabaseError, StorageError, OSError):
            self._put_off.add(executable.pk)
            self._give_back_soon(executable)
            raise
        except Exception as failed:
            self._refuse(executable, failed)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _refuse(self, executable: Executable, failed: Exception) -> None:
        log.error("%s: checking it broke off", executable, exc_info=failed)
        fail_check(
            executable=executable,
            boot_id=self._boot_id,
            reason=f"Runsite itself failed ({type(failed).__name__}) while it was checked. Its log"
            " says more.",
        )

    def _give_back_soon(self, executable: Executable) -> None:
        """Let it be checked again, as soon as the database answers."""
        while True:
            try:
                ours = Executable.objects.filter(pk=executable.pk, boot_id=self._boot_id)
                _give_back(ours)
                return
            except DatabaseError:
                connection.close()
                if self._over.wait(LOOK_S):
                    return  # the reaper, or the next boot, gives it back


def _give_back(executables: QuerySet[Executable]) -> None:
    """Let others check what of these is being checked."""
    executables.filter(state=Executable.CHECKING).update(
        state=Executable.WAITING, worker_name="", boot_id=""
    )
