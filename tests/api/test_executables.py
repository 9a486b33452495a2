"""Pushes over the API: ticket, bytes, activation."""

from __future__ import annotations

from pathlib import Path

import pytest

from runs.models import Account, Application, Executable
from tests.actions.applying import app_files, tar_bytes
from tests.api.conftest import Program
from tests.api.golden import check_golden
from tests.api.pushing import REQUIREMENTS, push, send_bytes
from tests.factories import make_application

URL = "/v1/applications/routing/binary"


@pytest.fixture(autouse=True)
def application(settings, data_dir: Path, account: Account) -> Application:
    settings.RUNSITE_DATA_DIR = data_dir
    return make_application(account, application_id="routing")


def test_a_push_becomes_the_executable_in_use(program: Program, application: Application):
    answer = push(program, "routing")
    assert answer.status_code == 200, answer.content
    check_golden("executable", answer.json(), person=program.maker.email)
    application.refresh_from_db()
    assert application.executable is not None
    assert application.executable.uploaded_by == program.maker


def test_the_ticket_is_an_absolute_address_of_its_own(program: Program):
    first, second = program.get(URL), program.get(URL)
    assert first != second
    address = first["upload_url"]
    assert address.startswith("http://testserver/")
    assert program.secret not in address


def test_an_activation_that_is_repeated_is_harmless(program: Program):
    first = push(program, "routing")
    again = program.send("PUT", URL, {"requirements": REQUIREMENTS})
    assert again.status_code == 200
    assert again.json()["id"] == first.json()["id"]
    assert Executable.objects.count() == 1


def test_a_broken_push_changes_nothing_and_says_why(program: Program, application: Application):
    assert push(program, "routing").status_code == 200
    for data in (b"no archive", tar_bytes({"app.yaml": "type: ruby\nfiles: [main.py]\n"})):
        answer = push(program, "routing", data)
        assert answer.status_code == 400
        assert len(answer.json()["error"]) > 20
    application.refresh_from_db()
    assert application.executable is not None
    assert application.executable.number == 1


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"requirements": None},
        {"requirements": []},
        {"requirements": {"executable_type": "ruby"}},
        {"requirements": {"executable_type": ["python"]}},
        {"requirements": {**REQUIREMENTS, "options": {"items": "none"}}},
    ],
)
def test_a_bad_manifest_is_refused(program: Program, body):
    send_bytes(program.get(URL)["upload_url"], tar_bytes(app_files()))
    answer = program.send("PUT", URL, body)
    assert answer.status_code == 400, answer.content
    assert not Executable.objects.exists()


def test_without_an_archive_there_is_nothing_to_activate(program: Program):
    program.get(URL)
    answer = program.send("PUT", URL, {"requirements": REQUIREMENTS})
    assert answer.status_code == 400
    assert "No archive" in answer.json()["error"]
