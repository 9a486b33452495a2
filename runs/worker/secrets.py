"""Gives a run its secrets: variables of its environment, and files of its working directory.

They are fetched and opened for each attempt, never stand on a command line, and go with the
workspace.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from runs.actions.secrets import CannotReveal, reveal
from runs.domain.masking import Masker
from runs.domain.secrets import ENV, FILE, RESULT_FOLDERS, SecretValue, file_fault, variable_fault
from runs.domain.status import EndReason
from runs.execution.output import Places
from runs.models import Run
from runs.worker.held import Held
from runs.worker.patience import patiently
from runs.worker.verdicts import CannotStage

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class RunSecrets:
    """What a run is given; empty for a run without secrets."""

    values: tuple[SecretValue, ...] = ()

    def variables(self) -> dict[str, str]:
        """Those of the environment, by name."""
        return {one.location: one.value for one in self.values if one.kind == ENV}

    def place(self, folder: Path, *, work: Path, outputs: Places) -> None:
        """Write the files into `folder`, the directory in which the program starts.

        `work` is the whole working copy, to which the places of `outputs` are relative. Raises
        `CannotStage` for one that would lie outside, behind a link, or among the results.
        """
        for one in self.values:
            if one.kind == FILE:
                _refuse_results(one.location, folder.relative_to(work), outputs)
                _write(one, folder)


def fetch_secrets(run: Run, held: Held) -> RunSecrets:
    """The secrets of the run, which `held` masks from then on in what is written of it.

    One query or two, none for a run without. Raises `CannotStage` when one does not open.
    """
    if run.secrets_id is None:
        return RunSecrets()

    def ask() -> list[SecretValue]:
        return reveal(run.secrets) if run.secrets is not None else []

    try:
        values = patiently(ask, held=held)
    except CannotReveal as error:
        raise CannotStage(
            error.message, EndReason.NOT_STARTED, "not started: a secret cannot be decrypted"
        ) from None
    held.masker = Masker(one.value for one in values)
    for one in values:  # the rules may have become stricter since it was written
        fault = variable_fault(one.location) if one.kind == ENV else file_fault(one.location)
        if fault:
            raise _refused(one.location, fault)
    return RunSecrets(tuple(values))


def _refuse_results(location: str, below: Path, outputs: Places) -> None:
    """Refuse a file that would be kept as a result, in clear text."""
    path = PurePosixPath(below.as_posix()) / location
    places = (outputs.solutions, outputs.metrics, outputs.statistics, outputs.assets)
    kept = [PurePosixPath(os.path.normpath(place)) for place in places if place]
    if path.parts[0] in RESULT_FOLDERS or any(path.is_relative_to(place) for place in kept):
        raise _refused(
            location,
            f"`{path}` lies where the manifest says that results are, and would be kept in clear"
            " text. Choose another place for it, or for the results.",
        )


def _write(secret: SecretValue, folder: Path) -> None:
    """Write one file, 0600. No step of its path may be a link; a file that is there goes."""
    *above, name = secret.location.split("/")
    at = os.open(folder, _FOLDER)
    try:
        for part in above:
            at = _step(at, part, secret.location)
        try:
            there = os.stat(name, dir_fd=at, follow_symlinks=False)
        except FileNotFoundError:
            pass
        else:
            if not stat.S_ISREG(there.st_mode):
                raise _refused(
                    secret.location,
                    f"`{secret.location}` is a link or a folder of the application already."
                    " Choose another path.",
                )
            os.unlink(name, dir_fd=at)
        with os.fdopen(os.open(name, _NEW_FILE, 0o600, dir_fd=at), "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(secret.value.encode())
    finally:
        os.close(at)


def _step(at: int, part: str, location: str) -> int:
    """The folder `part` of an open folder, made where missing, instead of that."""
    with suppress(FileExistsError):
        os.mkdir(part, 0o700, dir_fd=at)
    try:
        inside = os.open(part, _FOLDER, dir_fd=at)
    except OSError as error:
        if error.errno not in {errno.ENOTDIR, errno.ELOOP}:
            raise
        raise _refused(
            location,
            f"`{part}` on the way to `{location}` is a link or a file of the application. Choose"
            " another path.",
        ) from None
    os.close(at)
    return inside


def _refused(location: str, why: str) -> CannotStage:
    return CannotStage(
        f"The secret `{location}` cannot be given to the run. {why}",
        EndReason.NOT_STARTED,
        f"not started: secret {location}"[:200],
    )
