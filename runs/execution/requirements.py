"""Which packages an application asks for, read from where its manifest points to."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

Kind = Literal["none", "list", "file", "pyproject", "bundled"]

BUNDLED = Path(".nextmv/python/deps")
"""Where an application may bring its packages along, relative to its folder."""

_FILE_BYTES = 1024 * 1024
_LINES = 10_000
_COMMENT = re.compile(r"(^|\s)#.*$")
_HASH = re.compile(r"--hash[= ]\s*[a-z0-9]+:[0-9a-fA-F]+")
_INCLUDE = re.compile(r"(-r|-c|--requirement|--constraint)(?:\s*=\s*|\s+|(?<=-[rc]))(\S.*)")
_NAMED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\s*(\[[^\]]*\]\s*)?(@\s*(?P<url>\S+)|[(<>=!~;].*)?")
_ARCHIVES = (".whl", ".zip", ".tar.gz", ".tgz", ".tar.bz2", ".tar")
_URL = re.compile(r"(git\+)?(https?|ssh)://\S+")


class RequirementsRefused(ValueError):
    """The requirements cannot be used; the text says where and what to do."""


def read_requirements(
    app_dir: Path, kind: Kind, value: str | Sequence[str] | None = None
) -> tuple[str, ...]:
    """The requirements of the application in `app_dir`, one each, without comments.

    `value` is the list for `list`, and the path in the folder for `file` and `pyproject`. A
    constraint (`-c`) comes as `-c REQUIREMENT`. `bundled` and `none` need no package. Raises
    `RequirementsRefused` for options, for paths, and for files that are missing or lie outside.
    """
    if kind == "list":
        entries = [value] if isinstance(value, str) else list(value or ())
        found = [_checked(entry.strip(), f"entry {n}") for n, entry in enumerate(entries, 1)]
    elif kind == "file":
        found = list(_File(app_dir).read(str(value or ""), constraint=False))
    elif kind == "pyproject":
        found = _project_dependencies(app_dir, str(value or "pyproject.toml"))
    else:
        found = []
    return tuple(dict.fromkeys(found))


def bundled_packages(app_dir: Path) -> Path | None:
    """The folder with packages that the application brings along, to be put on PYTHONPATH."""
    folder = app_dir / BUNDLED
    return folder if folder.is_dir() else None


class _File:
    """Reads a requirements file and those it includes, each once."""

    def __init__(self, app_dir: Path) -> None:
        self._app_dir = app_dir
        self._seen: set[Path] = set()
        self._lines = 0

    def read(self, name: str, *, constraint: bool) -> Iterator[str]:
        path = _inside(self._app_dir, self._app_dir, name)
        yield from self._read(path, constraint=constraint)

    def _read(self, path: Path, *, constraint: bool) -> Iterator[str]:
        if path in self._seen:
            return
        self._seen.add(path)
        name = path.relative_to(self._app_dir.resolve()).as_posix()
        for number, line in _logical_lines(_text(path, name)):
            self._lines += 1
            if self._lines > _LINES:
                raise RequirementsRefused(f"`{name}` has more than {_LINES} lines. Shorten it.")
            where = f"`{name}` line {number}"
            include = _INCLUDE.fullmatch(line)
            if include:
                option, other = include.groups()
                # Relative to the file that includes, as pip does it.
                included = _inside(self._app_dir, path.parent, other.strip("\"'"))
                is_constraint = constraint or option in ("-c", "--constraint")
                yield from self._read(included, constraint=is_constraint)
                continue
            requirement = _checked(line, where)
            yield f"-c {requirement}" if constraint else requirement


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines that say something, continued ones joined, each with its first number."""
    start, parts = 0, ""
    for number, raw in enumerate(text.splitlines(), 1):
        start = start or number
        line = _COMMENT.sub("", raw)
        if line.endswith("\\"):
            parts += line[:-1] + " "
            continue
        joined = (parts + line).strip()
        if joined:
            yield start, joined
        start, parts = 0, ""
    if parts.strip():
        yield start, parts.strip()


def _checked(requirement: str, where: str) -> str:
    """`requirement` if it names a package or a web address; raises for anything else."""
    bare = " ".join(_HASH.sub("", requirement).split())
    shown = f"{where}: `{_shown(bare)}`"
    if bare.startswith("-") or " --" in bare:
        raise RequirementsRefused(
            f"{shown} is an option that is not accepted; only `-r`, `-c` and `--hash` are."
            " Remove it; package indexes are set on the worker."
        )
    if "${" in bare:
        raise RequirementsRefused(f"{shown} contains a variable. Write its value instead.")
    named = _NAMED.fullmatch(bare)
    url = bare.split(" ;")[0].strip() if named is None else named["url"]
    is_address = named is None or url is not None
    is_file = not is_address and bare.lower().endswith(_ARCHIVES)
    if is_file or (is_address and not _URL.fullmatch(url or "")):
        raise RequirementsRefused(
            f"{shown} is not a requirement that can be installed here. Write a package name with"
            f" its version, such as `numpy>=1.26`; put local packages into `{BUNDLED}/`."
        )
    if "\n" in requirement or "\r" in requirement:
        raise RequirementsRefused(f"{shown} has a line break. Use one entry for each package.")
    return " ".join(requirement.split())


def _project_dependencies(app_dir: Path, name: str) -> list[str]:
    path = _inside(app_dir, app_dir, name)
    try:
        document = tomllib.loads(_text(path, name))
    except tomllib.TOMLDecodeError as error:
        raise RequirementsRefused(f"`{name}` is not valid TOML: {error}. Correct it.") from None
    project = document.get("project")
    if not isinstance(project, dict):
        raise RequirementsRefused(
            f"`{name}` has no `[project]` table. Add it with `dependencies`, or name a"
            " requirements file in `app.yaml`."
        )
    if "dependencies" in project.get("dynamic", ()):
        raise RequirementsRefused(
            f"`{name}` declares its dependencies as dynamic. List them in `[project]`."
        )
    entries = project.get("dependencies", [])
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise RequirementsRefused(f"`dependencies` in `{name}` is not a list of strings.")
    return [_checked(entry.strip(), f"`{name}`") for entry in entries]


def _inside(app_dir: Path, folder: Path, name: str) -> Path:
    """The real path of the file `name` in `folder`, which must not lie out of `app_dir`."""
    shown = _shown(name)
    try:
        path = (folder / name).resolve()
        found = path.is_file()
    except (OSError, ValueError, RuntimeError):
        raise RequirementsRefused(f"`{shown}` is not a file name. Correct it.") from None
    if not path.is_relative_to(app_dir.resolve()):
        raise RequirementsRefused(
            f"The requirements file `{shown}` lies outside of the application. Move it inside."
        )
    if not name or not found:
        raise RequirementsRefused(
            f"The requirements file `{shown}` does not exist. Add it to the application, or correct"
            " `python.pip-requirements` in `app.yaml`."
        )
    return path


def _text(path: Path, name: str) -> str:
    with path.open("rb") as file:
        data = file.read(_FILE_BYTES + 1)
    if len(data) > _FILE_BYTES:
        raise RequirementsRefused(f"`{name}` is larger than {_FILE_BYTES} bytes. Shorten it.")
    if b"\0" in data:  # as of a file in UTF-16; no database keeps it
        raise RequirementsRefused(f"`{name}` holds zero bytes. Save it as UTF-8 text.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise RequirementsRefused(f"`{name}` is not UTF-8 text. Save it as UTF-8.") from None


def _shown(text: str) -> str:
    printable = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:121])
    # An address may carry a password.
    printable = re.sub(r"//[^/@\s]*@", "//***@", printable)
    return printable if len(printable) <= 120 else printable[:119] + "…"
