"""Managed inputs and secrets by the SDK."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests
from nextmv import (
    Format,
    FormatInput,
    FormatOutput,
    InputFormat,
    OutputFormat,
    RunConfiguration,
    cloud,
)

from tests.client.conftest import Live, soon

pytestmark = pytest.mark.process

FOLDERS = Format(
    format_input=FormatInput(input_type=InputFormat.MULTI_FILE),
    format_output=FormatOutput(output_type=OutputFormat.MULTI_FILE),
)


def test_a_managed_input_is_made_of_an_upload_or_a_run_and_outlives_them(
    probe: cloud.Application,
) -> None:
    ticket = probe.upload_url()
    probe.upload_data(upload_url=ticket, data={"kept": True})
    made = probe.new_managed_input(
        id="kept", name="Kept", description="of an upload", upload_id=ticket.upload_id
    )
    run = probe.new_run_with_result(input={"of": "run"}, polling_options=soon())
    of_run = probe.new_managed_input(id="of-run", run_id=run.id)
    probe.delete_run(run.id)

    assert (made.id, made.name, made.description) == ("kept", "Kept", "of an upload")
    assert made.format is not None
    assert made.format.to_dict() == {"input": {"type": "json"}, "output": {"type": "json"}}
    assert made.created_at is not None
    assert made.created_at.utcoffset() is not None
    assert probe.managed_input("kept").to_dict() == made.to_dict()
    first = probe.new_run_with_result(managed_input_id="kept", polling_options=soon())
    # Contract 5.30: the client reads the managed input before, and may be given it itself.
    second = probe.new_run_with_result(input=of_run, polling_options=soon())
    assert first.output is not None
    assert first.output["solution"]["given"] == {"kept": True}
    assert second.output is not None
    assert second.output["solution"]["given"] == {"of": "run"}
    assert first.metadata.tracking is not None
    assert first.metadata.tracking.input_id == "kept"
    [listed] = [one for one in probe.list_runs() if one.id == first.id]
    assert listed.input_id == "kept"
    copy = probe.clone_run_with_result(first.id, polling_options=soon())
    assert copy.metadata.tracking is not None
    assert (copy.metadata.tracking.input_id, copy.metadata.tracking.cloned_run_id) == (
        *("kept", first.id),
    )

    changed = probe.update_managed_input("kept", name="Renamed")

    assert (changed.name, changed.description) == ("Renamed", "of an upload")
    assert {"kept", "of-run"} <= {one.id for one in probe.list_managed_inputs()}
    assert [one.id for one in probe.list_managed_inputs(no_pagination=True)] == [
        one.id for one in probe.list_managed_inputs()
    ]
    probe.delete_managed_input("of-run")
    with pytest.raises(requests.HTTPError, match="404"):
        probe.managed_input("of-run")


def test_a_managed_input_of_files_says_its_format(
    folders: cloud.Application, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("a")
    ticket = folders.upload_url()
    folders.upload_data(upload_url=ticket, tar_file=folders._package_inputs(str(tmp_path / "in")))
    folders.new_managed_input(id="files", upload_id=ticket.upload_id, format=FOLDERS)

    run = folders.new_run_with_result(
        managed_input_id="files",
        configuration=RunConfiguration(format=FOLDERS),
        output_dir_path=str(tmp_path / "out"),
        polling_options=soon(),
    )

    assert (tmp_path / "out" / "copy0" / "a.txt").read_text() == "A"
    assert run.metadata.input_size == 1


def test_managed_inputs_that_cannot_be_are_refused(probe: cloud.Application) -> None:
    empty = probe.upload_url()
    with pytest.raises(requests.HTTPError, match="status code 400"):
        probe.new_managed_input(id="x", upload_id=empty.upload_id)
    with pytest.raises(requests.HTTPError, match="status code 400"):
        probe.new_managed_input(id="x", upload_id="never-was")
    with pytest.raises(requests.HTTPError, match="status code 400"):
        probe.new_managed_input(id="x", run_id="never-was")
    probe.new_managed_input(id="taken", upload_id=_filled(probe))
    with pytest.raises(requests.HTTPError, match="409"):
        probe.new_managed_input(id="taken", upload_id=_filled(probe))
    # Contract 5.30: data that is not behind the id is 400 on the run.
    with pytest.raises(requests.HTTPError, match=r"400.*never-was"):
        probe.client.request(
            "POST", "v1/applications/probe/runs", payload={"input_id": "never-was"}
        )


def _filled(application: cloud.Application) -> str:
    ticket = application.upload_url()
    application.upload_data(upload_url=ticket, data={"a": 1})
    return ticket.upload_id


def test_secrets_reach_the_program_and_nothing_else(site: Live, probe: cloud.Application) -> None:
    made = probe.new_secrets_collection(
        id="keys",
        name="Keys",
        description="of the tests",
        secrets=[
            cloud.Secret(type=cloud.SecretType.ENV, location="PROBE_SECRET", value="hidden-env"),
            cloud.Secret(type=cloud.SecretType.FILE, location="keys/probe.txt", value="in a file"),
        ],
    )
    assert (made.collection_id, made.name, made.description) == ("keys", "Keys", "of the tests")
    assert made.application_id == "probe"

    run = probe.new_run_with_result(
        input={},
        configuration=RunConfiguration(secrets_collection_id="keys"),
        polling_options=soon(),
    )
    plain = probe.new_run_with_result(input={}, polling_options=soon())

    assert run.output is not None
    assert run.output["solution"]["secret"] == "hidden-env"
    assert run.output["solution"]["file"] == "in a file"
    assert run.metadata.secrets_collection_id == "keys"
    assert plain.output is not None
    assert plain.output["solution"]["secret"] == ""
    assert plain.output["solution"]["file"] == ""
    probe.new_version(id="for-secrets", exist_ok=True)
    probe.new_instance(
        version_id="for-secrets",
        id="with-keys",
        configuration=cloud.InstanceConfiguration(secrets_collection_id="keys"),
    )
    by_instance = probe.new_run_with_result(
        input={}, instance_id="with-keys", polling_options=soon()
    )
    assert by_instance.output is not None
    assert by_instance.output["solution"]["secret"] == "hidden-env"

    read = probe.secrets_collection("keys")
    assert {(one.secret_type.value, one.location) for one in read.secrets} == {
        ("env", "PROBE_SECRET"),
        ("file", "keys/probe.txt"),
    }
    for path in ("secrets", "secrets/keys", f"runs/{run.id}/metadata", "runs"):
        shown = site.client.request("GET", f"v1/applications/probe/{path}").text
        assert "hidden-env" not in shown
        assert "in a file" not in shown


def test_secrets_are_changed_all_or_none_and_deleted(probe: cloud.Application) -> None:
    def places() -> set[str]:
        return {one.location for one in probe.secrets_collection("changing").secrets}

    probe.new_secrets_collection(
        id="changing",
        secrets=[cloud.Secret(type=cloud.SecretType.ENV, location="ONE", value="1")],
    )
    probe.update_secrets_collection(
        "changing",
        name="Renamed",
        secrets=[{"type": "env", "location": "PROBE_SECRET", "value": "second"}],
        keep_existing=True,
    )
    assert places() == {"ONE", "PROBE_SECRET"}
    # Without `keep_existing` the client deletes the others.
    summary = probe.update_secrets_collection(
        "changing", secrets=[{"type": "env", "location": "PROBE_SECRET", "value": "third"}]
    )
    assert (summary.name, summary.description) == ("Renamed", "")
    assert places() == {"PROBE_SECRET"}
    with pytest.raises(requests.HTTPError, match="status code 400"):
        probe.client.request(
            *("PATCH", "v1/applications/probe/secrets/changing"),
            payload={
                "operations": [
                    {"op": "create", "type": "env", "location": "NEW", "value": "x"},
                    {"op": "delete", "type": "env", "location": "NEVER_WAS"},
                ]
            },
        )
    assert places() == {"PROBE_SECRET"}
    run = probe.new_run_with_result(
        input={},
        configuration=RunConfiguration(secrets_collection_id="changing"),
        polling_options=soon(),
    )
    assert run.output is not None
    assert run.output["solution"]["secret"] == "third"
    # Contract 2.1: paged and unpaged lists of secrets are both objects.
    assert "changing" in [one.collection_id for one in probe.list_secrets_collections()]
    unpaged = probe.list_secrets_collections(no_pagination=True)
    assert "changing" in [one.collection_id for one in unpaged]
    with pytest.raises(requests.HTTPError, match="409"):
        probe.new_secrets_collection(
            id="changing", secrets=[cloud.Secret(type="env", location="A", value="1")]
        )
    probe.delete_secrets_collection("changing")
    with pytest.raises(requests.HTTPError, match="404"):
        probe.secrets_collection("changing")
    with pytest.raises(requests.HTTPError, match=r"400.*changing"):
        probe.new_run(input={}, configuration=RunConfiguration(secrets_collection_id="changing"))
