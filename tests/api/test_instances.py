"""Instances over the API, and `latest`, which nobody creates."""

from __future__ import annotations

from typing import Any

import pytest
from nextmv.cloud import Instance as PublishedInstance

from runs.domain.manifest import manifest_to_json, parse_manifest
from runs.domain.status import Status
from runs.models import Account, Application, Instance, SecretsCollection
from tests.api.conftest import Program
from tests.api.golden import check_golden
from tests.factories import (
    make_application,
    make_executable,
    make_instance,
    make_queue,
    make_run,
    make_version,
)

URL = "/v1/applications/routing/instances"
MANIFEST = """\
files: [main.py]
configuration:
  options:
    items:
      - {name: seconds, option_type: int, additional_attributes: {min: 1, max: 9}}
"""
CONFIGURATION: dict[str, Any] = {
    "execution_class": "gpu",
    "format": {"input": {"type": "multi-file"}, "output": {"type": "json"}},
    "options": {"seconds": 30, "free": True, "text": "a", "none": None},
    "secrets_collection_id": "keys",
    "queuing": {"priority": 3, "disabled": True},
    "integration_id": None,
    "limits": {"time_limit_s": 60},
}


@pytest.fixture(autouse=True)
def application(account: Account) -> Application:
    application = make_application(account, application_id="routing")
    make_executable(application, manifest=manifest_to_json(parse_manifest(MANIFEST)))
    make_version(application.executable, version_id="v1")
    make_queue(account, name="gpu")
    SecretsCollection.objects.create(application=application, collection_id="keys")
    return application


def create(program: Program, instance_id: str = "prod", **more: Any) -> Any:
    body = {"id": instance_id, "name": "Production", "version_id": "v1", **more}
    return program.send("POST", URL, body)


def test_an_instance_has_the_whole_configuration(program: Program):
    made = create(program, description="d", configuration=CONFIGURATION)
    assert made.status_code == 201, made.content
    check_golden("instance", made.json())
    assert program.get(f"{URL}/prod") == made.json()
    published = PublishedInstance.from_dict(made.json())
    assert published.configuration.queuing is not None
    assert published.configuration.queuing.priority == 3
    assert published.configuration.options == {"seconds": "30", "free": "true", "text": "a"}


def test_an_instance_that_says_nothing_has_an_empty_configuration(program: Program):
    made = create(program, name=None, description=None, configuration=None)
    check_golden("instance_plain", made.json())
    PublishedInstance.from_dict(made.json())


def test_an_instance_of_latest_follows_every_push(program: Program):
    made = create(program, version_id="latest").json()
    assert made["version_id"] == "latest"
    assert Instance.objects.get().version is None
    changed = program.send("PUT", f"{URL}/prod", {"version_id": "v1"}).json()
    assert changed["version_id"] == "v1"
    back = program.send("PUT", f"{URL}/prod", {"version_id": "latest"}).json()
    assert back["version_id"] == "latest"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"id": "a/b"}, "letters"),
        ({"id": "latest"}, "there already"),
        ({"version_id": "v9"}, "Version 'v9' does not exist in application 'routing'"),
        ({"version_id": None}, "version_id"),
        ({"configuration": {"execution_class": "none"}}, "default"),
        ({"configuration": {"execution_class": "none"}}, "gpu"),
        ({"configuration": {"secrets_collection_id": "none"}}, "keys"),
        ({"configuration": {"integration_id": "dbx"}}, "Integrations"),
        ({"configuration": {"queuing": {"priority": 10}}}, "priority"),
        ({"configuration": {"queuing": {"priority": "high"}}}, "priority"),
        ({"configuration": {"format": {"input": {"type": "pdf"}}}}, "pdf"),
        ({"configuration": {"format": {"output": {"type": "pdf"}}}}, "pdf"),
        ({"configuration": {"options": ["a"]}}, "options"),
        ({"configuration": {"limits": {"time_limit_s": 0}}}, "time limit"),
        ({"configuration": 7}, "configuration"),
    ],
)
def test_what_a_body_names_wrongly_is_400_and_nothing_is_kept(program: Program, more, words):
    answer = create(program, **more)
    assert answer.status_code == 400, answer.content
    assert words in answer.json()["error"]
    assert not Instance.objects.exists()


def test_an_id_is_taken_once(program: Program):
    assert create(program).status_code == 201
    assert create(program).status_code == 409


def test_options_are_checked_only_as_the_manifest_asks(program: Program, application: Application):
    wrong = {"options": {"seconds": "99"}}
    assert create(program, "loose", configuration=wrong).status_code == 201
    assert application.executable is not None
    application.executable.manifest["options"]["enforce"] = "all"
    application.executable.save()
    refused = create(program, "tight", configuration=wrong)
    assert refused.status_code == 400
    assert "seconds" in refused.json()["error"]


def test_a_configuration_that_is_sent_replaces_all_of_the_former_one(program: Program):
    create(program, configuration=CONFIGURATION)
    only = {"options": {"seconds": "5"}, "queuing": {"disabled": None}}
    changed = program.send("PUT", f"{URL}/prod", {"configuration": only}).json()
    # The limit is ours: the client cannot send what it does not know.
    assert changed["configuration"] == {
        "options": {"seconds": "5"},
        "limits": {"time_limit_s": 60},
    }
    assert (changed["name"], changed["version_id"]) == ("Production", "v1")
    rest = {"configuration": {"limits": {"time_limit_s": None}}}
    assert program.send("PUT", f"{URL}/prod", rest).json()["configuration"] == {}


def test_what_is_not_sent_stays(program: Program):
    made = create(program, configuration=CONFIGURATION).json()
    changed = program.send("PUT", f"{URL}/prod", {"name": "New", "description": None}).json()
    assert changed == {**made, "name": "New", "updated_at": changed["updated_at"]}


def test_sending_the_whole_object_back_changes_nothing(program: Program):
    made = create(program, configuration=CONFIGURATION).json()
    as_the_client_sends_it = PublishedInstance.from_dict(made).to_dict()
    again = program.send("PUT", f"{URL}/prod", as_the_client_sends_it)
    assert again.status_code == 200, again.content
    assert again.json() == made
    assert Instance.objects.get().options == {"seconds": 30, "free": True, "text": "a"}


def test_only_an_output_is_said_and_the_input_is_that_of_the_app(program: Program):
    made = create(program, configuration={"format": {"output": {"type": "multi-file"}}}).json()
    assert made["configuration"]["format"] == {
        "input": {"type": "json"},
        "output": {"type": "multi-file"},
    }


def test_a_locked_instance_refuses_changes_and_deletion(program: Program):
    made = create(program, configuration=CONFIGURATION).json()
    locked = program.send("PUT", f"{URL}/prod/lock", {"locked": True})
    assert locked.status_code == 200
    assert locked.json()["locked"] is True
    again = program.send("PUT", f"{URL}/prod/lock", {"locked": True})
    assert again.json() == locked.json()
    for answer in (
        program.send("PUT", f"{URL}/prod", {**made, "name": "New"}),
        program.send("DELETE", f"{URL}/prod"),
    ):
        assert answer.status_code == 409
        assert "locked" in answer.json()["error"]
    # The client sends the whole instance before it unlocks it.
    same = program.send("PUT", f"{URL}/prod", PublishedInstance.from_dict(made).to_dict())
    assert same.status_code == 200
    free = program.send("PUT", f"{URL}/prod/lock", {"locked": False})
    assert free.json()["locked"] is False
    assert program.send("PUT", f"{URL}/prod/lock", {}).status_code == 400
    assert program.send("DELETE", f"{URL}/prod").status_code == 204


def test_deleting_keeps_the_ended_runs(program: Program, application: Application):
    instance = make_instance(application, instance_id="prod")
    run = make_run(application, status=Status.QUEUED, instance=instance)
    assert program.send("DELETE", f"{URL}/prod").status_code == 409
    run.delete()
    run = make_run(application, status=Status.SUCCEEDED, instance=instance)
    assert program.send("DELETE", f"{URL}/prod").status_code == 204
    run.refresh_from_db()
    assert run.former_instance_id == "prod"
    for method, path, body in (
        ("GET", "prod", None),
        ("PUT", "prod", {}),
        ("PUT", "prod/lock", {"locked": True}),
        ("DELETE", "prod", None),
    ):
        assert program.send(method, f"{URL}/{path}", body).status_code == 404


def test_latest_is_there_once_something_was_pushed(program: Program, account: Account):
    check_golden("instance_latest", program.get(f"{URL}/latest"))
    PublishedInstance.from_dict(program.get(f"{URL}/latest"))
    make_application(account, application_id="empty")
    missing = program.send("GET", "/v1/applications/empty/instances/latest")
    assert missing.status_code == 404
    assert program.get(URL) == []


def test_nobody_changes_latest(program: Program):
    for method, path, body in (
        ("PUT", "latest", {"name": "x"}),
        ("PUT", "latest/lock", {"locked": False}),
        ("DELETE", "latest", None),
    ):
        answer = program.send(method, f"{URL}/{path}", body)
        assert answer.status_code == 409
        assert "built in" in answer.json()["error"]


def test_lists_come_in_both_shapes_and_pages(
    program: Program, application: Application, django_assert_max_num_queries
):
    make_instance()
    Instance.objects.bulk_create(
        Instance(application=application, instance_id=f"i{number}", version=version)
        for number, version in enumerate([application.versions.get()] * 101)
    )
    with django_assert_max_num_queries(4):
        whole = program.get(URL)
    first = program.get(URL, pagereturn="true")
    make_instance(application, instance_id="late")
    second = program.get(URL, pagereturn="true", pagetoken=first["next_page_token"])
    assert [one["id"] for one in whole] == [f"i{number}" for number in range(101)]
    assert [one["id"] for one in second["items"]] == ["i100", "late"]
    assert first["items"] == whole[:100]
    assert "next_page_token" not in second
