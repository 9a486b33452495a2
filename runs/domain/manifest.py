"""An application's manifest: parse and check."""

from __future__ import annotations

import posixpath

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from runs.domain.content import FORMATS
from runs.domain.errors import ManifestInvalid
from runs.domain.file_rules import (
    LONGEST_PATTERN,
    MOST_PATTERNS,
    FileSelection,
    leaves_root,
    select_files,
)
from runs.domain.manifest_fields import (
    DEFAULT_ENTRYPOINTS,
    DEFAULT_RUNTIME,
    KNOWN_RUNTIMES,
    TYPES,
    Build,
    Content,
    Manifest,
    OptionDefinition,
    OptionsBlock,
    PythonSettings,
    Requirements,
    RunsiteSettings,
    manifest_from_json,
    manifest_to_json,
)
from runs.domain.manifest_options import one_line, read_options
from runs.domain.yaml_keys import Reader
from runs.domain.yaml_text import (
    Problem,
    Problems,
    Unreadable,
    check_tags,
    compose_document,
    is_written_as_text,
    kind_of,
    plain_value,
    shortened,
)

__all__ = [
    "Build",
    "Content",
    "FileSelection",
    "Manifest",
    "OptionDefinition",
    "OptionsBlock",
    "Problem",
    "PythonSettings",
    "Requirements",
    "RunsiteSettings",
    "manifest_from_json",
    "manifest_to_json",
    "parse_manifest",
    "select_files",
]

STOP_SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")
_SHOWN_PROBLEMS = 20
# Keys that people put at the top, and where they belong.
_ELSEWHERE = {
    "entrypoint": "execution.entrypoint",
    "cwd": "execution.cwd",
    "pip-requirements": "python.pip-requirements",
    "pip_requirements": "python.pip-requirements",
    "requirements": "python.pip-requirements",
    "version": "python.version",
    "arch": "python.arch",
    "command": "build.command",
    "environment": "build.environment",
    "content": "configuration.content",
    "format": "configuration.content.format",
    "multi-file": "configuration.content.multi-file",
    "options": "configuration.options",
    "time_limit_s": "runsite.time_limit_s",
    "repeatable": "runsite.repeatable",
    "slots": "runsite.slots",
}


def parse_manifest(text: str, *, filename: str = "app.yaml") -> Manifest:
    """The manifest in `text`, checked; unknown keys and other oddities become its warnings.

    Raises `ManifestInvalid` with every `Problem` found, each with its line: broken YAML, values of
    the wrong type, breaches of the rules of the run contract (section 2 and 3). Nothing is
    constructed from tags. Costs are bounded whatever the text.
    """
    try:
        root = compose_document(text, filename=filename)
    except Unreadable as error:
        raise _invalid([error.problem]) from error
    problems = Problems(filename)
    if root is None or not isinstance(root, MappingNode):
        message = "the manifest is empty" if root is None else f"the manifest is {kind_of(root)}"
        problems.error(
            root, "", message, "Write keys, at least `files:` with the files of the application."
        )
        raise _invalid(problems.errors)
    check_tags(root, problems)
    manifest = _read_manifest(Reader(root, "", problems))
    if problems.errors:
        raise _invalid(problems.errors)
    return manifest


def _invalid(problems: list[Problem]) -> ManifestInvalid:
    problems = sorted(problems, key=lambda problem: (problem.line, problem.column))
    lines = [str(problem) for problem in problems[:_SHOWN_PROBLEMS]]
    if len(problems) > _SHOWN_PROBLEMS:
        lines.append(f"{len(problems) - _SHOWN_PROBLEMS} more problems are not shown.")
    return ManifestInvalid("\n".join(lines), problems)


def _read_manifest(top: Reader) -> Manifest:
    kind = top.take_choice("type", choices=TYPES, default="python")
    runtime = _read_runtime(top)
    files = _read_files(top)
    execution = top.take_mapping("execution")
    entrypoint = _read_inner_path(execution, "entrypoint", DEFAULT_ENTRYPOINTS[kind])
    cwd = _read_cwd(execution)
    execution.finish()
    python = _read_python(top.take_mapping("python"))
    build = _read_build(top.take_mapping("build"))
    pre_push = one_line(top.take_text("pre-push", "pre_push"))
    configuration = top.take_mapping("configuration")
    content = _read_content(configuration.take_mapping("content"))
    options = read_options(configuration.take_mapping("options"))
    configuration.finish(
        {"format": "configuration.content.format", "items": "configuration.options.items"}
        | {key: f"configuration.options.{key}" for key in ("strict", "validation")}
    )
    runsite = _read_runsite(top.take_mapping("runsite"))
    if options.strict and runsite.free_options:
        top.problems.warn(
            top.node_of("runsite"),
            "runsite.free_options",
            "`runsite.free_options` has no effect while `configuration.options.strict` is true",
            "Remove one of them.",
        )
    top.finish(_ELSEWHERE)
    warnings = tuple(sorted(top.problems.warnings, key=lambda problem: problem.line))
    return Manifest(
        files=files,
        type=kind,
        runtime=runtime,
        entrypoint=entrypoint,
        cwd=cwd,
        python=python,
        build=build,
        pre_push=pre_push,
        content=content,
        options=options,
        runsite=runsite,
        warnings=warnings,
    )


def _read_runtime(top: Reader) -> str:
    runtime = top.take_text("runtime", default=DEFAULT_RUNTIME)
    if runtime not in KNOWN_RUNTIMES:
        top.problems.warn(
            top.node_of("runtime"),
            "runtime",
            f"the runtime `{shortened(runtime)}` is unknown to other tools; it is kept and shown",
            "Nothing to do here: runs use the programs of the worker, not an image.",
        )
    return runtime


def _read_files(top: Reader) -> tuple[str, ...]:
    node = top.node_of("files") if "files" in top else None
    files = top.take_texts("files")
    problems = top.problems
    if files is None or not files:
        if node is None or (isinstance(node, SequenceNode) and not node.value):
            problems.error(
                node,
                "files",
                "`files` is missing or empty",
                "List the files of the application, for example `files: [main.py]`.",
            )
        return ()
    if len(files) > MOST_PATTERNS:
        problems.error(
            node,
            "files",
            f"`files` has {len(files)} patterns, above the limit of {MOST_PATTERNS}",
            "Use `dir/**` for whole folders.",
        )
        return ()
    places = node.value if isinstance(node, SequenceNode) else []
    for place, pattern in zip(places, files, strict=False):
        bare = pattern.removeprefix("!")
        shown = shortened(pattern)
        if not bare.strip():
            problems.error(place, "files", f"the pattern `{shown}` is empty", "Remove the line.")
        elif len(pattern) > LONGEST_PATTERN:
            problems.error(
                place,
                "files",
                f"the pattern `{shown}` has more than {LONGEST_PATTERN} characters",
                "Shorten it.",
            )
        elif leaves_root(bare):
            problems.error(
                place,
                "files",
                f"the pattern `{shown}` leaves the folder of the application",
                "Use paths relative to that folder, without `..`.",
            )
    if all(pattern.startswith("!") for pattern in files):
        problems.error(
            node, "files", "`files` only excludes files", "Add a pattern without `!` before them."
        )
    return files


def _read_inner_path(block: Reader, key: str, default: str) -> str:
    """A path inside the application's folder, normalised; a trailing slash stays."""
    node = block.node_of(key)
    written = block.take_text(key, default=default)
    if written == default:
        return default
    if not written.strip() or leaves_root(written) or "\\" in written:
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


def _read_cwd(execution: Reader) -> str:
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


def _read_python(block: Reader) -> PythonSettings:
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


def _read_build(block: Reader) -> Build:
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


def _read_content(block: Reader) -> Content:
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
        input_path=_read_inner_path(source, "path", standard.input_path),
        solutions_path=_read_inner_path(output, "solutions", standard.solutions_path),
        metrics_path=_read_inner_path(output, "metrics", standard.metrics_path),
        assets_path=_read_inner_path(output, "assets", standard.assets_path),
        statistics_path=_read_inner_path(output, "statistics", standard.statistics_path),
    )
    source.finish()
    output.finish()
    nested.finish({"path": f"{nested.path}.input.path"})
    block.finish({"multi_file": block.path_of("multi-file")})
    return content


def _read_runsite(block: Reader) -> RunsiteSettings:
    settings = RunsiteSettings(
        time_limit_s=_read_above_zero(block, "time_limit_s"),
        repeatable=_read_choice_of_three(block, "repeatable"),
        slots=_read_count(block, "slots") or 1,
        free_options=_read_choice_of_three(block, "free_options"),
        stop_signal=block.take_choice("stop_signal", choices=STOP_SIGNALS, default="SIGTERM"),
        memory_limit_mb=_read_count(block, "memory_limit_mb"),
        log_limit_mb=_read_count(block, "log_limit_mb"),
        output_limit_mb=_read_count(block, "output_limit_mb"),
    )
    block.finish()
    return settings


def _read_choice_of_three(block: Reader, key: str) -> bool | None:
    return block.take_bool(key, default=False) if key in block else block.skip(key)


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
