"""Runs that were executed elsewhere, recorded by the SDK."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import nextmv
import pytest
import requests
from nextmv import StatusV2, TrackedRun, TrackedRunStatus, cloud

from tests.client.conftest import PROBE, Live, soon

pytestmark = pytest.mark.process

FOLDERS = nextmv.RunConfiguration(
    format=nextmv.Format(
        format_input=nextmv.FormatInput(input_type=nextmv.InputFormat.MULTI_FILE),
        format_output=nextmv.FormatOutput(output_type=nextmv.OutputFormat.MULTI_FILE),
    )
)


@pytest.fixture(scope="module")
def application(site: Live) -> Iterator[cloud.Application]:
    """An application to which nothing was ever pushed."""
    made = cloud.Application.new(client=site.client, id="elsewhere")
    yield made
    made.delete()


def test_a_run_that_succeeded_elsewhere_reads_like_any_other(
    application: cloud.Application,
) -> None:
    figure = {"data": [{"type": "bar", "y": [1]}], "layout": {}}
    run = application.track_run_with_result(
        TrackedRun(
            status=TrackedRunStatus.SUCCEEDED,
            input={"a": 1},
            output={"solution": {"b": 2}},
            duration=1234,
            logs="line one\nline two ä",
            name="Tracked",
            description="from elsewhere",
            metrics={"cost": 7.5, "gap": 0},
            statistics={"result": {"value": 3.5}},
            assets=[
                nextmv.Asset(
                    name="bars",
                    content=figure,
                    content_type="json",
                    visual=nextmv.Visual(
                        visual_schema=nextmv.VisualSchema.PLOTLY,
                        visual_type="custom-tab",
                        label="Bars",
                    ),
                )
            ],
        ),
        polling_options=soon(),
        # Contract 5.18: there without any push.
        instance_id="latest",
    )

    assert (run.name, run.description) == ("Tracked", "from elsewhere")
    metadata = run.metadata
    assert (metadata.status_v2, metadata.error) == (StatusV2.succeeded, "")
    # Contract 5.28: milliseconds.
    assert metadata.duration == 1234
    assert metadata.execution_duration == 1234
    assert metadata.run_type is not None
    assert metadata.run_type.run_type == nextmv.RunType.EXTERNAL
    assert (metadata.application_instance_id, metadata.application_version_id) == (
        *("latest", "latest"),
    )
    assert run.output == {"solution": {"b": 2}}
    assert metadata.metrics == {"cost": 7.5, "gap": 0}
    assert metadata.statistics == {"result": {"value": 3.5}}
    assert metadata.input_size == len('{"a":1}')
    assert metadata.output_size == len('{"solution":{"b":2}}')
    assert application.run_input(run.id) == {"a": 1}
    assert application.run_logs(run.id).log == "line one\nline two ä"
    live = application.run_logs_with_polling(run.id, polling_options=soon())
    assert "".join(entry.log for entry in live) == "line one\nline two ä"
    [asset] = application.list_assets(run.id)
    assert asset.visual is not None
    assert (asset.name, asset.visual.label) == ("bars", "Bars")
    assert application.download_asset_content(asset) == figure
    [listed] = [one for one in application.list_runs() if one.id == run.id]
    assert listed.run_type.run_type == nextmv.RunType.EXTERNAL
    assert listed.status_v2 == StatusV2.succeeded


def test_a_run_that_failed_elsewhere_has_its_message(application: cloud.Application) -> None:
    run = application.track_run_with_result(
        TrackedRun(
            status=TrackedRunStatus.FAILED,
            input={},
            output={},
            error="no plan was found",
            duration=9,
            logs="gave up",
        ),
        polling_options=soon(),
    )

    assert (run.metadata.status_v2, run.metadata.error) == (StatusV2.failed, "no plan was found")
    assert run.metadata.duration == 9
    assert not run.output
    assert application.run_logs(run.id).log == "gave up"
    assert [one.id for one in application.list_runs(status=StatusV2.failed)] == [run.id]


def test_folders_are_tracked(application: cloud.Application, tmp_path: Path) -> None:
    for name in ("in/deep", "out"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "in" / "deep" / "a.csv").write_text("1,2\n")
    (tmp_path / "out" / "plan.txt").write_text("ä plan")

    run = application.track_run_with_result(
        TrackedRun(
            status=TrackedRunStatus.SUCCEEDED,
            duration=5,
            input_dir_path=str(tmp_path / "in"),
            output_dir_path=str(tmp_path / "out"),
        ),
        configuration=FOLDERS,
        output_dir_path=str(tmp_path / "back"),
        polling_options=soon(),
    )

    assert run.metadata.format.to_dict() == {
        "input": {"type": "multi-file"},
        "output": {"type": "multi-file"},
    }
    assert (tmp_path / "back" / "plan.txt").read_text() == "ä plan"
    assert (run.metadata.input_size, run.metadata.output_size) == (4, len("ä plan".encode()))
    application.run_input(run.id, output_dir_path=str(tmp_path / "given"))
    assert (tmp_path / "given" / "deep" / "a.csv").read_text() == "1,2\n"


def test_a_log_given_as_a_list_is_shown_as_lines_or_as_it_came(
    application: cloud.Application,
) -> None:
    # Contract 5.24: the client joins them by a backslash and an n.
    run_id = application.track_run(
        TrackedRun(
            status=TrackedRunStatus.SUCCEEDED,
            input={},
            output={"a": 1},
            duration=1,
            logs=["first", "second"],
        )
    )

    assert application.run_logs(run_id).log in ("first\\nsecond", "first\nsecond")


def test_a_clone_of_a_tracked_run_is_executed_here(site: Live) -> None:
    application = cloud.Application.new(client=site.client, id="tracked-clone")
    tracked = application.track_run(
        TrackedRun(status=TrackedRunStatus.SUCCEEDED, input={"a": 1}, output={"b": 2}, duration=1)
    )
    application.push(app_dir=str(PROBE))

    copy = application.clone_run_with_result(tracked, polling_options=soon())

    assert copy.output is not None
    assert copy.output["solution"]["given"] == {"a": 1}
    assert copy.metadata.run_type is not None
    assert copy.metadata.run_type.run_type == nextmv.RunType.STANDARD
    application.delete()


def test_the_experiment_of_a_tracked_run_is_kept(application: cloud.Application) -> None:
    ticket = application.upload_url()
    application.upload_data(upload_url=ticket, data={"a": 1})
    run_id = application.new_run(
        upload_id=ticket.upload_id,
        external_result=nextmv.ExternalRunResult(status="succeeded", execution_duration=7),
        batch_experiment_id="experiment-1",
    )

    metadata = application.run_information(run_id).metadata

    assert metadata.experiment_id == "experiment-1"
    assert (metadata.status_v2, metadata.duration) == (StatusV2.succeeded, 7)
    [listed] = [one for one in application.list_runs() if one.id == run_id]
    assert listed.experiment_id == "experiment-1"


def test_a_tracked_run_that_cannot_be_is_refused(application: cloud.Application) -> None:
    ticket = application.upload_url()
    application.upload_data(upload_url=ticket, data={})
    for result, words in (
        ({"status": "running"}, "status"),
        ({"status": "succeeded", "output_upload_id": "none-such"}, "none-such"),
    ):
        with pytest.raises(requests.HTTPError, match="status code 400") as refused:
            application.new_run(upload_id=ticket.upload_id, external_result=result)
        assert words in str(refused.value)
