"""Pages of run folders: admins import them, and every member takes a run along as one."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from runs.domain.status import Status
from tests.actions.run_folder_trees import make_folder
from tests.factories import make_account, make_application, make_run
from tests.web.conftest import Browser

PAGE = "/runs/import/"


@pytest.fixture(autouse=True)
def data_folder(settings: Any, tmp_path: Path) -> None:
    settings.RUNSITE_DATA_DIR = tmp_path / "data"


@pytest.fixture
def app(tmp_path: Path) -> Path:
    return tmp_path / "apps" / "routing"


def archive_of(app: Path) -> SimpleUploadedFile:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        archive.add(app, app.name)
    return SimpleUploadedFile("routing.tar.gz", data.getvalue())


def runs_of(app: Path) -> Path:
    return app / ".nextmv" / "runs"


def test_an_admin_uploads_an_archive_and_reads_what_became_of_it(ann: Browser, app: Path):
    make_folder(runs_of(app), "local-1", {"visuals/Map_0.html": "<script>alert(1)</script>"})
    make_folder(runs_of(app), "local-<b>", document="{")
    response = ann.post(PAGE, {"way": "upload", "upload": archive_of(app)}, follow=True)
    assert response.redirect_chain == [(PAGE, 302)]
    text = response.content.decode()
    run = make_account_run(ann)
    assert f'href="/runs/{run.run_id}/"' in text
    assert "<strong>1</strong> imported, <strong>1</strong> not imported." in text
    assert "local-&lt;b&gt;" in text
    assert "is no JSON" in text
    assert "What became" not in ann.get(PAGE).content.decode(), "it is told once"
    page = ann.get(reverse("run-asset", args=[run.run_id, 0]))
    assert page.headers["Content-Type"] == "application/octet-stream"
    assert page.headers["Content-Disposition"] == 'attachment; filename="Map_0.html"'
    shown = ann.get(reverse("run-output", args=[run.run_id]) + "?file=asset-0").content.decode()
    assert "&lt;script&gt;alert(1)" in shown
    assert "<script>alert(1)" not in shown


def make_account_run(browser: Browser) -> Any:
    return browser.user.memberships.get().account.runs.get()


def test_an_admin_names_a_folder_of_the_server(ann: Browser, app: Path, settings: Any):
    make_folder(runs_of(app), "local-1")
    words = {"way": "folder", "folder": str(app), "folder_application": "mine"}
    response = ann.post(PAGE, words)
    assert response.status_code == 422
    assert "RUNSITE_APP_FOLDERS" in response.content.decode()
    settings.RUNSITE_APP_FOLDERS = [app.parent]
    text = ann.post(PAGE, words, follow=True).content.decode()
    assert "<strong>1</strong> imported." in text
    assert make_account_run(ann).application.application_id == "mine"
    again = ann.post(PAGE, words, follow=True).content.decode()
    assert "<strong>1</strong> already here." in again


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        ({}, "Choose a .zip"),
        ({"upload": SimpleUploadedFile("x.zip", b"no archive")}, "not an archive"),
    ],
)
def test_what_is_wrong_stands_at_the_field(ann: Browser, sent: dict[str, Any], says: str):
    response = ann.post(PAGE, {"way": "upload", **sent})
    assert response.status_code == 422
    assert says in response.content.decode()


def test_an_archive_without_runs_and_an_id_that_can_be_none(ann: Browser, app: Path):
    app.mkdir(parents=True)
    (app / "app.yaml").write_text("files: [main.py]")
    (app / "main.py").write_text("")
    response = ann.post(PAGE, {"way": "upload", "upload": archive_of(app)})
    assert response.status_code == 422
    assert "holds no runs" in response.content.decode()
    make_folder(runs_of(app), "local-1")
    sent = {"way": "upload", "upload": archive_of(app), "application_id": "no id"}
    response = ann.post(PAGE, sent)
    assert response.status_code == 422
    assert "can be no id" in response.content.decode()


def test_what_is_left_is_said(ann: Browser, app: Path, monkeypatch: pytest.MonkeyPatch):
    from runs.web import run_folders

    monkeypatch.setattr(run_folders, "MOST_AT_ONCE", 1)
    make_folder(runs_of(app), "local-1")
    make_folder(runs_of(app), "local-2")
    sent = {"way": "upload", "upload": archive_of(app)}
    assert "1 more folders were not looked at" in ann.post(PAGE, sent, follow=True).content.decode()


def test_only_admins_see_the_way_to_it(ann: Browser, dev: Browser):
    assert PAGE in ann.get("/runs/").content.decode()
    assert PAGE not in dev.get("/runs/").content.decode()
    assert dev.get(PAGE).status_code == 403
    assert dev.post(PAGE, {"way": "upload"}).status_code == 403


def test_a_viewer_exports_a_run(viewer: Browser):
    account = viewer.user.memberships.get().account
    run = make_run(make_application(account), status=Status.SUCCEEDED)
    address = f"/runs/{run.run_id}/export/"
    assert address in viewer.get(f"/runs/{run.run_id}/").content.decode()
    response: Any = viewer.get(address)
    assert response.headers["Content-Type"] == "application/zip"
    assert f'filename="{run.run_id}.zip"' in response.headers["Content-Disposition"]
    with zipfile.ZipFile(io.BytesIO(b"".join(response.streaming_content))) as archive:
        assert f"{run.run_id}/{run.run_id}.json" in archive.namelist()


def test_but_not_one_of_others(viewer: Browser):
    run = make_run(make_application(make_account("other")), status=Status.SUCCEEDED)
    assert viewer.get(f"/runs/{run.run_id}/export/").status_code == 404
