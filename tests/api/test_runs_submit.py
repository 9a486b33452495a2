"""Submitting runs in every form that the client sends, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from runs.actions.inputs import store_text_input
from runs.domain.status import Status
from runs.models import Account, Instance, Run
from tests.api.run_worlds import archive, bytes_of, make_app, refused, send_upload, submitted
from tests.factories import (
    get_queue,
    make_executable,
    make_instance,
    make_managed_input,
    make_queue,
    make_run,
    make_version,
    make_worker,
)

JSON = {"input": {"type": "json"}, "output": {"type": "json"}}


@pytest.fixture(autouse=True)
def store(settings: Any, tmp_path: Any) -> None:
    settings.RUNSITE_DATA_DIR = tmp_path


@pytest.fixture
def app(account: Account) -> Any:
    return make_app(account)


# --- Inputs -------------------------------------------------------------------------------------


def test_an_inline_object_becomes_compact_ascii(program, app):
    run = submitted(
        program,
        {
            "input": {"stops": [1, 2.5], "name": "Łódź ☃"},
            "configuration": {"format": JSON},
            "name": "First",
            "description": "About it",
        },
    )
    assert bytes_of(run.input_data) == b'{"stops":[1,2.5],"name":"\\u0141\\u00f3d\\u017a \\u2603"}'
    assert (run.status, run.source, run.run_type) == (Status.QUEUED, "api", "standard")
    assert (run.name, run.description, run.application) == ("First", "About it", app)
    assert (run.input_format, run.output_format) == ("json", "json")
    assert (run.submitted_by, run.api_key) == (program.maker, program.key)
    assert run.executable == app.executable


@pytest.mark.parametrize("body", [{}, {"input": None}, {"input": ""}, {"upload_id": ""}])
def test_nothing_is_an_empty_input(program, app, body):
    run = submitted(program, body)
    assert (run.input_data, run.input_bytes) == (None, 0)


@pytest.mark.parametrize("value", [[1, 2], 3, 0, False, "text"])
def test_a_json_app_takes_objects_only(program, app, value):
    status, error = refused(program, {"input": value, "configuration": {}})
    assert status == 400
    assert "must be an object" in error
    assert not Run.objects.exists()


def test_nan_is_refused_with_its_place(program, app):
    status, error = refused(program, b'{"input": {"a": NaN}}')
    assert (status, "`NaN` is not JSON" in error) == (400, True)


def test_an_upload_is_the_input_and_may_be_used_again(program, app):
    upload_id = send_upload(program, b'{"a": 1}')
    for _ in range(2):
        run = submitted(program, {"upload_id": upload_id, "configuration": {"format": JSON}})
        assert bytes_of(run.input_data) == b'{"a": 1}'
        Run.objects.all().delete()


def test_an_upload_that_was_never_filled_or_is_unknown_is_refused(program, app):
    ticket = program.send("POST", "/v1/applications/routing/runs/uploadurl").json()
    status, error = refused(program, {"upload_id": ticket["upload_id"]})
    assert (status, "nothing was sent" in error) == (400, True)
    status, error = refused(program, {"upload_id": "nope"})
    assert (status, "'nope' does not exist" in error) == (400, True)


def test_a_directory_comes_as_archive(program, account):
    make_app(account, form="multi-file")
    upload_id = send_upload(program, archive(a__csv="1,2", sub__b="x"))
    multi = {"input": {"type": "multi-file"}, "output": {"type": "multi-file"}}
    run = submitted(program, {"upload_id": upload_id, "configuration": {"format": multi}})
    assert sorted(run.input_data.files.values_list("path", flat=True)) == ["a/csv", "sub/b"]
    assert (run.input_format, run.output_format, run.input_bytes) == ("multi-file",) * 2 + (4,)


def test_a_text_comes_raw_by_upload_or_inline(program, account):
    make_app(account, form="text")
    text = {"input": {"type": "text"}, "output": {"type": "json"}}
    upload_id = send_upload(program, "größer\n".encode())
    run = submitted(program, {"upload_id": upload_id, "configuration": {"format": text}})
    assert (bytes_of(run.input_data), run.output_format) == ("größer\n".encode(), "json")
    run = submitted(program, {"input": "größer\n"})
    assert (bytes_of(run.input_data), run.input_format) == ("größer\n".encode(), "text")


def test_a_folder_cannot_be_sent_inline_or_left_out(program, account):
    make_app(account, form="multi-file")
    status, error = refused(program, {"input": {"a": 1}})
    assert (status, "Upload a .tar.gz" in error) == (400, True)
    status, error = refused(program, {})
    assert (status, "needs input files" in error) == (400, True)


def test_a_managed_input_is_named(program, app, account):
    data = store_text_input(account=account, content_format="json", data=b'{"a":1}')
    make_managed_input(app, input_id="monday", input_data=data)
    run = submitted(program, {"input_id": "monday", "configuration": {"format": JSON}})
    assert (run.managed_input.input_id, run.input_data) == ("monday", data)
    status, error = refused(program, {"input_id": "tuesday"})
    assert (status, "'tuesday' does not exist" in error) == (400, True)


def test_two_inputs_are_one_too_many(program, app):
    status, error = refused(program, {"input": {}, "upload_id": "x"})
    assert (status, "Give one of input, upload_id" in error) == (400, True)


def test_six_mib_inline_are_fine_and_nine_are_too_large(program, app):
    run = submitted(program, {"input": {"text": "x" * 6 * 1024 * 1024}})
    assert run.input_bytes > 6 * 1024 * 1024
    answer = program.send("POST", "/v1/applications/routing/runs", b"x" * 9 * 1024 * 1024)
    assert answer.status_code == 413
    assert "uploadurl" in answer.json()["error"]
    assert "Retry-After" not in answer


# --- Formats ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "asked", "expected"),
    [
        ("json", None, ("json", "json")),
        ("text", None, ("text", "json")),
        ("json", {"input": {"type": "text"}}, ("text", "json")),
        ("text", {"input": {"type": "json"}}, ("json", "json")),
        ("multi-file", JSON, ("json", "json")),
        (
            "json",
            {"input": {"type": "json"}, "output": {"type": "multi-file"}},
            ("json", "multi-file"),
        ),
        ("json", {"input": {}, "output": None}, ("json", "json")),
        ("multi-file", {"input": {"type": "json"}}, ("json", "json")),
    ],
)
def test_what_is_missing_of_the_format_is_filled_in(program, account, declared, asked, expected):
    make_app(account, form=declared)
    configuration = {} if asked is None else {"format": asked}
    body = {"input": {"a": 1}, "configuration": configuration}
    run = submitted(program, body)
    assert (run.input_format, run.output_format) == expected


def test_the_format_of_the_instance_goes_before_that_of_the_executable(program, app):
    make_instance(app, instance_id="day", content_format="text", output_format="multi-file")
    run = submitted(program, {"input": "a"}, instance_id="day")
    assert (run.input_format, run.output_format) == ("text", "multi-file")
    run = submitted(program, {"input": {}, "configuration": {"format": JSON}}, instance_id="day")
    assert (run.input_format, run.output_format) == ("json", "json")


def test_an_unknown_format_is_refused(program, app):
    body = {"configuration": {"format": {"input": {"type": "xml"}}}}
    status, error = refused(program, body)
    assert (status, "`xml` is no format" in error) == (400, True)


# --- Instances ----------------------------------------------------------------------------------


def test_the_instance_is_the_one_named_else_the_default_else_latest(program, app):
    old = app.executable
    instance = make_instance(app, instance_id="day", version=make_version(old))
    newest = make_executable(app, manifest=old.manifest, content_format="json")
    assert submitted(program, {}).executable == newest
    assert submitted(program, {}, instance_id="day").executable == old
    app.default_instance = instance
    app.save(update_fields=["default_instance"])
    run = submitted(program, {})
    assert (run.instance, run.version, run.executable) == (instance, instance.version, old)
    run = submitted(program, {}, instance_id="latest")
    assert (run.instance, run.version, run.executable) == (None, None, newest)


def test_an_unknown_instance_or_application_is_404_and_nothing_pushed_400(program, app, account):
    assert refused(program, {}, instance_id="night")[0] == 404
    assert refused(program, {}, app_id="other")[0] == 404
    app.executable = None
    app.save(update_fields=["executable"])
    status, error = refused(program, {"input": {}})
    assert (status, "no executable yet" in error) == (400, True)


# --- Options ------------------------------------------------------------------------------------


def test_options_are_merged_and_texts(program, app):
    make_instance(app, instance_id="day", options={"region": "west", "day": "2", "own": "a"})
    body = {"options": {"day": 3, "flag": True, "list": [1, "x"], "none": None}}
    run = submitted(program, body, instance_id="day")
    found = {option.name: (option.text, option.source) for option in run.options.all()}
    assert found == {
        "region": ("west", "instance"),
        "day": ("3", "run"),
        "own": ("a", "instance"),
        "flag": ("true", "run"),
        "list": ('[1,"x"]', "run"),
        "none": ("null", "run"),
    }
    assert run.requested_options == {
        "day": "3",
        "flag": "true",
        "list": '[1,"x"]',
        "none": "null",
    }


def test_a_wrong_option_is_a_warning_unless_the_manifest_enforces(program, account):
    make_app(account)
    run = submitted(program, {"options": {"day": "9"}})
    assert run.warnings == ["Option `day`: `day` must be at most 7, but is `9`."]
    strict = """
files: [main.py]
configuration:
  options:
    RULE
    items: [{name: day, option_type: int, additional_attributes: {max: 7}}]
"""
    make_app(account, "enforcing", manifest=strict.replace("RULE", "validation: {enforce: all}"))
    status, error = refused(program, {"options": {"day": "9"}}, app_id="enforcing")
    assert (status, "at most 7" in error) == (400, True)
    make_app(account, "strict", manifest=strict.replace("RULE", "strict: true"))
    status, error = refused(program, {"options": {"other": "9"}}, app_id="strict")
    assert (status, "`other` is not an option" in error) == (400, True)


# --- Configuration ------------------------------------------------------------------------------


def test_queue_and_priority_are_taken_over(program, app, account):
    make_queue(account, name="gpu")
    queuing = {"priority": 2, "disabled": False}
    run = submitted(program, {"configuration": {"execution_class": "gpu", "queuing": queuing}})
    assert (run.queue.name, run.execution_class, run.priority) == ("gpu", "gpu", 2)
    run = submitted(program, {"configuration": {"execution_class": ""}})
    assert (run.queue.name, run.execution_class, run.priority) == ("default", "", 6)
    status, error = refused(program, {"configuration": {"execution_class": "tpu"}})
    assert (status, "no queue `tpu`" in error, "gpu" in error) == (400, True, True)
    assert refused(program, {"configuration": {"queuing": {"priority": 10}}})[0] == 400


def test_a_run_that_may_not_wait_is_refused_unless_a_slot_is_free(program, app, account):
    body = {"configuration": {"queuing": {"disabled": True}}}
    answer = program.send("POST", "/v1/applications/routing/runs", body)
    assert answer.status_code == 429
    assert "No worker is running." in answer.json()["error"]
    assert not Run.objects.exists()
    make_worker(slots=1)
    assert submitted(program, body).queuing_disabled
    status, error = refused(program, body)
    assert (status, "The only slot is in use." in error) == (429, True)
    assert Run.objects.count() == 1


def test_secrets_are_named(program, app):
    collection = app.secrets_collections.create(collection_id="keys", name="keys")
    run = submitted(program, {"configuration": {"secrets_collection_id": "keys"}})
    assert run.secrets == collection
    status, error = refused(program, {"configuration": {"secrets_collection_id": "other"}})
    assert (status, "`other`" in error) == (400, True)


def test_a_clone_names_its_original_and_an_experiment_is_kept(program, app):
    first = submitted(program, {})
    body = {"tracking": {"cloned_run_id": first.run_id}, "batch_experiment_id": "exp-1"}
    run = submitted(program, body)
    assert (run.cloned_from, run.batch_experiment_id) == (first, "exp-1")
    assert refused(program, {"tracking": {"cloned_run_id": "nope"}})[0] == 400
    assert refused(program, {"batch_experiment_id": "x" * 200})[0] == 400


def test_a_clone_that_brings_no_input_has_that_of_its_original(program, app):
    """The client brings none, and says json, when the original read text."""
    formats = {"input": {"type": "text"}, "output": {"type": "json"}}
    first = submitted(program, {"input": "some text", "configuration": {"format": formats}})
    cloned = {"tracking": {"cloned_run_id": first.run_id}, "configuration": {"format": JSON}}

    run = submitted(program, {"input": None, **cloned})
    other = submitted(program, {"input": {"a": 1}, **cloned})

    assert (run.input_data, run.input_format, run.output_format) == (
        *(first.input_data, "text"),
        "json",
    )
    assert bytes_of(other.input_data) == b'{"a":1}'
    assert (other.input_format, other.cloned_from) == ("json", first)


@pytest.mark.parametrize("kind", ["standard", "", None, "external"])
def test_types_of_runs_that_are_fine(program, app, kind):
    run = submitted(program, {"configuration": {"run_type": {"type": kind, "definition_id": ""}}})
    assert run.run_type == "standard"


def test_what_is_not_in_this_release_is_refused_in_words(program, app):
    ensemble = {"run_type": {"type": "ensemble", "definition_id": "e"}}
    status, error = refused(program, {"configuration": ensemble})
    assert (status, "not part of this release" in error) == (400, True)
    status, error = refused(program, {"configuration": {"integration_id": "dbx"}})
    assert (status, "not part of this release" in error) == (400, True)
    assert refused(program, {"configuration": {"run_type": {"type": "odd"}}})[0] == 400


def test_what_we_add_waits_and_limits(program, app, account):
    first = submitted(program, {})
    run = submitted(
        program,
        {
            "waits_for": [first.run_id],
            "wait_policy": "skip",
            "limits": {"memory_limit_bytes": 2**30},
            "time_limit_s": 60,
        },
    )
    assert (run.hold, run.open_waits, run.wait_policy) == (Run.WAITS_FOR_RUNS, 1, "skip")
    assert (run.memory_limit_bytes, run.time_limit_s) == (2**30, 60)
    status, error = refused(program, {"waits_for": ["nope"]})
    assert (status, "nope" in error) == (400, True)
    status, error = refused(program, {"limits": {"speed": 3}})
    assert (status, "`speed` is no limit" in error) == (400, True)
    assert refused(program, {"time_limit_s": 0})[0] == 400
    assert refused(program, {"wait_policy": "hope"})[0] == 400


def test_a_run_of_others_can_neither_be_waited_for_nor_cloned(program, app):
    theirs = make_run()
    assert refused(program, {"waits_for": [theirs.run_id]})[0] == 400
    assert refused(program, {"tracking": {"cloned_run_id": theirs.run_id}})[0] == 400


@pytest.mark.parametrize(
    "body",
    [
        b"[1]",
        b"{",
        {"options": [1]},
        {"configuration": {"queuing": {"priority": "x"}}},
        {"name": "x" * 201},
        {"name": "zero \0 byte"},
        {"description": "half \ud800 a character"},
        {"result": {"status": "failed", "error_message": "half \ud800 a character"}},
        {"waits_for": "x"},
        {"options": {"x" * 129: "1"}},
        {"options": {"": "1"}},
        {"options": {f"o{number}": "1" for number in range(1001)}},
        {"options": {"o": "half \ud800 a character"}},
    ],
)
def test_bodies_that_make_no_sense_are_400(program, app, body):
    status, _ = refused(program, body)
    assert status == 400
    assert not Run.objects.exists()


@pytest.mark.parametrize("depth", [100, 400, 850, 900, 920, 940, 960, 980, 1000, 5000])
def test_what_is_nested_deeply_is_taken_or_refused(program, app, depth):
    deep = b'{"a":' * depth + b"1" + b"}" * depth
    for body in (b'{"input": %b}' % deep, b'{"options": {"o": %b}}' % deep):
        answer = program.send("POST", "/v1/applications/routing/runs", body)
        assert answer.status_code in {202, 400}, answer.content
        assert answer.status_code == 202 or depth > 100


def test_unknown_keys_are_ignored(program, app):
    submitted(program, {"input": {}, "scenario": 7, "configuration": {"color": "red"}})


def test_the_queue_is_made_once(program, app, account):
    submitted(program, {})
    assert get_queue(account).runs.count() == 1
    assert Instance.objects.count() == 0


def test_a_submit_costs_few_queries(program, app, django_assert_max_num_queries):
    submitted(program, {"input": {"a": 0}})
    with django_assert_max_num_queries(36):
        answer = program.send(
            "POST",
            "/v1/applications/routing/runs",
            {"input": {"a": 1}, "configuration": {}, "options": {"day": "1"}},
        )
    assert answer.status_code == 202
