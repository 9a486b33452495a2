"""What people send: bounded memory, the limit, and nothing left behind."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from runs.actions.inputs import scratch_folder
from runs.actions.uploads import Receiver, input_of_uploads, without_common_folder
from runs.domain.errors import InputRejected, TooLarge
from runs.models import InputData
from runs.storage import object_store
from tests.factories import make_account


@pytest.fixture(autouse=True)
def own_store(settings, tmp_path: Path):
    settings.RUNSITE_DATA_DIR = tmp_path


def received(name: str, data: bytes) -> Receiver:
    receiver = Receiver(name)
    receiver.write(data)
    receiver.close()
    return receiver


def test_pieces_become_the_file_and_are_gone_after_discard():
    receiver = Receiver("a.bin")
    for _ in range(3):
        receiver.write(b"ab")
    receiver.close()
    assert (receiver.path.read_bytes(), receiver.size_bytes) == (b"ababab", 6)
    assert receiver.path.stat().st_mode & 0o077 == 0
    receiver.discard()
    receiver.discard()
    assert list(scratch_folder().iterdir()) == []


def test_more_than_the_limit_is_refused():
    receiver = Receiver("a.bin", limit_bytes=5)
    receiver.write(b"12345")
    with pytest.raises(TooLarge, match=r"a\.bin is too large: at most 5 bytes"):
        receiver.write(b"6")
    receiver.discard()


@pytest.mark.django_db
def test_a_large_file_reaches_the_store_without_being_in_memory():
    size, piece = 48 * 2**20, b"x" * 2**18
    account = make_account()
    tracemalloc.start()
    try:
        receiver = Receiver("large.txt")
        for _ in range(size // len(piece)):
            receiver.write(piece)
        receiver.close()
        data = input_of_uploads(account=account, content_format="text", received=[receiver])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert data.size_bytes == size
    assert peak < 12 * 2**20
    assert not receiver.path.exists()


@pytest.mark.django_db
def test_one_file_only_for_formats_that_read_one():
    both = [received("a", b"{}"), received("b", b"{}")]
    with pytest.raises(InputRejected, match="reads one file, but 2 were sent"):
        input_of_uploads(account=make_account(), content_format="json", received=both)
    with pytest.raises(InputRejected, match="No file was sent"):
        input_of_uploads(account=make_account(), content_format="json", received=[])
    for receiver in both:
        receiver.discard()
    assert not InputData.objects.exists()
    assert list(object_store().list("inputs/")) == []


@pytest.mark.django_db
def test_plain_names_count_when_paths_do_not_belong_to_the_files():
    files = [received("a.csv", b"1"), received("b.csv", b"2")]
    data = input_of_uploads(
        account=make_account(), content_format="multi-file", received=files, paths=["x/a.csv"]
    )
    assert [file.path for file in data.files.order_by("number")] == ["a.csv", "b.csv"]


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["top/a", "top/sub/b"], ["a", "sub/b"]),
        (["top/a", "b"], ["top/a", "b"]),
        (["a"], ["a"]),
        (["../a"], ["../a"]),
        (["/a"], ["/a"]),
    ],
)
def test_the_one_folder_that_was_dropped_is_left_out(paths: list[str], expected: list[str]):
    assert without_common_folder(paths) == expected
