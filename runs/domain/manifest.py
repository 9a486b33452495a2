"""An application's manifest: parse and check."""

from __future__ import annotations

from dataclasses import replace

from yaml.nodes import MappingNode, Node, SequenceNode

from runs.domain.errors import ManifestInvalid
from runs.domain.file_rules import (
    LONGEST_PATTERN,
    MOST_PATTERNS,
    FileSelection,
    leaves_root,
    select_files,
)
from runs.domain.manifest_blocks import (
    read_build,
    read_content,
    read_cwd,
    read_inner_path,
    read_python,
    read_runsite,
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
    kind_of,
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
    "read_manifest",
    "select_files",
]

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
    return read_manifest(root, filename=filename)


def read_manifest(root: Node | None, *, filename: str, warn: bool = True) -> Manifest:
    """The manifest in a document, checked as by `parse_manifest`; without `warn` no warnings."""
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
    return manifest if warn else replace(manifest, warnings=())


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
    entrypoint = read_inner_path(execution, "entrypoint", DEFAULT_ENTRYPOINTS[kind])
    cwd = read_cwd(execution)
    execution.finish()
    python = read_python(top.take_mapping("python"))
    build = read_build(top.take_mapping("build"))
    pre_push = one_line(top.take_text("pre-push", "pre_push"))
    configuration = top.take_mapping("configuration")
    content = read_content(configuration.take_mapping("content"))
    options = read_options(configuration.take_mapping("options"))
    configuration.finish(
        {"format": "configuration.content.format", "items": "configuration.options.items"}
        | {key: f"configuration.options.{key}" for key in ("strict", "validation")}
    )
    runsite = read_runsite(top.take_mapping("runsite"))
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
