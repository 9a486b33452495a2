"""Turns an uploaded folder into a checked build, ready to be stored: manifest, files, sample."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import cast

from django.conf import settings

from runs.actions.inputs import (
    SAMPLE_FOLDER,
    STDIN_SAMPLES,
    NewFile,
    input_folder,
    scratch_folder,
)
from runs.domain.content import is_folder_format
from runs.domain.errors import ArchiveRejected, ManifestInvalid, TooLarge
from runs.domain.manifest import Manifest, Problem, parse_manifest, select_files
from runs.execution import archive, bundles, dependencies
from runs.execution.entries import ArchiveRefused, Ledger, Limits, clean_name, is_junk

MANIFEST = "app.yaml"
MANIFEST_BYTES = 1024 * 1024
_CHUNK = 1024 * 1024
_QUICK, _USUAL = 1, 6


@dataclass(frozen=True)
class Build:
    """A checked build on disk: `archive` is a tar.gz of its files, gone after the context."""

    archive: Path
    manifest: Manifest
    requirements: tuple[str, ...]
    unpacked_bytes: int
    file_count: int
    warnings: tuple[str, ...] = field(default=())
    platform: str = ""
    """Of a compiled entry file, such as `linux-x86_64`; empty when it runs anywhere."""
    suggested_name: str = ""
    """The name of the uploaded folder or archive, for an application without a name."""
    python_version: str = ""
    """Of its environment; empty for any."""


@contextmanager
def build_from_archive(
    *, source: Path, file_name: str = "", pushed: bool = False, scratch: Path | None = None
) -> Iterator[Build]:
    """Check an uploaded zip, tar or tar.gz and pack what its manifest selects.

    One that a client `pushed` has its packages bundled: a requirements file that its manifest
    names may be missing. `scratch` is where to work instead of the usual place. Raises
    `ArchiveRejected` for a broken or hostile one, `ManifestInvalid` with file, line and remedy,
    `TooLarge` above the limits. Nothing is left on disk, whatever happens.
    """
    size = source.stat().st_size
    if size > settings.RUNSITE_EXECUTABLE_LIMIT:
        raise TooLarge(_too_large(size))
    with _scratch(scratch) as scratch:
        folder = scratch / "files"
        try:
            archive.unpack(
                source,
                folder,
                limit_bytes=settings.RUNSITE_UNPACKED_LIMIT,
                limit_files=settings.RUNSITE_UNPACKED_FILES,
                strip_root_of=MANIFEST,
            )
        except ArchiveRefused as refused:
            shown = f"`{file_name}`: " if file_name else ""
            raise ArchiveRejected(f"{shown}{refused}") from refused
        yield _check_and_pack(folder, scratch, suggested_name=_stem(file_name), pushed=pushed)


@contextmanager
def build_from_files(*, files: Iterable[NewFile]) -> Iterator[Build]:
    """As `build_from_archive`, for the files of a dropped folder with their relative paths.

    Raises `ArchiveRejected` for a path that leads out of the folder or comes twice.
    """
    with _scratch() as scratch:
        folder = scratch / "files"
        names = _write_files(files, folder)
        root = archive.common_root(names)
        if f"{root}{MANIFEST}" not in names:
            root = ""
        yield _check_and_pack(folder / root, scratch, suggested_name=root.rstrip("/"))


@contextmanager
def build_from_folder(*, folder: Path) -> Iterator[Build]:
    """As `build_from_archive`, for a folder on the server; links in it are never followed.

    Only what the manifest selects is read.
    """
    with _scratch() as scratch:
        yield _check_and_pack(folder, scratch, suggested_name=folder.name)


def _check_and_pack(
    folder: Path, scratch: Path, *, suggested_name: str, pushed: bool = False
) -> Build:
    names, folders = _walk(folder)
    text = _manifest_text(folder, names)
    manifest = parse_manifest(text)
    selection = select_files(manifest.files, [*names, *folders], manifest.entrypoint)
    problems = [_pattern_problem(text, pattern) for pattern in selection.missing_patterns] + [
        _entry_problem(text, manifest, name, names) for name in [selection.missing_entry] if name
    ]
    if problems:
        raise ManifestInvalid("\n".join(str(problem) for problem in problems), problems)
    packages = _packages(folder, manifest, names, text, pushed=pushed)
    names = [name for name in names if name not in packages.dropped]
    selected = set(selection.files) - packages.dropped
    extra = {MANIFEST} | {name for name in names if name.startswith(f"{dependencies.BUNDLED}/")}
    if manifest.requirements.path:
        extra |= _requirement_files(names, manifest.requirements.path)
    sample = {name for name in _sample_files(manifest, names) if name not in selected}
    packed_folder = _materialise(folder, scratch, selected | extra | sample)
    for name in sample:
        target = packed_folder / SAMPLE_FOLDER / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (packed_folder / name).replace(target)
    warnings = [str(problem) for problem in manifest.warnings]
    warnings += [f"{MANIFEST}: {warning}." for warning in selection.warnings]
    warnings += packages.warnings
    built_for = ""
    entry = packed_folder / manifest.entrypoint
    if manifest.type in {"go", "binary"} and entry.is_file():
        entry.chmod(0o755)  # browsers and some packers lose the bit
        built_for = bundles.built_for(entry)
        here = bundles.this_platform()
        if built_for and built_for != here:
            warnings.append(
                f"`{manifest.entrypoint}` is built for {built_for}, this server is {here}."
                " Build it for the machine of your workers."
            )
    kept = sorted(selected | extra) + sorted(f"{SAMPLE_FOLDER}/{name}" for name in sample)
    target = scratch / "archive.tar.gz"
    try:
        packed = archive.pack_folder(
            packed_folder,
            target,
            files=kept,
            limit_bytes=settings.RUNSITE_UNPACKED_LIMIT,
            limit_files=settings.RUNSITE_UNPACKED_FILES,
            # Somebody waits for it: what a push brings was packed well and is large.
            level=_QUICK if pushed else _USUAL,
        )
    except ArchiveRefused as refused:
        raise ArchiveRejected(str(refused)) from refused
    size = target.stat().st_size
    if size > settings.RUNSITE_EXECUTABLE_LIMIT:
        raise TooLarge(_too_large(size))
    return Build(
        archive=target,
        manifest=manifest,
        requirements=packages.requirements,
        python_version=packages.python_version,
        unpacked_bytes=packed.size,
        file_count=packed.files,
        warnings=(*warnings, *packed.warnings),
        platform=built_for,
        suggested_name=suggested_name,
    )


# --- Files ------------------------------------------------------------------------------------


def _write_files(files: Iterable[NewFile], folder: Path) -> list[str]:
    """Write uploaded files below the new `folder`; their clean names."""
    ledger = Ledger(Limits(settings.RUNSITE_UNPACKED_LIMIT, settings.RUNSITE_UNPACKED_FILES))
    left = settings.RUNSITE_EXECUTABLE_LIMIT
    names = []
    folder.mkdir()
    for file in files:
        try:
            name = clean_name(file.path)
            if not name:
                raise ArchiveRejected("A file without a name was sent. Choose the folder again.")
            if is_junk(name):
                continue
            ledger.admit(name, is_folder=False, size=0)
        except ArchiveRefused as refused:
            text = str(refused).replace("Archive entry", "File").replace("archive", "folder")
            raise ArchiveRejected(text) from refused
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.scratch is not None:
            left = _taken(left, file.scratch.stat().st_size)
            file.scratch.replace(target)
        else:
            with file.open() as source, target.open("xb") as sink:
                while piece := source.read(_CHUNK):
                    left = _taken(left, len(piece))
                    sink.write(piece)
        target.chmod(0o644)
        names.append(name)
    if not names:
        raise ArchiveRejected("The folder holds no files. Choose one with an `app.yaml`.")
    return names


def _taken(left: int, size: int) -> int:
    if size > left:
        raise TooLarge(_too_large(None))
    return left - size


def _walk(folder: Path) -> tuple[list[str], list[str]]:
    """The regular files below `folder`, and its folders with a `/`; links are left out."""
    names: list[str] = []
    folders: list[str] = []
    most = settings.RUNSITE_UNPACKED_FILES
    for parent, below, files in os.walk(folder):
        for name in files:
            path = Path(parent, name)
            if stat.S_ISREG(path.lstat().st_mode):
                names.append(path.relative_to(folder).as_posix())
        below[:] = [name for name in below if not Path(parent, name).is_symlink()]
        folders += [f"{Path(parent, name).relative_to(folder).as_posix()}/" for name in below]
        if len(names) > most:
            raise ArchiveRejected(
                f"The folder `{folder.name}` holds more than {most} files. Leave out what the"
                " application does not need."
            )
    return sorted(names), sorted(folders)


def _materialise(folder: Path, scratch: Path, names: set[str]) -> Path:
    """A folder that may be changed with the files `names`: `folder` itself if it is ours."""
    if folder.is_relative_to(scratch):
        return folder
    packed, target = scratch / "selected.tar.gz", scratch / "files"
    try:
        archive.pack_folder(
            folder,
            packed,
            files=names,
            limit_bytes=settings.RUNSITE_UNPACKED_LIMIT,
            limit_files=settings.RUNSITE_UNPACKED_FILES,
        )
        archive.unpack(
            packed,
            target,
            limit_bytes=settings.RUNSITE_UNPACKED_LIMIT,
            limit_files=settings.RUNSITE_UNPACKED_FILES,
        )
    except ArchiveRefused as refused:
        raise ArchiveRejected(str(refused)) from refused
    packed.unlink()
    return target


def _sample_files(manifest: Manifest, names: Sequence[str]) -> list[str]:
    """The files of the sample input that lies beside an application."""
    if is_folder_format(manifest.content.format):
        inside = input_folder(manifest.content.format, manifest.content.input_path) + "/"
        return [name for name in names if name.startswith(inside)]
    known = set(names)
    return [name for name in STDIN_SAMPLES if name in known][:1]


def _requirement_files(names: Sequence[str], path: str) -> set[str]:
    """The file with the requirements and those beside it that it may include."""
    folder = PurePosixPath(path).parent
    found = {name for name in names if name == path}
    return found | {
        name
        for name in names
        if PurePosixPath(name).parent == folder
        and PurePosixPath(name).name.startswith(("requirements", "constraints"))
        and name.endswith((".txt", ".in"))
    }


# --- Manifest ---------------------------------------------------------------------------------


def _manifest_text(folder: Path, names: Sequence[str]) -> str:
    if MANIFEST not in names:
        raise ManifestInvalid(_missing_manifest(folder, names))
    with (folder / MANIFEST).open("rb") as file:
        data = file.read(MANIFEST_BYTES + 1)
    if len(data) > MANIFEST_BYTES:
        raise ManifestInvalid(f"{MANIFEST} is larger than {MANIFEST_BYTES} bytes. Shorten it.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ManifestInvalid(
            f"{MANIFEST}, line {line}: the file is not UTF-8 text. Save it as UTF-8."
        ) from error


def _missing_manifest(folder: Path, names: Sequence[str]) -> str:
    elsewhere = [name for name in names if PurePosixPath(name).name == MANIFEST]
    alike = [name for name in names if name.lower() in {"app.yml", "app.yaml"}]
    if (folder / MANIFEST).is_symlink():
        remedy = "It is a link there; put the file itself into the folder."
    elif alike:
        remedy = f"Rename `{alike[0]}` to `{MANIFEST}`."
    elif elsewhere:
        remedy = f"There is one at `{elsewhere[0]}`: pack the folder that holds it."
    else:
        remedy = "Put the manifest of the application there; docs/recipes.md shows one."
    return f"There is no `{MANIFEST}` at the top of the folder. {remedy}"


def _pattern_problem(text: str, pattern: str) -> Problem:
    return Problem(
        line=_line_of(text, pattern, after="files"),
        column=0,
        key="files",
        message=f"could not find files listed in manifest: `{pattern}`",
        remedy="Add the files, correct the pattern, or remove it.",
    )


def _entry_problem(text: str, manifest: Manifest, entry: str, names: Sequence[str]) -> Problem:
    if entry in names:
        line = _line_of(text, "files", after="files")
        remedy = f"The file is there but not selected: add `{entry}` to `files`."
    else:
        line = _line_of(text, "entrypoint", after="execution")
        remedy = f"Add `{entry}`, or name another program as `execution.entrypoint`."
        if manifest.build.command:
            remedy += f" It may have to be built first: `{manifest.build.command[:200]}`."
    return Problem(
        line=line,
        column=0,
        key="execution.entrypoint",
        message=f"missing mandatory files: `{entry}`",
        remedy=remedy,
    )


@dataclass(frozen=True)
class _Packages:
    """What its Python needs: installed or brought along; `dropped` are files to leave out."""

    requirements: tuple[str, ...] = ()
    python_version: str = ""
    dropped: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()


def _packages(
    folder: Path, manifest: Manifest, names: Sequence[str], text: str, *, pushed: bool
) -> _Packages:
    if manifest.type != "python":
        return _Packages()
    version = manifest.python.version
    wanted = manifest.requirements.for_files(names)
    try:
        if wanted.kind == "bundled":
            return _bundle(folder, names, version)
        if pushed and wanted.path and wanted.path not in names:
            return _Packages((), version, warnings=(_not_sent(wanted.path),))
        requirements = dependencies.read_requirements(
            folder, cast(dependencies.Kind, wanted.kind), wanted.path or wanted.entries
        )
    except dependencies.RequirementsRefused as refused:
        problem = Problem(
            line=_line_of(text, "pip-requirements", after="python")
            or _line_of(text, "pip_requirements", after="python"),
            column=0,
            key="python.pip-requirements",
            message=str(refused),
            remedy="",
        )
        raise ManifestInvalid(str(problem), [problem]) from refused
    return _Packages(requirements, version)


def _bundle(folder: Path, names: Sequence[str], version: str) -> _Packages:
    """Bundled packages as they are when they fit, else their versions to be installed."""
    compiled_for = bundles.bundled_python(names)
    chosen = ""
    if compiled_for:
        # The Python they are compiled for, if this host has it.
        version = version or compiled_for
        chosen = dependencies.find_interpreter(
            version, uv=dependencies.find_uv(), environ=settings.RUNSITE_INSTALLER_ENV
        ).version
    replaced = bundles.replace_bundle(folder, names, python=chosen)
    if replaced is None:
        return _Packages((), version)
    warning = (
        f"The bundled packages are {replaced.why}. The same versions are installed here instead:"
        f" {bundles.pins_in_words(replaced.pins)}. `python: {{arch: …}}` in `{MANIFEST}` says what"
        " a push bundles for."
    )
    return _Packages(replaced.pins, version, replaced.dropped, (warning,))


def _not_sent(path: str) -> str:
    return (
        f"`{path}` is not in the archive, and no packages are bundled with it: nothing is"
        f" installed. If the application needs packages, add `{path}` to `files`."
    )


def _line_of(text: str, word: str, *, after: str) -> int:
    """The line, from 1, where `word` stands at or after the key `after`; 0 when nowhere."""
    inside = False
    for number, line in enumerate(text.splitlines(), 1):
        inside = inside or line.lstrip().startswith(f"{after}:")
        if inside and word in line.partition(" #")[0]:
            return number
    return 0


def _too_large(size: int | None) -> str:
    most = settings.RUNSITE_EXECUTABLE_LIMIT / 2**20
    has = f" has {size / 2**20:.0f} MiB, but" if size else ""
    return (
        f"The upload{has} may have {most:g} MiB here. Leave out data and environments that the"
        " application does not need, or ask your administrator to raise RUNSITE_EXECUTABLE_LIMIT."
    )


def _stem(file_name: str) -> str:
    name = PurePosixPath(file_name.replace("\\", "/")).name
    for suffix in (".tar.gz", ".tgz", ".zip", ".tar"):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


@contextmanager
def _scratch(parent: Path | None = None) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="build-", dir=parent or scratch_folder()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
