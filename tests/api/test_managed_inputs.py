"""Managed inputs over the API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from nextmv.cloud import ManagedInput as PublishedInput

from runs.domain.status import Status
from runs.models import Account, Application, ManagedInput, Run, Upload
from runs.storage import object_store
from tests.actions.applying import tar_bytes
from tests.api.conftest import Program
from tests.api.golden import check_golden
from tests.api.pushing import upload
from tests.factories import (
    make_application,
    make_executable,
    make_input,
    make_managed_input,
    make_run,
)

URL = "/v1/applications/routing/inputs"
JSON = {"input": {"type": "json"}, "output": {"type": "json"}}
FOLDER = {"input": {"type": "multi-file"}, "output": {"type": "multi-file"}}


@pytest.fixture(autouse=True)
def application(settings, data_dir: Path, account: Account) -> Application:
    settings.RUNSITE_DATA_DIR = data_dir
    return make_executable(make_application(account, application_id="routing")).application


def create(program: Program, **more: Any) -> Any:
    return program.send("POST", URL, {"id": "small", "name": "Small", "format": JSON, **more})


def test_an_input_of_an_upload_outlives_it(program: Program):
    upload_id = upload(program, "routing", b'{"a": 1}')
    made = create(program, upload_id=upload_id, description="d")
    assert made.status_code == 201, made.content
    check_golden("managed_input", made.json(), upload=upload_id)
    assert program.get(f"{URL}/small") == made.json()
    published = PublishedInput.from_dict(made.json())
    assert published.format is not None
    assert published.format.format_output is not None
    row = Upload.objects.get()
    object_store().delete(row.key)
    row.delete()
    file = ManagedInput.objects.get().input_data.files.get()
    assert object_store().read_range(file.key, 0, 100) == b'{"a": 1}'


def test_an_upload_may_be_used_more_than_once(program: Program):
    upload_id = upload(program, "routing", b'{"a": 1}')
    assert create(program, upload_id=upload_id).status_code == 201
    assert create(program, id="again", upload_id=upload_id).status_code == 201


def test_a_folder_may_be_kept_for_an_app_that_reads_json(program: Program):
    upload_id = upload(program, "routing", tar_bytes({"a/x.csv": "1", "b.csv": "2"}))
    made = create(program, upload_id=upload_id, format=FOLDER)
    assert made.status_code == 201, made.content
    assert made.json()["format"] == FOLDER
    data = ManagedInput.objects.get().input_data
    assert sorted(data.files.values_list("path", flat=True)) == ["a/x.csv", "b.csv"]


def test_an_input_of_a_run_outlives_it(program: Program, application: Application):
    data = make_input(program.account, content_format="text")
    run = make_run(application, status=Status.SUCCEEDED, input_data=data)
    made = create(program, run_id=run.run_id, upload_id=None, format=None)
    assert made.status_code == 201, made.content
    check_golden("managed_input_of_run", made.json(), run=run.run_id)
    Run.objects.all().delete()
    assert program.get(f"{URL}/small") == made.json()
    assert ManagedInput.objects.get().input_data == data


def test_the_format_always_has_an_output(program: Program):
    upload_id = upload(program, "routing", b"words")
    made = create(program, upload_id=upload_id, format={"input": {"type": "text"}}).json()
    assert made["format"] == {"input": {"type": "text"}, "output": {"type": "json"}}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, "upload_id"),
        ({"upload_id": "u", "run_id": "r"}, "either"),
        ({"upload_id": "never"}, "Upload 'never' does not exist"),
        ({"run_id": "never"}, "Run 'never' does not exist"),
        ({"upload_id": "filled", "id": "a b"}, "letters"),
        ({"upload_id": "filled", "id": None}, "id"),
        ({"upload_id": "filled", "name": "x" * 201}, "200"),
        ({"upload_id": "filled", "format": {"input": {"type": "pdf"}}}, "pdf"),
        (
            {"upload_id": "filled", "format": {"input": {"type": "json"}, "output": {"type": "x"}}},
            "x",
        ),
        ({"upload_id": "filled", "format": FOLDER}, "archive"),
        ({"upload_id": "broken"}, "Line 1"),
        ({"upload_id": "empty"}, "empty"),
    ],
)
def test_what_cannot_be_kept_is_400(program: Program, more, words):
    known = {
        "filled": lambda: upload(program, "routing", b'{"a": 1}'),
        "broken": lambda: upload(program, "routing", b"{"),
        "empty": lambda: program.send("POST", URL[: -len("inputs")] + "runs/uploadurl").json()[
            "upload_id"
        ],
    }
    if more.get("upload_id") in known:
        more = {**more, "upload_id": known[more["upload_id"]]()}
    answer = create(program, **more)
    assert answer.status_code == 400, answer.content
    assert words in answer.json()["error"]
    assert not ManagedInput.objects.exists()


def test_what_is_of_another_account_is_not_there(program: Program, db):
    stranger = Program(make_application().account)
    make_application(stranger.account, application_id="routing")
    theirs = upload(stranger, "routing", b"{}")
    run = make_run(
        make_application(stranger.account),
        status=Status.SUCCEEDED,
        input_data=make_input(stranger.account),
    )
    for more in ({"upload_id": theirs}, {"run_id": run.run_id}):
        answer = create(program, **more)
        assert answer.status_code == 400
        assert "does not exist" in answer.json()["error"]


def test_a_run_without_an_input_gives_none(program: Program, application: Application):
    run = make_run(application, status=Status.SUCCEEDED)
    answer = create(program, run_id=run.run_id)
    assert answer.status_code == 400
    assert "no input" in answer.json()["error"]


def test_an_id_is_taken_once(program: Program, application: Application):
    make_managed_input(application, input_id="small")
    answer = create(program, upload_id=upload(program, "routing", b"{}"))
    assert answer.status_code == 409


def test_only_the_words_change(program: Program, application: Application):
    make_managed_input(application, input_id="small", name="Small", from_upload="u1")
    whole = PublishedInput.from_dict(program.get(f"{URL}/small")).to_dict()
    changed = program.send("PUT", f"{URL}/small", {**whole, "name": "Tiny", "format": FOLDER})
    assert changed.status_code == 200, changed.content
    assert (changed.json()["name"], changed.json()["format"]) == ("Tiny", JSON)
    assert changed.json()["upload_id"] == "u1"
    kept = program.send("PUT", f"{URL}/small", {"name": None, "description": None}).json()
    assert kept == changed.json()


def test_deleting_keeps_the_input_of_runs(program: Program, application: Application):
    managed = make_managed_input(application, input_id="small")
    run = make_run(
        application,
        status=Status.QUEUED,
        managed_input=managed,
        input_data=managed.input_data,
    )
    assert program.send("DELETE", f"{URL}/small").status_code == 204
    run.refresh_from_db()
    assert run.input_data is not None
    for method in ("GET", "PUT", "DELETE"):
        assert program.send(method, f"{URL}/small", {}).status_code == 404


def test_lists_come_in_both_shapes_and_pages(
    program: Program, application: Application, django_assert_max_num_queries
):
    make_managed_input()
    data = make_input(application.account)
    ManagedInput.objects.bulk_create(
        ManagedInput(application=application, input_id=f"i{number}", input_data=data)
        for number in range(101)
    )
    with django_assert_max_num_queries(4):
        whole = program.get(URL)
    first = program.get(URL, pagereturn="true")
    make_managed_input(application, input_id="late")
    second = program.get(URL, pagereturn="true", pagetoken=first["next_page_token"])
    assert [one["id"] for one in whole] == [f"i{number}" for number in range(101)]
    assert first["items"] == whole[:100]
    assert [one["id"] for one in second["items"]] == ["i100", "late"]
