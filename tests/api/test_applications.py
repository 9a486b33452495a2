"""Applications over the API."""

from __future__ import annotations

import pytest

from runs.domain.status import Status
from runs.models import Account, Application, Run
from tests.api.conftest import Program
from tests.api.golden import check_golden
from tests.api.published import read_application
from tests.factories import make_application, make_instance, make_run

URL = "/v1/applications"


def test_an_application_is_created_and_read(program: Program):
    body = {"id": "routing", "name": "Routing", "description": "Vans", "is_pipeline": False}
    made = program.send("POST", URL, body)
    assert made.status_code == 201
    check_golden("application", made.json())
    found = read_application(program.get(f"{URL}/routing"))
    assert (found.id, found.name, found.type, found.locked) == (
        "routing",
        "Routing",
        "custom",
        False,
    )
    assert found.created_at is not None
    assert found.created_at.tzinfo is not None


def test_what_the_client_creates_when_asked_for_an_unknown_one(program: Program):
    missing = program.send("GET", f"{URL}/x-1")
    assert missing.status_code == 404
    check_golden("application_missing", missing.json())
    assert program.send("POST", URL, {"id": "x-1", "name": "x-1"}).status_code == 201
    again = program.send("POST", URL, {"id": "x-1", "name": "x-1"})
    assert again.status_code == 409
    check_golden("application_taken", again.json())


@pytest.mark.parametrize(
    "body",
    [
        {"id": "a/b", "name": "n"},
        {"id": "", "name": "n"},
        {"id": "x" * 129, "name": "n"},
        {"name": "n"},
        {"id": "a"},
        {"id": 7, "name": "n"},
        {"id": "a", "name": "x" * 201},
        {"id": "a", "name": "n", "default_instance": "none-such"},
    ],
)
def test_a_bad_application_is_refused_and_nothing_is_kept(program: Program, body):
    answer = program.send("POST", URL, body)
    assert answer.status_code == 400
    assert set(answer.json()) == {"error", "status"}
    assert not Application.objects.exists()


def test_nulls_are_taken_where_a_client_may_send_them(program: Program):
    body = {"id": "a", "name": "A", "description": None, "default_instance": None}
    assert program.send("POST", URL, body).status_code == 201
    changed = program.send("PUT", f"{URL}/a", {"name": None, "description": None})
    assert changed.status_code == 200
    assert changed.json()["name"] == "A"


def test_the_whole_object_is_sent_back_with_changes(account: Account, program: Program):
    application = make_application(account, application_id="a", name="A", description="old")
    make_instance(application, instance_id="prod")
    whole = program.get(f"{URL}/a")
    assert whole["default_instance"] == ""
    changes = {"name": "B", "default_instance": "prod", "id": "other", "locked": True}
    changed = program.send("PUT", f"{URL}/a", {**whole, **changes})
    assert changed.status_code == 200
    answer = changed.json()
    assert (answer["id"], answer["name"], answer["description"]) == ("a", "B", "old")
    assert (answer["default_instance"], answer["locked"]) == ("prod", False)
    assert answer["updated_at"] > answer["created_at"]
    cleared = program.send("PUT", f"{URL}/a", {**answer, "default_instance": ""})
    assert cleared.json()["default_instance"] == ""
    wrong = program.send("PUT", f"{URL}/a", {"default_instance": "gone"})
    assert wrong.status_code == 400


def test_lists_come_in_both_shapes(account: Account, program: Program):
    for name in ("b", "a"):
        make_application(account, application_id=name, name=name)
    make_application()
    check_golden("applications", program.get(URL))
    check_golden("applications_page", program.get(URL, pagereturn="true"))
    assert program.get(URL) == program.get(URL, pagereturn="true")["items"]


def test_pages_stay_right_while_applications_appear(account: Account, program: Program):
    Application.objects.bulk_create(
        Application(account=account, application_id=f"a{number:03}") for number in range(150)
    )
    first = program.get(URL, pagereturn="true")
    make_application(account, application_id="late")
    Application.objects.get(application_id="a000").delete()
    second = program.get(URL, pagereturn="true", pagetoken=first["next_page_token"])
    assert isinstance(first["next_page_token"], str)
    assert "next_page_token" not in second
    ids = [one["id"] for one in first["items"] + second["items"]]
    assert ids == [*(f"a{number:03}" for number in range(150)), "late"]
    for token in ("x", "é", "MTI", "a" * 5000):
        answer = program.send("GET", URL, pagereturn="true", pagetoken=token)
        assert answer.status_code == 400


def test_an_application_goes_with_its_ended_runs(account: Account, program: Program):
    application = make_application(account, application_id="a")
    run = make_run(application, status=Status.RUNNING)
    refused = program.send("DELETE", f"{URL}/a")
    assert refused.status_code == 409
    assert run.run_id in refused.json()["error"]
    Run.objects.filter(pk=run.pk).delete()
    make_run(application, status=Status.SUCCEEDED)
    gone = program.send("DELETE", f"{URL}/a")
    assert (gone.status_code, gone.content) == (204, b"")
    assert not Run.objects.exists()
    assert program.send("GET", f"{URL}/a").status_code == 404
    assert program.send("DELETE", f"{URL}/a").status_code == 404
