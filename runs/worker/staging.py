"""Fills the workspace of a run: the executable's files, the input, the command."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from runs.domain.content import is_folder_format
from runs.domain.errors import RunsiteError
from runs.domain.manifest import Manifest, manifest_from_json
from runs.domain.status import EndReason
from runs.execution import archive, dependencies, environment
from runs.execution.output import OutputPaths
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
    output_format: str
    output_paths: OutputPaths


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
    interpreter, extra_path = _interpreter(executable, manifest, places)
    workspace = places.workspace(run.run_id, attempt.number)
    cwd = workspace / "work"
    temporary = workspace / "tmp"
    temporary.mkdir(mode=0o700, parents=True, exist_ok=True)
    _copy_executable(executable, cwd, places, held)
    stdin = _place_input(run.input_data, run.input_format, manifest, workspace, cwd, held)
    options = list(RunOption.objects.filter(run=run).order_by("position"))
    definitions = {item.name: item for item in manifest.options.items}
    shadowed = environment.shadowed_names(definitions)
    pairs = [
        (option.name, option.text)
        for option in options
        if option.passed or (option.name in shadowed and option.text != "")
    ]
    entry = cwd / manifest.entrypoint
    command = environment.build_command(
        manifest.type,
        entry,
        interpreter=interpreter,
        arguments=environment.option_arguments(pairs, manifest.options.format),
    )
    spec = RunSpec(
        run_id=run.run_id,
        attempt=attempt.number,
        workspace=workspace,
        command=tuple(command),
        cwd=cwd,
        env=environment.child_environment(
            run_id=run.run_id,
            run_dir=cwd,
            temporary=temporary,
            path=settings.RUNSITE_APP_PATH,
            python_path=extra_path(cwd),
        ),
        mark=places.mark(boot_id, run.run_id, attempt.number),
        content_format=run.input_format,
        stdin=stdin,
        entry=entry,
        stdout_is_log=run.output_format == "multi-file",
        time_limit_s=float(run.time_limit_s or settings.RUNSITE_TIME_LIMIT_S),
        grace_s=settings.RUNSITE_GRACE_S,
        pipe_wait_s=settings.RUNSITE_PIPE_WAIT_S,
        output_limit_bytes=settings.RUNSITE_OUTPUT_LIMIT,
    )
    return Staged(spec, run.output_format, _output_paths(manifest))


def _output_paths(manifest: Manifest) -> OutputPaths:
    folders = manifest.content.multi_file
    return OutputPaths(
        solutions=folders.solutions,
        metrics=folders.metrics,
        statistics=folders.statistics,
        assets=folders.assets,
    )


def _interpreter(
    executable: Executable, manifest: Manifest, places: Places
) -> tuple[Path | None, object]:
    raise AssertionError  # replaced below
