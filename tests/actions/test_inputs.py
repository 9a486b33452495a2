"""Inputs: stored once per content, checked, and nothing kept of what is refused."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from runs.actions import inputs
from runs.actions.inputs import (
    NewFile,
    clean_path,
    scratch_file,
    scratch_folder,
    store_archive_input,
    store_folder_input,
    store_json_input,
    store_text_input,
)
from runs.actions.previews import preview_input
from runs.actions.samples import look_at_sample, sample_input
from runs.domain.errors import ArchiveRejected, InputRejected, TooLarge
from runs.domain.manifest import manifest_to_json, parse_manifest
from runs.models import InputData
from runs.storage import object_store
from tests.factories import make_account, make_executable

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_store(settings, tmp_path: Path):
    settings.RUNSITE_DATA_DIR = tmp_path


def new_file(path: str, data: bytes = b"x") -> NewFile:
    return NewFile(path, lambda: io.BytesIO(data))


def stored_keys() -> list[str]:
    return list(object_store().list("inputs/"))


def test_the_same_content_is_stored_once_in_an_account():
    account, other = make_account(), make_account()
    first = store_text_input(account=account, content_format="json", data=b'{"a": 1}')
    second = store_text_input(account=account, content_format="json", data=io.BytesIO(b'{"a": 1}'))
    assert first == second
    assert len(stored_keys()) == 1
    as_text = store_text_input(account=account, content_format="text", data=b'{"a": 1}')
    elsewhere = store_text_input(account=other, content_format="json", data=b'{"a": 1}')
    assert len({first.pk, as_text.pk, elsewhere.pk}) == 3
    file = first.files.get()
    assert (file.path, file.size_bytes, first.size_bytes) == ("input.json", 8, 8)
    with inputs.open_input_file(file) as stream:
        assert stream.read() == b'{"a": 1}'


def test_an_object_is_stored_in_compact_form_as_its_text_would_be():
    account = make_account()
    stored = store_json_input(account=account, value={"a": [1, "é"]})
    assert stored == store_text_input(
        account=account, content_format="json", data=b'{"a":[1,"\\u00e9"]}'
    )
    assert len(stored_keys()) == 1


def test_an_object_with_what_json_has_no_word_for_is_refused_with_its_place():
    with pytest.raises(InputRejected, match="Line 1, column 6: `NaN` is not JSON"):
        store_json_input(account=make_account(), value={"a": float("nan")})
    assert stored_keys() == []


def test_a_file_of_ours_is_moved_into_the_store():
    path = scratch_folder() / "sent"
    path.write_bytes(b"{}")
    data = store_text_input(account=make_account(), content_format="json", data=path)
    assert data.size_bytes == 2
    assert not path.exists()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b'{"a" 1}', "Line 1, column 6"),
        (b"[]", "a list"),
        (b'{"a": Infinity}', "not JSON"),
        (b'{"a": "\xff"}', "byte 7 cannot be read"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_broken_json_is_refused_with_nothing_kept(data: bytes, message: str):
    with pytest.raises(InputRejected, match=message):
        store_text_input(account=make_account(), content_format="json", data=data)
    assert stored_keys() == []
    assert not InputData.objects.exists()


def test_huge_json_is_not_parsed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(inputs, "CHECKED_BYTES", 10)
    data = store_text_input(account=make_account(), content_format="json", data=b"not json at all")
    assert data.size_bytes == 15


def test_formats_must_fit_what_is_given():
    account = make_account()
    with pytest.raises(InputRejected, match="reads a folder"):
        store_text_input(account=account, content_format="multi-file", data=b"{}")
    with pytest.raises(InputRejected, match="reads one json input"):
        store_folder_input(account=account, content_format="json", files=[new_file("a")])


def test_the_limit_holds_for_one_file_and_for_all_together(settings):
    settings.RUNSITE_UPLOAD_LIMIT = 10
    account = make_account()
    with pytest.raises(TooLarge, match="10 bytes"):
        store_text_input(account=account, content_format="text", data=b"x" * 11)
    with pytest.raises(TooLarge):
        store_folder_input(
            account=account,
            content_format="multi-file",
            files=[new_file("a", b"x" * 6), new_file("b", b"x" * 6)],
        )
    assert stored_keys() == []


def test_folders_are_known_again_whatever_the_order():
    account = make_account()
    one = store_folder_input(
        account=account,
        content_format="multi-file",
        files=[new_file("a.csv", b"1"), new_file("sub/b.csv", b"22")],
    )
    two = store_folder_input(
        account=account,
        content_format="multi-file",
        files=[new_file("sub/b.csv", b"22"), new_file("./a.csv", b"1")],
    )
    assert one == two
    assert (one.size_bytes, one.file_count) == (3, 2)
    renamed = store_folder_input(
        account=account,
        content_format="multi-file",
        files=[new_file("a.csv", b"22"), new_file("sub/b.csv", b"1")],
    )
    assert renamed != one


@pytest.mark.parametrize(
    "path",
    ["/a", "../a", "a/../../b", "", ".", "a\x00b", "a\nb", "\\\\host\\a", "..\\a", "a" * 300],
)
def test_paths_that_leave_the_folder_are_refused(path: str):
    with pytest.raises(InputRejected):
        clean_path(path)


@pytest.mark.parametrize(
    ("path", "clean"),
    [("a.csv", "a.csv"), ("./a//b.csv", "a/b.csv"), ("sub\\a.csv", "sub/a.csv"), ("ü €", "ü €")],
)
def test_other_paths_are_made_plain(path: str, clean: str):
    assert clean_path(path) == clean


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["a", "./a"], "Two files are called"),
        (["a/b", "a"], "also the folder of"),
        (["a", "../b"], "not a path inside"),
        ([], "is empty"),
    ],
)
def test_folders_that_cannot_be_are_refused_with_nothing_kept(paths: list[str], message: str):
    sent = scratch_folder() / "sent"
    sent.write_bytes(b"1")
    files = [scratch_file(paths[0], sent), *map(new_file, paths[1:])] if paths else []
    with pytest.raises(InputRejected, match=message):
        store_folder_input(account=make_account(), content_format="multi-file", files=files)
    assert stored_keys() == []
    assert not InputData.objects.exists()


def test_an_archive_with_a_link_is_refused_with_nothing_left(tmp_path: Path):
    path = tmp_path / "in.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.csv", "1")
        link = zipfile.ZipInfo("b.csv")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(ArchiveRejected):
        store_archive_input(account=make_account(), content_format="multi-file", source=path)
    assert stored_keys() == []
    assert list(scratch_folder().iterdir()) == []


def test_the_preview_is_bounded_and_never_cuts_a_character():
    account = make_account()
    for padding in range(4):
        text = '{"x": "' + "y" * padding + "€" * 5000 + '"}'
        data = store_text_input(account=account, content_format="json", data=text.encode())
        preview = preview_input(data)
        assert preview.cut
        assert len(preview.text.encode()) <= 4096
        assert text.startswith(preview.text)
        assert len(preview.text.encode()) >= 4090
    short = store_text_input(account=account, content_format="json", data='{"é": "é"}'.encode())
    assert (preview_input(short).text, preview_input(short).cut) == ('{"é": "é"}', False)


def test_the_preview_of_a_folder_lists_the_first_files():
    files = [new_file(f"{number:03}.csv") for number in range(250)]
    data = store_folder_input(account=make_account(), content_format="multi-file", files=files)
    preview = preview_input(data)
    assert (len(preview.files), preview.more_files, preview.file_count) == (200, 50, 250)
    assert preview.files[0] == ("000.csv", 1)


@pytest.mark.parametrize("folder", ["", ".runsite/sample/"])
def test_the_sample_of_a_build_is_found_and_stored(folder: str):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("main.py", "")
        archive.writestr(f"{folder}input.json", '{"a": 1}')
    key = f"executables/{'a' if folder else 'b'}/archive"
    object_store().put_bytes(key, packed.getvalue())
    manifest = manifest_to_json(parse_manifest("files: [main.py]"))
    build = make_executable(archive_key=key, manifest=manifest)
    sample = look_at_sample(build)
    assert sample is not None
    assert (sample.size_bytes, sample.head) == (8, b'{"a": 1}')
    stored = sample_input(account=build.application.account, executable=build)
    assert stored is not None
    assert stored.sha256 == sample.sha256


def test_a_build_without_sample_or_without_archive_has_none():
    assert look_at_sample(make_executable()) is None
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("main.py", "")
    object_store().put_bytes("executables/none/archive", packed.getvalue())
    build = make_executable(
        archive_key="executables/none/archive",
        manifest=manifest_to_json(
            parse_manifest("files: [main.py]\nconfiguration: {content: {format: multi-file}}")
        ),
    )
    assert look_at_sample(build) is None
    assert sample_input(account=build.application.account, executable=build) is None


def test_what_is_parsed_stays_small(monkeypatch: pytest.MonkeyPatch):
    parsed: list[int] = []
    monkeypatch.setattr(inputs, "check_json_input", lambda text: parsed.append(len(text)))
    account = make_account()
    store_text_input(account=account, content_format="json", data=b'{"a": "%s"}' % (b"x" * 2**20))
    store_text_input(account=account, content_format="json", data=b'{"a": "%s"}' % (b"x" * 2**24))
    assert len(parsed) == 1
