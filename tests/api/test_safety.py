"""What nobody gets out of the API: by cookies, by caches, by size, or by a role of others."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from runs.actions.accounts import change_role
from runs.actions.actors import product
from runs.domain.manifest import manifest_to_json, parse_manifest
from runs.models import Account, Run, RunOption
from runs.storage import StorageError
from tests.api.conftest import Program
from tests.factories import make_application, make_executable, make_member

RUNS = "/v1/applications/mine/runs"


@pytest.fixture(autouse=True)
def own_store(settings: Any, tmp_path: Path) -> None:
    settings.RUNSITE_DATA_DIR = tmp_path


def test_who_is_signed_in_to_the_pages_has_no_key(account: Account):
    browser = Client()
    browser.force_login(make_member(account, "admin"))
    for method, path in (("GET", "/v1/applications"), ("POST", "/v1/applications")):
        answer = browser.generic(method, path, b'{"id": "a", "name": "a"}')
        assert answer.status_code == 401
        assert not answer.cookies
    assert not account.applications.exists()


def test_no_other_site_is_let_in(program: Program):
    headers = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    answer = program.client.options("/v1/applications", headers=headers)
    assert answer.status_code == 405
    answer = program.client.get("/v1/applications", headers=headers)
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize(
    ("path", "status"), [("/v1/applications", 200), ("/v1/none", 404), ("/tickets/x", 404)]
)
def test_nothing_that_a_key_was_told_is_kept_by_a_cache(program: Program, path: str, status: int):
    answer = program.send("GET", path)
    assert answer.status_code == status
    assert answer["Cache-Control"] == "private, no-store"


def test_a_host_that_is_not_ours_gets_no_address(program: Program):
    for path in ("/v1/applications", "/tickets/uploads/x"):
        answer = program.client.get(path, headers={"host": "evil.example"})
        assert answer.status_code == 400
        assert set(answer.json()) == {"error", "status"}


def test_a_key_does_no_more_than_the_person_who_made_it(account: Account):
    make_member(account, "admin")
    program = Program(account, "admin")
    membership = account.memberships.get(user=program.maker)
    change_role(membership=membership, role="viewer", actor=product(), now=timezone.now())
    assert program.send("POST", "/v1/applications", {"id": "a", "name": "a"}).status_code == 403
    assert program.send("GET", "/v1/applications").status_code == 200
    program.maker.is_active = False
    program.maker.save(update_fields=["is_active"])
    assert program.send("GET", "/v1/applications").status_code == 401


def test_who_only_looks_does_not_learn_what_secrets_there_are(account: Account, program: Program):
    make_application(account, application_id="mine")
    secret = {"type": "env", "location": "TOKEN", "value": "s3cret-value"}
    path = "/v1/applications/mine/secrets"
    program.send("POST", path, {"id": "s", "name": "s", "secrets": [secret]})
    viewer, operator = Program(account, "viewer"), Program(account, "operator")
    for each in (path, f"{path}/s"):
        assert viewer.send("GET", each).status_code == 403
        answer = operator.send("GET", each)
        assert answer.status_code == 200
        assert b"s3cret-value" not in answer.content


@pytest.mark.parametrize(
    "options", [{"a": "x" * 300_000}, {f"o{number}": "x" * 300 for number in range(1100)}]
)
def test_options_that_would_fill_the_lists_are_refused(
    account: Account, program: Program, options: dict[str, str]
):
    application = make_application(account, application_id="mine")
    make_executable(application)
    instance = {"id": "i", "name": "i", "configuration": {"options": options}}
    for path, body in (
        (RUNS, {"input": {}, "options": options}),
        (RUNS, {"input": {}, "options": options, "result": {"status": "succeeded"}}),
        ("/v1/applications/mine/instances", {**instance, "version_id": "latest"}),
    ):
        answer = program.send("POST", path, body)
        assert answer.status_code == 400
        assert "at most" in answer.json()["error"].lower()
    assert not Run.objects.exists()
    assert not RunOption.objects.exists()


def test_nobody_fills_the_disk_to_its_end(account: Account, program: Program, settings: Any):
    make_executable(make_application(account, application_id="mine"))
    ticket = program.send("POST", f"{RUNS}/uploadurl").json()
    address = ticket["upload_url"].removeprefix("http://testserver")
    assert Client().put(address, b"{}").status_code == 200
    settings.RUNSITE_FREE_SPACE = 2**62
    answers = [
        Client().put(address, b"{}"),
        program.send("POST", RUNS, {"input": {}, "result": {"status": "succeeded"}}),
    ]
    for answer in answers:
        assert answer.status_code == 503
        assert "too little to take this" in answer.json()["error"]
    assert not Run.objects.exists()
    assert account.uploads.get().size_bytes == 2


def test_who_does_not_see_an_option_may_not_set_it(account: Account):
    text = """
        type: python
        runtime: ghcr.io/nextmv-io/runtime/python:3.11
        files: [main.py]
        configuration:
          options:
            items:
              - {name: open, option_type: string, default: a}
              - {name: inner, option_type: string, default: a, ui: {hidden_from: [operator]}}
    """
    manifest = manifest_to_json(parse_manifest(textwrap.dedent(text)))
    make_executable(make_application(account, application_id="mine"), manifest=manifest)
    operator, developer = Program(account, "operator"), Program(account, "developer")
    body = {"input": {}, "options": {"open": "b", "inner": "b"}}
    for path in (RUNS, f"{RUNS}?instance_id=latest"):
        answer = operator.send("POST", path, body)
        assert answer.status_code == 400
        assert "`inner` cannot be set by the role operator" in answer.json()["error"]
    assert not account.runs.exists()
    assert operator.send("POST", RUNS, {"input": {}, "options": {"open": "b"}}).status_code == 202
    assert developer.send("POST", RUNS, body).status_code == 202


def test_nobody_writes_lines_into_the_log(
    program: Program, monkeypatch: pytest.MonkeyPatch, caplog
):
    def broken(*_: object) -> None:
        raise StorageError("away")

    monkeypatch.setattr("runs.api.v1.applications.find_application", broken)
    path = "/v1/applications/x%0A2026-01-01%20ERROR%20forged"
    assert program.send("GET", path).status_code == 503
    monkeypatch.setattr("runs.api.v1.applications.find_application", lambda *_: 1 // 0)
    assert program.send("GET", path).status_code == 500
    lines = [one.getMessage() for one in caplog.records if one.name.startswith("runs.")]
    assert len(lines) == 2
    assert not [line for line in lines if "\n" in line or path not in line]
