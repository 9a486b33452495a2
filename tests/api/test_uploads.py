"""Uploads over the API."""

from __future__ import annotations

from pathlib import Path

import pytest

from runs.models import Account, Upload
from runs.storage import object_store
from tests.api.conftest import Program
from tests.api.golden import check_golden
from tests.api.pushing import send_bytes
from tests.factories import make_application

URL = "/v1/applications/routing/runs/uploadurl"


@pytest.fixture(autouse=True)
def application(settings, data_dir: Path, account: Account) -> None:
    settings.RUNSITE_DATA_DIR = data_dir
    make_application(account, application_id="routing")


def test_a_ticket_takes_bytes_without_a_key(program: Program):
    answer = program.send("POST", URL)
    assert answer.status_code == 201
    ticket = answer.json()
    check_golden("upload", ticket, id=ticket["upload_id"])
    send_bytes(ticket["upload_url"], b'{"a": 1}')
    upload = Upload.objects.get(upload_id=ticket["upload_id"])
    assert (upload.account, upload.purpose, upload.api_key) == (
        program.account,
        Upload.DATA,
        program.key,
    )
    assert object_store().read_range(upload.key, 0, 100) == b'{"a": 1}'


def test_an_operator_may_upload_and_a_viewer_not(account: Account):
    assert Program(account, "operator").send("POST", URL).status_code == 201
    assert Program(account, "viewer").send("POST", URL).status_code == 403
