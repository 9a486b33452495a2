"""JSON of programs is read strictly, and large documents in bounded memory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runs.execution.documents import (
    Document,
    Unreadable,
    read_document,
    scan_members,
    write_document,
)

MIB = 1024 * 1024


@pytest.mark.parametrize("value", [{}, [], [1, 2], 5, "text", None, True, {"a": {"b": [1.5]}}])
def test_any_document_is_read(value: object) -> None:
    document = read_document(json.dumps(value).encode())
    assert document == Document(value, 0)


def test_the_place_of_an_error_is_told() -> None:
    with pytest.raises(Unreadable, match=r"at line 2, column 9 \(byte 11\)") as caught:
        read_document(b'{\n  "\xc3\xbc": oops}'.replace(b"oops", b" oops"))
    assert (caught.value.line, caught.value.column, caught.value.byte) == (2, 9, 11)


def test_a_byte_that_is_no_utf8_is_told() -> None:
    with pytest.raises(Unreadable, match=r"not UTF-8 at line 2, column 3 \(byte 5\)"):
        read_document(b'{\n"\xc3\xbc\xff": 1}')


@pytest.mark.parametrize("text", ["a line\n{}", "{} {}", '{"a": 1', "this is not JSON", "{'a': 1}"])
def test_noise_is_unreadable(text: str) -> None:
    with pytest.raises(Unreadable):
        read_document(text.encode())


def test_numbers_that_json_does_not_know_become_null() -> None:
    document = read_document(b'{"a": NaN, "b": [Infinity, -Infinity, 1e999], "c": 1.5}')
    assert document.value == {"a": None, "b": [None, None, None], "c": 1.5}
    assert document.replaced == 4


def test_a_very_long_number_does_not_raise() -> None:
    assert read_document(b"9" * 10_000) == Document(None, 1)
    assert read_document(b"9" * 300).value == int("9" * 300)


def test_a_mark_at_the_beginning_is_skipped() -> None:
    assert read_document(b'\xef\xbb\xbf{"a": 1}').value == {"a": 1}


def test_brackets_without_end_are_unreadable() -> None:
    with pytest.raises(Unreadable, match="too deeply"):
        read_document(b"[" * 100_000 + b"]" * 100_000)


def test_text_that_no_database_keeps_is_mended() -> None:
    value = read_document(rb'{"a\u0000": ["\ud800", "\ud83d\ude00"]}').value
    assert value == {"a\ufffd": ["?", "😀"]}


def test_a_document_is_written_strictly(tmp_path: Path) -> None:
    target = tmp_path / "result.json"
    write_document(Document({"ü": [None, 1.5]}, 0), target)
    assert json.loads(target.read_text(), parse_constant=pytest.fail) == {"ü": [None, 1.5]}


def scan(tmp_path: Path, data: bytes, limit_bytes: int = MIB) -> dict[str, object]:
    path = tmp_path / "stdout"
    path.write_bytes(data)
    scanned = scan_members(path, ["metrics", "assets"], limit_bytes=limit_bytes)
    assert scanned.is_object
    return scanned.values


@pytest.mark.parametrize(
    "data",
    [
        b'{"metrics": {"a": 1}, "assets": []}',
        b' \n{ "solution" : [{"metrics": 5}, "}]\\"{"], "metrics":{"a":1} , "assets":[] } \n',
        b'\xef\xbb\xbf{"x": -1.5e3, "y": null, "z": "\\\\", "assets": [], "metrics": {"a": 1}}',
        b'{"metrics": 7, "assets": [], "metrics": {"a": 1}}',
        b'{"\\u006detrics": {"a": 1}, "assets": []}',
    ],
)
def test_members_are_found(tmp_path: Path, data: bytes) -> None:
    assert scan(tmp_path, data) == {"metrics": {"a": 1}, "assets": []}


def test_bulk_and_single_steps_agree(tmp_path: Path) -> None:
    # Larger than a piece, with strings, escapes and brackets across every kind of border.
    row = {"n": 'a"]}\\', "deep": [[{"x": ["{", "[", '\\\\"']}]], "empty": [{}, []]}
    for count in range(3000, 3010):
        rows = [row] * count + ["y" * (count * 97)]
        document = {"rows": rows, "more": {"rows": rows}, "metrics": {"count": count}}
        found = scan(tmp_path, json.dumps(document).encode())
        assert found == {"metrics": {"count": count}}


@pytest.mark.parametrize("wrong", ['"a"}', "[1}", '{"a": 1]', "]", '"'])
def test_an_error_deep_in_a_large_value_is_found(tmp_path: Path, wrong: str) -> None:
    rows = json.dumps([{"a": [1, "b"]}] * 50_000)[:-1]
    with pytest.raises(Unreadable):
        scan(tmp_path, f'{{"rows": {rows}, {wrong}, {rows[1:]}], "metrics": 1}}'.encode())


def test_an_empty_object_has_no_members(tmp_path: Path) -> None:
    assert scan(tmp_path, b" { } ") == {}


def test_members_behind_a_long_value_are_found(tmp_path: Path) -> None:
    padding = b'"' + b"x" * (5 * MIB) + rb"\"" + b"y" * (5 * MIB) + b'"'
    many = b"[" + b'{"k": [1, 2]},' * 100_000 + b"0]"
    data = b'{"solution": ' + padding + b', "many": ' + many + b', "metrics": {"a": 1}}'
    assert scan(tmp_path, data) == {"metrics": {"a": 1}}


def test_a_member_above_the_limit_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "stdout"
    path.write_bytes(b'{"metrics": {"a": 1}, "assets": "' + b"x" * 1000 + b'"}')
    scanned = scan_members(path, ["metrics", "assets"], limit_bytes=100)
    assert scanned.values == {"metrics": {"a": 1}}
    assert scanned.too_large == ["assets"]


def test_a_broken_member_is_told(tmp_path: Path) -> None:
    path = tmp_path / "stdout"
    path.write_bytes(b'{"metrics": {"a": oops}, "assets": [NaN]}')
    scanned = scan_members(path, ["metrics", "assets"], limit_bytes=100)
    assert scanned.values == {"assets": [None]}
    assert scanned.broken == ["metrics"]
    assert scanned.replaced == 1


@pytest.mark.parametrize(
    "data",
    [
        b'{"metrics": {"a": 1}',
        b'{"metrics": {"a": 1}}}',
        b'{"metrics": {"a": 1]}',
        b'{"a" 1}',
        b"{a: 1}",
        b'{"a": 1,}',
        b'{"a": oops}',
        b'{"a": "no end}',
        b"a log line\n{}",
        b"{} {}",
        b"[1, 2",
        b"   ",
        b'{"a": 1 "b": 2}',
    ],
)
def test_a_broken_structure_is_unreadable(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(Unreadable):
        scan(tmp_path, data)


@pytest.mark.parametrize("data", [b"[1, [2]]", b'"text"', b"5", b" null\n"])
def test_a_document_that_is_no_object_has_no_members(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "stdout"
    path.write_bytes(data)
    assert not scan_members(path, ["metrics"], limit_bytes=100).is_object
