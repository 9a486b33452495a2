"""The files of a run as one archive, packed while it is read."""

from __future__ import annotations

import io
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from runs.actions import run_archives
from runs.actions.run_archives import archive_of_run
from runs.domain.errors import NotFound
from runs.domain.status import Status
from runs.models import InputFile, Run, RunFile
from runs.storage import keys, object_store
from tests.factories import make_input, make_run

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_store(settings, tmp_path: Path):
    settings.RUNSITE_DATA_DIR = tmp_path


def add_output(run: Run, number: int, path: str, data: bytes, role: str = "solution") -> RunFile:
    key = keys.output_file(run.run_id, 1, number)
    if role == "solution":
        object_store().put_bytes(key, data)
    return RunFile.objects.create(
        run=run, role=role, number=number, path=path, size_bytes=len(data), key=key
    )


def unpacked(data: bytes) -> dict[str, bytes]:
    """The files of a tar.gz; everything in it is one, with a relative name."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        for entry in archive:
            assert entry.isreg()
            assert not entry.name.startswith(("./", "/"))
            assert (entry.mtime, entry.uid, entry.gid, entry.uname) == (0, 0, 0, "")
            file = archive.extractfile(entry)
            assert file is not None
            found[entry.name] = file.read()
    return found


def archive(run: Run, part: str = "output") -> bytes:
    return b"".join(archive_of_run(run_id=run.run_id, part=part))


def test_solution_files_are_packed_under_their_names_and_nothing_else_is():
    run = make_run()
    long_path = "/".join(["folder-" + "x" * 60] * 5) + "/ü.csv"
    for number, (path, data) in enumerate({"a.json": b"{}", long_path: b"1\n" * 300}.items()):
        add_output(run, number, path, data)
    add_output(run, 7, "stdout", b"not this", role="stdout")
    assert unpacked(archive(run)) == {"a.json": b"{}", long_path: b"1\n" * 300}


def test_equal_files_give_equal_bytes():
    one, two = make_run(), make_run()
    for run in (one, two):
        add_output(run, 0, "a.json", b"{}")
        add_output(run, 1, "b/c", b"")
    assert archive(one) == archive(two)


@pytest.mark.parametrize("part", ["input", "output"])
def test_without_files_it_is_a_valid_empty_archive(part):
    packed = archive(make_run(status=Status.FAILED), part)
    assert unpacked(packed) == {}
    assert packed


def test_input_files_are_packed_as_well():
    input_data = make_input(content_format="multi-file")
    InputFile.objects.filter(input_data=input_data).update(path="x/y.csv")
    object_store().put_bytes(f"inputs/{input_data.input_key}/0", b"1,2\n")
    run = make_run(input_data=input_data)
    assert unpacked(archive(run, "input")) == {"x/y.csv": b"1,2\n"}


def test_names_that_could_be_unpacked_elsewhere_are_made_harmless():
    run = make_run()
    names = ["../../etc/passwd", "/etc/shadow", "C:evil", "a\nb", "x/" * 200 + "y", "..", "plan:1"]
    for number, name in enumerate(names):
        add_output(run, number, name, b"x")
    assert list(unpacked(archive(run))) == [
        "etc/passwd",
        "etc/shadow",
        "C_evil",
        "a_b",
        "file-4",
        "file-5",
        "plan:1",
    ]


def test_many_files_are_asked_for_page_by_page(monkeypatch, django_assert_num_queries):
    monkeypatch.setattr(run_archives, "_PAGE", 3)
    run = make_run()
    for number in (0, 1, 2, 5, 6, 9, 11):
        add_output(run, number, f"file {number}", b"x")
    with django_assert_num_queries(4):  # the run, and three pages
        assert len(unpacked(archive(run))) == 7


def test_a_large_file_passes_through_little_memory():
    run = make_run()
    add_output(run, 0, "large", b"x" * (48 * 2**20))
    pieces = archive_of_run(run_id=run.run_id, part="output")
    tracemalloc.start()
    try:
        assert sum(map(len, pieces)) > 0
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()


def test_what_is_gone_is_said():
    with pytest.raises(NotFound, match="no run nowhere"):
        archive_of_run(run_id="nowhere", part="output")
    run = make_run()
    object_store().delete(add_output(run, 0, "a.json", b"{}").key)
    with pytest.raises(NotFound, match=r"a\.json"):
        archive(run)
