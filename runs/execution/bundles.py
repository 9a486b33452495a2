"""Packages that an application brings along: whether they fit this host, and their pins if not."""

from __future__ import annotations

import csv
import platform
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from runs.execution.requirements import BUNDLED, RequirementsRefused

_MACHINES = {0x3E: "linux-x86_64", 0xB7: "linux-aarch64", 0x28: "linux-arm", 0x03: "linux-i386"}
_MACH_O = (b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"\xce\xfa\xed\xfe")
_COMPILED = re.compile(r"\.(so(\.[0-9.]+)?|pyd|dylib)$")
_PYTHON_TAG = re.compile(r"\.(?:cpython-|cp)(\d)(\d{1,2})(?=[-.])")
_DIST_INFO = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._]*)-(?P<version>[0-9][A-Za-z0-9.!_]*)(\+[A-Za-z0-9._]+)?"
    r"\.dist-info"
)
_SHOWN = 5


@dataclass(frozen=True)
class Replaced:
    """What becomes of a bundle that does not fit: what to leave out, what to install instead.

    `dropped` are names relative to the application, `pins` are requirements, `why` is a sentence
    without an end.
    """

    dropped: frozenset[str]
    pins: tuple[str, ...]
    why: str


def built_for(file: Path) -> str:
    """The platform of a compiled file by its first bytes; empty for anything else."""
    with file.open("rb") as stream:
        start = stream.read(20)
    if start.startswith(b"\x7fELF") and len(start) == 20:
        order = "little" if start[5] == 1 else "big"
        machine = int.from_bytes(start[18:20], "little" if order == "little" else "big")
        return _MACHINES.get(machine, "linux-unknown")
    if start.startswith(_MACH_O):
        return "darwin"
    return "windows" if start.startswith(b"MZ") else ""


def this_platform() -> str:
    """The platform of this host in the words of `built_for`, with the machine of any system."""
    return f"{platform.system()}-{platform.machine()}".lower()


def bundled_python(names: Sequence[str]) -> str:
    """The version of Python that compiled bundled packages are for, `3.11`; empty if any fits."""
    tags = {
        f"{found[1]}.{found[2]}"
        for name in names
        if name.startswith(f"{BUNDLED}/") and (found := _PYTHON_TAG.search(name))
    }
    return max(tags, key=lambda tag: int(tag.partition(".")[2]), default="")


def replace_bundle(app_dir: Path, names: Sequence[str], *, python: str = "") -> Replaced | None:
    """What to do with the bundled packages among the files `names`; None when they fit.

    They do not when a compiled one is for another platform than this host's, or for another Python
    than the version `python` that they would run with (empty: not asked). Then the same versions
    are to be installed here, by the names of their `*.dist-info` folders; those that came from no
    index stay where they are. Raises `RequirementsRefused` when one that does not fit came from
    none, or has no version.
    """
    inside = [name for name in names if name.startswith(f"{BUNDLED}/")]
    unfit, why = _unfit(app_dir, inside, python)
    if not unfit:
        return None
    pins, kept = [], set[str]()
    for folder in sorted({_top(name) for name in inside if _top(name).endswith(".dist-info")}):
        found = _DIST_INFO.fullmatch(folder)
        if found is None or f"{BUNDLED}/{folder}/direct_url.json" in inside:
            kept.update(_files_of(app_dir, folder, inside))
        else:
            pins.append(f"{found['name']}=={found['version']}")
    stuck = sorted(unfit & kept) or (sorted(unfit) if not pins else [])
    if stuck:
        raise RequirementsRefused(
            f"The bundled packages are {why}, and `{PurePosixPath(stuck[0]).name}` is of none that"
            " can be installed from a package index. Bundle them for this server: set"
            f" `python: {{arch: {_arch()}}}` in `app.yaml`, then push again."
        )
    return Replaced(frozenset(inside) - kept, tuple(pins), why)


def pins_in_words(pins: Sequence[str]) -> str:
    """The first few pins, and how many more there are."""
    more = len(pins) - _SHOWN
    return ", ".join(pins[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _unfit(app_dir: Path, inside: Sequence[str], python: str) -> tuple[set[str], str]:
    """The compiled files that cannot be imported here, and why."""
    here = this_platform()
    wanted = ".".join(python.split(".")[:2])
    unfit, why = set[str](), ""
    for name in inside:
        if not _COMPILED.search(name):
            continue
        target = built_for(app_dir / name)
        tag = _PYTHON_TAG.search(PurePosixPath(name).name)
        version = f"{tag[1]}.{tag[2]}" if tag else ""
        if target and target != here and not (target == "darwin" and here.startswith("darwin")):
            unfit.add(name)
            why = f"built for {target}, this server is {here}"
        elif wanted and version and version != wanted:
            unfit.add(name)
            why = why or f"built for Python {version}, here they would run with {wanted}"
    return unfit, why


def _files_of(app_dir: Path, folder: str, inside: Sequence[str]) -> Iterator[str]:
    """The files of one installed package, as its record says."""
    there = set(inside)
    prefix = f"{BUNDLED}/{folder}/"
    yield from (name for name in inside if name.startswith(prefix))
    record = f"{prefix}RECORD"
    if record not in there:
        return
    with (app_dir / record).open(encoding="utf-8", errors="replace", newline="") as lines:
        try:
            for row in csv.reader(lines):
                if row and (name := f"{BUNDLED}/{row[0]}") in there:
                    yield name
        except csv.Error as error:
            raise RequirementsRefused(
                f"`{record}` cannot be read ({error}). Bundle the packages anew, then push again."
            ) from error


def _top(name: str) -> str:
    """The first part of a name below the bundle."""
    return name.removeprefix(f"{BUNDLED}/").partition("/")[0]


def _arch() -> str:
    return "arm64" if platform.machine().lower() in {"aarch64", "arm64"} else "amd64"
