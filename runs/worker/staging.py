"""Fills the workspace of a run: the executable's files, the input, the command."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from runs.actions.inputs import SAMPLE_FOLDER, input_folder
from runs.domain.content import is_folder_format
from runs.domain.errors import RunsiteError
from runs.domain.manifest import Manifest, manifest_from_json
from runs.domain.status import EndReason
from runs.execution import archive, dependencies, environment
from runs.execution.output import Places as OutputPlaces
from runs.execution.requirements import bundled_packages
from runs.execution.spec import RunSpec
from runs.models import EnvironmentBuild, Executable, InputData, RunOption
from runs.queue.claim import Claimed
from runs.storage import object_store
from runs.worker.patience import patiently
from runs.worker.places import Places
from runs.worker.slots import Held
from runs.worker.upkeep import in_use, touch


class CannotStage(RunsiteError):
    """A run that cannot be prepared; `end_reason` and `short` say why in the run's columns."""

    def __init__(self, message: str, end_reason: EndReason, short: str) -> None:
        super().__init__(message)
        self.end_reason = end_reason
        self.short = short


@dataclass(frozen=True)
class Staged:
    """A run that is ready to be executed, and where its output will be."""

    spec: RunSpec
    work: Path
    output_format: str
    output_places: OutputPlaces


def stage(claimed: Claimed, *, places: Places, boot_id: str, held: Held) -> Staged:
    """Prepare the workspace of a run. Raises `CannotStage` when it can never start like this."""
    run, attempt = claimed.run, claimed.attempt
    executable = run.executable
    if executable is None:
        raise CannotStage(
            f"{run.application} has no executable. Upload one, then launch again.",
            EndReason.NOT_STARTED,
            "no executable",
        )
    manifest = manifest_from_json(executable.manifest)
    interpreter = _interpreter(executable, places)
    workspace = places.workspace(run.run_id, attempt.number)
    cwd = workspace / "work"
    temporary = workspace / "tmp"
    temporary.mkdir(mode=0o700, parents=True)
    _copy_executable(executable, cwd, places, held)
    stdin = _place_input(run.input_data, manifest, workspace, cwd, held)
    options = RunOption.objects.filter(run=run, passed=True).order_by("position")
    pairs = list(options.values_list("name", "text"))
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
        cwd=_folder_of(manifest, cwd),
        env=environment.child_environment(
            run_id=run.run_id,
            run_dir=cwd,
            tmp=temporary,
            mark=mark,
            extra={"PYTHONPATH": str(bundled)} if bundled else None,
        ),
        mark=mark,
        content_format=run.input_format,
        stdin=stdin,
        entry=entry,
        stdout_is_log=run.output_format == "multi-file",
        time_limit_s=float(run.time_limit_s or settings.RUNSITE_TIME_LIMIT_S),
        grace_s=settings.RUNSITE_GRACE_S,
        pipe_wait_s=settings.RUNSITE_PIPE_WAIT_S,
        output_limit_bytes=settings.RUNSITE_OUTPUT_LIMIT,
    )
    return Staged(spec, cwd, run.output_format, _output_places(manifest))


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


def _interpreter(executable: Executable, places: Places) -> Path | None:
    """The interpreter of the executable's environment on this host; None when it needs none."""
    wanted = executable.environment
    if wanted is None:
        return None
    target = places.environments / wanted.key
    built = dependencies.built_environment(target)
    if built is not None:
        touch(target)
        return built.interpreter
    builds = EnvironmentBuild.objects.filter(environment=wanted, host=places.host)
    build = builds.first()
    if build is not None and build.state == EnvironmentBuild.FAILED:
        raise CannotStage(
            f"The environment could not be built: {build.error or 'see its log.'}"
            " Its log is on the application's page.",
            EndReason.ENVIRONMENT_NOT_BUILT,
            "environment not built",
        )
    # It was built, but is gone from this disk: it is built anew for the next run.
    builds.filter(state=EnvironmentBuild.READY).update(state=EnvironmentBuild.WAITING)
    raise CannotStage(
        "The environment was removed from the worker's disk. It is being built again:"
        " launch the run once more.",
        EndReason.ENVIRONMENT_NOT_BUILT,
        "environment not built",
    )


def _copy_executable(executable: Executable, cwd: Path, places: Places, held: Held) -> None:
    """A copy of the executable's files that the program may change."""
    unpacked = places.executables / executable.executable_id
    if not (unpacked / ".complete").exists():
        with in_use(unpacked, exclusive=True):
            if not (unpacked / ".complete").exists():
                _unpack(executable, unpacked, held)
    with in_use(unpacked, exclusive=False):
        touch(unpacked)

        def copy(source: str, target: str) -> str:
            held.tick()
            return shutil.copy2(source, target)

        shutil.copytree(unpacked / "files", cwd, copy_function=copy)
    cwd.chmod(0o700)


def _unpack(executable: Executable, unpacked: Path, held: Held) -> None:
    shutil.rmtree(unpacked, ignore_errors=True)
    unpacked.mkdir(mode=0o700)
    packed = unpacked / "archive"
    patiently(lambda: object_store().fetch(executable.archive_key, packed), held=held)
    archive.unpack(
        packed,
        unpacked / "files",
        limit_bytes=settings.RUNSITE_UNPACKED_LIMIT,
        limit_files=settings.RUNSITE_UNPACKED_FILES,
    )
    # Samples are for the launch page; a run gets its own input.
    shutil.rmtree(unpacked / "files" / SAMPLE_FOLDER.partition("/")[0], ignore_errors=True)
    packed.unlink()
    (unpacked / ".complete").touch()


def _place_input(
    input_data: InputData | None,
    manifest: Manifest,
    workspace: Path,
    cwd: Path,
    held: Held,
) -> Path | None:
    """Put the input where the app finds it; the file for its stdin, if it reads that."""
    if input_data is None:
        return None
    files = list(input_data.files.order_by("number"))
    if not is_folder_format(input_data.content_format):
        target = workspace / "input"
        patiently(lambda: object_store().fetch(files[0].key, target), held=held)
        return target
    folder = cwd / input_folder(input_data.content_format, manifest.content.input_path)
    for file in files:
        target = folder / file.path
        _refuse_outside(target, cwd)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            raise CannotStage(
                f"The input file `{file.path}` has the name of a folder of the application."
                " Rename it.",
                EndReason.INPUT_REJECTED,
                f"input rejected: {file.path}"[:200],
            )
        patiently(
            lambda key=file.key, path=target: object_store().fetch(key, path),  # type: ignore[misc]
            held=held,
        )
    return None


def _refuse_outside(target: Path, cwd: Path) -> None:
    inside = os.path.normpath(target)
    if not inside.startswith(f"{cwd}{os.sep}"):
        raise CannotStage(
            "The manifest's input path leads out of the working directory. Use a relative path.",
            EndReason.INPUT_REJECTED,
            "input rejected: path outside",
        )
