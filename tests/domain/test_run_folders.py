"""The information file of a run folder: what is read of it, and what is written."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs.domain.run_folders import (
    UNFINISHED,
    InformationInvalid,
    WrittenOption,
    WrittenRun,
    parse_information,
    write_information,
)
from runs.domain.status import Status
from tests.actions.run_folder_trees import information

ID = "local-abcdefgh"


def parsed(**metadata: Any) -> Any:
    return parse_information(information(ID, **metadata), folder=ID)


def test_what_the_local_tool_writes_is_read():
    found = parsed(application_instance_id="day", experiment_id="night")
    assert (found.run_id, found.status, found.name) == (ID, Status.SUCCEEDED, f"local run {ID}")
    assert found.created_at == datetime(2026, 5, 1, 10, tzinfo=UTC)
    assert (found.duration_s, found.execution_s) == (2.5, 2.5)
    assert (found.application_id, found.instance_id) == ("routing", "day")
    assert found.batch_experiment_id == "night"
    assert (found.input_format, found.output_format) == ("json", "json")
    assert found.options == {"vehicles": "3"}
    assert found.warnings == ()


@pytest.mark.parametrize("word", ["queued", "running", "none"])
def test_a_run_that_has_not_ended_has_no_status_and_an_error_that_says_so(word: str):
    found = parsed(status_v2=word)
    assert found.status is None
    assert found.error == UNFINISHED


def test_an_error_of_a_run_that_succeeded_is_a_warning_alone():
    found = parsed(error="not so good")
    assert found.error == ""
    assert "not so good" in found.warnings[0]


def test_the_summary_of_options_goes_first_then_the_active_ones_and_all_become_texts():
    summary = [
        {"name": "a", "value": 1, "source": "run"},
        {"name": "b", "value": True},
        {"name": "", "value": "nobody's"},
        "no object",
    ]
    found = parsed(options={"options_summary": summary, "active_options": {"c": "3"}})
    assert found.options == {"a": "1", "b": "true"}
    assert len(found.warnings) == 2
    assert parsed(options={"active_options": {"c": 1.5, "d": {"k": [1]}}}).options == {
        "c": "1.5",
        "d": '{"k":[1]}',
    }
    assert parsed(options={"request_options": {"e": "5"}}).options == {"e": "5"}
    assert parsed(options=None).options == {}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"status_v2": "finished"}, "`finished`"),
        ({"status_v2": ["succeeded"]}, "status_v2"),
        ({"created_at": None}, "created_at"),
        ({"created_at": "yesterday"}, "`yesterday`"),
        ({"created_at": "0001-01-01T00:00:00+14:00"}, "created_at"),
        ({"created_at": "1066-10-14T09:00:00Z"}, "1066"),
        ({"format": {}}, "format.input.type"),
        ({"format": {"input": {"type": "parquet"}}}, "`parquet`"),
        ({"format": {"input": {"type": "json"}, "output": {"type": 5}}}, "output format"),
    ],
)
def test_what_cannot_be_made_up_is_refused_by_name(change: dict[str, Any], says: str):
    with pytest.raises(InformationInvalid) as refused:
        parsed(**change)
    assert says in refused.value.message
    assert f"`{ID}.json`" in refused.value.message


@pytest.mark.parametrize("run_id", [None, 5, "", "..", "a/b", "other", "a..b", "x" * 129])
def test_the_id_must_be_one_and_agree_with_the_folder(run_id: object):
    with pytest.raises(InformationInvalid):
        parse_information({**information(ID), "id": run_id}, folder=ID)


@pytest.mark.parametrize("document", [None, [], "text", 5, {"id": ID}, {"id": ID, "metadata": []}])
def test_other_documents_are_refused(document: object):
    with pytest.raises(InformationInvalid):
        parse_information(document, folder=ID)


def test_useless_durations_are_left_out_with_a_word():
    for value in (-1, "long", True, 1e300, 10**400):
        found = parsed(duration=value, execution_duration=None)
        assert found.duration_s is None
        assert "duration" in found.warnings[0]


def test_texts_are_cut_and_made_storable():
    document = information(ID, status_v2="failed", error="broke\nin two\0" + "e" * 9000)
    document |= {"name": "n" * 5000, "description": "d\0" + "d" * 50_000}
    found = parse_information(document, folder=ID)
    assert len(found.name) == 200
    assert len(found.description) <= 10_000
    assert "\0" not in found.description
    assert found.error.startswith("broke in two")
    assert len(found.error) == 500


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=20), inner, max_size=3)
    ),
    max_leaves=8,
)
NAMES = sorted({*information(ID)["metadata"], "metrics", "experiment_id"})


@given(changes=st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4), top=JSON)
def test_nothing_but_a_refusal_comes_of_any_document(changes: dict[str, Any], top: Any):
    for document in ({**information(ID), "metadata": changes}, information(ID, **changes), top):
        try:
            found = parse_information(document, folder=ID)
        except InformationInvalid:
            continue
        assert found.created_at.tzinfo is not None
        assert all(isinstance(value, str) for value in found.options.values())


def test_what_is_written_is_strict_has_texts_as_options_and_is_read_again():
    created_at = datetime(2026, 5, 1, 10, 0, 0, 123, tzinfo=UTC)
    data = write_information(
        WrittenRun(
            run_id=ID,
            status=Status.FAILED,
            created_at=created_at,
            name="n",
            error="exit code 3",
            duration_s=3.5,
            execution_s=1.25,
            application_id="routing",
            input_format="multi-file",
            output_format="csv-archive",
            options=(
                WrittenOption("vehicles", "3", "run"),
                WrittenOption("gap", "0.5", "manifest", given=False),
            ),
            requested={"vehicles": "3"},
            run_type="something else",
        )
    )
    document = json.loads(data)
    metadata = document["metadata"]
    assert metadata["created_at"] == "2026-05-01T10:00:00.000123Z"
    assert (metadata["duration"], metadata["execution_duration"]) == (3500, 1250)
    assert metadata["run_type"]["type"] == "standard"
    assert metadata["options"] == {
        "active_options": {"vehicles": "3", "gap": "0.5"},
        "request_options": {"vehicles": "3"},
        "options_summary": [{"name": "vehicles", "source": "run", "value": "3"}],
    }
    found = parse_information(document, folder=ID)
    assert (found.status, found.error, found.created_at) == ("failed", "exit code 3", created_at)
    assert (found.duration_s, found.execution_s) == (3.5, 1.25)
    assert (found.input_format, found.output_format) == ("multi-file", "csv-archive")
    assert found.options == {"vehicles": "3"}
    assert found.warnings == ()


def test_a_run_that_succeeded_is_written_without_an_error():
    run = WrittenRun(ID, Status.SUCCEEDED, datetime.now(UTC), error="left over")
    assert json.loads(write_information(run))["metadata"]["error"] == ""
