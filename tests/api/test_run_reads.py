"""What is read of one run: state, result, input, output; each answer as golden JSON."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from nextmv.run import RunInformation, RunResult

from runs.actions import run_facts
from runs.actions.actors import key_holder
from runs.actions.inputs import NewFile, store_folder_input, store_text_input
from runs.actions.runs import submit_run
from runs.domain.status import Status
from runs.models import Run, RunFile
from runs.storage import object_store
from tests.api.golden import check_golden
from tests.api.run_worlds import body_of, fetch, make_app, names_in, submitted
from tests.factories import (
    make_instance,
    make_managed_input,
    make_run,
    make_secrets,
    make_tracked_run,
    make_version,
)
from tests.worker import worlds

RUNS = "/v1/applications/{}/runs"


@pytest.fixture(autouse=True)
def store(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.RUNSITE_DATA_DIR = tmp_path
    monkeypatch.setattr(run_facts, "_cache", run_facts._Cache())


@pytest.fixture
def app(account: Any) -> Any:
    return make_app(account)


def path(run: Run, rest: str = "") -> str:
    return RUNS.format(run.application.application_id) + f"/{run.run_id}{rest}"


def golden(name: str, answer: Any, run: Run, program: Any) -> None:
    check_golden(name, answer, run=run.run_id, person=program.maker.email)


def tracked(app: Any, **fields: Any) -> Run:
    return make_tracked_run(app, **fields)


# --- Metadata -----------------------------------------------------------------------------------


def test_a_queued_run(program, app):
    run = submitted(
        program,
        {
            "input": {"a": 1},
            "options": {"day": 3},
            "name": "First",
            "description": "About",
            "batch_experiment_id": "exp-1",
        },
    )
    answer = program.get(path(run, "/metadata"))
    golden("run_metadata_queued", answer, run, program)
    read = RunInformation.from_dict(answer)
    assert (read.metadata.status_v2.value, read.metadata.duration) == ("queued", 0)
    assert read.metadata.format.format_output.output_type.value == "json"
    assert read.metadata.run_type.run_type.value == "standard"
    assert read.user_email == program.maker.email
    assert not read.metadata.run_is_finalized()


def test_an_ended_run_has_its_documents(program, app):
    run = tracked(
        app,
        output=b'{"routes": [1]}',
        metrics=b'{"value": 4.5, "note": "good", "gap": null}',
        statistics=b'{"statistics": {"result": {"value": 4.5}}}',
        execution_s=1.25,
        name="Elsewhere",
    )
    answer = program.get(path(run, "/metadata"))
    golden("run_metadata_tracked", answer, run, program)
    metadata = RunInformation.from_dict(answer).metadata
    assert metadata.metrics == {"value": 4.5, "note": "good", "gap": None}
    assert metadata.statistics == {"result": {"value": 4.5}}
    assert (metadata.duration, metadata.execution_duration) == (1250, 1250)
    assert (metadata.application_instance_id, metadata.application_version_id) == ("latest",) * 2
    assert metadata.run_type.run_type.value == "external"


def test_statistics_are_there_only_when_there_are_some(program, app):
    run = tracked(app, output=b"{}", metrics=b'{"value": 1}')
    assert "statistics" not in program.get(path(run, "/metadata"))["metadata"]


@pytest.mark.parametrize("metrics", [b"[1]", b"3"])
def test_metrics_that_are_no_object_are_left_out(program, app, metrics):
    run = tracked(app, output=b"{}", metrics=metrics)
    assert "metrics" not in program.get(path(run, "/metadata"))["metadata"]


def test_a_failed_run_says_why(program, app):
    run = tracked(app, status="failed", error="No feasible plan", log=b"trying\nno plan\n")
    answer = program.get(path(run, "/metadata"))
    assert answer["metadata"]["error"] == "No feasible plan"
    result = program.get(path(run))
    golden("run_result_failed", result, run, program)
    read = RunResult.from_dict(result)
    assert read.error_log.stderr == "trying\nno plan\n"
    assert read.output is None


def test_everything_that_a_run_is_related_to_is_named(program, app, account):
    version = make_version(app.executable, version_id="v1")
    instance = make_instance(app, instance_id="day", version=version)
    original = make_run(app)
    run = make_run(
        app,
        instance=instance,
        version=version,
        managed_input=make_managed_input(app, input_id="monday"),
        cloned_from=original,
        submitted_by=program.maker,
        secrets=make_secrets(app, collection_id="keys"),
        warnings=["careful"],
        requested_options={"a": 1},
    )
    answer = program.get(path(run, "/metadata"))
    metadata = answer["metadata"]
    assert metadata["application_instance_id"] == "day"
    assert metadata["application_version_id"] == "v1"
    assert metadata["tracking"] == {"cloned_run_id": original.run_id, "input_id": "monday"}
    assert metadata["secrets_collection_id"] == "keys"
    assert metadata["options"]["request_options"] == {"a": "1"}
    assert (answer["user_email"], answer["warnings"]) == (program.maker.email, ["careful"])
    whole = program.get(path(run))
    assert {key: whole[key] for key in answer} == answer


def test_instance_and_version_keep_their_ids_when_they_are_deleted(program, app):
    version = make_version(app.executable, version_id="v1")
    instance = make_instance(app, instance_id="day", version=version)
    run = make_run(app, status=Status.SUCCEEDED, instance=instance, version=version)
    metadata = program.get(path(run, "/metadata"))["metadata"]
    assert metadata["application_instance_id"] == "day"
    assert metadata["application_version_id"] == "v1"
    Run.objects.filter(pk=run.pk).update(
        instance=None, version=None, former_instance_id="day", former_version_id="v1"
    )
    later = program.get(path(run, "/metadata"))["metadata"]
    assert later == metadata


def test_the_polling_route_asks_three_queries_and_no_store(program, app, monkeypatch):
    run = submitted(program, {"input": {"a": 1}})
    program.get(path(run, "/metadata"))  # the use of the key is noted once a minute
    monkeypatch.setattr(run_facts, "object_store", lambda: pytest.fail("asked the store"))
    with CaptureQueriesContext(connection) as found:
        program.get(path(run, "/metadata"))
    assert len(found) <= 3
    ended = tracked(app, output=b"{}", metrics=b'{"value": 1}')
    monkeypatch.undo()
    with CaptureQueriesContext(connection) as found:
        first = program.get(path(ended, "/metadata"))
    assert len(found) <= 3
    monkeypatch.setattr(run_facts, "object_store", lambda: pytest.fail("asked the store"))
    with CaptureQueriesContext(connection) as found:
        assert program.get(path(ended, "/metadata")) == first
    assert len(found) <= 2


def test_a_run_that_ends_is_not_answered_from_before(program, app):
    run = submitted(program, {"input": {"a": 1}})
    assert "metrics" not in program.get(path(run, "/metadata"))["metadata"]
    Run.objects.filter(pk=run.pk).update(
        status="canceled", ended_at=run.created_at, end_reason="canceled"
    )
    key = f"runs/{run.run_id}/1/metrics"
    object_store().put_bytes(key, b'{"value": 2}')
    RunFile.objects.create(run=run, role="metrics", path="metrics.json", size_bytes=12, key=key)
    assert program.get(path(run, "/metadata"))["metadata"]["metrics"] == {"value": 2}


def test_what_is_kept_of_ended_runs_is_bounded(app, monkeypatch):
    monkeypatch.setattr(run_facts, "KEPT_RUNS", 3)
    runs = [tracked(app, output=b"{}") for _ in range(5)]
    for run in runs:
        run_facts.facts_of(run)
    assert list(run_facts._cache._kept) == [run.run_id for run in runs[2:]]
    monkeypatch.setattr(run_facts, "KEPT_BYTES", 100)
    run_facts.facts_of(tracked(app, output=b"{}"))
    assert not run_facts._cache._kept
    assert run_facts._cache._size == 0


def test_a_run_that_is_not_there_is_404_everywhere(program, app):
    other = make_app(program.account, "other")
    run = make_run(other, status=Status.SUCCEEDED)
    theirs = make_run()
    for address in (
        f"/v1/applications/routing/runs/{run.run_id}",
        "/v1/applications/routing/runs/nope",
        f"/v1/applications/{theirs.application.application_id}/runs/{theirs.run_id}",
        f"/v1/applications/routing/runs/{theirs.run_id}",
    ):
        for rest in ("", "/metadata", "/input", "/output", "/logs", "/logs/live", "/assets"):
            answer = program.send("GET", address + rest)
            assert (answer.status_code, answer.json()["status"]) == (404, 404), address + rest
        assert program.send("PATCH", f"{address}/cancel").status_code == 404
        assert program.send("DELETE", address).status_code == 404


# --- Result and output --------------------------------------------------------------------------


def test_the_result_has_the_output_as_the_program_wrote_it(program, app):
    text = '{"a": 1.10, "name": "größer",\n "list": [1, null]}\n'
    run = tracked(app, output=text.encode(), metrics=b'{"value": 1}')
    response = program.send("GET", path(run))
    raw = b"".join(response.streaming_content)
    assert text.encode() in raw
    assert response["Content-Length"] == str(len(raw))
    answer = json.loads(raw)
    golden("run_result", answer, run, program)
    assert RunResult.from_dict(answer).output == json.loads(text)
    plain = {key: value for key, value in answer.items() if key not in {"output", "waits_for"}}
    assert plain == program.get(path(run, "/metadata"))


def test_with_url_the_result_has_no_output_and_the_address_leads_to_it(program, app):
    run = tracked(app, output=b'{"a": 1}')
    assert "output" not in program.get(path(run), format="url")
    answer = program.get(path(run, "/output"), format="url")
    check_golden("run_output_url", answer, run=run.run_id)
    assert fetch(answer["url"]) == b'{"a": 1}'
    assert body_of(program.send("GET", path(run, "/output"))) == {"a": 1}


def test_nan_in_the_output_becomes_null_on_both_routes(program, app):
    run = tracked(app, output=b'{"a": NaN, "b": Infinity}')
    assert body_of(program.send("GET", path(run)))["output"] == {"a": None, "b": None}
    url = program.get(path(run, "/output"), format="url")["url"]
    assert json.loads(fetch(url)) == {"a": None, "b": None}


def test_a_byte_order_mark_is_no_part_of_the_answer(program, app):
    run = tracked(app, output=b'\xef\xbb\xbf{"a": 1}')
    assert body_of(program.send("GET", path(run)))["output"] == {"a": 1}


@pytest.mark.parametrize("text", ["[1, 2]", "3", '"text"', "null", "[not json", "größer"])
def test_an_output_that_is_no_object_is_not_in_the_result(program, app, text):
    run = tracked(app, output=text.encode())
    answer = body_of(program.send("GET", path(run)))
    assert "output" not in answer
    assert answer["metadata"]["status_v2"] == "succeeded"
    assert RunResult.from_dict(answer)
    url = program.get(path(run, "/output"), format="url")["url"]
    assert fetch(url) == text.encode()
    inline = body_of(program.send("GET", path(run, "/output")))
    assert inline == (text if run.result_kind == "unreadable" else json.loads(text))


def test_the_recorded_size_is_that_of_both_routes(program, app):
    text = json.dumps({"a": "x" * 6 * 1024 * 1024}).encode()
    run = tracked(app, output=text)
    answer = body_of(program.send("GET", path(run)))
    assert answer["metadata"]["output_size"] == len(text)
    assert answer["output"] == json.loads(text)
    assert fetch(program.get(path(run, "/output"), format="url")["url"]) == text


def test_before_the_end_there_is_a_record_without_output(program, app):
    run = submitted(program, {"input": {"a": 1}})
    answer = program.get(path(run))
    assert "output" not in answer
    assert "error_log" not in answer
    assert RunResult.from_dict(answer).metadata.status_v2.value == "queued"
    response = program.send("GET", path(run, "/output"))
    assert response.status_code == 409


@pytest.mark.parametrize("status", ["succeeded", "failed"])
def test_a_folder_is_fetched_as_archive_also_an_empty_one(program, app, status):
    files = [NewFile("plan.csv", lambda: io.BytesIO(b"1,2")), NewFile("a/b", lambda: io.BytesIO())]
    run = tracked(app, status=status, output_format="multi-file", files=files)
    answer = program.get(path(run, "/output"), format="url")
    assert names_in(fetch(answer["url"])) == ["a/b", "plan.csv"]
    empty = tracked(app, status=status, output_format="multi-file", input_format="multi-file")
    answer = program.get(path(empty, "/output"), format="url")
    assert names_in(fetch(answer["url"])) == []
    assert set(program.get(path(empty, "/output"))) == {"url"}
    assert names_in(fetch(program.get(path(empty, "/input"), format="url")["url"])) == []


def test_a_json_run_without_output(program, app):
    run = tracked(app, status="failed")
    assert body_of(program.send("GET", path(run, "/output"))) is None
    assert program.send("GET", path(run, "/output"), format="url").status_code == 404


def test_an_output_that_is_gone_does_not_break_the_result(program, app):
    run = tracked(app, output=b'{"a": 1}')
    object_store().delete_prefix(f"runs/{run.run_id}/")
    assert "output" not in program.get(path(run))


# --- Input --------------------------------------------------------------------------------------


def test_the_input_comes_back_as_it_was_sent(program, app):
    run = submitted(program, {"input": {"a": [1, "ł"]}})
    assert body_of(program.send("GET", path(run, "/input"))) == {"a": [1, "ł"]}
    url = program.get(path(run, "/input"), format="url")["url"]
    assert fetch(url) == b'{"a":[1,"\\u0142"]}'


def test_a_text_comes_back_as_json_string(program, account):
    make_app(account, form="text")
    text = 'größer "und"\n\tmehr'
    run = submitted(program, {"input": text})
    assert body_of(program.send("GET", path(run, "/input"))) == text
    assert fetch(program.get(path(run, "/input"), format="url")["url"]) == text.encode()


def test_no_input_is_null(program, app):
    run = submitted(program, {})
    assert body_of(program.send("GET", path(run, "/input"))) is None


def test_a_folder_of_inputs_is_fetched_as_archive(program, app, account):
    files = [NewFile("a.csv", lambda: io.BytesIO(b"1")), NewFile("b/c", lambda: io.BytesIO(b"2"))]
    data = store_folder_input(account=account, content_format="multi-file", files=files)
    run = make_run(app, input_data=data, input_format="multi-file", status=Status.SUCCEEDED)
    url = program.get(path(run, "/input"), format="url")["url"]
    assert names_in(fetch(url)) == ["a.csv", "b/c"]


# --- What is ours -------------------------------------------------------------------------------


def test_waits_are_told_from_both_sides(program, app):
    first = submitted(program, {"name": "first"})
    run = submitted(program, {"waits_for": [first.run_id], "name": "second"})
    answer = program.get(path(run, "/waits"))
    check_golden("run_waits", answer, first=first.run_id, run=run.run_id)
    assert program.get(path(first, "/waits"))["awaited_by"][0]["run_id"] == run.run_id
    assert program.get(path(run))["waits_for"] == [first.run_id]


def test_an_estimate_says_what_is_known(program, app):
    run = submitted(program, {})
    answer = program.get(path(run, "/estimate"))
    assert answer["status_v2"] == "queued"
    assert answer["reason"]
    for _ in range(12):
        make_run(app, status=Status.SUCCEEDED)
    expected = program.get(path(run, "/estimate"))["expected_duration"]
    assert expected == {"low_s": 1.5, "median_s": 1.5, "high_s": 1.5, "runs": 12}


def test_a_run_is_exported_as_zip(program, app):
    run = tracked(app, output=b'{"a": 1}')
    response = program.send("GET", path(run, "/export"))
    data = b"".join(response.streaming_content)
    assert response["Content-Type"] == "application/zip"
    assert f"{run.run_id}/{run.run_id}.json" in zipfile.ZipFile(io.BytesIO(data)).namelist()


def test_the_links_lead_to_the_address_that_the_client_used(program, app):
    run = tracked(app, output=b"{}")
    answer = program.client.get(path(run, "/metadata"), headers={"host": "localhost:9"}).json()
    assert answer["console_url"] == f"http://localhost:9/app/routing/run/{run.run_id}"


@pytest.mark.django_db(transaction=True)
def test_a_run_of_a_real_worker(account, program, data_dir, settings, tmp_path):
    """The same facts whether it was executed here or told: sizes, metrics, warnings, log."""
    settings.RUNSITE_DATA_DIR = data_dir
    bench = worlds.Bench(data_dir)
    output = '{"solution": [1], "metrics": {"value": 3}, "assets": []}'
    app = worlds.make_app(tmp_path / "echo", f"cat >&2; echo '{output}'", account=account)
    data = store_text_input(account=account, content_format="json", data=b'{"in": 1}')
    run = submit_run(
        account=account,
        application=app,
        actor=key_holder(program.key),
        input_data=data,
        options={"region": "west"},
    )
    bench.conductor(bench.claim())
    answer = body_of(program.send("GET", f"/v1/applications/echo/runs/{run.run_id}"))
    read = RunResult.from_dict(answer)
    assert read.metadata.status_v2.value == "succeeded"
    assert read.output["solution"] == [1]
    assert read.metadata.metrics == {"value": 3}
    assert read.metadata.input_size == 9
    assert read.metadata.output_size == len(output) + 1
    assert read.metadata.execution_duration > 0
    assert read.metadata.initiated_at is not None
    logs = body_of(program.send("GET", f"/v1/applications/echo/runs/{run.run_id}/logs"))
    assert logs == {"log": '{"in": 1}'}
