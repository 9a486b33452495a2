"""Secrets over the API: values come in and never go out."""

from __future__ import annotations

from typing import Any

import pytest
from nextmv.cloud import SecretsCollection as PublishedCollection
from nextmv.cloud import SecretsCollectionSummary as PublishedSummary

from runs.actions.secrets import reveal
from runs.models import Account, Application, AuditEvent, Secret, SecretsCollection
from tests.api.conftest import Program
from tests.api.golden import check_golden
from tests.factories import make_application, make_instance

URL = "/v1/applications/routing/secrets"
TOKEN = {"type": "env", "location": "TOKEN", "value": "hush-1"}
FILE = {"type": "file", "location": "keys/a.pem", "value": "hush-2"}


@pytest.fixture(autouse=True)
def application(account: Account) -> Application:
    return make_application(account, application_id="routing")


def create(program: Program, **more: Any) -> Any:
    body = {"id": "keys", "name": "Keys", "secrets": [TOKEN, FILE], **more}
    return program.send("POST", URL, body)


def revealed() -> dict[str, str]:
    return {one.location: one.value for one in reveal(SecretsCollection.objects.get())}


def test_a_collection_is_created_and_shown_without_values(program: Program):
    made = create(program, description="d")
    assert made.status_code == 201, made.content
    check_golden("secrets_summary", made.json())
    PublishedSummary.from_dict(made.json())
    shown = program.get(f"{URL}/keys")
    check_golden("secrets", shown)
    published = PublishedCollection.from_dict(shown)
    assert [one.location for one in published.secrets] == ["TOKEN", "keys/a.pem"]
    check_golden("secrets_page", program.get(URL, pagereturn="true"))
    assert program.get(URL) == program.get(URL, pagereturn="true")
    assert revealed() == {"TOKEN": "hush-1", "keys/a.pem": "hush-2"}


def test_values_are_in_no_answer_and_no_record(program: Program, caplog):
    answers = [
        create(program),
        create(program),
        create(program, id="b", secrets=[{**TOKEN, "type": "none"}]),
        create(program, id="b", secrets=[{**TOKEN, "location": "PATH"}]),
        create(program, id="b", secrets=[TOKEN, TOKEN]),
        program.send("GET", f"{URL}/keys"),
        program.send("GET", URL),
        program.send("PATCH", f"{URL}/keys", {"operations": [{"op": "update", **TOKEN}]}),
        program.send("PATCH", f"{URL}/keys", {"operations": [{"op": "create", **TOKEN}]}),
    ]
    told = [answer.content.decode() for answer in answers] + [caplog.text]
    told += [f"{event.target} {event.detail}" for event in AuditEvent.objects.all()]
    told += Secret.objects.values_list("encrypted", flat=True)
    assert not any("hush" in text for text in told)


def test_all_operations_are_made_or_none(program: Program):
    create(program)
    operations = [
        {"op": "update", **TOKEN, "value": "hush-3"},
        {"op": "delete", "type": "file", "location": "keys/a.pem"},
        {"op": "create", "type": "env", "location": "MORE", "value": "hush-4"},
    ]
    changed = program.send("PATCH", f"{URL}/keys", {"name": "New", "operations": operations})
    assert changed.status_code == 200, changed.content
    assert changed.json()["name"] == "New"
    assert revealed() == {"TOKEN": "hush-3", "MORE": "hush-4"}
    wrong = [
        {"op": "delete", "type": "env", "location": "TOKEN"},
        {"op": "delete", "type": "env", "location": "NEVER"},
    ]
    refused = program.send("PATCH", f"{URL}/keys", {"name": "Other", "operations": wrong})
    assert refused.status_code == 400
    assert "NEVER" in refused.json()["error"]
    assert program.get(f"{URL}/keys")["name"] == "New"
    assert revealed() == {"TOKEN": "hush-3", "MORE": "hush-4"}


def test_nulls_and_unknown_keys_change_nothing(program: Program):
    create(program)
    body = {"name": None, "description": None, "operations": None, "id": "other"}
    changed = program.send("PATCH", f"{URL}/keys", body)
    assert changed.status_code == 200
    assert changed.json()["id"] == "keys"
    assert len(revealed()) == 2


@pytest.mark.parametrize(
    "more",
    [
        {"id": "a/b"},
        {"id": None},
        {"name": "x" * 201},
        {"secrets": [{"type": "env", "location": "A"}]},
        {"secrets": [{"type": "env", "location": "A", "value": None}]},
        {"secrets": [{"type": "disk", "location": "A", "value": "v"}]},
        {"secrets": [{"type": "env", "location": "1 A", "value": "v"}]},
        {"secrets": [{"type": "file", "location": "../a", "value": "v"}]},
        {"secrets": "TOKEN"},
    ],
)
def test_a_bad_collection_is_refused(program: Program, more):
    answer = create(program, **more)
    assert answer.status_code == 400, answer.content
    assert not SecretsCollection.objects.exists()


def test_an_id_is_taken_once_and_what_is_used_stays(program: Program, application: Application):
    assert create(program).status_code == 201
    assert create(program).status_code == 409
    instance = make_instance(application, secrets=SecretsCollection.objects.get())
    used = program.send("DELETE", f"{URL}/keys")
    assert used.status_code == 409
    assert instance.instance_id in used.json()["error"]
    instance.delete()
    assert program.send("DELETE", f"{URL}/keys").status_code == 204
    for method in ("GET", "PATCH", "DELETE"):
        assert program.send(method, f"{URL}/keys", {}).status_code == 404


def test_a_long_list_has_pages_whether_asked_for_or_not(program: Program, application: Application):
    SecretsCollection.objects.bulk_create(
        SecretsCollection(application=application, collection_id=f"c{number}")
        for number in range(101)
    )
    assert len(program.get(URL)["items"]) == 101
    first = program.get(URL, pagereturn="true")
    second = program.get(URL, pagereturn="true", pagetoken=first["next_page_token"])
    ids = [one["id"] for one in first["items"] + second["items"]]
    assert ids == [f"c{number}" for number in range(101)]
