"""The blocks of a manifest below its top level: read from their nodes and checked."""

from __future__ import annotations

import posixpath

from yaml.nodes import Node, ScalarNode, SequenceNode

from runs.domain.content import FORMATS
from runs.domain.file_rules import leaves_root
from runs.domain.manifest_fields import (
    Build,
    Content,
    PythonSettings,
    Requirements,
    RunsiteSettings,
)
from runs.domain.manifest_options import one_line
from runs.domain.yaml_keys import Reader
from runs.domain.yaml_text import is_written_as_text, kind_of, plain_value, shortened

STOP_SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")


def read_inner_path(block: Reader, key: str, default: str) -> str:
    """A path inside the application's folder, normalised; a trailing slash stays."""
    node = block.node_of(key)
    written = block.take_text(key, default=default)
    if written == default or not written.strip():
        return default
    if leaves_root(written) or "\\" in written:
        block.problems.error(
            node,
            block.path_of(key),
            f"`{block.path_of(key)}` is `{shortened(written)}`, which is no path inside the "
            "application",
            "Use a relative path with `/`, without `..`.",
        )
        return default
    normal = posixpath.normpath(written)
    return normal + "/" if written.endswith("/") else normal


def read_cwd(execution: Reader) -> str:
    """The working directory: empty, absolute, or relative to the working copy."""
    node = execution.node_of("cwd")
    cwd = execution.take_text("cwd")
    if not cwd or posixpath.normpath(cwd) == ".":
        return ""
    if posixpath.isabs(cwd):
        execution.problems.warn(
            node,
            "execution.cwd",
            f"`execution.cwd` is `{shortened(cwd)}`, a place on the worker outside the run",
            "Leave it out, or name a folder of the application.",
        )
        return posixpath.normpath(cwd)
    if leaves_root(cwd):
        execution.problems.error(
            node,
            "execution.cwd",
            f"`execution.cwd` is `{shortened(cwd)}`, which leaves the working copy",
            "Name a folder of the application, without `..`.",
        )
        return ""
    execution.problems.warn(
        node,
        "execution.cwd",
        "a relative `execution.cwd` is taken from the working copy here, but fails in other tools",
        "Leave it out if the application is also run elsewhere.",
    )
    return posixpath.normpath(cwd)


def read_python(block: Reader) -> PythonSettings:
    """The `python` block."""
    requirements = _read_requirements(block)
    version_node = block.node_of("version")
    version = block.take_text("version").strip()
    parts = version.split(".")
    if version and not (len(parts) <= 3 and all(part.isdecimal() for part in parts)):
        block.problems.warn(
            version_node,
            "python.version",
            f"`python.version` is `{shortened(version, 40)}`, which is no version of Python",
            'Write it like `"3.11"`.',
        )
        version = ""
    elif version and version_node is not None and not is_written_as_text(version_node):
        value = plain_value(version_node)
        if str(value) != version:
            block.problems.warn(
                version_node,
                "python.version",
                f"`python.version` is the number {version}, which other tools read as {value}",
                f'Put it in quotes: `"{version}"`.',
            )
    arch = block.take_choice("arch", choices=("arm64", "amd64"), default="")
    block.finish({"requirements": "python.pip-requirements"})
    return PythonSettings(requirements, version, arch)


def _read_requirements(block: Reader) -> Requirements:
    node = block.take("pip-requirements", "pip_requirements")
    if node is None:
        return Requirements()
    if isinstance(node, SequenceNode):
        entries = block.take_texts("pip-requirements", "pip_requirements") or ()
        entries = tuple(entry.strip() for entry in entries if entry.strip())
        return Requirements("list", entries=entries) if entries else Requirements()
    if not isinstance(node, ScalarNode) or not is_written_as_text(node):
        block.problems.error(
            node,
            "python.pip-requirements",
            f"`python.pip-requirements` is {kind_of(node)}",
            "Name a file (`requirements.txt`) or list the requirements.",
        )
        return Requirements()
    written = str(node.value)
    if not written.strip():
        return Requirements()
    if leaves_root(written):
        block.problems.error(
            node,
            "python.pip-requirements",
            f"`{shortened(written)}` is outside the folder of the application",
            "Move the file into it and name it by a relative path.",
        )
        return Requirements()
    path = posixpath.normpath(written)
    kind = "pyproject" if posixpath.basename(path) == "pyproject.toml" else "file"
    return Requirements(kind, path=path)


def read_build(block: Reader) -> Build:
    """The `build` block; values as they are written."""
    command = one_line(block.take_text("command"))
    variables = block.take_mapping("environment")
    environment = []
    for name, node in variables.items():
        if not isinstance(node, ScalarNode):
            block.problems.error(
                node,
                variables.path_of(name),
                f"`{shortened(variables.path_of(name))}` is {kind_of(node)}, but must be a text",
                "Put the value in quotes.",
            )
        elif not name or "=" in name:
            block.problems.error(
                node,
                variables.path_of(name),
                f"`{shortened(name)}` cannot be the name of a variable",
                "Use letters, digits and underscores.",
            )
        else:
            environment.append((name, str(node.value)))
    block.finish()
    return Build(command, tuple(environment))


def read_content(block: Reader) -> Content:
    """The `configuration.content` block."""
    declared = "format" in block
    form = block.take_choice("format", choices=FORMATS, default="json")
    standard = Content()
    if "multi-file" in block and form != "multi-file":
        block.problems.error(
            block.node_of("multi-file"),
            block.path_of("multi-file"),
            f"a `multi-file` block stands beside the format `{form}`",
            "Set `configuration.content.format: multi-file`, or remove the block.",
        )
    nested = block.take_mapping("multi-file")
    source, output = nested.take_mapping("input"), nested.take_mapping("output")
    content = Content(
        format=form,
        declared=declared,
        input_path=read_inner_path(source, "path", standard.input_path),
        solutions_path=read_inner_path(output, "solutions", standard.solutions_path),
        metrics_path=read_inner_path(output, "metrics", standard.metrics_path),
        assets_path=read_inner_path(output, "assets", standard.assets_path),
        statistics_path=read_inner_path(output, "statistics", standard.statistics_path),
    )
    source.finish()
    output.finish()
    nested.finish({"path": f"{nested.path}.input.path"})
    block.finish({"multi_file": block.path_of("multi-file")})
    return content


def read_runsite(block: Reader) -> RunsiteSettings:
    """The `runsite` block."""
    settings = RunsiteSettings(
        time_limit_s=_read_above_zero(block, "time_limit_s"),
        repeatable=_read_flag(block, "repeatable"),
        slots=_read_count(block, "slots") or 1,
        free_options=_read_flag(block, "free_options"),
        stop_signal=block.take_choice("stop_signal", choices=STOP_SIGNALS, default="SIGTERM"),
        memory_limit_mb=_read_count(block, "memory_limit_mb"),
        log_limit_mb=_read_count(block, "log_limit_mb"),
        output_limit_mb=_read_count(block, "output_limit_mb"),
    )
    block.finish()
    return settings


def _read_flag(block: Reader, key: str) -> bool | None:
    if key in block:
        return block.take_bool(key, default=False)
    block.skip(key)
    return None


def _read_above_zero(block: Reader, key: str) -> float | None:
    node: Node | None = block.node_of(key)
    number = block.take_number(key)
    if number is not None and number <= 0:
        block.problems.error(
            node,
            block.path_of(key),
            f"`{block.path_of(key)}` is {number}, but must be above 0",
            "Correct it, or leave it out for the installation's value.",
        )
        return None
    return None if number is None else float(number)


def _read_count(block: Reader, key: str) -> int | None:
    node: Node | None = block.node_of(key)
    number = _read_above_zero(block, key)
    if number is not None and number != int(number):
        block.problems.error(
            node,
            block.path_of(key),
            f"`{block.path_of(key)}` is {number}, but must be a whole number",
            "Correct it.",
        )
        return None
    return None if number is None else int(number)
