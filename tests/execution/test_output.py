"""What a program leaves is collected as the run contract says, and better where it is loose."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from runs.execution.output import MIB, Collected, Limits, Places, collect
from runs.execution.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path / "run")
    made.create()
    made.stdout.touch()
    return made


def write(workspace: Workspace, path: str, content: object) -> Path:
    target = workspace.work / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(content if isinstance(content, str) else json.dumps(content))
    return target


def from_stdout(
    workspace: Workspace, data: str | bytes, content_format: str = "json", **changes: Any
) -> Collected:
    workspace.stdout.write_bytes(data.encode() if isinstance(data, str) else data)
    return collect(workspace, content_format=content_format, **changes)


def paths(collected: Collected) -> dict[str, int]:
    return {file.path: file.size_bytes for file in collected.files}


def test_a_json_result_is_split(workspace: Workspace) -> None:
    text = '{"solution": {}, "metrics": {"a": 1}, "statistics": {"schema": "v1"}, "assets": []}\n'
    got = from_stdout(workspace, text)
    assert got.result_kind == "json"
    assert got.metrics == {"a": 1}
    assert got.statistics == {"schema": "v1"}
    assert got.assets == []
    assert got.output_bytes == got.stdout_bytes == len(text)
    assert got.cleaned is None
    assert got.warnings == ()
    assert workspace.stdout.read_text() == text


def test_members_that_are_not_there_are_none(workspace: Workspace) -> None:
    got = from_stdout(workspace, '{"solution": 1}')
    assert (got.metrics, got.statistics, got.assets) == (None, None, None)


@pytest.mark.parametrize("text", ["{}", "[1, 2, 3]", "5", '"text"', "null", "[]"])
def test_every_json_document_is_a_result(workspace: Workspace, text: str) -> None:
    got = from_stdout(workspace, text)
    assert got.result_kind == "json"
    assert got.warnings == ()


@pytest.mark.parametrize("text", ["", "\n  \n"])
def test_nothing_is_no_result(workspace: Workspace, text: str) -> None:
    got = from_stdout(workspace, text)
    assert got.result_kind == "none"
    assert got.warnings == ()


def test_stdout_that_is_missing_is_no_result(workspace: Workspace) -> None:
    workspace.stdout.unlink()
    assert collect(workspace, content_format="json").result_kind == "none"


def test_noise_makes_a_result_unreadable(workspace: Workspace) -> None:
    got = from_stdout(workspace, 'a log line\n{"metrics": {"a": 1}}')
    assert got.result_kind == "unreadable"
    assert "line 1, column 1 (byte 0)" in got.problem
    assert any("unreadable" in warning for warning in got.warnings)
    assert got.metrics is None


def test_half_a_document_is_unreadable(workspace: Workspace) -> None:
    got = from_stdout(workspace, '{"a": [1,\n 2')
    assert got.result_kind == "unreadable"
    assert "line 2" in got.problem


def test_nan_becomes_null_and_is_told(workspace: Workspace) -> None:
    text = '{"solution": [Infinity], "metrics": {"a": NaN, "b": 1}}'
    got = from_stdout(workspace, text)
    assert got.result_kind == "json"
    assert got.metrics == {"a": None, "b": 1}
    assert got.cleaned is not None
    assert json.loads(got.cleaned.read_text(), parse_constant=pytest.fail)["solution"] == [None]
    assert workspace.stdout.read_text() == text
    assert any("2 numbers" in warning for warning in got.warnings)


def test_text_is_kept_as_text(workspace: Workspace) -> None:
    got = from_stdout(workspace, "hello", "text")
    assert got.result_kind == "text"
    assert got.output_bytes == 5
    assert got.warnings == ()


def test_text_that_is_a_json_object_is_split_too(workspace: Workspace) -> None:
    got = from_stdout(workspace, '{"metrics": {"a": 1}}', "text")
    assert got.result_kind == "text"
    assert got.metrics == {"a": 1}


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("place", ["outputs/metrics.json", "outputs/metrics/metrics.json"])
def test_files_count_more_than_stdout(workspace: Workspace, place: str, wrapped: bool) -> None:
    write(workspace, place, {"metrics": {"a": 2}} if wrapped else {"a": 2})
    got = from_stdout(workspace, '{"metrics": {"a": 1}, "statistics": {"s": 1}}')
    assert got.metrics == {"a": 2}
    assert got.statistics == {"s": 1}


def test_the_place_of_the_manifest_counts_first(workspace: Workspace) -> None:
    write(workspace, "own/numbers.json", {"a": 3})
    write(workspace, "outputs/metrics.json", {"a": 2})
    places = Places(metrics="own/numbers.json")
    assert collect(workspace, content_format="multi-file", places=places).metrics == {"a": 3}
    assert collect(workspace, content_format="json", places=places).metrics == {"a": 2}


@pytest.mark.parametrize("key", ["metrics", "statistics", "assets"])
def test_a_broken_file_is_a_warning(workspace: Workspace, key: str) -> None:
    write(workspace, f"outputs/{key}.json", "{oops")
    got = from_stdout(workspace, json.dumps({key: [1], "solution": 1}))
    assert getattr(got, key) is None
    assert got.result_kind == "json"
    assert any(f"outputs/{key}.json" in warning for warning in got.warnings)


def test_nan_in_a_file_is_told(workspace: Workspace) -> None:
    write(workspace, "outputs/metrics.json", '{"metrics": {"a": NaN}}')
    got = collect(workspace, content_format="json")
    assert got.metrics == {"a": None}
    assert any("`outputs/metrics.json`" in warning for warning in got.warnings)


def test_multi_file_keeps_every_file_also_those_named_like_inputs(workspace: Workspace) -> None:
    write(workspace, "inputs/orders.csv", "a")
    write(workspace, "outputs/solutions/orders.csv", "a,b\n")
    write(workspace, "outputs/solutions/deep/er/plan.json", "{}")
    write(workspace, "outputs/solutions/main.py", "")
    got = from_stdout(workspace, "a log line\n", "multi-file")
    assert got.result_kind == "files"
    assert paths(got) == {"main.py": 0, "orders.csv": 4, "deep/er/plan.json": 2}
    assert got.output_bytes == 6
    assert got.warnings == ()


def test_a_multi_file_program_without_files_has_no_result(workspace: Workspace) -> None:
    got = from_stdout(workspace, "a log line\n", "multi-file")
    assert got.result_kind == "none"
    assert got.warnings == ()


def test_stdout_of_a_multi_file_program_is_the_last_place(workspace: Workspace) -> None:
    assert from_stdout(workspace, '{"metrics": {"a": 1}}', "multi-file").metrics == {"a": 1}


def test_the_solutions_folder_of_the_manifest_is_used(workspace: Workspace) -> None:
    write(workspace, "mine/plan.csv", "a")
    write(workspace, "outputs/solutions/other.csv", "a")
    places = Places(solutions="./mine/")
    got = collect(workspace, content_format="multi-file", places=places)
    assert paths(got) == {"plan.csv": 1}


@pytest.mark.parametrize("content_format", ["json", "csv-archive"])
def test_the_legacy_folder_is_kept_whenever_it_exists(
    workspace: Workspace, content_format: str
) -> None:
    write(workspace, "output/routes.csv", "a,b\n")
    got = from_stdout(workspace, '{"statistics": {"s": 1}}', content_format)
    assert paths(got) == {"routes.csv": 4}
    assert got.statistics == {"s": 1}
    assert got.result_kind == ("files" if content_format == "csv-archive" else "json")


def test_both_folders_are_kept_apart(workspace: Workspace) -> None:
    write(workspace, "output/a.csv", "1")
    write(workspace, "outputs/solutions/a.csv", "22")
    got = collect(workspace, content_format="multi-file")
    assert paths(got) == {"a.csv": 2, "output/a.csv": 1}


def test_a_solutions_folder_within_the_legacy_folder_is_kept_once(workspace: Workspace) -> None:
    write(workspace, "output/solutions/a.csv", "1")
    write(workspace, "output/b.csv", "1")
    places = Places(solutions="output/solutions")
    got = collect(workspace, content_format="multi-file", places=places)
    assert paths(got) == {"a.csv": 1, "output/b.csv": 1}


def test_a_csv_archive_without_files_keeps_its_stdout(workspace: Workspace) -> None:
    assert from_stdout(workspace, "no JSON", "csv-archive").result_kind == "text"
    assert from_stdout(workspace, '{"a": 1}', "csv-archive").result_kind == "json"


def test_links_and_devices_are_left_out_and_told(workspace: Workspace, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("secret")
    folder = workspace.work / "outputs" / "solutions"
    folder.mkdir(parents=True)
    (folder / "file").symlink_to(secret / "key")
    (folder / "folder").symlink_to(secret)
    os.mkfifo(folder / "fifo")
    (folder / "real").write_text("x")
    got = collect(workspace, content_format="multi-file")
    assert paths(got) == {"real": 1}
    assert len(got.warnings) == 3
    assert all("was left out" in warning for warning in got.warnings)


@pytest.mark.parametrize("place", ["outputs", "outputs/solutions"])
def test_a_folder_that_is_a_link_is_not_entered(
    workspace: Workspace, tmp_path: Path, place: str
) -> None:
    secret = tmp_path / "secret"
    (secret / "solutions").mkdir(parents=True)
    (secret / "key").write_text("secret")
    (secret / "metrics.json").write_text("{}")
    (workspace.work / place).parent.mkdir(exist_ok=True)
    (workspace.work / place).symlink_to(secret)
    got = collect(workspace, content_format="multi-file")
    assert got.files == ()
    assert got.metrics is None
    assert any("is a link" in warning for warning in got.warnings)


@pytest.mark.parametrize("kind", ["link", "fifo", "folder"])
def test_metrics_that_are_no_file_are_not_opened(
    workspace: Workspace, tmp_path: Path, kind: str
) -> None:
    place = workspace.work / "outputs" / "metrics.json"
    place.parent.mkdir()
    if kind == "link":
        (tmp_path / "key").write_text('{"secret": 1}')
        place.symlink_to(tmp_path / "key")
    elif kind == "fifo":
        os.mkfifo(place)  # opening it would wait for ever
    else:
        place.mkdir()
    assert collect(workspace, content_format="json").metrics is None


@pytest.mark.parametrize("place", ["../secret.json", "/etc/hostname", "a/../../b"])
def test_a_manifest_cannot_point_out_of_the_working_directory(
    workspace: Workspace, place: str
) -> None:
    (workspace.root / "secret.json").write_text("{}")
    got = collect(
        workspace,
        content_format="multi-file",
        places=Places(solutions=place, metrics=place),
    )
    assert got.metrics is None
    assert got.files == ()
    assert any("outside" in warning for warning in got.warnings)


def test_names_of_any_bytes_become_text(workspace: Workspace) -> None:
    folder = workspace.work / "outputs" / "solutions"
    folder.mkdir(parents=True)
    for name in (b"\xff", b"\xfe"):
        Path(os.fsdecode(bytes(folder) + b"/" + name)).write_text("x")
    got = collect(workspace, content_format="multi-file")
    assert set(paths(got)) == {"\ufffd", "\ufffd~2"}
    assert all(file.source.read_text() == "x" for file in got.files)


def test_too_many_files_are_told(workspace: Workspace) -> None:
    for number in range(5):
        write(workspace, f"outputs/solutions/{number}", "x")
    got = collect(workspace, content_format="multi-file", limits=Limits(files=3))
    assert len(got.files) == 3
    assert got.too_large == "more than 3 files"
    assert got.warnings


def test_files_that_are_too_large_are_told(workspace: Workspace) -> None:
    for number in range(3):
        write(workspace, f"outputs/solutions/{number}", "x" * 10)
    got = collect(workspace, content_format="multi-file", limits=Limits(result_bytes=25))
    assert len(got.files) == 2
    assert "25 bytes" in got.too_large


def test_a_large_result_is_split_without_being_read_whole(workspace: Workspace) -> None:
    text = json.dumps({"solution": "x" * (3 * MIB), "metrics": {"a": 1}, "assets": [1]})
    got = from_stdout(workspace, text, limits=Limits(parse_bytes=MIB))
    assert got.result_kind == "json"
    assert got.metrics == {"a": 1}
    assert got.assets == [1]
    assert any("too large to be checked whole" in warning for warning in got.warnings)


def test_a_large_result_that_breaks_off_is_unreadable(workspace: Workspace) -> None:
    text = json.dumps({"metrics": {"a": 1}, "solution": "x" * (3 * MIB)})[:-10]
    got = from_stdout(workspace, text, limits=Limits(parse_bytes=MIB))
    assert got.result_kind == "unreadable"


def test_assets_above_the_limit_are_told(workspace: Workspace) -> None:
    write(workspace, "outputs/assets.json", "x" * 2000)
    got = collect(workspace, content_format="json", limits=Limits(member_bytes=1000))
    assert got.assets is None
    assert any("`outputs/assets.json`" in warning for warning in got.warnings)


def test_files_beyond_the_limit_are_left_out_whole_and_named(workspace: Workspace) -> None:
    for name, size in (("a", 10), ("b", 30), ("c", 10), ("d", 6), ("e", 5)):
        write(workspace, f"outputs/solutions/{name}", "x" * size)
    limits = Limits(result_bytes=25, action="truncate")
    got = collect(workspace, content_format="multi-file", limits=limits)
    assert paths(got) == {"a": 10, "c": 10, "e": 5}
    assert got.output_bytes == 25
    assert got.too_large == ""
    [warning] = got.warnings
    assert "3 files were kept and 2 of 36 bytes left out (`b`, `d`)" in warning


def test_files_beyond_their_number_are_counted(workspace: Workspace) -> None:
    for number in range(20):
        write(workspace, f"outputs/solutions/{number:02}", "x")
    limits = Limits(files=3, action="truncate")
    got = collect(workspace, content_format="multi-file", limits=limits)
    assert set(paths(got)) == {"00", "01", "02"}
    assert got.too_large == ""
    [warning] = got.warnings
    assert "17 of 17 bytes left out (`03`, " in warning
    assert "and 7 more" in warning
