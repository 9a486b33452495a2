"""What a run is made of: the instance, its version, and the executable behind them."""

from __future__ import annotations

from dataclasses import dataclass

from runs.actions.run_limits import usual_limits
from runs.domain.errors import Conflict, InputRejected, NothingPushed
from runs.domain.manifest import Manifest, manifest_from_json
from runs.models import Application, Executable, InputData, Instance, Version


@dataclass(frozen=True)
class Target:
    """What a run is made of: the instance, its version, and the executable behind them."""

    instance: Instance | None
    version: Version | None
    executable: Executable
    manifest: Manifest

    @property
    def content_format(self) -> str:
        """The format of its input unless a run says otherwise."""
        chosen = self.instance.content_format if self.instance else ""
        return chosen or self.manifest.content.format


def resolve_target(
    *, application: Application, instance: Instance | None = None, use_latest: bool = False
) -> Target:
    """What would run now: the instance named, else the default one, else the newest executable.

    With `use_latest` it is the newest executable whatever the default instance is.

    Raises `Conflict` when nothing was ever uploaded, when what would run was refused, and for an
    archived application. What would run may still have to be checked.
    """
    if application.archived_at is not None:
        raise Conflict(
            f"{application} is archived. Bring it back in its settings, then launch again."
        )
    if instance is None and not use_latest:
        instance = application.default_instance
    version = instance.version if instance else None
    executable = version.executable if version else application.executable
    if executable is None:
        raise NothingPushed(_nothing_to_run(application))
    if executable.state == Executable.FAILED:
        where = f" of version `{version.version_id}`" if version else ""
        raise Conflict(_refused(executable, where))
    return Target(instance, version, executable, manifest_from_json(executable.manifest))


def _nothing_to_run(application: Application) -> str:
    newest = application.executables.order_by("-number").first()
    if newest is not None and newest.state == Executable.FAILED:
        return _refused(newest, "")
    return (
        f"{application} has no executable yet. Push one or upload it on its page, then try again."
    )


def _refused(executable: Executable, where: str) -> str:
    return (
        f"Build {executable.number}{where} of {executable.application} was refused:"
        f" {executable.error} Upload the application again, then launch again."
    )


def usual_time_limit_s(target: Target, application: Application) -> int | None:
    """The time limit of a run that names none, in seconds; None for the installation's.

    The instance goes before the application, the application before its manifest; none is above
    what the installation allows.
    """
    usual = usual_limits(application, target.manifest, target.instance)["time_limit_s"]
    return None if usual is None else int(usual)


def check_input(input_data: InputData | None, content_format: str) -> None:
    """Raise `InputRejected` unless an app that reads `content_format` can be given this input."""
    if input_data is None:
        if content_format in {"json", "text"}:
            return  # an app that reads nothing gets an empty stdin
        raise InputRejected(f"An app of format {content_format} needs input files. Give some.")
    if not fits(input_data.content_format, content_format):
        raise InputRejected(
            f"The app reads {content_format}, the input is {input_data.content_format}."
            " Choose an input of the right kind."
        )


def fits(given: str, content_format: str) -> bool:
    """Whether an input stored as `given` can be read as `content_format`; JSON is text, too."""
    return given == content_format or (given == "json" and content_format == "text")


def usual_output_format(target: Target, asked: str | None = None) -> str:
    """The format of the result of a run that names none; `asked` is that of its input, if named.

    That of the input where the run or its instance names one, unless the instance names the
    output's as well; else the manifest decides. A `text` run writes JSON.
    """
    instance, content = target.instance, target.manifest.content
    if asked is None and instance is not None and instance.output_format:
        return instance.output_format
    named = asked or (instance.content_format if instance else "")
    output = named or (content.format if content.declared else target.content_format)
    return "json" if output == "text" else output


def is_repeatable(manifest: Manifest, application: Application) -> bool:
    """Whether a lost run may be made again; the manifest can only forbid it."""
    return application.repeatable and manifest.runsite.repeatable is not False
