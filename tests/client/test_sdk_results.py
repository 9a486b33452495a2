"""What comes of runs, read by the SDK: results of every kind, logs, assets, clones, comparison."""

from __future__ import annotations

import io
import json
import tarfile
import time
from pathlib import Path
from typing import Any

import nextmv
import pytest
import requests
from nextmv import StatusV2, cloud
from nextmv.polling import DEFAULT_POLLING_OPTIONS

from tests.client.conftest import Live, soon

pytestmark = pytest.mark.process


def made(probe: cloud.Application, given: Any = None, **options: str) -> cloud.Application:
    """A run that has ended, with these options; its result."""
    return probe.new_run_with_result(
        input=given if given is not None else {}, run_options=options, polling_options=soon()
    )


def raw_output(site: Live, path: str) -> bytes:
    """The bytes behind `…/output?format=url`, fetched without a key."""
    url = site.client.request("GET", f"{path}/output", query_params={"format": "url"}).json()["url"]
    assert site.signs(url), url
    return requests.get(url, timeout=20).content


@pytest.mark.parametrize(
    ("mode", "text"), [("list", "[1, 2, 3]\n"), ("garbage", "no JSON { at all\n")]
)
def test_an_output_that_is_no_object_is_kept_but_not_in_the_result(
    site: Live, probe: cloud.Application, mode: str, text: str
) -> None:
    # Contract 5.7: the status stays what the exit code says.
    run = made(probe, mode=mode)

    assert run.metadata.status_v2 == StatusV2.succeeded
    assert run.output is None
    assert run.metadata.output_size == len(text)
    assert raw_output(site, f"v1/applications/probe/runs/{run.id}").decode() == text


def test_an_output_of_nothing_is_no_output(probe: cloud.Application) -> None:
    run = made(probe, mode="nothing")

    assert run.metadata.status_v2 == StatusV2.succeeded
    assert run.output is None
    assert run.metadata.output_size == 0
    assert probe.run_output(run.id) is None


def test_numbers_that_json_does_not_have_come_as_null(site: Live, probe: cloud.Application) -> None:
    run = made(probe, mode="nan")

    assert run.metadata.status_v2 == StatusV2.succeeded
    assert run.output == {"solution": {"value": None}, "metrics": {"best": None, "cost": 2.5}}
    assert run.metadata.metrics is not None
    assert run.metadata.metrics["cost"] == 2.5
    answer = site.client.request("GET", f"v1/applications/probe/runs/{run.id}").content
    json.loads(answer, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_a_large_output_comes_whole(site: Live, probe: cloud.Application) -> None:
    run = made(probe, mode="big")

    assert run.metadata.output_size > 6_000_000
    assert run.output is not None
    assert len(run.output["solution"]["padding"]) == 6_000_000
    # The route of small ones agrees, and leaves the output out when it is asked for its address.
    path = f"v1/applications/probe/runs/{run.id}"
    assert site.client.request("GET", path).json()["output"] == run.output
    assert "output" not in site.client.request("GET", path, query_params={"format": "url"}).json()
    url = site.client.request("GET", f"{path}/output", query_params={"format": "url"}).json()["url"]
    part = requests.get(url, headers={"Range": "bytes=0-9"}, timeout=20)
    assert (part.status_code, part.content) == (206, b'{"solution')


def test_a_failed_run_says_why(probe: cloud.Application) -> None:
    run = made(probe, mode="fail")

    assert run.metadata.status_v2 == StatusV2.failed
    assert "1" in run.metadata.error, "the exit code"
    assert run.error_log is not None
    assert "the plan cannot be made" in (run.error_log.stderr or "")
    assert "the plan cannot be made" in probe.run_logs(run.id).log


@pytest.mark.parametrize(("fail", "names"), [("early", set()), ("late", {"copy0/a.txt"})])
def test_a_failed_run_of_folders_gives_an_archive_all_the_same(
    site: Live, folders: cloud.Application, tmp_path: Path, fail: str, names: set[str]
) -> None:
    # Contract 5.6: the client downloads and unpacks it, whatever the end.
    (tmp_path / "a.txt").write_text("a")

    run = folders.new_run_with_result(
        input_dir_path=str(tmp_path),
        output_dir_path=str(tmp_path / "out"),
        run_options={"fail": fail},
        polling_options=soon(),
    )

    assert run.metadata.status_v2 == StatusV2.failed
    packed = raw_output(site, f"v1/applications/folders/runs/{run.id}")
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
        found = {entry.name for entry in archive.getmembers() if entry.isfile()}
    assert found in (names, set())
    unpacked = {
        str(path.relative_to(tmp_path / "out"))
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    }
    assert unpacked == found


def test_a_canceled_run_of_folders_gives_an_archive_too(
    folders: cloud.Application, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("a")
    run_id = folders.new_run(input_dir_path=str(tmp_path))
    folders.cancel_run(run_id)

    run = folders.run_result_with_polling(
        run_id, polling_options=soon(), output_dir_path=str(tmp_path / "out")
    )

    # It may have been quicker than the cancel.
    assert run.metadata.status_v2 in {StatusV2.canceled, StatusV2.succeeded}
    assert (tmp_path / "out").is_dir()


def test_a_run_that_goes_on_has_no_result_yet_and_is_no_404(probe: cloud.Application) -> None:
    run_id = probe.new_run(input={}, options={"sleep": "2"})

    run = probe.run_result(run_id)

    assert run.metadata.status_v2 in {StatusV2.queued, StatusV2.running}
    assert run.output is None
    probe.run_result_with_polling(run_id, polling_options=soon())


def test_runs_are_listed_newest_first_and_by_status(site: Live) -> None:
    application = cloud.Application.new(client=site.client, id="lists")
    assert application.list_runs() == []
    application.push(app_dir=str(Path(__file__).parent / "probe_app"))
    good = made(application).id
    bad = made(application, mode="fail").id
    last = made(application, label="x").id

    paged = application.list_runs()

    assert [run.id for run in paged] == [last, bad, good]
    assert [run.id for run in application.list_runs(no_pagination=True)] == [last, bad, good]
    failed = application.list_runs(status=StatusV2.failed)
    assert [run.id for run in failed] == [bad]
    # Contract 5.3: texts where the client wants texts.
    assert (failed[0].name, failed[0].description, failed[0].execution_class) == ("", "", "")
    assert failed[0].runtime == "ghcr.io/nextmv-io/runtime/python:3.11"
    assert failed[0].created_at.utcoffset() is not None
    assert failed[0].run_type.run_type == nextmv.RunType.STANDARD
    [newest] = [run for run in paged if run.id == last]
    assert newest.metrics is not None
    assert {one.name: one.value for one in newest.metrics.indicators or ()}["size"] == 2
    # Contract 5.2: the key is `runs`.
    page = site.client.request(
        "GET", "v1/applications/lists/runs", query_params={"pagereturn": "true"}
    ).json()
    assert len(page["runs"]) == 3
    assert not page.get("next_page_token")
    application.delete()


def test_the_log_is_what_went_to_stderr(probe: cloud.Application) -> None:
    run = made(probe, lines="3")

    log = probe.run_logs(run.id).log

    assert log == "begin echo\nline 0\nline 1\nline 2\nend\n"


def test_a_log_that_grows_is_followed_in_order_with_nothing_lost_or_doubled(
    site: Live, probe: cloud.Application
) -> None:
    run_id = probe.new_run(input={}, options={"lines": "150", "sleep": "0.5"})
    seen: list[tuple[float, str]] = []

    logs = probe.run_logs_with_polling(
        run_id,
        polling_options=soon(),
        log_func=lambda entry: seen.append((time.monotonic(), entry.log)),
    )

    wanted = ["begin echo\n", *(f"line {number}\n" for number in range(150)), "end\n"]
    assert [entry.log for entry in logs] == wanted
    assert [text for _at, text in seen] == wanted
    # While it was running, not all at the end.
    assert seen[-1][0] - seen[0][0] > 1
    # Contract 5.27: sorted by times with a zone.
    assert all(entry.timestamp.utcoffset() is not None for entry in logs)
    stamps = [entry.timestamp for entry in logs]
    assert stamps == sorted(stamps)
    assert (stamps[-1] - stamps[0]).total_seconds() > 1.5
    assert probe.run_information(run_id).metadata.status_v2 == StatusV2.succeeded
    # A run that has ended gives everything at once; each answer has a pause and a token (5.15).
    answer = site.client.request("GET", f"v1/applications/probe/runs/{run_id}/logs/live").json()
    assert [item["log"] for item in answer["items"]] == wanted
    assert answer["next_available_in_seconds"] >= 1
    assert isinstance(answer["next_page_token"], str)
    rest = site.client.request(
        *("GET", f"v1/applications/probe/runs/{run_id}/logs/live"),
        query_params={"since": answer["next_page_token"]},
    ).json()
    assert rest["items"] == []


def test_a_queued_run_is_followed_from_its_start(site: Live, probe: cloud.Application) -> None:
    run_id = probe.new_run(input={}, options={"sleep": "1"})

    answer = site.client.request("GET", f"v1/applications/probe/runs/{run_id}/logs/live").json()

    # Contract 5.15: 1 or more on every answer.
    assert answer["next_available_in_seconds"] >= 1
    assert answer["status_v2"] in {"queued", "running"}
    logs = probe.run_logs_with_polling(run_id, polling_options=soon())
    assert [entry.log for entry in logs] == ["begin echo\n", "end\n"]


def test_polling_with_the_defaults_leaves_its_pause_behind_in_the_client(
    probe: cloud.Application,
) -> None:
    # Contract 5.16: a defect of the client; our pauses of 1 s and more keep it harmless.
    assert DEFAULT_POLLING_OPTIONS.sleep_duration_func is None
    try:
        run_id = probe.new_run(input={}, options={"sleep": "2"})
        probe.run_logs_with_polling(run_id)
        left = DEFAULT_POLLING_OPTIONS.sleep_duration_func
        assert left is not None
        assert left() >= 1
    finally:
        DEFAULT_POLLING_OPTIONS.sleep_duration_func = None


def test_assets_are_listed_and_downloaded(probe: cloud.Application, tmp_path: Path) -> None:
    run = made(probe, mode="assets")

    assets = probe.list_assets(run.id)

    # Contract 5.29: a schema that the client does not know must not break its list.
    assert [asset.name for asset in assets] == ["bars", "map", "table", "odd"]
    bars, place, table, odd = assets
    assert bars.visual is not None
    assert (bars.visual.visual_schema.value, bars.visual.label, bars.visual.visual_type) == (
        *("plotly", "Bars", "custom-tab"),
    )
    assert place.visual is not None
    assert place.visual.visual_schema.value == "geojson"
    assert table.visual is None
    assert odd.visual is None
    assert all(asset.content_type == "json" and asset.size > 0 for asset in assets)
    assert probe.download_asset_content(bars) == [
        {"data": [{"type": "bar", "y": [3, 1, 2]}], "layout": {}}
    ]
    assert probe.download_asset_content(table) == {"rows": [1, 2]}
    probe.download_asset_content(table, destination=str(tmp_path / "table.json"))
    assert json.loads((tmp_path / "table.json").read_text()) == {"rows": [1, 2]}
    held = io.BytesIO()
    probe.download_asset_content(odd, destination=held)
    assert json.loads(held.getvalue()) == {"a": 1}
    assert probe.list_assets(made(probe).id) == []


def test_a_deleted_run_is_gone(probe: cloud.Application) -> None:
    run_id = made(probe).id

    probe.delete_run(run_id)

    for read in (probe.run_information, probe.run_logs, probe.run_result, probe.run_input):
        with pytest.raises(requests.HTTPError, match="404"):
            read(run_id)
    assert run_id not in [run.id for run in probe.list_runs()]
    with pytest.raises(requests.HTTPError, match="404"):
        probe.delete_run(run_id)


def test_a_clone_has_the_input_and_options_of_its_original(
    probe: cloud.Application, folders: cloud.Application, tmp_path: Path
) -> None:
    first = probe.new_run_with_result(
        input={"a": 1}, name="First", run_options={"label": "x"}, polling_options=soon()
    )

    copy = probe.clone_run_with_result(first.id, polling_options=soon())

    assert copy.name == "First clone"
    assert copy.description == f"Clone of {first.id}"
    assert copy.output is not None
    assert copy.output["solution"]["given"] == {"a": 1}
    # The client sends every option in force, the defaults of the manifest, too.
    arguments = copy.output["solution"]["arguments"]
    assert arguments[arguments.index("-label") + 1] == "x"
    assert copy.metadata.tracking is not None
    assert copy.metadata.tracking.cloned_run_id == first.id
    other = probe.clone_run_with_result(
        first.id, input={"b": 2}, run_options={"label": "y"}, polling_options=soon()
    )
    assert other.output is not None
    assert other.output["solution"]["given"] == {"b": 2}
    assert other.output["solution"]["arguments"] == ["-label", "y"]
    # The client brings no input and says json when the original read text: we take that of the
    # original.
    text = probe.new_run_with_result(input="plain text", polling_options=soon())
    again = probe.clone_run_with_result(text.id, polling_options=soon())
    assert again.output is not None
    assert again.output["solution"]["given"] == "plain text"
    assert again.metadata.format.format_input.input_type.value == "text"
    (tmp_path / "a.txt").write_text("a")
    of_folder = folders.new_run_with_result(
        input_dir_path=str(tmp_path),
        output_dir_path=str(tmp_path / "one"),
        polling_options=soon(),
    )
    second = folders.clone_run_with_result(
        of_folder.id, output_dir_path=str(tmp_path / "two"), polling_options=soon()
    )
    assert second.metadata.status_v2 == StatusV2.succeeded, second
    assert (tmp_path / "two" / "copy0" / "a.txt").read_text() == "A"


def test_a_clone_can_be_told_an_instance(site: Live, probe: cloud.Application) -> None:
    probe.new_version(id="for-clones", exist_ok=True)
    probe.new_instance(
        version_id="for-clones",
        id="clones",
        configuration=cloud.InstanceConfiguration(options={"label": "instance"}),
        exist_ok=True,
    )
    first = made(probe, {"a": 1})

    copy = probe.clone_run_with_result(first.id, instance_id="clones", polling_options=soon())

    assert copy.metadata.application_instance_id == "clones"
    assert copy.metadata.application_version_id == "for-clones"


def test_runs_without_nested_values_are_compared(site: Live, probe: cloud.Application) -> None:
    one = site.client.request("POST", "v1/applications/probe/runs", payload={"input": {}})
    first = probe.run_result_with_polling(one.json()["run_id"], polling_options=soon())
    tracked = [
        probe.track_run(
            nextmv.TrackedRun(
                status=nextmv.TrackedRunStatus.SUCCEEDED,
                input={},
                output={"a": 1},
                duration=100 * number,
                metrics={"cost": 1.23456789 * number, "gap": 0},
            )
        )
        for number in (1, 2)
    ]

    comparison = probe.compare_runs(tracked)

    assert comparison.run_ids == tracked
    assert comparison.metrics is not None
    assert comparison.metrics["cost"].values == {tracked[0]: 1.23457, tracked[1]: 2.46914}
    assert comparison.metrics["cost"].has_differences
    assert not comparison.metrics["gap"].has_differences
    assert comparison.metadata["status"].values == dict.fromkeys(tracked, "succeeded")
    assert comparison.metadata["run_type"].values == dict.fromkeys(tracked, "external")
    # Contract 5.8: nested values of a run cannot be compared by this client.
    with pytest.raises(TypeError, match="unhashable type"):
        probe.compare_runs([first.id, tracked[0]])
    with_statistics = made(probe, mode="statistics")
    assert with_statistics.metadata.statistics == {
        "schema": "v1",
        "result": {"value": 7.5, "custom": {"status": "best"}},
    }
    with pytest.raises(TypeError, match="unhashable type"):
        probe.compare_runs([with_statistics.id, tracked[0]])


def test_a_key_that_may_not_is_403_and_the_thing_stays(
    site: Live, probe: cloud.Application
) -> None:
    viewer = cloud.Application(
        client=cloud.Client(api_key=site.key("viewer"), url=site.base), id="probe"
    )
    run_id = made(probe).id

    assert viewer.run_information(run_id).id == run_id
    with pytest.raises(requests.HTTPError, match="403"):
        viewer.new_run(input={})
    with pytest.raises(requests.HTTPError, match="403"):
        viewer.delete_run(run_id)
    with pytest.raises(requests.HTTPError, match="403"):
        viewer.delete()
    assert probe.run_information(run_id).id == run_id
