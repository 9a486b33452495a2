"""Imports runs from the folders in which the published local tool keeps them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from django.conf import settings
from django.db.models import Q
from django.utils import timezone

from runs.actions.actors import Actor
from runs.actions.applications import create_application
from runs.actions.executables import check_folder
from runs.actions.inputs import scratch_folder
from runs.actions.run_folder_parts import RunFolder
from runs.actions.run_folder_search import FoundRuns, find_runs
from runs.actions.tracked_runs import record_run
from runs.domain.errors import (
    ArchiveRejected,
    Conflict,
    FieldsInvalid,
    NotAllowed,
    RunsiteError,
)
from runs.domain.ids import is_chosen_id, suggest_id
from runs.domain.roles import may
from runs.domain.run_folders import RunInformation
from runs.domain.status import Status
from runs.execution import archive
from runs.execution.plain_folders import NotPlain
from runs.models import Account, Application, Run
from runs.storage import StorageError

IMPORTED, KNOWN, CHANGING, REFUSED = "imported", "already here", "still changing", "not imported"
STILL_S = 60.0
"""An unfinished run whose folder has changed within so many seconds is left for later."""


@dataclass(frozen=True)
class ImportedFolder:
    """What became of one run folder: `outcome` is one of the four words above, `text` says why.

    `run_id` is that of the run here, when there is one.
    """

    folder: str
    outcome: str
    text: str = ""
    run_id: str = ""
    application_id: str = ""
    status: str = ""
    warnings: tuple[str, ...] = ()


@dataclass
class ImportReport:
    """What an import did, folder by folder; `left` more were not looked at."""

    folders: list[ImportedFolder] = field(default_factory=list)
    left: int = 0

    def count(self, outcome: str) -> int:
        """How many folders had this outcome."""
        return sum(one.outcome == outcome for one in self.folders)

    @property
    def imported(self) -> int:
        """How many runs are new here."""
        return self.count(IMPORTED)

    @property
    def refused(self) -> int:
        """How many could not be imported for an error."""
        return self.count(REFUSED)


def import_runs(
    *,
    account: Account,
    folder: Path,
    actor: Actor,
    application: Application | None = None,
    application_id: str = "",
    application_name: str = "",
    most: int | None = None,
    within_s: float | None = None,
    tell: Callable[[ImportedFolder], None] = lambda _one: None,
    now: datetime | None = None,
) -> ImportReport:
    """Import the runs of the local tool in `folder`; importing them again doubles nothing.

    `folder` is that of an application, its `.nextmv/runs`, or that of one run; links below it are
    never followed. They become runs of `application`, else of the one with `application_id`, else
    of the one that each run names, else of one called as the folder (`application_name`); an
    application that is missing is made. One bad folder does not stop the others: the report says
    what became of each, and `tell` is called after each. At most `most` are looked at that are not
    here yet, and none is begun after `within_s` seconds. For admins.

    Raises `NotAllowed`, `FieldsInvalid` for an id that can be none, and `InputRejected` when
    `folder` holds no runs.
    """
    if not may(actor.role, "register folders"):
        raise NotAllowed("Only admins may import runs. Ask one of them.")
    if application_id and not is_chosen_id(application_id):
        raise FieldsInvalid(
            {
                "application_id": [
                    f"`{application_id[:80]}` can be no id. Use letters, digits, dots, dashes and"
                    " underscores."
                ]
            }
        )
    found = find_runs(folder)
    importer = _Importer(
        account=account,
        actor=actor,
        found=found,
        application=application,
        application_id=application_id,
        fallback_name=application_name or found.application_name,
        now=now,
    )
    report = ImportReport()
    looked_at = 0
    until = None if within_s is None else time.monotonic() + within_s
    for name in found.names:
        enough = most is not None and looked_at >= most
        if enough or (until is not None and looked_at and time.monotonic() > until):
            report.left += 1
            continue
        one = importer.take(name)
        looked_at += one.outcome != KNOWN
        report.folders.append(one)
        tell(one)
    return report


def import_server_folder(
    *,
    account: Account,
    folder: Path,
    actor: Actor,
    application_id: str = "",
    most: int,
    within_s: float | None = None,
) -> ImportReport:
    """As `import_runs`, for a folder in one of `RUNSITE_APP_FOLDERS` that a page names."""
    if not may(actor.role, "register folders"):
        raise NotAllowed("Only admins may import runs. Ask one of them.")
    real = check_folder(folder)
    return import_runs(
        account=account,
        folder=real,
        actor=actor,
        application_id=application_id,
        most=most,
        within_s=within_s,
    )


def import_archive(
    *,
    account: Account,
    source: Path,
    actor: Actor,
    file_name: str = "",
    application_id: str = "",
    most: int,
    within_s: float | None = None,
) -> ImportReport:
    """As `import_runs`, for an archive (zip, tar, tar.gz) of such a folder; it is unpacked first.

    Raises `ArchiveRejected` for one that is broken, hostile or above the limits.
    """
    if not may(actor.role, "register folders"):
        raise NotAllowed("Only admins may import runs. Ask one of them.")
    with _unpacked(source, file_name) as folder:
        return import_runs(
            account=account,
            folder=folder,
            actor=actor,
            application_id=application_id,
            application_name=_stem(file_name),
            most=most,
            within_s=within_s,
        )


@dataclass
class _Importer:
    account: Account
    actor: Actor
    found: FoundRuns
    application: Application | None
    application_id: str
    fallback_name: str
    now: datetime | None
    _applications: dict[str, Application] = field(default_factory=dict)

    def take(self, name: str) -> ImportedFolder:
        """Import one folder; what is wrong with it is told, never raised."""
        try:
            return self._take(name)
        except NotPlain as error:
            return ImportedFolder(_shown(name), REFUSED, f"{error} Links are not followed.")
        except RunsiteError as error:
            return ImportedFolder(_shown(name), REFUSED, error.message)
        except UnicodeEncodeError:
            text = "A name in it is not UTF-8. Rename the file."
            return ImportedFolder(_shown(name), REFUSED, text)
        except StorageError:
            text = "The store did not take it. Import it again later."
            return ImportedFolder(_shown(name), REFUSED, text)
        except OSError as error:
            text = f"It could not be read or kept: {error.strerror or 'an error of the disk'}."
            return ImportedFolder(_shown(name), REFUSED, text)

    def _take(self, name: str) -> ImportedFolder:
        folder = RunFolder(self.found.root, name)
        information = folder.information()
        wanted = self._wanted(information)
        known = self._known(wanted, information.run_id)
        if known is not None:
            return _told(folder, KNOWN, known, "It was imported before; nothing was changed.")
        if information.status is None and time.time() - folder.changed_at() < STILL_S:
            return ImportedFolder(
                folder.name,
                CHANGING,
                "It has not ended and changed within the last minute. Import it when it has ended.",
                application_id=wanted,
            )
        input_data = folder.store_input(self.account, information)
        result = folder.result(information)
        application = self._application_of(wanted)
        try:
            run = record_run(
                account=self.account,
                application=application,
                actor=self.actor,
                status=information.status or Status.FAILED,
                result=result,
                input_data=input_data,
                instance=application.instances.filter(instance_id=information.instance_id).first(),
                name=information.name,
                description=information.description,
                options=dict(information.options),
                input_format=information.input_format,
                output_format=information.output_format,
                created_at=information.created_at,
                execution_s=_execution_s(information),
                error=information.error,
                external_id=information.run_id,
                source="import",
                batch_experiment_id=information.batch_experiment_id,
                warnings=(*information.warnings, *folder.warnings),
                now=self.now or timezone.now(),
            )
        except Conflict:
            known = self._known(wanted, information.run_id)
            if known is None:
                raise
            return _told(folder, KNOWN, known, "Somebody imported it at the same moment.")
        text = "It had not ended: it counts as failed." if information.status is None else ""
        return _told(folder, IMPORTED, run, text)

    def _wanted(self, information: RunInformation) -> str:
        """The id of the application that the run becomes one of."""
        if self.application is not None:
            return self.application.application_id
        return (
            self.application_id
            or information.application_id
            or suggest_id(self.fallback_name)
            or "local-runs"
        )

    def _known(self, application_id: str, external_id: str) -> Run | None:
        """The run of this id: imported before, or one of ours that was exported from here."""
        runs = self.account.runs.filter(application__application_id=application_id)
        same = Q(external_id=external_id) | Q(run_id=external_id)
        return runs.filter(same).select_related("application").first()

    def _application_of(self, wanted: str) -> Application:
        """The application with the id `wanted`, made when it is missing."""
        if self.application is not None:
            return self.application
        if wanted not in self._applications:
            found = self.account.applications.filter(application_id=wanted).first()
            if found is None:
                name = self.fallback_name[:200]
                found = create_application(
                    account=self.account,
                    application_id=wanted,
                    name=name if suggest_id(name) == wanted else "",
                    description="Made for runs that were imported from the local tool.",
                    actor=self.actor,
                )
            self._applications[wanted] = found
        return self._applications[wanted]


def _execution_s(information: RunInformation) -> float | None:
    found = information.execution_s
    return found if found is not None else information.duration_s


def _told(folder: RunFolder, outcome: str, run: Run, text: str) -> ImportedFolder:
    return ImportedFolder(
        folder.name,
        outcome,
        text,
        run_id=run.run_id,
        application_id=run.application.application_id,
        status=run.status,
        warnings=tuple(run.warnings) if outcome == IMPORTED else (),
    )


@contextmanager
def _unpacked(source: Path, file_name: str) -> Iterator[Path]:
    with TemporaryDirectory(dir=scratch_folder(), prefix="import-") as scratch:
        folder = Path(scratch) / "files"
        try:
            archive.unpack(
                source,
                folder,
                limit_bytes=settings.RUNSITE_UPLOAD_LIMIT,
                limit_files=settings.RUNSITE_UNPACKED_FILES,
            )
        except archive.ArchiveRefused as refused:
            shown = f"`{file_name}`: " if file_name else ""
            raise ArchiveRejected(f"{shown}{refused}") from refused
        yield folder


def _stem(file_name: str) -> str:
    name = file_name.replace("\\", "/").rpartition("/")[2]
    for end in (".zip", ".tar.gz", ".tgz", ".tar"):
        if name.lower().endswith(end):
            return name[: -len(end)]
    return name


def _shown(name: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)[:200]
