"""The input and the output of a run as one document, in pieces: nothing is ever held whole."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from dataclasses import dataclass

from runs.actions.logs import read_tail
from runs.domain.errors import NotFound
from runs.models import Attempt, Run, RunFile
from runs.storage import ObjectMissing, StorageError, object_store

LOG_END_BYTES = 16 * 1024
_HEAD_BYTES = 4096
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Content:
    """A stored document: `size_bytes` from byte `start` of the object `key` on.

    `is_json` says that it is JSON, `is_object` that it is an object, too.
    """

    key: str
    name: str
    start: int
    size_bytes: int
    is_json: bool
    is_object: bool


def content_of_output(run: Run) -> Content | None:
    """The result of a `json` or `text` run; None where there is none, or it is gone.

    Where NaN and infinities had to be replaced it is what came of that. One query, and a look at
    the beginning.
    """
    roles = (RunFile.CLEANED, RunFile.STDOUT)
    files = {file.role: file for file in RunFile.objects.filter(run=run, role__in=roles, number=0)}
    file = files.get(RunFile.CLEANED) or files.get(RunFile.STDOUT)
    if file is None or run.result_kind not in {"json", "text", "unreadable"}:
        return None
    return _looked_at(file.key, file.path, file.size_bytes, is_json=run.result_kind == "json")


def content_of_input(run: Run) -> Content | None:
    """The input of a `json` or `text` run; None where it was given none. One query."""
    if run.input_data is None:
        return None
    file = run.input_data.files.filter(number=0).first()
    if file is None:
        return None
    is_json = run.input_data.content_format == "json"
    content = _looked_at(file.key, file.path, file.size_bytes, is_json=is_json)
    if content is None:
        raise NotFound(f"The input of run {run.run_id} is not in the store any more.")
    return content


def pieces_of(content: Content) -> Iterator[bytes]:
    """The bytes of the document."""
    return object_store().stream(content.key, content.start, content.size_bytes)


def texts_of(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The bytes as the inside of a JSON string; what is not UTF-8 becomes replacement marks."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for piece in pieces:
        yield _escaped(decoder.decode(piece))
    yield _escaped(decoder.decode(b"", final=True))


def read_end_of_log(run: Run) -> str:
    """The last 16 KiB of the log of the newest attempt; empty where there is none."""
    attempt = Attempt.objects.filter(run=run).order_by("-number").first()
    if attempt is None:
        return ""
    attempt.run = run
    try:
        return read_tail(attempt=attempt, limit=LOG_END_BYTES).data.decode("utf-8", "replace")
    except StorageError:
        return ""


def _escaped(text: str) -> bytes:
    return json.dumps(text, ensure_ascii=False)[1:-1].encode()


def _looked_at(key: str, name: str, size_bytes: int, *, is_json: bool) -> Content | None:
    try:
        head = object_store().read_range(key, 0, min(_HEAD_BYTES, size_bytes))
    except ObjectMissing:
        return None
    start = len(_BOM) if head.startswith(_BOM) else 0
    is_object = is_json and head[start:].lstrip().startswith(b"{")
    return Content(key, name, start, size_bytes - start, is_json, is_object)
