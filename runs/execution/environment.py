"""The command line and the environment of the child: explicit, small, nothing of the server's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from runs.execution.tree import MARK

VARIABLES = frozenset(
    {
        "PATH",
        "HOME",
        "LANG",
        "TMPDIR",
        "PYTHONUNBUFFERED",
        "PYTHONIOENCODING",
        "RUN_ID",
        "RUN_DIR",
        MARK,
    }
)
"""The variables that every child finds in its environment."""

DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"
DEFAULT_FORMAT = ("-{{name}}", "{{value}}")
DEFAULT_ENTRY = {"python": "main.py", "java": "main.jar", "go": "main", "binary": "main"}

_PLACEHOLDER = re.compile(r"\{\{\s*(name|value)\s*\}\}")


def build_command(
    kind: str,
    entry: Path,
    *,
    interpreter: Path | None = None,
    arguments: Iterable[str] = (),
) -> tuple[str, ...]:
    """The argument vector of an application of the manifest type `kind`.

    `entry` is the absolute path of the file to start, `interpreter` the Python of its environment.
    Raises ValueError for a type that is not known, and for Python without an interpreter.
    """
    rest = tuple(arguments)
    if kind == "python":
        if interpreter is None:
            raise ValueError("an application of type python needs an interpreter")
        return (str(interpreter), str(entry), *rest)
    if kind == "java":
        return ("java", "-XX:MaxRAMPercentage=90", "-jar", str(entry), *rest)
    if kind in ("go", "binary"):
        return (str(entry), *rest)
    raise ValueError(f"{kind!r} is no type of an application: use python, java, go or binary")


def child_environment(
    *,
    run_id: str,
    run_dir: Path,
    tmp: Path,
    mark: str,
    path: str = DEFAULT_PATH,
    extra: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The whole environment of a child. `extra` adds to it, but replaces nothing of ours.

    Raises ValueError for a variable that no environment can hold.
    """
    # The mark comes first: that is where it is looked for, whatever the size of the rest.
    made = {
        MARK: mark,
        "PATH": path,
        "HOME": str(tmp),
        "LANG": "C.UTF-8",
        "TMPDIR": str(tmp),
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
        "RUN_ID": run_id,
        "RUN_DIR": str(run_dir),
    }
    for name, value in (extra or {}).items():
        if not name or "=" in name or "\0" in name or "\0" in value:
            raise ValueError(f"{name!r} cannot be a variable of the environment: rename it")
        made.setdefault(name, value)
    return made


def option_pairs(
    values: Mapping[str, object],
    declared: Iterable[tuple[str, object]] = (),
    *,
    variables: Iterable[str] = VARIABLES,
) -> list[tuple[str, object]]:
    """What is passed, in order: declared options that have a value, then the others as given.

    `declared` are (name, default) in the order of the manifest; None is no default. Defaults are
    not passed, except where the upper-cased name is one of `variables`: an application would take
    the value of that variable for its option.
    """
    pairs: list[tuple[str, object]] = []
    names: set[str] = set()
    taken = frozenset(variables)
    for name, default in declared:
        names.add(name)
        if name in values:
            pairs.append((name, values[name]))
        elif default is not None and name.upper() in taken:
            pairs.append((name, default))
    pairs.extend((name, value) for name, value in values.items() if name not in names)
    return pairs


def option_arguments(
    pairs: Iterable[tuple[str, object]], template: Sequence[str] | None = None
) -> list[str]:
    """Options as arguments; `template` is the `format` of the manifest.

    Strings stay as they are, anything else becomes compact JSON (`true`, `1.5`, `{"k":[1,2]}`).
    """
    parts = tuple(template) if template else DEFAULT_FORMAT
    arguments: list[str] = []
    for name, value in pairs:
        words = {"name": name, "value": option_text(value)}
        arguments += [_fill(part, words) for part in parts]
    return arguments


def option_text(value: object) -> str:
    """One option value as a program sees it on its command line."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _fill(part: str, words: Mapping[str, str]) -> str:
    # One pass: a value may hold the text of a placeholder itself.
    return _PLACEHOLDER.sub(lambda match: words[match[1]], part)
