"""Puts inputs into the store, once per content, and reads them back."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from runs.domain.content import check_json_input, is_folder_format, size_words
from runs.domain.errors import ArchiveRejected, InputRejected, NoRoom, TooLarge
from runs.domain.ids import new_id
from runs.execution import archive
from runs.models import Account, InputData, InputFile
from runs.storage import ObjectTooLarge, Stored, keys, object_store

CHECKED_BYTES = 8 * 1024 * 1024
"""JSON up to this size is parsed before it is accepted; larger ones are looked at by the app.

A parsed document takes some twenty times its size, in the process that answers everybody."""
STORED_NAMES = {"json": "input.json", "text": "input"}
STDIN_SAMPLES = ("input.json", "inputs/input.json", "input.txt", "input")
"""Where apps keep a sample of what they read on stdin."""
SAMPLE_FOLDER = ".runsite/sample"
"""Where an executable carries samples that its manifest does not select; never given to a run."""
LONGEST_SEGMENT_BYTES = 255
_parsing = threading.Lock()  # parsing holds the interpreter anyway: several at once cost memory
LONGEST_PATH = 1000


@dataclass(frozen=True)
class NewFile:
    """A file on its way into the store: its path in the input folder, and how to open it.

    `scratch` is the file itself where it lies on our disk and nobody else needs it: then it is
    moved into the store instead of copied.
    """

    path: str
    open: Callable[[], BinaryIO]
    scratch: Path | None = None


def scratch_file(path: str, scratch: Path) -> NewFile:
    """A file that lies in our scratch folder and may be moved away."""
    return NewFile(path, partial(_open, scratch), scratch)


def store_text_input(
    *, account: Account, content_format: str, data: bytes | BinaryIO | Path, file_name: str = ""
) -> InputData:
    """Store the input of a `json` or `text` app; the bytes are kept as they are.

    A path is a file of ours that is moved into the store.

    Raises `InputRejected` for JSON that is broken or no object, `TooLarge` above the limit.
    Nothing is kept then.
    """
    if is_folder_format(content_format):
        raise InputRejected(
            f"An app of format {content_format} reads a folder. Give files or an archive."
        )
    input_key = new_id()
    key = keys.input_file(input_key, 0)
    try:
        stored = _put(key, io.BytesIO(data) if isinstance(data, bytes) else data, file_name)
        if content_format == "json":
            _check_json(key, stored.size)
        return _keep_single(account, content_format, input_key, stored)
    except BaseException:
        object_store().delete_prefix(keys.input_prefix(input_key))
        raise


def store_json_input(*, account: Account, value: Mapping[str, object]) -> InputData:
    """Store an object that was parsed already as the input of a `json` app, in compact form.

    It is not parsed again. Raises what `store_text_input` raises.
    """
    try:
        data = json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")
    except RecursionError as error:
        raise InputRejected("The input is nested too deeply. Flatten it.") from error
    except ValueError:
        # Not a number: looking at the text tells where it stands.
        data = json.dumps(value, separators=(",", ":")).encode("ascii")
        return store_text_input(account=account, content_format="json", data=data)
    input_key = new_id()
    try:
        stored = _put(keys.input_file(input_key, 0), io.BytesIO(data), "")
        return _keep_single(account, "json", input_key, stored)
    except BaseException:
        object_store().delete_prefix(keys.input_prefix(input_key))
        raise


def store_object_input(
    *, account: Account, content_format: str, source_key: str, sha256: str = "", name: str = ""
) -> InputData:
    """Store a copy of an object as the input of a `json` or `text` app; the object stays.

    The store copies it itself. `sha256` is that of the object where it is known, else the copy is
    read once. `name` is what messages call it. Raises `ObjectMissing` and what `store_text_input`
    raises; nothing is kept then.
    """
    if sha256 and (known := _known(account, content_format, sha256)) is not None:
        return known
    input_key = new_id()
    key = keys.input_file(input_key, 0)
    store = object_store()
    try:
        size = store.copy(source_key, key)
        if size > settings.RUNSITE_UPLOAD_LIMIT:
            raise TooLarge(too_large_words(name or "The input"))
        if content_format == "json":
            _check_json(key, size)
        if not sha256:
            # Of the copy: the object may be replaced meanwhile.
            digest = hashlib.sha256()
            for piece in store.stream(key):
                digest.update(piece)
            sha256 = digest.hexdigest()
        files = [InputFile(number=0, path=STORED_NAMES[content_format], size_bytes=size, key=key)]
        return _keep(account, content_format, input_key, sha256, files)
    except BaseException:
        store.delete_prefix(keys.input_prefix(input_key))
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
            if file.scratch is not None:
                stored = _put(key, file.scratch, path, limit=left)
            else:
                with file.open() as stream:
                    stored = _put(key, stream, path, limit=left)
            left -= stored.size
            rows.append(InputFile(number=number, path=path, size_bytes=stored.size, key=key))
            hashes.append((path, stored.sha256))
        if not rows:
            raise InputRejected("The input folder is empty. Give at least one file.")
        _refuse_files_as_folders(seen)
        digest = hashlib.sha256(repr(sorted(hashes)).encode()).hexdigest()
        return _keep(account, content_format, input_key, digest, rows)
    except BaseException:
        object_store().delete_prefix(keys.input_prefix(input_key))
        raise


def store_archive_input(
    *, account: Account, content_format: str, source: Path, strip: bool = True
) -> InputData:
    """Unpack an archive (zip, tar, tar.gz) and store its files; one common top folder is left out.

    Raises `ArchiveRejected` when it is broken or hostile, and `NoRoom`; nothing is kept then.
    """
    check_room()
    with tempfile.TemporaryDirectory(dir=scratch_folder()) as scratch:
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


def open_input_file(file: InputFile) -> BinaryIO:
    """A seekable reader of one file of an input, which the caller closes."""
    return object_store().open(file.key)


def input_folder(content_format: str, configured: str) -> str:
    """The folder below the working directory in which an app finds its input files."""
    return "input" if content_format == "csv-archive" else configured.strip("/") or "inputs"


def clean_path(path: str) -> str:
    """`path` as a path inside the input folder; raises `InputRejected` when it leads out of it."""
    parts = path.replace("\\", "/").split("/")
    bad = path.startswith(("/", "\\")) or ".." in parts or not path.isprintable()
    clean = "/".join(part for part in parts if part not in {"", "."})
    if bad or not clean:
        raise InputRejected(
            f"`{_shown(path)}` is not a path inside the input folder. Give relative names without"
            " `..` and control characters."
        )
    longest = max(len(part.encode()) for part in parts)
    if longest > LONGEST_SEGMENT_BYTES or len(clean) > LONGEST_PATH:
        raise InputRejected(f"The name `{_shown(path)}…` is too long for a file. Shorten it.")
    return clean


def _shown(path: str) -> str:
    return "".join(
        char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in path[:80]
    )


def _refuse_files_as_folders(paths: set[str]) -> None:
    """A file cannot be the folder of another; no file system could hold both."""
    for path in paths:
        parts = path.split("/")
        for end in range(1, len(parts)):
            if (folder := "/".join(parts[:end])) in paths:
                raise InputRejected(
                    f"`{folder}` is a file and also the folder of `{path}`. Rename one of them."
                )


def _keep_single(
    account: Account, content_format: str, input_key: str, stored: Stored
) -> InputData:
    """As `_keep`, for an input that is one file."""
    file = InputFile(
        number=0,
        path=STORED_NAMES[content_format],
        size_bytes=stored.size,
        key=keys.input_file(input_key, 0),
    )
    return _keep(account, content_format, input_key, stored.sha256, [file])


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
    # It counts as new: what nobody has used for a day is removed.
    same.update(created_at=timezone.now())
    return known


def _known(account: Account, content_format: str, sha256: str) -> InputData | None:
    """The input with this content, counted as new; None when there is none yet."""
    same = InputData.objects.filter(account=account, content_format=content_format, sha256=sha256)
    # First: what is new is not removed before it is used.
    return same.first() if same.update(created_at=timezone.now()) else None


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
    with _parsing:
        problem = check_json_input(text)
    if problem is not None:
        raise InputRejected(str(problem))


def _put(key: str, source: BinaryIO | Path, name: str, *, limit: int | None = None) -> Stored:
    limit = settings.RUNSITE_UPLOAD_LIMIT if limit is None else limit
    try:
        if isinstance(source, Path):
            return object_store().put_file(key, source, limit_bytes=limit, consume=True)
        return object_store().put(key, source, limit_bytes=limit)
    except ObjectTooLarge as error:
        raise TooLarge(too_large_words(name or "The input")) from error


def too_large_words(name: str) -> str:
    """What to say about an input above the limit of the installation."""
    most = size_words(settings.RUNSITE_UPLOAD_LIMIT)
    return (
        f"{name} is too large: an input may have {most} here. Ask your administrator to raise"
        " RUNSITE_UPLOAD_LIMIT, or give less."
    )


def _single_folder(folder: Path) -> Path:
    inside = list(folder.iterdir())
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else folder


def _files_below(root: Path) -> Iterator[NewFile]:
    for path in sorted(root.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield scratch_file(path.relative_to(root).as_posix(), path)


def _open(path: Path) -> BinaryIO:
    return path.open("rb")


def check_room(size_bytes: int = 0) -> None:
    """Raise `NoRoom` when `size_bytes` more would leave less than RUNSITE_FREE_SPACE free.

    For what programs send: the rest of the disk is for the database, logs and runs under way.
    """
    free = shutil.disk_usage(scratch_folder()).free
    if free - size_bytes < settings.RUNSITE_FREE_SPACE:
        raise NoRoom(
            f"The disk of the server has {size_words(free)} left, too little to take this. Tell the"
            " people who run this console, and send it again later."
        )


def sweep_scratch(older_than_s: float, *, now_s: float) -> int:
    """Remove what killed processes left in the scratch folder so long ago; how many entries."""
    count = 0
    for entry in scratch_folder().iterdir():
        with contextlib.suppress(FileNotFoundError):
            if now_s - entry.lstat().st_mtime < older_than_s:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink()
            count += not entry.exists()
    return count


def scratch_folder() -> Path:
    """Where files wait on their way into the store; on its disk, so that they can be moved."""
    folder = Path(settings.RUNSITE_DATA_DIR) / "tmp"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder
