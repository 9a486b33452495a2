"""Reads inputs, results and assets of runs in the amount that a page can show."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import BinaryIO

from runs.domain.errors import NotFound, TooLarge
from runs.execution.packing import pack_zip_stream
from runs.models import Asset, InputFile, RunFile
from runs.storage import ObjectMissing, object_store
from runs.visuals.assets import AssetSpec, Visual, VisualTab, visual_tabs

PARSED_BYTES = 1024 * 1024
"""JSON up to this size is shown as a tree; of larger texts the beginning is shown."""
HEAD_BYTES = 64 * 1024
TABLE_BYTES = 512 * 1024
TABLE_ROWS = 200
TABLE_COLUMNS = 50
CELL_LENGTH = 500
FIGURE_LIMIT_BYTES = 64 * 1024 * 1024
"""The content of an asset beyond this is a download, not a picture."""

_JSON, _TABLE = frozenset({".json", ".geojson"}), {".csv": ",", ".tsv": "\t"}
_NOT_TEXT = re.compile(rb"[\x00-\x06\x0e-\x1a]")


class Literal(str):
    """A number or NaN as the document has it, digit for digit."""

    __slots__ = ()


@dataclass(frozen=True)
class Preview:
    """What a page shows of some bytes. `kind` is `json`, `table`, `text`, `binary` or `empty`.

    `value` is the document of `json`; `head` and `rows` are those of a `table`; `text` is all of a
    `text`, or its beginning when `shortened`. `problem` says why JSON is shown as text.
    """

    kind: str
    value: object = None
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    text: str = ""
    shortened: bool = False
    problem: str = ""


def preview_object(*, key: str, name: str, size_bytes: int, is_json: bool = False) -> Preview:
    """A preview of an object, chosen by its `name` (or `is_json`); reads 1 MiB at most.

    Raises `NotFound` when the object is gone.
    """
    suffix = PurePosixPath(name).suffix.lower()
    wants_json = is_json or suffix in _JSON
    if size_bytes == 0:
        return Preview("empty")
    if wants_json and size_bytes <= PARSED_BYTES:
        data = _read(key, PARSED_BYTES)
        try:
            return Preview("json", value=parse_json(data))
        except ValueError as error:
            return _text_preview(data[:HEAD_BYTES], size_bytes, problem=f"No valid JSON: {error}.")
    if suffix in _TABLE:
        return _table_preview(_read(key, TABLE_BYTES), size_bytes, _TABLE[suffix])
    return _text_preview(_read(key, HEAD_BYTES), size_bytes)


def parse_json(data: bytes) -> object:
    """The document in `data`, its numbers as `Literal`s; raises `ValueError` with the place."""
    try:
        return json.loads(
            data.decode("utf-8-sig"),
            parse_int=Literal,
            parse_float=Literal,
            parse_constant=Literal,
        )
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8") from error
    except json.JSONDecodeError as error:
        message = error.msg[:1].lower() + error.msg[1:]
        raise ValueError(f"line {error.lineno}, column {error.colno}: {message}") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def open_output(file: RunFile) -> BinaryIO:
    """A seekable reader of a result file, which the caller closes; raises `NotFound`."""
    return _open(file.key, file.path)


def open_asset(asset: Asset) -> BinaryIO:
    """A seekable reader of an asset's content as JSON, which the caller closes."""
    return _open(asset.key, asset.name)


def read_figures(*, asset: Asset) -> VisualTab:
    """The figures of an asset that has a visual; raises `NotFound`, or `TooLarge` above 64 MiB."""
    if not asset.schema:
        raise NotFound(f"The asset `{asset.name}` has no visual. Download it instead.")
    if asset.size_bytes > FIGURE_LIMIT_BYTES:
        raise TooLarge(
            f"The asset `{asset.name}` has {asset.size_bytes // 1024**2} MiB, too much to draw"
            f" ({FIGURE_LIMIT_BYTES // 1024**2} MiB at most). Download it instead."
        )
    with open_asset(asset) as stream:
        try:
            content = json.load(stream)
        except (ValueError, RecursionError) as error:
            raise NotFound(f"The asset `{asset.name}` cannot be read: {error}.") from error
    visual = Visual(schema=asset.schema, label=asset.label, type=asset.visual_type)
    spec = AssetSpec(name=asset.name, content=content, visual=visual)
    return visual_tabs([spec])[0]


def zip_files(files: Iterable[RunFile | InputFile]) -> Iterator[bytes]:
    """All `files` as one zip, made while it is read."""

    def entries() -> Iterator[tuple[str, int | None, Callable[[], BinaryIO]]]:
        for file in files:
            yield (
                inside_name(file.path, file.number),
                file.size_bytes,
                partial(_open, file.key, file.path),
            )

    return pack_zip_stream(entries())


def inside_name(path: str, number: int) -> str:
    """`path` as a name that every program unpacks below its folder."""
    parts = [part for part in path.replace("\\", "/").split("/") if part not in {"", ".", ".."}]
    name = "/".join(parts)
    return re.sub(r"[\x00-\x1f\x7f:]", "_", name) or f"file-{number}"


def _open(key: str, name: str) -> BinaryIO:
    try:
        return object_store().open(key)
    except ObjectMissing as error:
        raise NotFound(f"`{name}` is not in the store any more.") from error


def _read(key: str, limit: int) -> bytes:
    try:
        return object_store().read_range(key, 0, limit)
    except ObjectMissing as error:
        raise NotFound("This file is not in the store any more.") from error


def _text_preview(data: bytes, size_bytes: int, *, problem: str = "") -> Preview:
    shortened = size_bytes > len(data)
    if _NOT_TEXT.search(data[:8192]):
        return Preview("binary", shortened=shortened, problem=problem)
    text = data.decode("utf-8-sig", errors="replace")
    if shortened:
        text = text.rstrip("\N{REPLACEMENT CHARACTER}")  # a character cut in two
    return Preview("text", text=text, shortened=shortened, problem=problem)


def _table_preview(data: bytes, size_bytes: int, delimiter: str) -> Preview:
    shortened = size_bytes > len(data)
    text = data.decode("utf-8-sig", errors="replace")
    if _NOT_TEXT.search(data[:8192]):
        return Preview("binary", shortened=shortened)
    if shortened:
        text = text[: text.rfind("\n") + 1] or text
    first = text.partition("\n")[0]
    if delimiter == "," and first.count(";") > first.count(","):
        delimiter = ";"
    rows: list[tuple[str, ...]] = []
    widest = 0
    try:
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
            widest = max(widest, len(row))
            rows.append(tuple(cell[:CELL_LENGTH] for cell in row[:TABLE_COLUMNS]))
            if len(rows) > TABLE_ROWS + 1:
                shortened = True
                break
    except csv.Error as error:
        return _text_preview(data[:HEAD_BYTES], size_bytes, problem=f"No valid CSV: {error}.")
    if not rows:
        return Preview("empty")
    problem = ""
    if widest > TABLE_COLUMNS:
        problem = f"It has {widest} columns; the first {TABLE_COLUMNS} are shown."
    return Preview(
        "table",
        head=rows[0],
        rows=tuple(rows[1 : TABLE_ROWS + 1]),
        shortened=shortened,
        problem=problem,
    )
