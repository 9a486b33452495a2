"""What was sent of a run that was executed elsewhere: taken in, checked, and put into the store."""

from __future__ import annotations

import io
import tempfile
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from django.conf import settings

from runs.actions.inputs import NewFile, check_room, scratch_folder
from runs.actions.log_sources import ENTRY
from runs.actions.result_documents import ResultRows, store_result
from runs.domain.content import is_folder_format, size_words
from runs.domain.errors import ArchiveRejected, TooLarge
from runs.domain.ids import new_id
from runs.execution import archive
from runs.execution.documents import Unreadable, read_document
from runs.execution.entries import Ledger, clean_name
from runs.execution.entries import Limits as EntryLimits
from runs.execution.output import KEYS, Limits, SolutionFile, collect_sent
from runs.models import Asset, Run
from runs.storage import Stored, keys, object_store
from runs.storage.base import open_regular

Source = bytes | Path | Callable[[], BinaryIO]
"""Bytes that were sent: as they are, a regular file of ours (never a link), or what opens them."""

ATTEMPT = 1
"""The number of the only attempt of a run that was executed elsewhere."""
PIECE_BYTES = 256 * 1024
PARSED_BYTES = 8 * 1024 * 1024
MEMBER_BYTES = 32 * 1024 * 1024
"""Less than a worker reads: a parsed document takes some twenty times its size, in the process that
answers everybody."""
_parsing = threading.Lock()
ARCHIVES = (b"\x1f\x8b", b"PK\x03\x04", b"PK\x05\x06")
"""How a tar.gz and a zip begin; no JSON and no text does."""


@dataclass(frozen=True)
class TrackedResult:
    """What there is of a run that was executed elsewhere; every part may be missing.

    `output` is one document (JSON or text) or an archive (tar.gz, tar, zip) of the files of the
    result: its content tells which. `files` are the files one by one, instead. `log` is text.
    `metrics` is a JSON object, `statistics` likewise, `assets` a list; each bare or under its own
    name, as in `{"metrics": {…}}`. What of these three is missing is taken from a JSON output.
    `downloads` are further files, kept as assets of the content type `html`: pages drawn elsewhere,
    which nobody is shown.
    """

    output: Source | None = None
    files: Iterable[NewFile] | None = None
    log: Source | None = None
    metrics: Source | None = None
    statistics: Source | None = None
    assets: Source | None = None
    downloads: Iterable[NewFile] = ()


@dataclass
class TrackedRows(ResultRows):
    """The rows of such a result, and what is known of its log."""

    output_format: str = ""
    log_key: str = ""
    log_bytes: int = 0
    log_lines: int = 0
    log_cut_at: int | None = None
    log_cut_bytes: int = 0


def store_tracked(run: Run, result: TrackedResult) -> TrackedRows:
    """Put everything of `result` into the store under the id of `run`, which has no row yet.

    Broken metrics, statistics and assets are warnings. Raises `ArchiveRejected` for an archive that
    is broken or hostile, and `TooLarge`; the caller then removes what is in the store.
    """
    check_room()
    rows = TrackedRows(output_format=run.output_format)
    with tempfile.TemporaryDirectory(dir=scratch_folder(), prefix="tracked-") as scratch:
        root = Path(scratch)
        document, files = _take_output(root, rows, result)
        documents = {}
        for key in KEYS:
            source = getattr(result, key)
            if source is not None:
                documents[key] = root / f"{key}.json"
                _copy(source, documents[key], f"The {key}")
        with _parsing:
            collected = collect_sent(
                document,
                content_format=rows.output_format,
                files=files,
                documents=documents,
                scratch=root,
                limits=Limits(parse_bytes=PARSED_BYTES, member_bytes=MEMBER_BYTES),
            )
        store_result(rows, collected, run=run, number=ATTEMPT, storing=_Storing())
        _store_downloads(root, rows, run, result.downloads)
        if result.log is not None:
            _store_log(root, rows, run, result.log)
    return rows


class _Storing:
    """Files lie in our scratch folder and are moved; an outage is told to who sent them."""

    def put_file(self, key: str, path: Path) -> Stored:
        return object_store().put_file(key, path, consume=True)

    def put_bytes(self, key: str, data: bytes) -> None:
        object_store().put_bytes(key, data)


def _take_output(
    root: Path, rows: TrackedRows, result: TrackedResult
) -> tuple[Path | None, list[SolutionFile]]:
    """The document and the files of the result, in our scratch folder.

    What was sent goes before what was announced: an archive is a folder, and one JSON document is
    none. `rows.output_format` then says so.
    """
    if result.files is not None:
        if not is_folder_format(rows.output_format):
            rows.output_format = "multi-file"
        return None, _take_files(root, result.files)
    if result.output is None:
        return None, []
    sent = root / "output"
    _copy(result.output, sent, "The output")
    with sent.open("rb") as stream:
        begin = stream.read(len(ARCHIVES[1]))
    if not begin:
        return None, []
    folder = is_folder_format(rows.output_format)
    if not folder and not begin.startswith(ARCHIVES):
        return sent, []
    try:
        files = _unpack(sent, root / "files")
    except archive.ArchiveRefused as refused:
        if begin.startswith(ARCHIVES) or not _is_json(sent):
            raise ArchiveRejected(f"The output cannot be unpacked. {refused}") from refused
        rows.output_format = "json"
        return sent, []
    if not folder:
        rows.output_format = "multi-file"
    return None, files


def _unpack(sent: Path, target: Path) -> list[SolutionFile]:
    try:
        entries = archive.unpack(
            sent,
            target,
            limit_bytes=settings.RUNSITE_OUTPUT_LIMIT,
            limit_files=settings.RUNSITE_UNPACKED_FILES,
        )
    except archive.ArchiveEmpty:
        return []
    sent.unlink()
    return [
        SolutionFile(entry.name, target / entry.name, entry.size)
        for entry in sorted(entries, key=lambda entry: entry.name)
    ]


def _take_files(root: Path, files: Iterable[NewFile]) -> list[SolutionFile]:
    """The files one by one, by the rules of archives; numbered on disk: names may be anything."""
    folder = root / "files"
    folder.mkdir()
    ledger = Ledger(EntryLimits(settings.RUNSITE_OUTPUT_LIMIT, settings.RUNSITE_UNPACKED_FILES))
    taken = []
    for number, file in enumerate(files):
        target = folder / str(number)
        try:
            name = clean_name(_text(file.path))
            size = _copy(file.scratch or file.open, target, f"`{name}`")
            ledger.admit(name, is_folder=False, size=size)
        except archive.ArchiveRefused as refused:
            raise ArchiveRejected(f"The result cannot be kept. {refused}") from refused
        taken.append(SolutionFile(name, target, size))
    return taken


def _text(path: str) -> str:
    """A path as valid text: names on a disk may be any bytes."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _store_downloads(root: Path, rows: TrackedRows, run: Run, files: Iterable[NewFile]) -> None:
    for file in files:
        number = len(rows.assets)
        kept = root / "download"
        size = _copy(file.open, kept, f"`{file.path}`")
        key = keys.asset(run.run_id, ATTEMPT, number)
        object_store().put_file(key, kept, consume=True)
        rows.assets.append(
            Asset(
                run=run,
                asset_id=new_id(),
                number=number,
                name=file.path[:300],
                content_type=Asset.PAGE,
                size_bytes=size,
                key=key,
            )
        )


def _is_json(path: Path) -> bool:
    if path.stat().st_size > PARSED_BYTES:
        return False
    try:
        return isinstance(read_document(path.read_bytes()).value, dict)
    except Unreadable:
        return False


def _copy(
    source: Source,
    target: Path,
    what: str,
    limit: int | None = None,
    setting: str = "RUNSITE_OUTPUT_LIMIT",
) -> int:
    """Copy what was sent into our scratch folder; its size. Raises `TooLarge`."""
    limit = settings.RUNSITE_OUTPUT_LIMIT if limit is None else limit
    size = 0
    with _open(source) as stream, target.open("wb") as file:
        while piece := stream.read(PIECE_BYTES):
            size += len(piece)
            if size > limit:
                raise TooLarge(
                    f"{what} is too large: at most {size_words(limit)} are kept here. Send less, or"
                    f" ask your administrator to raise {setting}."
                )
            file.write(piece)
    return size


def _open(source: Source) -> BinaryIO:
    if isinstance(source, bytes):
        return io.BytesIO(source)
    return open_regular(source) if isinstance(source, Path) else source()


def _store_log(root: Path, rows: TrackedRows, run: Run, source: Source) -> None:
    """Store the log with its index as a worker does; all of its lines have the same time.

    Of a log above the limit the first and the last half are kept.
    """
    sent, kept = root / "log", root / "log-kept"
    size = _copy(source, sent, "The log", settings.RUNSITE_UPLOAD_LIMIT, "RUNSITE_UPLOAD_LIMIT")
    if not size:
        return
    half = settings.RUNSITE_LOG_LIMIT // 2
    cut = (half, size - half) if size > settings.RUNSITE_LOG_LIMIT else (size, size)
    entries = []
    with sent.open("rb") as stream, kept.open("wb") as file:
        for end, wanted in ((cut[0], True), (cut[1], False), (size, True)):
            while piece := stream.read(min(PIECE_BYTES, end - stream.tell())):
                if wanted:
                    entries.append(ENTRY.pack(file.tell(), rows.log_lines, 0.0))
                    file.write(piece)
                rows.log_lines += piece.count(b"\n")
    rows.log_bytes = size
    if cut[1] > cut[0]:
        rows.log_cut_at, rows.log_cut_bytes = cut[0], cut[1] - cut[0]
        rows.warnings.append(
            f"{rows.log_cut_bytes:,} bytes in the middle of the log were dropped: it is longer than"
            " its limit."
        )
    rows.log_key = keys.log(run.run_id, ATTEMPT)
    object_store().put_file(rows.log_key, kept, consume=True)
    object_store().put_bytes(keys.log_index(run.run_id, ATTEMPT), b"".join(entries))
