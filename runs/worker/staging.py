"""Fills the workspace of a run: the executable's files, the input, the command."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from runs.actions.inputs import SAMPLE_FOLDER, input_folder
from runs.domain.content import is_folder_format
from runs.domain.manifest import Manifest, manifest_from_json
from runs.domain.status import EndReason
from runs.execution import archive, dependencies, environment
from runs.execution.disk import disk_fault
from runs.execution.output import Places as OutputPlaces
from runs.execution.requirements import bundled_packages
from runs.execution.spec import RunSpec
from runs.execution.workspace import remove_tree
from runs.models import EnvironmentBuild, Executable, InputData, InputFile, Run, RunOption
from runs.models.limits import TRUNCATE
from runs.queue.claim import Claimed
from runs.storage import ObjectMissing, object_store
from runs.worker.held import Held
from runs.worker.patience import allow_bytes, patiently, wait_for
from runs.worker.places import Places
from runs.worker.secrets import fetch_secrets
from runs.worker.upkeep import COMPLETE, in_use, touch
from runs.worker.verdicts import CannotStage


class _CopyFailed(Exception):
    """Carries an `OSError` through `copytree`, which would go on with all other files."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error)
        self.error = error


@dataclass(frozen=True)
class Staged:
    """A run that is ready to be executed, and where its output will be."""

    spec: RunSpec
    work: Path
    output_format: str
    output_places: OutputPlaces


@dataclass(frozen=True)
class _Facts:
    """What the tables say about a run that is to be prepared."""

    executable: Executable
    environment_key: str
    input_data: InputData | None
    input_files: list[InputFile]
    options: list[tuple[str, str]]


def stage(claimed: Claimed, *, places: Places, boot_id: str, held: Held, uses: ExitStack) -> Staged:
    """Prepare the workspace of a run; `uses` keeps what it needs until the program has ended.

    Raises `CannotStage` when it can never start like this, `Stopped` when it is to end before, and
    `OSError` when the worker's own disk is full or broken (`disk_fault`).
    """
    run, attempt = claimed.run, claimed.attempt
    workspace = places.workspace(run.run_id, attempt.number)
    try:
        facts = patiently(lambda: _facts_of(run), held=held)
        secrets = fetch_secrets(run, held)
        manifest = manifest_from_json(facts.executable.manifest)
        interpreter = _interpreter(facts, places, held, uses)
        cwd = workspace / "work"
        temporary = workspace / "tmp"
        temporary.mkdir(mode=0o700, parents=True)
        _copy_executable(facts.executable, cwd, places, held)
        stdin = _place_input(facts, manifest, workspace, cwd, held)
        folder = _folder_of(manifest, cwd)
        secrets.place(folder, work=cwd, outputs=_output_places(manifest))
    except OSError as error:
        if disk_fault(error):
            raise
        raise CannotStage(
            f"The worker could not prepare the run: {error.strerror or error}"
            f" ({_named(error, places)}). Free space in the data directory of worker"
            f" {attempt.worker_name}, or mend its disk, then launch the run again.",
            EndReason.NOT_STARTED,
            f"not started: {error.strerror or 'disk error'}"[:200],
        ) from error
    pairs = facts.options
    entry = cwd / manifest.entrypoint
    mark = places.mark(boot_id, run.run_id, attempt.number)
    command = environment.build_command(
        manifest.type,
        entry,
        interpreter=interpreter,
        arguments=environment.option_arguments(pairs, manifest.options.format),
    )
    bundled = bundled_packages(cwd)
    spec = RunSpec(
        run_id=run.run_id,
        attempt=attempt.number,
        workspace=workspace,
        command=command,
        cwd=folder,
        env=environment.child_environment(
            run_id=run.run_id,
            run_dir=cwd,
            tmp=temporary,
            mark=mark,
            extra={**({"PYTHONPATH": str(bundled)} if bundled else {}), **secrets.variables()},
        ),
        mark=mark,
        content_format=run.input_format,
        stdin=stdin,
        entry=entry,
        stdout_is_log=run.output_format == "multi-file",
        time_limit_s=float(run.time_limit_s or settings.RUNSITE_TIME_LIMIT_S),
        keep_at_time_limit=bool(run.keep_at_time_limit),
        grace_s=settings.RUNSITE_GRACE_S,
        pipe_wait_s=settings.RUNSITE_PIPE_WAIT_S,
        memory_limit_bytes=run.memory_limit_bytes,
        process_limit=run.process_limit,
        log_limit_bytes=log_limit_of(run),
        output_limit_bytes=run.output_limit_bytes or settings.RUNSITE_OUTPUT_LIMIT,
        output_limit_action="truncate" if run.output_limit_action == TRUNCATE else "fail",
        stop_signal=getattr(signal, run.stop_signal or "SIGINT"),
        stop_grace_s=run.stop_grace_s,
    )
    return Staged(spec, cwd, run.output_format, _output_places(manifest))


def log_limit_of(run: Run) -> int:
    """How many bytes of its log are kept."""
    return run.log_limit_bytes or int(settings.RUNSITE_LOG_LIMIT)


def _facts_of(run: Run) -> _Facts:
    found = Executable.objects.select_related("environment").filter(pk=run.executable_id or 0)
    if (executable := found.first()) is None:
        raise CannotStage(
            f"{run.application} has no executable. Upload one, then launch again.",
            EndReason.NOT_STARTED,
            "no executable",
        )
    if executable.state != Executable.READY:
        # Its archive is the upload as it came. Runs of it are held, but for those that a process
        # of an older release submitted.
        raise CannotStage(
            f"Build {executable.number} of {run.application} is not checked yet, or was refused."
            " Launch the run again: then it waits until the build is checked.",
            EndReason.NOT_STARTED,
            "not started: build not checked",
        )
    options = RunOption.objects.filter(run=run, passed=True).order_by("position")
    given = run.input_data
    return _Facts(
        executable=executable,
        environment_key=executable.environment.key if executable.environment else "",
        input_data=given,
        input_files=list(given.files.order_by("number")) if given else [],
        options=list(options.values_list("name", "text")),
    )


def _named(error: OSError, places: Places) -> str:
    """The file that an error is about, without where the worker's folders lie."""
    name = str(error.filename or "its workspace")
    shown = name.removeprefix(f"{places.data_dir}{os.sep}")
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in shown)


def _folder_of(manifest: Manifest, cwd: Path) -> Path:
    """The working directory: that of the copy, or a folder of it that the manifest names."""
    if not manifest.cwd:
        return cwd
    folder = Path(os.path.normpath(cwd / manifest.cwd))
    if folder != cwd and cwd not in folder.parents:
        raise CannotStage(
            f"The manifest's `execution.cwd` is `{manifest.cwd}`, outside of the application."
            " Give a folder inside it.",
            EndReason.NOT_STARTED,
            "not started: working directory outside",
        )
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _output_places(manifest: Manifest) -> OutputPlaces:
    content = manifest.content
    return OutputPlaces(
        solutions=content.solutions_path,
        metrics=content.metrics_path,
        statistics=content.statistics_path,
        assets=content.assets_path,
    )


def _interpreter(facts: _Facts, places: Places, held: Held, uses: ExitStack) -> Path | None:
    """The interpreter of the executable's environment on this host; None when it needs none.

    An environment that is gone from this disk is waited for while the builder makes it again.
    """
    if not facts.environment_key:
        return None
    target = places.environments / facts.environment_key
    while True:
        with ExitStack() as using:
            using.enter_context(
                in_use(target, exclusive=False, wait=lambda look: wait_for(look, held=held))
            )
            if (built := dependencies.built_environment(target)) is not None:
                touch(target)
                uses.enter_context(using.pop_all())  # nobody removes it while the program runs
                return built.interpreter
        patiently(lambda: _ask_for_build(facts.executable, places), held=held)
        wait_for(
            lambda: patiently(lambda: _is_built(facts, places), held=held), held=held, pause_s=0.5
        )


def _ask_for_build(executable: Executable, places: Places) -> None:
    """Have the environment built unless that failed before."""
    build, _ = EnvironmentBuild.objects.get_or_create(
        environment=executable.environment, host=places.host
    )
    if build.state == EnvironmentBuild.FAILED:
        raise CannotStage(
            f"The environment could not be built: {build.error or 'see its log.'}"
            " Its log is on the application's page.",
            EndReason.ENVIRONMENT_NOT_BUILT,
            "environment not built",
        )
    EnvironmentBuild.objects.filter(pk=build.pk, state=EnvironmentBuild.READY).update(
        state=EnvironmentBuild.WAITING
    )


def _is_built(facts: _Facts, places: Places) -> bool:
    builds = EnvironmentBuild.objects.filter(
        environment=facts.executable.environment, host=places.host
    )
    return not builds.filter(
        state__in=(EnvironmentBuild.WAITING, EnvironmentBuild.BUILDING)
    ).exists()


def _copy_executable(executable: Executable, cwd: Path, places: Places, held: Held) -> None:
    """A copy of the executable's files that the program may change."""
    unpacked = places.executables / executable.executable_id

    def wait(look: Callable[[], bool]) -> bool:
        return wait_for(look, held=held)

    def copy(source: str, target: str) -> str:
        try:
            allow_bytes(held, os.stat(source, follow_symlinks=False).st_size)  # noqa: PTH116
            return shutil.copy2(source, target)
        except OSError as error:
            raise _CopyFailed(error) from error

    while True:
        with in_use(unpacked, exclusive=False, wait=wait):
            if (unpacked / COMPLETE).exists():
                touch(unpacked)
                try:
                    shutil.copytree(unpacked / "files", cwd, copy_function=copy)
                except _CopyFailed as failed:
                    raise failed.error from None
                break
        with in_use(unpacked, exclusive=True, wait=wait):
            if not (unpacked / COMPLETE).exists():
                _unpack(executable, unpacked, held)
    cwd.chmod(0o700)


def _unpack(executable: Executable, unpacked: Path, held: Held) -> None:
    remove_tree(unpacked)
    unpacked.mkdir(mode=0o700)
    packed = unpacked / "archive"
    _fetch(
        executable.archive_key,
        packed,
        held,
        size=executable.archive_bytes,
        missing=CannotStage(
            f"The archive of {executable} is missing from the store. Upload the application"
            " again, or bring the store back from a backup.",
            EndReason.NOT_STARTED,
            "not started: archive missing",
        ),
    )
    allow_bytes(held, executable.archive_bytes + executable.unpacked_bytes)
    try:
        archive.unpack(
            packed,
            unpacked / "files",
            limit_bytes=settings.RUNSITE_UNPACKED_LIMIT,
            limit_files=settings.RUNSITE_UNPACKED_FILES,
        )
    except archive.ArchiveRefused as refused:
        raise CannotStage(
            f"The archive of {executable} cannot be unpacked: {refused} Upload the application"
            " again.",
            EndReason.NOT_STARTED,
            "not started: archive refused",
        ) from refused
    # Samples are for the launch page; a run gets its own input.
    shutil.rmtree(unpacked / "files" / SAMPLE_FOLDER.partition("/")[0], ignore_errors=True)
    packed.unlink()
    (unpacked / COMPLETE).touch()


def _place_input(
    facts: _Facts, manifest: Manifest, workspace: Path, cwd: Path, held: Held
) -> Path | None:
    """Put the input where the app finds it; the file for its stdin, if it reads that."""
    if facts.input_data is None:
        return None
    content_format = facts.input_data.content_format
    if not is_folder_format(content_format):
        if not facts.input_files:
            raise _input_missing("input")
        _fetch_input(facts.input_files[0], workspace / "input", held)
        return workspace / "input"
    folder = cwd / input_folder(content_format, manifest.content.input_path)
    for file in facts.input_files:
        target = folder / file.path
        _refuse_outside(target, cwd)
        if target.is_dir() or not _can_hold(target.parent, cwd):
            raise CannotStage(
                f"The input file `{file.path}` has the name of a folder of the application, or"
                " lies below the name of one of its files. Rename it.",
                EndReason.INPUT_REJECTED,
                f"input rejected: {file.path}"[:200],
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        _fetch_input(file, target, held)
    return None


def _can_hold(folder: Path, cwd: Path) -> bool:
    """Whether `folder` is one, or can be made: no file stands in its way."""
    while folder != cwd and not folder.exists():
        folder = folder.parent
    return folder.is_dir()


def _fetch_input(file: InputFile, target: Path, held: Held) -> None:
    _fetch(file.key, target, held, size=file.size_bytes, missing=_input_missing(file.path))


def _input_missing(name: str) -> CannotStage:
    return CannotStage(
        f"The input file `{name}` is missing from the store. Launch the run again with the input"
        " given anew, or bring the store back from a backup.",
        EndReason.NOT_STARTED,
        "not started: input missing",
    )


def _fetch(key: str, target: Path, held: Held, *, size: int, missing: CannotStage) -> None:
    """Copy an object of the store to a file; a store that is away is waited for."""

    def fetch() -> None:
        allow_bytes(held, size)
        object_store().fetch(key, target)

    try:
        patiently(fetch, held=held, waits_for_space=False)
    except ObjectMissing as error:
        raise missing from error


def _refuse_outside(target: Path, cwd: Path) -> None:
    inside = os.path.normpath(target)
    if not inside.startswith(f"{cwd}{os.sep}"):
        raise CannotStage(
            "The manifest's input path leads out of the working directory. Use a relative path.",
            EndReason.INPUT_REJECTED,
            "input rejected: path outside",
        )
