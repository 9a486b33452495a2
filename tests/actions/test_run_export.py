"""An export is listed and read by the published local tool, and a run of the tool is one here."""

from __future__ import annotations

import io
import json
import random
import shutil
import subprocess
import sys
import time
import zipfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from runs.actions.actors import product
from runs.actions.inputs import NewFile, store_folder_input, store_text_input
from runs.actions.outputs import read_figures
from runs.actions.run_export import export_run
from runs.actions.run_folders import IMPORTED, KNOWN, import_runs
from runs.actions.tracked_runs import TrackedResult, record_run
from runs.domain.ids import new_id
from runs.domain.status import EndReason, Status
from runs.models import Account, Application, Asset, Run, RunFile, RunOption
from runs.storage import keys, object_store
from tests.factories import make_account, make_application, make_attempt, make_instance, make_run

local = pytest.importorskip("nextmv.local")

pytestmark = pytest.mark.django_db
ACTOR = product("test")
EXAMPLES = Path(__file__).parents[2] / "examples"
FIGURE = {"data": [{"type": "bar", "x": ["a"], "y": [1]}], "layout": {}}
CHART = {"schema": "plotly", "label": "Charts", "type": "custom-tab"}


@pytest.fixture(autouse=True)
def places(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.RUNSITE_DATA_DIR = tmp_path / "data"
    # The tool keeps a registry of applications there.
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()


@pytest.fixture
def application() -> Application:
    return make_application(make_account("demo"), application_id="routing")


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A folder that the tool takes for an application."""
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "app.yaml").write_text("type: python\nfiles: [main.py]\n")
    (folder / "main.py").write_text("print('{}')\n")
    return folder


def unpacked(run: Run, app: Path) -> Path:
    """The folder of `run` below `app`, from an export of it."""
    name, pieces = export_run(Run.objects.get(pk=run.pk))
    assert name == f"{run.run_id}.zip"
    with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as archive:
        assert archive.testzip() is None
        assert archive.namelist()[-1] == f"{run.run_id}/{run.run_id}.json"
        archive.extractall(app / ".nextmv" / "runs")
    return app / ".nextmv" / "runs" / run.run_id


def tool(app: Path) -> Any:
    return local.Application(src=str(app), app_id="app")


def record(application: Application, **more: Any) -> Run:
    """A tracked run with a bit of everything."""
    values: dict[str, Any] = {
        "account": application.account,
        "application": application,
        "actor": ACTOR,
        "status": Status.SUCCEEDED,
        "input_data": store_text_input(
            account=application.account, content_format="json", data=b'{"stops": 3}'
        ),
        "name": "Night",
        "description": "all stops",
        "options": {"vehicles": 3, "fast": True, "label": ""},
        "input_format": "json",
        "output_format": "json",
        "created_at": timezone.now() - timedelta(hours=1),
        "execution_s": 2.5,
        "result": TrackedResult(
            output=b'{"solution": {"km": 9}}',
            log="one\nzwei ü\n".encode(),
            metrics=b'{"value": 9.5, "deep": {"km": 3}}',
            statistics=b'{"result": {"value": 9.5, "custom": {"status": "optimal"}}}',
            assets=json.dumps(
                [
                    {"name": "plot", "content": [FIGURE, FIGURE], "visual": CHART},
                    {"name": "raw", "content": {"a": 1}, "description": "x"},
                ]
            ).encode(),
        ),
        **more,
    }
    return record_run(**values)


def files(application: Application, *names: str) -> list[NewFile]:
    return [NewFile(name, lambda name=name: io.BytesIO(name.encode())) for name in names]  # type: ignore[misc]


# --- What the tool reads of ours -------------------------------------------------------------


def test_the_tool_lists_and_reads_a_run(application: Application, app: Path):
    run = record(application)
    unpacked(run, app)
    reader = tool(app)
    assert [(one.id, one.status_v2.value) for one in reader.list_runs()] == [
        (run.run_id, "succeeded")
    ]
    told = reader.run_information(run.run_id)
    assert (told.name, told.description) == ("Night", "all stops")
    metadata = told.metadata
    assert metadata.metrics == {"value": 9.5, "deep": {"km": 3}}
    assert metadata.created_at == run.created_at
    assert (metadata.duration, metadata.execution_duration) == (2500, 2500)
    assert (metadata.input_size, metadata.output_size) == (12, 23)
    assert metadata.error == ""
    assert metadata.application_id == "routing"
    assert metadata.run_type.run_type.value == "external"
    assert metadata.options.request_options == {"vehicles": "3", "fast": "true", "label": ""}
    assert metadata.options.active_options == metadata.options.request_options
    summary = {one.name: (one.value, one.source) for one in metadata.options.options_summary}
    assert summary["vehicles"] == ("3", "run")
    result = reader.run_result(run.run_id)
    assert result.output == {"solution": {"km": 9}}
    assert result.metadata.metrics["value"] == 9.5
    assert reader.run_input(run.run_id) == {"stops": 3}
    assert reader.run_logs(run.run_id) == "one\nzwei ü\n"


def test_its_command_line_does_so_too(application: Application, app: Path):
    # Not nested: the tool cannot compare metrics with objects in them, nor its own.
    flat = TrackedResult(
        output=b'{"solution": {"km": 9}}', log="zwei ü\n".encode(), metrics=b'{"a": 1}'
    )
    first, second = (record(application, result=flat, options={"vehicles": n}) for n in (3, 4))
    unpacked(first, app)
    unpacked(second, app)

    def say(*words: str, stream: str = "stdout") -> str:
        command = [str(Path(sys.executable).with_name("nextmv")), "local", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return str(getattr(done, stream))

    where = ("--app-src", str(app))
    assert first.run_id in say("run", "list", *where)
    words = (*where, "--run-id", first.run_id)
    assert json.loads(say("run", "get", *words))["output"] == {"solution": {"km": 9}}
    assert "zwei ü" in say("run", "logs", *words, stream="stderr")
    compared = say("run", "compare", *where, "-r", first.run_id, "-r", second.run_id)
    assert "vehicles" in compared


def test_a_run_of_files(application: Application, app: Path, tmp_path: Path):
    account = application.account
    run = record(
        application,
        input_format="multi-file",
        output_format="multi-file",
        input_data=store_folder_input(
            account=account,
            content_format="multi-file",
            files=files(application, "a.csv", "deep/b.csv"),
        ),
        result=TrackedResult(files=files(application, "plan.csv", "deep/more.csv")),
    )
    unpacked(run, app)
    target, inputs = tmp_path / "out", tmp_path / "in"
    assert tool(app).run_result(run.run_id, output_dir_path=str(target)).output is None
    assert (target / "plan.csv").read_text() == "plan.csv"
    assert (target / "deep" / "more.csv").read_text() == "deep/more.csv"
    tool(app).run_input(run.run_id, output_dir_path=str(inputs))
    assert (inputs / "deep" / "b.csv").read_text() == "deep/b.csv"
    assert tool(app).run_logs(run.run_id) == ""


def test_a_run_of_files_that_left_none(application: Application, app: Path, tmp_path: Path):
    run = record(application, output_format="multi-file", result=TrackedResult())
    unpacked(run, app)
    tool(app).run_result(run.run_id, output_dir_path=str(tmp_path / "out"))
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("result", [TrackedResult(), TrackedResult(output=b'{"km": NaN}')])
def test_a_result_with_nan_or_none_at_all_is_read(
    application: Application, app: Path, result: TrackedResult
):
    run = record(application, result=result)
    unpacked(run, app)
    output = tool(app).run_result(run.run_id).output
    assert output == {} if result.output is None else output["km"] != output["km"]
    other = taken_back(run, app)
    assert (other.output_bytes, other.result_kind) == (run.output_bytes, run.result_kind)


def test_failed_and_canceled_runs_say_why_and_ours_that_ran_here_too(
    application: Application, app: Path
):
    instance = make_instance(application, instance_id="day")
    failed = make_run(
        application,
        status=Status.FAILED,
        error="exit code 3",
        instance=instance,
        requested_options={"vehicles": 3},
    )
    columns = {"account": failed.account, "application": application, "run": failed}
    RunOption.objects.create(**columns, name="vehicles", text="3", source="run", passed=True)
    RunOption.objects.create(**columns, name="gap", text="0.5", source="manifest", position=1)
    RunOption.objects.create(
        **columns, name="speed", text="9", source="instance", passed=True, position=2
    )
    log = b"it broke\n"
    key = keys.log(failed.run_id, 2)
    object_store().put_bytes(key, log)
    make_attempt(failed, number=1, ended_at=failed.ended_at)
    make_attempt(failed, number=2, ended_at=failed.ended_at, log_key=key, log_bytes=len(log))
    wordless = make_run(application, status=Status.CANCELED, error="")
    tracked = record(application, status=Status.FAILED, error="no license\nat all")
    running = make_run(application, status=Status.RUNNING)
    for run in (failed, wordless, tracked, running):
        unpacked(run, app)
    reader = tool(app)
    found = {one.id: one.status_v2.value for one in reader.list_runs()}
    assert found == {
        failed.run_id: "failed",
        wordless.run_id: "canceled",
        tracked.run_id: "failed",
        running.run_id: "running",
    }
    metadata = reader.run_information(failed.run_id).metadata
    assert metadata.error == "exit code 3"
    assert metadata.application_instance_id == "day"
    options = metadata.options
    assert options.active_options == {"vehicles": "3", "gap": "0.5", "speed": "9"}
    assert {(one.name, one.source) for one in options.options_summary} == {
        ("vehicles", "run"),
        ("speed", "instance"),
    }
    assert reader.run_logs(failed.run_id) == "it broke\n"
    assert reader.run_result(failed.run_id).error_log.error == "exit code 3"
    assert reader.run_information(wordless.run_id).metadata.error == "canceled"
    assert reader.run_information(tracked.run_id).metadata.error == "no license"
    assert reader.run_information(running.run_id).metadata.error == ""
    assert reader.run_logs(running.run_id) == ""


# --- There and back --------------------------------------------------------------------------

SAME = (
    *("status", "name", "description", "error", "value", "input_bytes", "output_bytes"),
    *("log_bytes", "input_format", "output_format", "created_at", "execution_s", "duration_s"),
    *("result_kind", "end_reason", "batch_experiment_id"),
)


def taken_back(run: Run, app: Path, account: Account | None = None) -> Run:
    """The run that an import of its export makes in another account."""
    account = account or make_account()
    report = import_runs(account=account, folder=app, actor=ACTOR)
    assert [one.outcome for one in report.folders] == [IMPORTED], report
    return account.runs.get(external_id=run.run_id)


def kept_of(run: Run) -> dict[str, object]:
    return {
        "files": {
            (file.role, file.path): object_store().open(file.key).read() for file in run.files.all()
        },
        "options": list(run.options.order_by("position").values_list("name", "text", "number")),
        "metrics": list(run.metrics.order_by("position").values_list("name", "text", "number")),
        "assets": [
            (one.name, one.description, one.schema, one.label, one.figures, one.content_type)
            for one in run.assets.order_by("number")
        ],
        "contents": [object_store().open(one.key).read() for one in run.assets.order_by("number")],
        "log": [
            object_store().open(one.log_key).read() for one in run.attempts.all() if one.log_key
        ],
    }


@pytest.mark.parametrize("status", [Status.SUCCEEDED, Status.FAILED, Status.CANCELED])
def test_an_export_comes_back_as_the_same_run(application: Application, app: Path, status: Status):
    error = "" if status is Status.SUCCEEDED else "it was so"
    run = record(application, status=status, error=error, batch_experiment_id="night")
    unpacked(run, app)
    other = taken_back(run, app)
    for name in SAME:
        assert getattr(other, name) == getattr(run, name), name
    assert kept_of(other) == kept_of(run)
    # And at home it is known.
    report = import_runs(account=application.account, folder=app, actor=ACTOR)
    assert [one.outcome for one in report.folders] == [KNOWN]


def test_files_and_old_pages_come_back_as_well(application: Application, app: Path):
    page = NewFile("Charts_0.html", lambda: io.BytesIO(b"<p>page</p>"))
    run = record(
        application,
        output_format="multi-file",
        result=TrackedResult(
            files=files(application, "plan.csv", "deep/more.csv"), downloads=[page]
        ),
    )
    folder = unpacked(run, app)
    assert (folder / "visuals" / "Charts_0.html").read_text() == "<p>page</p>"
    assert not (folder / "outputs" / "assets.json").exists()
    other = taken_back(run, app)
    assert kept_of(other)["files"] == kept_of(run)["files"]
    assert kept_of(other)["assets"] == [("Charts_0.html", "", "", "", 0, Asset.PAGE)]


def test_texts_come_back_as_well(application: Application, app: Path):
    text = store_text_input(
        account=application.account, content_format="text", data="ein Text ü".encode()
    )
    run = record(
        application,
        input_format="text",
        output_format="text",
        input_data=text,
        result=TrackedResult(output="noch ein Text ü".encode()),
    )
    unpacked(run, app)
    assert tool(app).run_input(run.run_id) == "ein Text ü"
    other = taken_back(run, app)
    assert kept_of(other) == kept_of(run)
    assert other.input_data is not None
    assert (other.input_bytes, other.input_data.content_format) == (run.input_bytes, "text")


# --- What the tool made ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def tool_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of an app with a run that the tool made of it."""
    home = tmp_path_factory.mktemp("tool")
    app = home / "routing"
    shutil.copytree(EXAMPLES / "routing", app)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        maker = tool(app)
        run_id = maker.new_run(
            input=json.loads((app / "input.json").read_text()),
            options={"duration": "0.3", "vehicles": "3"},
            name="made there",
        )
        until = time.monotonic() + 90
        while not maker.run_information(run_id).metadata.run_is_finalized():
            assert time.monotonic() < until, "the tool did not end its run"
            time.sleep(0.2)  # a process of the tool, which tells only by its file
    return app, run_id


def test_a_run_of_the_tool_is_imported_whole(tool_run: tuple[Path, str]):
    app, run_id = tool_run
    account = make_account()
    report = import_runs(account=account, folder=app, actor=ACTOR)
    assert [(one.folder, one.outcome) for one in report.folders] == [(run_id, IMPORTED)]
    run = account.runs.get()
    folder = app / ".nextmv" / "runs" / run_id
    assert (run.status, run.end_reason) == (Status.SUCCEEDED, EndReason.EXITED)
    assert run.name == "made there"
    assert run.input_bytes == (folder / "inputs" / "input.json").stat().st_size
    assert run.output_bytes == (folder / "outputs/solutions/solution.json").stat().st_size
    assert run.log_bytes == (folder / "logs" / "logs.log").stat().st_size
    assert dict(run.options.values_list("name", "text")) == {"duration": "0.3", "vehicles": "3"}
    metrics = json.loads((folder / "outputs" / "metrics.json").read_text())["metrics"]
    assert run.value == metrics["value"]
    assert run.metrics.get(name="per_vehicle.vehicle_1").number is not None
    drawn = run.assets.exclude(schema="")
    assert sorted(drawn.values_list("schema", flat=True)) == [*("chartjs", "geojson", "plotly")]
    for asset in drawn:
        tab = read_figures(asset=asset)
        assert tab.figures
        assert not tab.warning
    pages = {asset.name for asset in run.assets.filter(content_type=Asset.PAGE)}
    assert pages == {path.name for path in (folder / "visuals").iterdir()}
    assert import_runs(account=account, folder=app, actor=ACTOR).imported == 0


def test_and_read_by_it_when_it_comes_back(tool_run: tuple[Path, str], app: Path):
    source, run_id = tool_run
    account = make_account()
    import_runs(account=account, folder=source, actor=ACTOR)
    run = account.runs.get()
    unpacked(run, app)
    ours, theirs = tool(app), tool(source)
    assert ours.run_result(run.run_id).output == theirs.run_result(run_id).output
    assert ours.run_logs(run.run_id) == theirs.run_logs(run_id)
    assert ours.run_input(run.run_id) == theirs.run_input(run_id)
    mine, others = (
        reader.run_information(one).metadata
        for reader, one in ((ours, run.run_id), (theirs, run_id))
    )
    for name in ("metrics", "options", "created_at", "execution_duration", "input_size"):
        assert getattr(mine, name) == getattr(others, name), name


# --- How it is made --------------------------------------------------------------------------


def test_nothing_is_asked_before_the_first_piece_and_little_afterwards(application: Application):
    run = Run.objects.select_related("application", "input_data").get(pk=record(application).pk)
    with CaptureQueriesContext(connection) as asked:
        _, pieces = export_run(run)
    assert len(asked) == 0
    with CaptureQueriesContext(connection) as asked:
        b"".join(pieces)
    assert len(asked) <= 8


def test_large_files_are_packed_in_pieces(application: Application):
    run = record(application)
    size = 40 * 1024 * 1024
    key = keys.output_file(run.run_id, 1, 0)
    noise = random.Random(1).randbytes(1024 * 1024)
    object_store().put(key, io.BytesIO(noise * (size // len(noise))))
    RunFile.objects.create(run=run, role=RunFile.SOLUTION, path="big.bin", size_bytes=size, key=key)
    _, pieces = export_run(run)
    lengths = [len(piece) for piece in pieces]
    assert sum(lengths) > size
    assert max(lengths) < 2 * 1024 * 1024


def test_hostile_names_stay_in_the_folder(application: Application, tmp_path: Path):
    run = record(application)
    for number, path in enumerate(["../../up.csv", "a\\..\\b.csv", "/root.csv", "x\n.csv"]):
        key = keys.output_file(run.run_id, 1, number)
        object_store().put_bytes(key, b"x")
        RunFile.objects.create(
            run=run, role=RunFile.SOLUTION, number=number, path=path, size_bytes=1, key=key
        )
    asset_key = keys.asset(run.run_id, 1, 9)
    object_store().put_bytes(asset_key, b"<p>")
    Asset.objects.create(
        run=run,
        asset_id=new_id(),
        number=9,
        name="../../page.html",
        content_type=Asset.PAGE,
        size_bytes=3,
        key=asset_key,
    )
    _, pieces = export_run(run)
    with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as archive:
        names = archive.namelist()
    assert all(name.startswith(f"{run.run_id}/") and ".." not in name for name in names)
    assert {name for name in names if "solutions/" in name and name.endswith(".csv")} == {
        f"{run.run_id}/outputs/solutions/{name}"
        for name in ("up.csv", "a/b.csv", "root.csv", "x_.csv")
    }
