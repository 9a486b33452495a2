"""Previews are bounded and never fail on what a program wrote."""

from __future__ import annotations

import io
import json
import zipfile

import pytest

from runs.actions import outputs
from runs.actions.outputs import parse_json, preview_object, read_figures, zip_files
from runs.domain.errors import NotFound, TooLarge
from runs.models import Asset, RunFile
from runs.storage import object_store
from tests.factories import make_run


@pytest.fixture(autouse=True)
def store(settings, tmp_path):
    settings.RUNSITE_DATA_DIR = tmp_path


def preview(data: bytes, name: str, **fields):
    object_store().put_bytes("runs/r/1/x", data)
    return preview_object(key="runs/r/1/x", name=name, size_bytes=len(data), **fields)


def test_json_keeps_its_numbers_digit_for_digit():
    shown = preview(b'{"a": 1.10, "b": 123456789012345678901234567890, "c": NaN}', "x.json")
    assert shown.kind == "json"
    assert shown.value == {"a": "1.10", "b": "123456789012345678901234567890", "c": "NaN"}


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b'{"a": }', "line 1, column 7"),
        (b"\xff{}", "byte 0 is not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b"log\n{}", "line 1, column 1"),
        (b"{}\n{}", "line 2, column 1"),
    ],
)
def test_broken_json_is_text_with_the_place_of_the_fault(data: bytes, problem: str):
    shown = preview(data, "solution.json")
    assert shown.kind == "text"
    assert problem in shown.problem


def test_large_json_is_shown_from_its_beginning(monkeypatch):
    monkeypatch.setattr(outputs, "PARSED_BYTES", 100)
    monkeypatch.setattr(outputs, "HEAD_BYTES", 50)
    shown = preview(json.dumps(["☃" * 100], ensure_ascii=False).encode(), "x.json")
    assert (shown.kind, shown.shortened) == ("text", True)
    assert "\N{REPLACEMENT CHARACTER}" not in shown.text


def test_a_table_is_cut_in_rows_columns_and_cells():
    wide = ",".join(f"c{n}" for n in range(80))
    rows = "\n".join(",".join(["x" * 600, *["1"] * 79]) for _ in range(300))
    shown = preview(f"{wide}\n{rows}\n".encode(), "routes.csv")
    assert shown.kind == "table"
    assert len(shown.head) == 50
    assert len(shown.rows) == 200
    assert len(shown.rows[0][0]) == 500
    assert shown.shortened
    assert "80 columns" in shown.problem


def test_tables_of_other_habits_are_read():
    assert preview(b"a;b\n1,5;2\n", "x.csv").rows == (("1,5", "2"),)
    assert preview(b"\xef\xbb\xbfa,b\r\n1,2\r\n", "x.CSV").head == ("a", "b")
    assert preview(b"a\tb\n1\t2\n", "x.tsv").rows == (("1", "2"),)
    assert preview(b"", "x.csv").kind == "empty"


def test_bytes_that_are_no_text_are_not_shown():
    assert preview(b"\x89PNG\r\n\x1a\n\x00\x00", "x.png").kind == "binary"
    assert preview(b"PK\x03\x04\x00", "x.csv").kind == "binary"
    assert preview("żółć".encode(), "readme").text == "żółć"


def test_an_object_that_is_gone_is_said():
    with pytest.raises(NotFound):
        preview_object(key="runs/none/1/x", name="x", size_bytes=5)


def test_figures_of_a_list_are_several(db: None):
    asset = make_asset([{"data": []}, {"data": []}])
    assert len(read_figures(asset=asset).figures) == 2


def test_a_visual_that_is_too_large_is_refused(db: None, monkeypatch):
    monkeypatch.setattr(outputs, "FIGURE_LIMIT_BYTES", 10)
    with pytest.raises(TooLarge, match="Download it instead"):
        read_figures(asset=make_asset([{"data": []}]))


def test_broken_content_is_said(db: None):
    asset = make_asset({})
    object_store().put_bytes(asset.key, b"{")
    with pytest.raises(NotFound, match="cannot be read"):
        read_figures(asset=asset)
    with pytest.raises(NotFound, match="no visual"):
        read_figures(asset=make_asset({}, schema=""))


def make_asset(content: object, schema: str = "plotly") -> Asset:
    data = json.dumps(content).encode()
    key = "runs/r/1/asset"
    object_store().put_bytes(key, data)
    return Asset(
        run=make_run(), number=0, name="a", label="A", schema=schema, size_bytes=len(data), key=key
    )


def test_a_zip_holds_every_file_below_its_folder():
    files = []
    names = ["a.csv", "../../etc/passwd", "/abs", "a.csv", "sub\\b.txt", "C:x", "\x00", "..", ""]
    for number, name in enumerate(names):
        key = f"runs/r/1/output-{number}"
        object_store().put_bytes(key, name.encode() * 100)
        size = len(name.encode()) * 100
        files.append(RunFile(number=number, path=name, size_bytes=size, key=key))
    archive = zipfile.ZipFile(io.BytesIO(b"".join(zip_files(files))))
    assert archive.testzip() is None
    inside = archive.namelist()
    assert len(inside) == len(set(inside)) == len(names)
    assert not any(name.startswith("/") or ".." in name.split("/") for name in inside)
    assert "etc/passwd" in inside
    assert archive.read("a.csv") == b"a.csv" * 100


def test_parsing_takes_what_editors_write():
    assert parse_json(b'\xef\xbb\xbf{"a": [true, null]}') == {"a": [True, None]}
