"""Puts inputs into the store, once per content, and reads them back."""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import BinaryIO, cast

from django.conf import settings
from django.db import IntegrityError, transaction

from runs.domain.content import check_json_input, is_folder_format
from runs.domain.errors import ArchiveRejected, InputRejected, TooLarge
from runs.domain.ids import new_id
from runs.domain.manifest import manifest_from_json
from runs.execution import archive
from runs.execution.entries import Member
from runs.models import Account, Executable, InputData, InputFile
from runs.storage import ObjectTooLarge, Stored, keys, object_store

CHECKED_BYTES = 64 * 1024 * 1024
"""JSON up to this size is parsed before it is accepted; larger ones are looked at by the app."""
STORED_NAMES = {"json": "input.json", "text": "input"}
STDIN_SAMPLES = ("input.json", "inputs/input.json", "input.txt", "input")
"""Where apps keep a sample of what they read on stdin."""
SAMPLE_FOLDER = ".runsite/sample"
"""Where an executable carries samples that its manifest does not select; never given to a run."""


@dataclass(frozen=True)
class NewFile:
    """A file on its way into the store: its path in the input folder, and how to open it."""

    path: str
    open: Callable[[], BinaryIO]


def store_text_input(
    *, account: Account, content_format: str, data: bytes | BinaryIO, file_name: str = ""
) -> InputData:
    """Store the input of a `json` or `text` app; the bytes are kept as they are.

    Raises `InputRejected` for JSON that is broken or no object, `TooLarge` above the limit.
    Nothing is kept then.
    """
    if is_folder_format(content_format):
        raise InputRejected(
            f"An app of format {content_format} reads a folder. Give files or an archive."
        )
    stream = io.BytesIO(data) if isinstance(data, bytes) else data
    input_key = new_id()
    key = keys.input_file(input_key, 0)
    stored = _put(key, stream, file_name or "The input")
    try:
        if content_format == "json":
            _check_json(key, stored.size)
        name = STORED_NAMES[content_format]
        files = [InputFile(number=0, path=name, size_bytes=stored.size, key=key)]
        return _keep(account, content_format, input_key, stored.sha256, files)
    except BaseException:
        object_store().delete_prefix(keys.input_prefix(input_key))
        raise


def store_folder_input(
    *, account: Account, content_format: str, files: Iterable[NewFile]
) -> InputData:
    """Store the files of a `multi-file` or `csv-archive` input under their paths.

    Raises `InputRejected` for paths that leave the folder, for doubles and for none at all.
    """
    if not is_folder_format(content_format):
        raise InputRejected(f"An app of format {content_format} reads one {content_format} input.")
    input_key = new_id()
    rows: list[InputFile] = []
    hashes: list[tuple[str, str]] = []
    seen: set[str] = set()
    left = settings.RUNSITE_UPLOAD_LIMIT
    try:
        for number, file in enumerate(files):
            path = clean_path(file.path)
            if path in seen:
                raise InputRejected(f"Two files are called `{path}`. Give each once.")
            seen.add(path)
            key = keys.input_file(input_key, number)
            with file.open() as stream:
                stored = _put(key, stream, path, limit=left)
            left -= stored.size
            rows.append(InputFile(number=number, path=path, size_bytes=stored.size, key=key))
            hashes.append((path, stored.sha256))
        if not rows:
            raise InputRejected("The input folder is empty. Give at least one file.")
        digest = hashlib.sha256(repr(sorted(hashes)).encode()).hexdigest()
        return _keep(account, content_format, input_key, digest, rows)
    except BaseException:
        object_store().delete_prefix(keys.input_prefix(input_key))
        raise


def store_archive_input(
    *, account: Account, content_format: str, source: Path, strip: bool = True
) -> InputData:
    """Unpack an archive (zip, tar, tar.gz) and store its files; one common top folder is left out.

    Raises `ArchiveRejected` when it is broken or hostile; nothing is kept then.
    """
    with tempfile.TemporaryDirectory(dir=_scratch()) as scratch:
        folder = Path(scratch) / "files"
        try:
            archive.unpack(
                source,
                folder,
                limit_bytes=settings.RUNSITE_UPLOAD_LIMIT,
                limit_files=settings.RUNSITE_UNPACKED_FILES,
            )
        except archive.ArchiveRefused as refused:
            raise ArchiveRejected(str(refused)) from refused
        root = _single_folder(folder) if strip else folder
        return store_folder_input(
            account=account, content_format=content_format, files=_files_below(root)
        )


def sample_input(*, account: Account, executable: Executable) -> InputData | None:
    """The sample that an executable brings along: `input.json`, `input`, or its input folder."""
    manifest = manifest_from_json(executable.manifest)
    content_format = manifest.content.format
    with object_store().open(executable.archive_key) as stream:
        if not is_folder_format(content_format):
            found = _first_of(stream, STDIN_SAMPLES)
            if found is None:
                return None
            name, data = found
            return store_text_input(
                account=account, content_format=content_format, data=data, file_name=name
            )
        inside = input_folder(content_format, manifest.content.input_path) + "/"
        for folder in (f"{SAMPLE_FOLDER}/{inside}", inside):
            with archive.open_archive(stream) as reader:
                files = (
                    NewFile(member.entry.name.removeprefix(folder), partial(_spooled, member))
                    for member in reader.members()
                    if not member.is_folder and member.entry.name.startswith(folder)
                )
                first = next(files, None)
                if first is not None:
                    return store_folder_input(
                        account=account, content_format=content_format, files=chain([first], files)
                    )
    return None


def open_input_file(file: InputFile) -> BinaryIO:
    """A seekable reader of one file of an input, which the caller closes."""
    return object_store().open(file.key)


def input_folder(content_format: str, configured: str) -> str:
    """The folder below the working directory in which an app finds its input files."""
    return "input" if content_format == "csv-archive" else configured.strip("/") or "inputs"


def clean_path(path: str) -> str:
    """`path` as a path inside the input folder; raises `InputRejected` when it leads out of it."""
    parts = path.replace("\\", "/").split("/")
    bad = path.startswith("/") or ".." in parts or "\x00" in path or len(path) > 1000
    clean = "/".join(part for part in parts if part not in {"", "."})
    if bad or not clean:
        raise InputRejected(
            f"`{path[:200]}` is not a path inside the input folder. Give relative names without"
            " `..`."
        )
    return clean


def _keep(
    account: Account, content_format: str, input_key: str, sha256: str, files: list[InputFile]
) -> InputData:
    """The row of this content: the one that is there already, or a new one."""
    same = InputData.objects.filter(account=account, content_format=content_format, sha256=sha256)
    known = same.first()
    if known is None:
        try:
            with transaction.atomic():
                known = InputData.objects.create(
                    account=account,
                    input_key=input_key,
                    content_format=content_format,
                    sha256=sha256,
                    size_bytes=sum(file.size_bytes for file in files),
                    file_count=len(files),
                )
                for file in files:
                    file.input_data = known
                InputFile.objects.bulk_create(files)
                return known
        except IntegrityError:
            known = same.get()  # somebody stored the same at the same moment
    object_store().delete_prefix(keys.input_prefix(input_key))
    return known


def _check_json(key: str, size: int) -> None:
    if size > CHECKED_BYTES:
        return
    data = object_store().read_range(key, 0, size)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputRejected(
            f"The input is not UTF-8 text: byte {error.start} cannot be read. Save it as UTF-8."
        ) from error
    if (problem := check_json_input(text)) is not None:
        raise InputRejected(str(problem))


def _put(key: str, stream: BinaryIO, name: str, *, limit: int | None = None) -> Stored:
    limit = settings.RUNSITE_UPLOAD_LIMIT if limit is None else limit
    try:
        return object_store().put(key, stream, limit_bytes=limit)
    except ObjectTooLarge as error:
        most = settings.RUNSITE_UPLOAD_LIMIT // 2**20
        raise TooLarge(
            f"{name} is too large: an input may have {most} MiB here. Ask your administrator to"
            " raise RUNSITE_UPLOAD_LIMIT, or give less."
        ) from error


def _first_of(stream: BinaryIO, names: tuple[str, ...]) -> tuple[str, bytes] | None:
    """The first of `names` that an executable's archive has as sample or file, and its content."""
    with archive.open_archive(stream) as reader:
        there = {member.entry.name for member in reader.members() if not member.is_folder}
    for name in names:
        for path in (f"{SAMPLE_FOLDER}/{name}", name):
            if path in there:
                data = archive.read_member(stream, path, CHECKED_BYTES)
                return None if data is None else (name, data)
    return None


def _spooled(member: Member) -> BinaryIO:
    """The content of a member as a file; in memory while it is small."""
    file = tempfile.SpooledTemporaryFile(max_size=2**20, dir=str(_scratch()))  # noqa: SIM115
    for piece in member.content():
        file.write(piece)
    file.seek(0)
    return cast(BinaryIO, file)


def _single_folder(folder: Path) -> Path:
    inside = list(folder.iterdir())
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else folder


def _files_below(root: Path) -> Iterator[NewFile]:
    for path in sorted(root.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield NewFile(path.relative_to(root).as_posix(), lambda path=path: path.open("rb"))  # type: ignore[misc]


def _scratch() -> Path:
    folder = Path(settings.RUNSITE_DATA_DIR) / "tmp"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder
