"""The blocks of a manifest below its top level: read from their nodes and checked."""

from __future__ import annotations

import posixpath

from yaml.nodes import Node, ScalarNode, SequenceNode

from runs.domain.concurrency import POLICIES, check_expression
from runs.domain.content import FORMATS
from runs.domain.errors import RunsiteError
from runs.domain.file_rules import leaves_root
from runs.domain.manifest_fields import (
    Build,
    Concurrency,
    Content,
    PythonSettings,
    Requirements,
    RunsiteSettings,
)
from runs.domain.manifest_options import one_line
from runs.domain.retry import parse_retry_on
from runs.domain.yaml_keys import Reader
from runs.domain.yaml_text import is_written_as_text, kind_of, plain_value, shortened

STOP_SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")
LIMIT_ACTIONS = ("fail", "truncate")


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
    is_version = len(parts) <= 3 and all(
        part.isdecimal() and part.isascii() and len(part) <= 3 for part in parts
    )
    if version and not is_version:
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
        stop_signal=block.take_choice("stop_signal", choices=STOP_SIGNALS, default="SIGINT"),
        memory_limit_mb=_read_count(block, "memory_limit_mb"),
        log_limit_mb=_read_count(block, "log_limit_mb"),
        output_limit_mb=_read_count(block, "output_limit_mb"),
        keep_at_time_limit=_read_flag(block, "keep_at_time_limit"),
        queue_limit_s=_read_above_zero(block, "queue_limit_s"),
        process_limit=_read_count(block, "process_limit"),
        log_limit_action=block.take_choice("log_limit_action", choices=LIMIT_ACTIONS, default=""),
        output_limit_action=block.take_choice(
            "output_limit_action", choices=LIMIT_ACTIONS, default=""
        ),
        stop_grace_s=_read_above_zero(block, "stop_grace_s"),
        retries=_read_count(block, "retries", least=0),
        retry_on=_read_retry_on(block),
        retry_delay_s=_read_above_zero(block, "retry_delay_s", or_zero=True),
        concurrency=_read_concurrency(block.take_mapping("concurrency")),
    )
    block.finish(
        {
            "memory_limit": block.path_of("memory_limit_mb"),
            "retry_delay": block.path_of("retry_delay_s"),
            "concurrency_limit": block.path_of("concurrency.limit"),
            "concurrency_policy": block.path_of("concurrency.policy"),
        }
    )
    return settings


def _read_retry_on(block: Reader) -> tuple[str, ...]:
    """A list of words, or one text with spaces between them."""
    node = block.node_of("retry_on")
    if isinstance(node, SequenceNode) and "retry_on" in block:
        written = " ".join(block.take_texts("retry_on") or ())
    else:
        written = block.take_text("retry_on")
    try:
        return parse_retry_on(written)
    except RunsiteError as problem:
        _refuse(block, "retry_on", problem, "Correct it.")
        return ()


def _refuse(block: Reader, key: str, problem: RunsiteError, usual_remedy: str) -> None:
    """Note what another rule of the domain says of the value of `key`."""
    cause, _dot, remedy = problem.message.rstrip(".").partition(". ")
    block.problems.error(
        block.node_of(key),
        block.path_of(key),
        f"`{block.path_of(key)}` cannot be used: {cause[:1].lower()}{cause[1:]}",
        f"{remedy}." if remedy else usual_remedy,
    )


def _read_concurrency(block: Reader) -> Concurrency:
    """The `runsite.concurrency` block."""
    standard = Concurrency()
    made = Concurrency(
        key=one_line(block.take_text("key")),
        limit=_read_count(block, "limit"),
        policy=block.take_choice("policy", choices=POLICIES, default=standard.policy),
    )
    try:
        # Which options there are is asked when a run is submitted: it may be given free ones.
        check_expression(made.key, None)
    except RunsiteError as problem:
        _refuse(block, "key", problem, "Name options in braces, like `{region}`.")
        return standard
    if made.limit is None and "limit" not in block and made != standard:
        block.problems.error(
            block.node,
            block.path,
            f"`{block.path}` has no `limit`",
            "Say how many runs may be active at once, usually `limit: 1`.",
        )
    block.finish()
    return made


def _read_flag(block: Reader, key: str) -> bool | None:
    if key in block:
        return block.take_bool(key, default=False)
    block.skip(key)
    return None


def _read_above_zero(block: Reader, key: str, *, or_zero: bool = False) -> float | None:
    node: Node | None = block.node_of(key)
    number = block.take_number(key)
    if number is not None and (number < 0 or (number == 0 and not or_zero)):
        block.problems.error(
            node,
            block.path_of(key),
            f"`{block.path_of(key)}` is {number}, but must "
            + ("not be below 0" if or_zero else "be above 0"),
            "Correct it, or leave it out for the installation's value.",
        )
        return None
    return None if number is None else float(number)


def _read_count(block: Reader, key: str, *, least: int = 1) -> int | None:
    node: Node | None = block.node_of(key)
    number = _read_above_zero(block, key, or_zero=least == 0)
    if number is not None and number != int(number):
        block.problems.error(
            node,
            block.path_of(key),
            f"`{block.path_of(key)}` is {number}, but must be a whole number",
            "Correct it.",
        )
        return None
    return None if number is None else int(number)
