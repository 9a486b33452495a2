"""The list of runs; cancel, stop and delete; repeated submits; two clients at once."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from nextmv.run import Run as ClientRun

from runs.domain.status import Status
from runs.models import Run, Submission
from runs.storage import object_store
from tests.api.conftest import Program
from tests.api.golden import check_golden
from tests.api.run_worlds import make_app, submitted
from tests.factories import (
    make_account,
    make_attempt,
    make_instance,
    make_managed_input,
    make_run,
    make_tracked_run,
    make_version,
)

RUNS = "/v1/applications/routing/runs"


@pytest.fixture(autouse=True)
def store(settings: Any, tmp_path: Any) -> None:
    settings.RUNSITE_DATA_DIR = tmp_path


@pytest.fixture
def app(account: Any) -> Any:
    return make_app(account)


# --- The list -----------------------------------------------------------------------------------


def test_the_list_is_read_by_the_client(program, app):
    make_tracked_run(
        app,
        output=b'{"metrics": {"value": 4.5, "stops": 3, "note": "good", "late": false}}',
        name="Elsewhere",
        options={"region": "west"},
    )
    managed = make_managed_input(app, input_id="monday")
    version = make_version(app.executable, version_id="v1")
    make_instance(app, instance_id="day", version=version, options={"day": "2"})
    body = {
        "input_id": managed.input_id,
        "options": {"region": 5},
        "batch_experiment_id": "exp-1",
        "name": "Here",
        "description": "About",
    }
    submitted(program, body, instance_id="day")
    answer = program.get(RUNS)
    check_golden("runs", answer, person=program.maker.email)
    read = [ClientRun.from_dict(item) for item in answer["runs"]]
    assert [run.name for run in read] == ["Here", "Elsewhere"]
    assert read[0].options == {"region": "5", "day": "2"}
    assert read[0].request_options == {"region": "5"}
    found = {one.name: one.value for one in read[1].metrics.indicators}
    assert found == {"value": 4.5, "stops": 3, "note": "good", "late": "false"}


def test_pages_are_stable_while_new_runs_appear(program, app, monkeypatch):
    monkeypatch.setattr("runs.api.pages.PAGE_SIZE", 3)
    runs = [make_run(app) for _ in range(7)]
    expected = [run.run_id for run in reversed(runs)]
    found: list[str] = []
    token = ""
    while True:
        query = {"pagereturn": "true"} | ({"pagetoken": token} if token else {})
        page = program.get(RUNS, **query)
        found += [item["id"] for item in page["runs"]]
        token = page.get("next_page_token", "")
        if not token:
            break
        make_run(app)
    assert found == expected
    assert len(program.get(RUNS)["runs"]) == 9


def test_an_empty_list_is_an_empty_list(program, app):
    assert program.get(RUNS) == {"runs": []}
    assert program.get(RUNS, pagereturn="true") == {"runs": []}


def test_filters_are_ours(program, app):
    instance = make_instance(app, instance_id="day")
    first = make_run(app, instance=instance)
    second = make_run(app, status=Status.SUCCEEDED, batch_experiment_id="exp-1")

    def found(**query: str) -> set[str]:
        return {item["id"] for item in program.get(RUNS, **query)["runs"]}

    assert found(status="succeeded") == {second.run_id}
    assert found(status="queued") == {first.run_id}
    assert found(instance_id="day") == {first.run_id}
    assert found(instance_id="latest") == {second.run_id}
    assert found(batch_experiment_id="exp-1") == {second.run_id}
    assert found(status="failed") == set()
    answer = program.send("GET", RUNS, status="done")
    assert (answer.status_code, "`done` is no status" in answer.json()["error"]) == (400, True)


def test_the_list_costs_five_queries_however_long_it_is(
    program, app, django_assert_max_num_queries
):
    for number in range(6):
        make_tracked_run(app, output=b'{"metrics": {"a": 1}}', options={"n": str(number)})
    program.get(RUNS)
    with django_assert_max_num_queries(5):
        assert len(program.get(RUNS)["runs"]) == 6


def test_others_see_nothing_of_it(app):
    make_run(app)
    other = Program(make_account())
    assert other.send("GET", RUNS).status_code == 404
    make_app(other.account)
    assert other.get(RUNS) == {"runs": []}


# --- Cancel, stop, delete -----------------------------------------------------------------------


def test_a_queued_run_is_canceled_at_once_and_again_without_effect(program, app):
    run = submitted(program, {})
    for _ in range(2):
        answer = program.send("PATCH", f"{RUNS}/{run.run_id}/cancel")
        assert (answer.status_code, answer.json()) == (
            202,
            {"run_id": run.run_id, "status_v2": "canceled"},
        )


def test_a_running_run_is_asked_to_end(program, app):
    run = make_run(app, status=Status.RUNNING)
    make_attempt(run)
    assert program.send("PATCH", f"{RUNS}/{run.run_id}/cancel").json()["status_v2"] == "running"
    run.refresh_from_db()
    assert run.cancel_requested_at is not None


def test_what_has_ended_stays_as_it_is(program, app):
    run = make_run(app, status=Status.FAILED)
    answer = program.send("PATCH", f"{RUNS}/{run.run_id}/cancel", b"")
    assert (answer.status_code, answer.json()["status_v2"]) == (202, "failed")


def test_an_operator_cancels_own_runs_only(program, app):
    operator = Program(app.account, "operator")
    own, other = submitted(operator, {}), submitted(program, {})
    assert operator.send("PATCH", f"{RUNS}/{own.run_id}/cancel").status_code == 202
    assert operator.send("PATCH", f"{RUNS}/{other.run_id}/cancel").status_code == 403
    assert operator.send("DELETE", f"{RUNS}/{own.run_id}").status_code == 403


def test_a_viewer_reads_only(app):
    viewer = Program(app.account, "viewer")
    run = make_run(app, status=Status.SUCCEEDED)
    viewer.get(f"{RUNS}/{run.run_id}/metadata")
    for method, rest in (("PATCH", "/cancel"), ("PATCH", "/stop"), ("DELETE", "")):
        assert viewer.send(method, f"{RUNS}/{run.run_id}{rest}").status_code == 403
    assert viewer.send("POST", RUNS, {}).status_code == 403


def test_a_running_run_is_stopped_and_its_result_kept(program, app):
    run = make_run(app, status=Status.RUNNING)
    make_attempt(run)
    answer = program.send("PATCH", f"{RUNS}/{run.run_id}/stop")
    assert (answer.status_code, answer.json()["status_v2"]) == (202, "running")
    run.refresh_from_db()
    assert run.stop_requested_at is not None
    queued = submitted(program, {})
    answer = program.send("PATCH", f"{RUNS}/{queued.run_id}/stop")
    assert (answer.status_code, "has not started" in answer.json()["error"]) == (409, True)


@pytest.mark.django_db(transaction=True)
def test_a_deleted_run_is_gone_with_its_objects(account, program):
    app = make_app(account)
    run = make_tracked_run(app, output=b'{"a": 1}')
    assert list(object_store().list(f"runs/{run.run_id}/"))
    answer = program.send("DELETE", f"{RUNS}/{run.run_id}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert program.send("GET", f"{RUNS}/{run.run_id}").status_code == 404
    assert program.send("DELETE", f"{RUNS}/{run.run_id}").status_code == 404
    assert not list(object_store().list(f"runs/{run.run_id}/"))


def test_a_run_that_goes_on_cannot_be_deleted(program, app):
    run = submitted(program, {})
    answer = program.send("DELETE", f"{RUNS}/{run.run_id}")
    assert (answer.status_code, "Cancel it first" in answer.json()["error"]) == (409, True)


@pytest.mark.parametrize(("method", "rest"), [("PUT", ""), ("POST", "/x"), ("GET", "/cancel")])
def test_other_methods_and_paths_are_json_errors(program, app, method, rest):
    run = submitted(program, {})
    answer = program.send(method, f"{RUNS}/{run.run_id}{rest}")
    assert answer.status_code in {404, 405}
    assert set(answer.json()) == {"error", "status"}


# --- Repetition ---------------------------------------------------------------------------------


def test_two_quick_requests_are_two_runs_and_a_repeated_one_is_not(program, app):
    first, second = submitted(program, {"input": {}}), submitted(program, {"input": {}})
    assert first != second
    # As if the answer to the second had taken 20 s.
    row = Submission.objects.get(run=second)
    Submission.objects.filter(pk=row.pk).update(received_at=row.received_at - timedelta(seconds=20))
    assert submitted(program, {"input": {}}) == second
    assert submitted(program, {"input": {}}, instance_id="latest") not in {first, second}
    assert submitted(program, {"input": {}, "name": "x"}) not in {first, second}
    assert submitted(Program(app.account), {"input": {}}) not in {first, second}


def test_a_key_of_the_sender_names_one_run(program, app):
    def send(body: bytes, key: str) -> Any:
        headers = {"Idempotency-Key": key}
        return program.client.post(RUNS, body, content_type="application/json", headers=headers)

    first = send(b'{"input": {}}', "order 7")
    assert first.status_code == 202
    assert send(b'{"input": {}}', "order 7").json() == first.json()
    assert send(b'{"input": {}}', "order 8").json() != first.json()
    assert send(b'{"input": { }}', "order 7").status_code == 409
    assert send(b'{"input": {}}', "x" * 500).status_code == 400


def test_a_refused_request_leaves_nothing_behind(program, app):
    for _ in range(2):
        answer = program.send("POST", RUNS, {"configuration": {"execution_class": "nope"}})
        assert answer.status_code == 400
    assert not Submission.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_two_clients_at_once_get_their_own_runs(account):
    make_app(account)
    programs = [Program(account), Program(account, "operator")]
    found: dict[int, list[str]] = {0: [], 1: []}
    problems: list[Any] = []

    def send(number: int) -> None:
        try:
            for turn in range(5):
                body = {"input": {"client": number, "turn": turn}, "configuration": {}}
                answer = programs[number].send("POST", RUNS, body)
                if answer.status_code != 202:
                    problems.append(answer.content)
                    return
                run_id = answer.json()["run_id"]
                found[number].append(run_id)
                programs[number].get(f"{RUNS}/{run_id}/metadata")
        except Exception as error:
            problems.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=send, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert problems == []
    for number, program in enumerate(programs):
        runs = Run.objects.filter(run_id__in=found[number])
        assert {run.api_key for run in runs} == {program.key}
        assert len(runs) == 5
    assert not set(found[0]) & set(found[1])
