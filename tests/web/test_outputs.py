"""Input and output pages, and downloads: inert, ranged, of one's own account only."""

from __future__ import annotations

import io
import json
import zipfile

import pytest

from runs.domain.downloads import safe_name
from runs.domain.status import Status
from runs.models import Asset, InputFile, Run, RunFile
from runs.storage import object_store
from tests.factories import make_application, make_input, make_run
from tests.web.conftest import Browser

EVIL = '"><script>alert(1)</script>.html'


@pytest.fixture(autouse=True)
def store(db: None, settings, tmp_path):
    settings.RUNSITE_DATA_DIR = tmp_path


@pytest.fixture
def run(account) -> Run:
    return make_run(
        make_application(account), status=Status.SUCCEEDED, input_data=make_input(account)
    )


def add_file(run: Run, data: bytes, *, role: str = RunFile.STDOUT, path: str = "solution.json"):
    number = RunFile.objects.filter(run=run, role=role).count()
    key = f"runs/{run.run_id}/1/{role}-{number}"
    object_store().put_bytes(key, data)
    return RunFile.objects.create(
        run=run, role=role, number=number, path=path, size_bytes=len(data), key=key
    )


def body(answer) -> bytes:
    return b"".join(answer.streaming_content) if answer.streaming else answer.content


# --- Pages ------------------------------------------------------------------------------------


def test_json_is_a_tree_in_which_nothing_is_markup(viewer: Browser, run: Run):
    add_file(run, json.dumps({EVIL: [EVIL, 1.5, True, None, {}, []]}).encode())
    page = viewer.get(f"/runs/{run.run_id}/output/").content.decode()
    assert "<script>alert" not in page
    assert 'class="json-key">&quot;&gt;&lt;script&gt;' in page
    assert '<span class="json-number">1.5</span>' in page


def test_deep_and_wide_json_is_cut(viewer: Browser, run: Run):
    deep: list = []
    for _ in range(300):
        deep = [deep]
    add_file(run, json.dumps({"deep": deep, "wide": list(range(5000))}).encode())
    answer = viewer.get(f"/runs/{run.run_id}/output/")
    page = answer.content.decode()
    assert "deeper levels are in the download" in page
    assert "4800 more are in the download" in page


def test_a_file_of_the_result_is_chosen_by_the_address(viewer: Browser, run: Run):
    add_file(run, b"{}")
    add_file(run, b"a,b\n1,<b>\n", role=RunFile.SOLUTION, path=f"routes{EVIL}.csv")
    page = viewer.get(f"/runs/{run.run_id}/output/?file=solution-0").content.decode()
    assert "<td>&lt;b&gt;</td>" in page
    assert "<script>alert" not in page


def test_pages_without_files_say_so(viewer: Browser, account):
    empty = make_run(make_application(account), status=Status.SUCCEEDED)
    assert "No output" in viewer.get(f"/runs/{empty.run_id}/output/").content.decode()
    assert "No input" in viewer.get(f"/runs/{empty.run_id}/input/").content.decode()
    running = make_run(make_application(account), status=Status.RUNNING)
    assert "No output yet" in viewer.get(f"/runs/{running.run_id}/output/").content.decode()


def test_an_object_that_is_gone_does_not_break_the_page(viewer: Browser, run: Run):
    file = add_file(run, b"{}")
    object_store().delete(file.key)
    answer = viewer.get(f"/runs/{run.run_id}/output/")
    assert answer.status_code == 200
    assert "not in the store any more" in answer.content.decode()
    assert viewer.get(f"/runs/{run.run_id}/files/stdout/0/").status_code == 404


def test_the_input_is_shown_and_downloaded(viewer: Browser, run: Run):
    file = run.input_data.files.get()
    object_store().put_bytes(file.key, b'{"stops": [1]}')
    InputFile.objects.filter(pk=file.pk).update(size_bytes=14)
    page = viewer.get(f"/runs/{run.run_id}/input/").content.decode()
    assert "stops" in page
    answer = viewer.get(f"/runs/{run.run_id}/input/files/0/")
    assert body(answer) == b'{"stops": [1]}'


# --- Downloads --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["page.html", EVIL, "x.svg", "a\r\nSet-Cookie: x=y", "ü☃.csv", "\u202eexe.txt", "...", ""],
)
def test_nothing_is_ever_sent_as_a_page(viewer: Browser, run: Run, name: str):
    add_file(run, b"<script>alert(1)</script>", role=RunFile.SOLUTION, path=name)
    answer = viewer.get(f"/runs/{run.run_id}/files/solution/0/")
    assert answer["Content-Disposition"].startswith("attachment; filename")
    assert "\u202e" not in answer["Content-Disposition"]
    assert answer["Content-Type"].split(";")[0] in {
        "application/octet-stream",
        "application/json",
        "text/csv",
        "text/plain",
    }
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer["Content-Security-Policy"]
    assert body(answer) == b"<script>alert(1)</script>"


DATA = bytes(range(256)) * 10


@pytest.mark.parametrize(
    ("asked", "status", "expected"),
    [
        ("bytes=0-9", 206, DATA[:10]),
        ("bytes=100-", 206, DATA[100:]),
        ("bytes=-5", 206, DATA[-5:]),
        ("bytes=-99999", 206, DATA),
        ("bytes=2559-99999", 206, DATA[-1:]),
        ("bytes=2560-", 416, b""),
        ("bytes=-0", 416, b""),
        ("bytes=9-2", 200, DATA),
        ("bytes=0-1,5-6", 200, DATA),
        ("lines=0-1", 200, DATA),
        ("bytes=-", 200, DATA),
        ("bytes=" + "9" * 50 + "-", 200, DATA),
    ],
)
def test_a_range_is_answered(viewer: Browser, run: Run, asked: str, status: int, expected: bytes):
    add_file(run, DATA, role=RunFile.SOLUTION, path="x.bin")
    answer = viewer.get(f"/runs/{run.run_id}/files/solution/0/", headers={"Range": asked})
    assert answer.status_code == status
    assert body(answer) == expected
    if status == 206:
        assert answer["Content-Length"] == str(len(expected))
        assert answer["Content-Range"].endswith("/2560")
    if status == 416:
        assert answer["Content-Range"] == "bytes */2560"


def test_who_has_the_bytes_is_not_sent_them_again(viewer: Browser, run: Run):
    add_file(run, DATA)
    address = f"/runs/{run.run_id}/files/stdout/0/"
    tag = viewer.get(address)["ETag"]
    assert viewer.get(address, headers={"If-None-Match": tag}).status_code == 304
    stale = {"Range": "bytes=0-1", "If-Range": '"other"'}
    assert viewer.get(address, headers=stale).status_code == 200


def test_all_files_come_as_one_zip(viewer: Browser, run: Run):
    add_file(run, b"1", role=RunFile.SOLUTION, path="a/one.csv")
    add_file(run, b"2", role=RunFile.SOLUTION, path="../two.csv")
    answer = viewer.get(f"/runs/{run.run_id}/output/download/")
    assert answer.streaming
    archive = zipfile.ZipFile(io.BytesIO(body(answer)))
    assert sorted(archive.namelist()) == ["a/one.csv", "two.csv"]


def test_what_is_not_there_is_not_found(viewer: Browser, run: Run):
    for part in (
        "files/stdout/0/",
        "files/none/0/",
        "files/stdout/99999999999999999999999/",
        "assets/0/",
        "assets/0/figure/",
        "input/files/7/",
        "output/download/",
        "log/download/",
        "visuals/3/",
    ):
        assert viewer.get(f"/runs/{run.run_id}/{part}").status_code == 404, part


def test_the_files_of_others_are_not_there(outsider: Browser, viewer: Browser, run: Run):
    add_file(run, b"secret", role=RunFile.SOLUTION, path="x.csv")
    add_file(run, b"secret")
    Asset.objects.create(
        run=run, asset_id="a1", number=0, name="a", size_bytes=2, key="runs/x/1/a", schema="plotly"
    )
    object_store().put_bytes("runs/x/1/a", b"{}")
    object_store().put_bytes(run.input_data.files.get().key, b"{}")
    for part in (
        "files/stdout/0/",
        "files/solution/0/",
        "assets/0/",
        "assets/0/figure/",
        "input/files/0/",
        "input/download/",
        "output/download/",
    ):
        address = f"/runs/{run.run_id}/{part}"
        assert viewer.get(address).status_code == 200, part
        answer = outsider.get(address)
        assert answer.status_code == 404
        assert b"secret" not in body(answer)


def test_names_of_files_mislead_nobody():
    assert safe_name("../../etc/passwd") == "passwd"
    assert safe_name("a\\b.txt") == "b.txt"
    assert safe_name("\u202etxt.exe") == "_txt.exe"
    assert safe_name("a\r\nb") == "a__b"
    assert safe_name("..") == safe_name("") == "download"
    assert len(safe_name("x" * 5000)) == 150


# --- What programs write ----------------------------------------------------------------------


def test_a_result_with_nan_has_its_cleaned_copy_listed(viewer: Browser, run: Run):
    add_file(run, b'{"gap": NaN}')
    add_file(run, b'{"gap": null}', role=RunFile.CLEANED, path="result.json")
    answer = viewer.get(f"/runs/{run.run_id}/output/")
    assert answer.status_code == 200
    assert f"/runs/{run.run_id}/files/cleaned/0/" in answer.content.decode()


def test_halves_of_characters_do_not_break_the_page(viewer: Browser, run: Run):
    add_file(run, b'{"k\\ud800": "\\udfff", "rows": [{"c\\ud801": "\\ud802"}]}')
    answer = viewer.get(f"/runs/{run.run_id}/output/")
    assert answer.status_code == 200
    page = answer.content.decode()
    assert all(f"\\ud{end}" in page for end in ("800", "fff", "801", "802"))


def test_thousands_of_files_do_not_push_the_documents_out(viewer: Browser, run: Run):
    add_file(run, b'{"a": 1}')
    add_file(run, b"{}", role=RunFile.STATISTICS, path="statistics.json")
    rows = (
        RunFile(
            run=run, role=RunFile.SOLUTION, number=n, path=f"{n}.txt", size_bytes=1, key=f"k{n}"
        )
        for n in range(10_000)
    )
    RunFile.objects.bulk_create(rows)
    page = viewer.get(f"/runs/{run.run_id}/output/").content.decode()
    assert f"/runs/{run.run_id}/files/stdout/0/" in page
    assert f"/runs/{run.run_id}/files/statistics/0/" in page
    assert page.count(f"/runs/{run.run_id}/files/solution/") == 300
    assert "The first 300 are listed" in page


def test_lists_of_objects_are_tables(viewer: Browser, run: Run):
    routes = [{"vehicle": n, "stops": [1, 2], "note": EVIL, "ok": True} for n in range(250)]
    add_file(run, json.dumps({"solution": {"routes": routes, "plain": [1, 2]}}).encode())
    page = viewer.get(f"/runs/{run.run_id}/output/").content.decode()
    table = page[page.index("solution.routes") :]
    assert '<th scope="col" class="number">vehicle</th><th scope="col">stops</th>' in table
    assert '<td class="number">199</td><td>[2]</td>' in table
    assert '<td class="number">200</td>' not in table
    assert "50 more rows are in the download" in table
    assert "<script>alert" not in page
    assert "solution.plain" not in page
