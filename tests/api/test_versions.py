"""Versions over the API."""

from __future__ import annotations

from pathlib import Path

import pytest
from nextmv.cloud import Version as PublishedVersion

from runs.domain.status import Status
from runs.models import Account, Application, Version
from tests.api.conftest import Program
from tests.api.golden import check_golden
from tests.api.pushing import push
from tests.factories import make_application, make_executable, make_instance, make_run, make_version

URL = "/v1/applications/routing/versions"


@pytest.fixture(autouse=True)
def application(settings, data_dir: Path, account: Account) -> Application:
    settings.RUNSITE_DATA_DIR = data_dir
    return make_application(account, application_id="routing")


def test_a_version_freezes_what_was_pushed(program: Program):
    pushed = push(program, "routing").json()
    made = program.send("POST", URL, {"id": "v1", "name": "First", "description": None})
    assert made.status_code == 201
    check_golden("version", made.json(), person=program.maker.email)
    push(program, "routing")
    found = program.get(f"{URL}/v1")
    assert found == made.json()
    assert found["executable"] == pushed
    published = PublishedVersion.from_dict(found)
    assert published.executable.requirements.executable_type == "python"
    assert published.created_at.tzinfo is not None


def test_a_version_of_nothing_is_refused(program: Program):
    answer = program.send("POST", URL, {"id": "v1", "name": "v1"})
    assert answer.status_code == 400
    assert "no executable" in answer.json()["error"]


def test_ids_are_checked_and_taken_once(program: Program, application: Application):
    make_executable(application)
    assert program.send("POST", URL, {"id": "v1", "name": ""}).json()["name"] == "v1"
    taken = program.send("POST", URL, {"id": "v1", "name": "again"})
    assert taken.status_code == 409
    for body in ({"id": "a b", "name": "n"}, {"id": "latest", "name": "n"}, {"name": "n"}, {}):
        assert program.send("POST", URL, body).status_code == 400
    assert Version.objects.count() == 1


def test_only_the_words_change(program: Program, application: Application):
    make_executable(application, uploaded_by=None)
    made = program.send("POST", URL, {"id": "v1", "name": "One", "description": "d"}).json()
    assert made["executable"]["user_email"] == ""
    changed = program.send("PUT", f"{URL}/v1", {**made, "id": "v2", "name": "Two"}).json()
    assert changed == {**made, "name": "Two", "updated_at": changed["updated_at"]}
    assert changed["updated_at"] > made["updated_at"]
    partly = program.send("PUT", f"{URL}/v1", {"name": None, "description": ""}).json()
    assert (partly["name"], partly["description"]) == ("Two", "")
    assert program.send("PUT", f"{URL}/v1", {"name": "x" * 201}).status_code == 400


def test_lists_come_in_both_shapes_and_pages(program: Program, application: Application):
    executable = make_executable(application)
    make_version(make_executable())
    Version.objects.bulk_create(
        Version(application=application, executable=executable, version_id=f"v{number}")
        for number in range(101)
    )
    whole = program.get(URL)
    first = program.get(URL, pagereturn="true")
    make_version(executable, version_id="late")
    second = program.get(URL, pagereturn="true", pagetoken=first["next_page_token"])
    assert [one["id"] for one in whole] == [f"v{number}" for number in range(101)]
    assert first["items"] + second["items"][:-1] == whole
    assert second["items"][-1]["id"] == "late"
    assert "next_page_token" not in second
    for one in first["items"]:
        PublishedVersion.from_dict(one)


def test_a_list_costs_the_same_number_of_queries_whatever_its_length(
    program: Program, application: Application, django_assert_max_num_queries
):
    for _ in range(5):
        make_version(make_executable(application))
    with django_assert_max_num_queries(4):
        assert len(program.get(URL)) == 5


def test_a_version_goes_and_its_runs_stay(program: Program, application: Application):
    version = make_version(make_executable(application), version_id="v1")
    instance = make_instance(application, instance_id="prod", version=version)
    used = program.send("DELETE", f"{URL}/v1")
    assert used.status_code == 409
    assert "prod" in used.json()["error"]
    instance.delete()
    run = make_run(application, status=Status.SUCCEEDED, version=version)
    assert program.send("DELETE", f"{URL}/v1").status_code == 204
    run.refresh_from_db()
    assert run.former_version_id == "v1"
    for method in ("GET", "PUT", "DELETE"):
        answer = program.send(method, f"{URL}/v1", {})
        assert answer.status_code == 404
        assert "'v1'" in answer.json()["error"]
