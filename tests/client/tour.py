"""A tour in forty lines, written only from the documentation of the published client."""

import os
import sys
import time
from pathlib import Path

import nextmv
from nextmv import cloud

client = cloud.Client(api_key=os.environ["NEXTMV_API_KEY"], url=os.environ["NEXTMV_ENDPOINT"])
app = cloud.Application.new(client=client, id="tour", name="Tour", description="From a script")
app.push(app_dir=sys.argv[1], verbose=True)
version = app.new_version(id="v1", name="First")
instance = app.new_instance(version_id="v1", id="quick", name="Quick")
result = app.new_run_with_result(input={"numbers": [1, 2, 3.5]}, instance_id="quick")
assert result.metadata.status_v2 == nextmv.StatusV2.succeeded, result
assert result.output["solution"] == {"total": 6.5, "padding": 0}, result.output
assert result.metadata.metrics == {"total": 6.5}, result.metadata.metrics
assert "numpy" in app.run_logs(result.id).log
[asset] = app.list_assets(result.id)
assert app.download_asset_content(asset)[0]["data"][0]["y"] == [1, 2, 3.5]
large = app.new_run_with_result(input={"numbers": [1], "padding": "x" * 20_000_000})
assert large.output["solution"]["padding"] == 20_000_000, large.metadata
here = Path(sys.argv[2])
(here / "in").mkdir()
(here / "in" / "a.csv").write_text("1,2\n")
(here / "in" / "b.txt").write_text("hello")
files = nextmv.Format(
    format_input=nextmv.FormatInput(input_type=nextmv.InputFormat.MULTI_FILE),
    format_output=nextmv.FormatOutput(output_type=nextmv.OutputFormat.MULTI_FILE),
)
settings = nextmv.RunConfiguration(format=files)
folder = app.new_run_with_result(
    input_dir_path=str(here / "in"), output_dir_path=str(here / "out"), configuration=settings
)
assert folder.metadata.metrics == {"files": 2}, folder.metadata
assert (here / "out" / "sizes.json").read_text() == '{"a.csv": 4, "b.txt": 5}'
sleeping = app.new_run(input={}, options={"sleep": "600"})
while app.run_metadata(sleeping).metadata.status_v2 != nextmv.StatusV2.running:
    time.sleep(0.2)  # the client has no wait for this; the test ends the script after 15 minutes
app.cancel_run(sleeping)
while app.run_metadata(sleeping).metadata.status_v2 == nextmv.StatusV2.running:
    time.sleep(0.2)  # as above
assert [run.id for run in app.list_runs(status=nextmv.StatusV2.canceled)] == [sleeping]
good = nextmv.TrackedRun(
    status=nextmv.TrackedRunStatus.SUCCEEDED,
    input={"a": 1},
    output={"solution": {"b": 2}},
    duration=1500,
    logs="line one\nline two",
    metrics={"cost": 7.5},
)
tracked = app.track_run_with_result(good)
assert tracked.metadata.status_v2 == nextmv.StatusV2.succeeded, tracked
assert (tracked.output, tracked.metadata.metrics) == ({"solution": {"b": 2}}, {"cost": 7.5})
bad = nextmv.TrackedRun(
    status=nextmv.TrackedRunStatus.FAILED, input={"a": 1}, output={}, error="no plan", duration=9
)
failed = app.run_metadata(app.track_run(bad))
assert (failed.metadata.status_v2, failed.metadata.error) == (nextmv.StatusV2.failed, "no plan")
app.delete()
assert not cloud.Application.exists(client=client, id="tour")
print("all true")
