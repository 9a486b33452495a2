"""A run as a folder that the published local tool lists and reads, packed while it is sent."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import BinaryIO

from runs.actions.logs import log_end, stream_log
from runs.actions.outputs import inside_name, open_asset, open_output
from runs.domain.content import is_folder_format
from runs.domain.errors import NotFound
from runs.domain.options import to_wire
from runs.domain.run_folders import WrittenOption, WrittenRun, write_information
from runs.domain.status import EndReason, Status
from runs.execution.packing import pack_zip_stream
from runs.models import Asset, Attempt, InputFile, Run, RunFile
from runs.storage import ObjectMissing, object_store

_PIECE = 256 * 1024
_ROWS = 500
_FEW = 10
_INPUT_NAMES = {"json": "input.json", "text": "input"}
_Entry = tuple[str, int | None, Callable[[], BinaryIO]]


def export_run(run: Run) -> tuple[str, Iterator[bytes]]:
    """The name of a zip, and the zip itself in pieces: the folder `<run id>/` of the local tool.

    Nothing is read before the first piece is taken. The information file comes last, so that a
    folder which was unpacked in part is not taken for a run. A run that has not ended is exported
    as it is now. Memory is that of one piece, whatever the sizes.
    """
    return f"{run.run_id}.zip", _pieces(run)


def _pieces(run: Run) -> Iterator[bytes]:
    top = run.run_id
    entries = ((f"{top}/{name}", size, opener) for name, size, opener in _entries(run))
    folders = (f"{top}/{name}" for name in ("inputs", "outputs/solutions", "logs"))
    yield from pack_zip_stream(entries, folders=folders)


def _entries(run: Run) -> Iterator[_Entry]:
    """The files of the folder; a name is relative to it."""
    yield from _input(run)
    yield from _output(run)
    yield from _assets(run)
    yield from _log(run)
    yield f"{run.run_id}.json", None, partial(_information, run)


def _input(run: Run) -> Iterator[_Entry]:
    if run.input_data is None:
        return
    files: Iterable[InputFile] = run.input_data.files.order_by("number").iterator(_ROWS)
    for file in files:
        name = _INPUT_NAMES.get(run.input_format) or inside_name(file.path, file.number)
        yield f"inputs/{name}", file.size_bytes, partial(_open, file.key, file.path)


def _output(run: Run) -> Iterator[_Entry]:
    stored = RunFile.objects.filter(run=run)
    documents = {file.role: file for file in stored.exclude(role=RunFile.SOLUTION)[:_FEW]}
    if not is_folder_format(run.output_format):
        result = documents.get(RunFile.STDOUT)
        if result is not None:
            opener = partial(open_output, result)
            yield "outputs/solutions/solution.json", result.size_bytes, opener
        elif run.status == Status.SUCCEEDED and run.output_format == "json":
            # The tool cannot read a result that is not there.
            yield "outputs/solutions/solution.json", 2, partial(io.BytesIO, b"{}")
    for file in stored.filter(role=RunFile.SOLUTION).order_by("number").iterator(_ROWS):
        name = inside_name(file.path, file.number)
        yield f"outputs/solutions/{name}", file.size_bytes, partial(open_output, file)
    for role in (RunFile.METRICS, RunFile.STATISTICS):
        if role in documents:
            yield f"outputs/{role}.json", None, partial(_wrapped, role, documents[role])


def _assets(run: Run) -> Iterator[_Entry]:
    assets = list(Asset.objects.filter(run=run).order_by("number"))
    declared = [asset for asset in assets if asset.content_type != Asset.PAGE]
    if declared:
        yield "outputs/assets.json", None, lambda: _reader(_asset_pieces(declared))
    for page in assets:
        if page.content_type == Asset.PAGE:
            name = inside_name(page.name, page.number).replace("/", "_")
            yield f"visuals/{name}", page.size_bytes, partial(open_asset, page)


def _log(run: Run) -> Iterator[_Entry]:
    """The log of the newest attempt; an empty one when there is none, as the tool asks for it."""
    attempt = Attempt.objects.filter(run=run).order_by("-number").first()

    def opened() -> BinaryIO:
        if attempt is None:
            return io.BytesIO()
        attempt.run = run
        return _reader(stream_log(attempt=attempt, end=log_end(attempt=attempt)))

    yield "logs/logs.log", None, opened


def _information(run: Run) -> BinaryIO:
    return io.BytesIO(write_information(_written(run)))


def _written(run: Run) -> WrittenRun:
    rows = run.options.order_by("position").values_list("name", "text", "source", "passed")
    return WrittenRun(
        run_id=run.run_id,
        status=Status(run.status),
        created_at=run.created_at,
        name=run.name,
        description=run.description,
        user_email=run.submitted_by.email if run.submitted_by else "",
        error=error_of(run),
        duration_s=run.duration_s,
        execution_s=run.execution_s,
        started_at=run.started_at,
        application_id=run.application.application_id,
        instance_id=run.instance.instance_id if run.instance else run.former_instance_id,
        version_id=run.version.version_id if run.version else run.former_version_id,
        input_format=run.input_format,
        output_format=run.output_format,
        input_bytes=run.input_bytes,
        output_bytes=run.output_bytes or 0,
        options=tuple(
            WrittenOption(name, text, source, given=passed or source != "manifest")
            for name, text, source, passed in rows
        ),
        requested={name: to_wire(value) for name, value in run.requested_options.items()},
        execution_class=run.execution_class,
        runtime=run.runtime,
        run_type=run.run_type,
        queuing_disabled=run.queuing_disabled,
        priority=run.priority,
        cloned_from=run.cloned_from.run_id if run.cloned_from else "",
        managed_input=run.managed_input.input_id if run.managed_input else "",
        batch_experiment_id=run.batch_experiment_id,
    )


def error_of(run: Run) -> str:
    """The one line of a run that did not succeed; never empty for one that ended badly."""
    if run.status in {Status.QUEUED, Status.RUNNING, Status.SUCCEEDED}:
        return ""
    return run.error or run.end_words or EndReason(run.end_reason).value or run.status


def _wrapped(key: str, file: RunFile) -> BinaryIO:
    """`{"<key>": …}`: the tool asks the bare value for its keys, and not every value has any."""

    def pieces() -> Iterator[bytes]:
        yield f'{{"{key}": '.encode()
        with open_output(file) as stream:
            yield from _in_pieces(stream)
        yield b"}"

    return _reader(pieces())


def _asset_pieces(assets: Iterable[Asset]) -> Iterator[bytes]:
    yield b'{"assets": ['
    first = True
    for asset in assets:
        head: dict[str, object] = {
            "id": asset.asset_id,
            "name": asset.name,
            "description": asset.description,
            "content_type": asset.content_type or "json",
        }
        if asset.schema:
            head["visual"] = {
                "schema": asset.schema,
                "type": asset.visual_type or "custom-tab",
                "label": asset.label,
            }
        yield (b"" if first else b",\n") + json.dumps(head).encode()[:-1] + b', "content": '
        first = False
        with open_asset(asset) as stream:
            yield from _in_pieces(stream)
        yield b"}"
    yield b"]}"


def _in_pieces(stream: BinaryIO) -> Iterator[bytes]:
    while data := stream.read(_PIECE):
        yield data


class _Pieces(io.RawIOBase):
    """Pieces as a file that is read once."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._source = pieces
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while not self._rest:
            try:
                self._rest = next(self._source)
            except StopIteration:
                return 0
        taken = self._rest[: len(buffer)]
        self._rest = self._rest[len(taken) :]
        buffer[: len(taken)] = taken
        return len(taken)


def _reader(pieces: Iterator[bytes]) -> BinaryIO:
    return io.BufferedReader(_Pieces(pieces), _PIECE)


def _open(key: str, name: str) -> BinaryIO:
    try:
        return object_store().open(key)
    except ObjectMissing as error:
        raise NotFound(f"`{name}` is not in the store any more.") from error
