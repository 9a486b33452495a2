"""Runs are imported from the folders of the local tool: each once, whatever the others are."""

from __future__ import annotations

import io
import json
import os
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from runs.actions.actors import product
from runs.actions.logs import stream_log
from runs.actions.outputs import read_figures
from runs.actions.run_folders import (
    CHANGING,
    IMPORTED,
    KNOWN,
    REFUSED,
    import_archive,
    import_runs,
    import_server_folder,
)
from runs.domain.errors import ArchiveRejected, FieldsInvalid, InputRejected, NotAllowed
from runs.domain.run_folders import UNFINISHED
from runs.domain.status import EndReason, Status
from runs.models import Account, Asset, Run, RunFile
from runs.storage import object_store
from tests.actions.run_folder_trees import make_folder
from tests.factories import make_account, make_application, make_instance, make_run

pytestmark = pytest.mark.django_db
ACTOR = product("test")
FIGURE = {"data": [{"type": "bar", "x": ["a"], "y": [1]}], "layout": {}}


@pytest.fixture(autouse=True)
def data_folder(settings: Any, tmp_path: Path) -> None:
    settings.RUNSITE_DATA_DIR = tmp_path / "data"


@pytest.fixture
def account() -> Account:
    return make_account("demo")


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """The folder of an application without runs as yet."""
    folder = tmp_path / "routing app"
    (folder / ".nextmv" / "runs").mkdir(parents=True)
    return folder


def runs_of(app: Path) -> Path:
    return app / ".nextmv" / "runs"


def only_run(account: Account) -> Run:
    return account.runs.get()


def stored(run: Run, role: str) -> bytes:
    return object_store().open(run.files.get(role=role).key).read()


def test_everything_of_a_run_is_taken_over(account: Account, app: Path):
    instance = make_instance(make_application(account, application_id="routing"), instance_id="day")
    make_folder(
        runs_of(app),
        "local-1",
        {
            "outputs/metrics.json": {"metrics": {"value": 9.5, "deep": {"km": 3}}},
            "outputs/statistics/statistics.json": {"result": {"custom": {"status": "optimal"}}},
            "outputs/assets.json": {
                "assets": [
                    {"name": "plot", "content_type": "json", "content": [FIGURE, FIGURE]}
                    | {"visual": {"schema": "plotly", "label": "Charts", "type": "custom-tab"}}
                ]
            },
        },
        application_instance_id="day",
    )
    report = import_runs(account=account, folder=app, actor=ACTOR)
    run = only_run(account)
    assert [(one.folder, one.outcome, one.run_id) for one in report.folders] == [
        ("local-1", IMPORTED, run.run_id)
    ]
    assert (run.status, run.end_reason, run.error) == (Status.SUCCEEDED, EndReason.EXITED, "")
    assert (run.external_id, run.source, run.run_type) == ("local-1", "import", "external")
    assert (run.name, run.description) == ("local run local-1", "made by hand")
    assert run.created_at.isoformat() == "2026-05-01T10:00:00+00:00"
    assert (run.execution_s, run.value) == (2.5, 9.5)
    assert run.instance == instance
    assert run.input_bytes == len(json.dumps({"stops": 3}))
    assert run.output_bytes == len(json.dumps({"solution": {"km": 9}}))
    assert json.loads(stored(run, RunFile.STDOUT)) == {"solution": {"km": 9}}
    assert dict(run.options.values_list("name", "text")) == {"vehicles": "3"}
    assert set(run.metrics.values_list("name", flat=True)) == {
        *("value", "deep.km", "result.custom.status")
    }
    attempt = run.attempts.get()
    attempt.run = run
    assert b"".join(stream_log(attempt=attempt)) == b"one\ntwo\n"
    asset = run.assets.get()
    tab = read_figures(asset=asset)
    assert (tab.label, tab.schema, len(tab.figures)) == ("Charts", "plotly", 2)


def test_files_are_taken_over_with_their_folders(account: Account, app: Path):
    formats = {"input": {"type": "multi-file"}, "output": {"type": "multi-file"}}
    folder = make_folder(
        runs_of(app),
        "local-1",
        {
            "inputs/a.csv": "1,2\n",
            "inputs/deep/b.csv": "3\n",
            "outputs/solutions/deep/plan.csv": "4\n",
        },
        format=formats,
    )
    (folder / "inputs" / "input.json").unlink()
    (folder / "outputs" / "solutions" / "solution.json").unlink()
    import_runs(account=account, folder=app, actor=ACTOR)
    run = only_run(account)
    assert run.input_data is not None
    assert sorted(run.input_data.files.values_list("path", flat=True)) == ["a.csv", "deep/b.csv"]
    assert (run.input_bytes, run.output_bytes) == (6, 2)
    assert [file.path for file in run.files.all()] == ["deep/plan.csv"]


def test_importing_twice_doubles_nothing(account: Account, app: Path):
    make_folder(runs_of(app), "local-1")
    first = import_runs(account=account, folder=app, actor=ACTOR)
    second = import_runs(account=account, folder=app, actor=ACTOR)
    assert [one.outcome for one in second.folders] == [KNOWN]
    assert second.folders[0].run_id == first.folders[0].run_id
    assert account.runs.count() == 1
    make_folder(runs_of(app), "local-2")
    assert import_runs(account=account, folder=app, actor=ACTOR).imported == 1


def test_a_run_of_ours_that_comes_back_is_known(account: Account, app: Path):
    run = make_run(make_application(account, application_id="routing"), status=Status.SUCCEEDED)
    make_folder(runs_of(app), run.run_id)
    report = import_runs(account=account, folder=app, actor=ACTOR)
    assert [one.outcome for one in report.folders] == [KNOWN]
    assert only_run(account) == run


@pytest.mark.parametrize("below", ["", ".nextmv", ".nextmv/runs", ".nextmv/runs/local-1"])
def test_the_folder_may_be_that_of_the_app_of_its_runs_or_of_one(
    account: Account, app: Path, below: str
):
    make_folder(runs_of(app), "local-1", application_id="")
    report = import_runs(account=account, folder=app / below, actor=ACTOR)
    assert report.imported == 1
    application = only_run(account).application
    assert application.application_id == "routing-app"
    assert application.name == "routing app"


def test_the_application_is_the_one_that_was_named_else_that_of_the_run(
    account: Account, app: Path
):
    make_folder(runs_of(app), "local-1")
    make_folder(runs_of(app), "local-2", application_id="other")
    import_runs(account=account, folder=app, actor=ACTOR)
    found = {run.external_id: run.application.application_id for run in account.runs.all()}
    assert found == {"local-1": "routing", "local-2": "other"}
    import_runs(account=account, folder=app, actor=ACTOR, application_id="chosen")
    assert account.runs.filter(application__application_id="chosen").count() == 2
    target = make_application(account)
    import_runs(account=account, folder=app, actor=ACTOR, application=target)
    assert target.runs.count() == 2


def test_one_that_has_not_ended_counts_as_failed(account: Account, app: Path):
    make_folder(runs_of(app), "local-1", status_v2="running")
    import_runs(account=account, folder=app, actor=ACTOR)
    run = only_run(account)
    assert (run.status, run.error) == (Status.FAILED, UNFINISHED)
    assert run.end_reason == EndReason.FAILED_ELSEWHERE


@pytest.mark.parametrize("which", ["local-1.json", "logs/logs.log"])
def test_unless_it_has_just_changed_then_it_is_left_for_later(
    account: Account, app: Path, which: str
):
    folder = make_folder(runs_of(app), "local-1", status_v2="running")
    os.utime(folder / which)
    report = import_runs(account=account, folder=app, actor=ACTOR)
    assert [one.outcome for one in report.folders] == [CHANGING]
    assert "last minute" in report.folders[0].text
    assert report.refused == 0
    assert not account.runs.exists()
    assert not account.applications.exists()


def test_failed_and_canceled_ones_keep_status_and_error(account: Account, app: Path):
    make_folder(runs_of(app), "local-1", status_v2="failed", error="Run failed, check the logs.")
    make_folder(runs_of(app), "local-2", status_v2="canceled", error="canceled by me")
    import_runs(account=account, folder=app, actor=ACTOR)
    found = {run.external_id: (run.status, run.error) for run in account.runs.all()}
    assert found == {
        "local-1": (Status.FAILED, "Run failed, check the logs."),
        "local-2": (Status.CANCELED, "canceled by me"),
    }


def test_a_bad_folder_is_told_and_does_not_stop_the_others(account: Account, app: Path):
    runs = runs_of(app)
    make_folder(runs, "a-good")
    make_folder(runs, "b-broken", document="{")
    make_folder(runs, "c-list", document=[1])
    (runs / "d-empty").mkdir()
    make_folder(runs, "e-other", document={"id": "other"})
    make_folder(runs, "f-status", status_v2="lost")
    make_folder(runs, "g-good")
    report = import_runs(account=account, folder=app, actor=ACTOR)
    assert {one.folder: one.outcome for one in report.folders} == {
        "a-good": IMPORTED,
        **dict.fromkeys(["b-broken", "c-list", "d-empty", "e-other", "f-status"], REFUSED),
        "g-good": IMPORTED,
    }
    texts = {one.folder: one.text for one in report.folders}
    assert "line 1" in texts["b-broken"]
    assert "`f-status.json`" in texts["f-status"]
    assert "`lost`" in texts["f-status"]
    assert (report.imported, report.refused) == (2, 5)


def test_no_link_is_followed(account: Account, app: Path, tmp_path: Path):
    secret = tmp_path / "secret"
    secret.write_text('{"secret": 1}')
    runs = runs_of(app)
    elsewhere = make_folder(tmp_path / "elsewhere", "linked")
    (runs / "linked").symlink_to(elsewhere)
    whole = make_folder(runs, "a-file")
    for name in ("inputs/input.json", "outputs/solutions/solution.json"):
        (whole / name).unlink()
        (whole / name).symlink_to(secret)
    for name in ("logs/logs.log", "outputs/metrics.json"):
        folder = make_folder(runs, f"b-{Path(name).stem}")
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(secret)
    folder = make_folder(runs, "c-folder")
    (folder / "inputs" / "input.json").unlink()
    (folder / "inputs").rmdir()
    (folder / "inputs").symlink_to(tmp_path)
    info = make_folder(runs, "d-info")
    (info / "d-info.json").rename(tmp_path / "d-info.json")
    (info / "d-info.json").symlink_to(tmp_path / "d-info.json")
    report = import_runs(account=account, folder=app, actor=ACTOR)
    outcomes = {one.folder: one.outcome for one in report.folders}
    refused = dict.fromkeys(["b-logs", "b-metrics", "c-folder", "d-info"], REFUSED)
    assert outcomes == {"a-file": IMPORTED, **refused}
    run = only_run(account)
    assert run.input_data is None
    assert not run.files.exists()
    assert "is a link" in " ".join(run.warnings)


@pytest.mark.parametrize("name", ["a\nb.csv", "a\\..\\b.csv", b"\xff.csv"])
def test_hostile_names_are_refused(account: Account, app: Path, name: str | bytes):
    formats = {"input": {"type": "json"}, "output": {"type": "multi-file"}}
    folder = make_folder(runs_of(app), "local-1", format=formats)
    (folder / "outputs" / "solutions" / os.fsdecode(name)).write_text("x")
    report = import_runs(account=account, folder=app, actor=ACTOR)
    assert [one.outcome for one in report.folders] == [REFUSED]
    assert not account.runs.exists()
    json.dumps(report.folders[0].text).encode()


def test_what_is_too_large_is_refused_unread(account: Account, app: Path, settings: Any):
    settings.RUNSITE_OUTPUT_LIMIT = settings.RUNSITE_UPLOAD_LIMIT = 10_000
    for number, name in enumerate(["inputs/input.json", "outputs/solutions/solution.json"]):
        folder = make_folder(runs_of(app), f"local-{number}")
        os.truncate(folder / name, 2**40)  # a file of one hole
    folder = make_folder(runs_of(app), "local-2")
    os.truncate(folder / "local-2.json", 2**40)
    started = time.monotonic()
    report = import_runs(account=account, folder=app, actor=ACTOR)
    assert time.monotonic() - started < 10
    assert [one.outcome for one in report.folders] == [REFUSED] * 3
    assert not account.runs.exists()


def test_an_input_that_cannot_be_kept_costs_a_warning_not_the_run(account: Account, app: Path):
    make_folder(runs_of(app), "local-1", {"inputs/input.json": "[1, 2"})
    import_runs(account=account, folder=app, actor=ACTOR)
    run = only_run(account)
    assert run.input_data is None
    assert "input was not kept" in run.warnings[0]


def test_old_pages_are_downloads_and_never_shown(account: Account, app: Path):
    page = "<script>alert(1)</script>"
    make_folder(
        runs_of(app), "local-1", {"visuals/Charts_0.html": page, "visuals/notes.txt": "no page"}
    )
    import_runs(account=account, folder=app, actor=ACTOR)
    asset = only_run(account).assets.get()
    assert (asset.name, asset.schema, asset.content_type) == ("Charts_0.html", "", Asset.PAGE)
    assert object_store().open(asset.key).read().decode() == page


def test_numbers_that_json_does_not_know_become_null_with_a_word(account: Account, app: Path):
    result = '{"solution": {"km": NaN}}'
    make_folder(runs_of(app), "local-1", {"outputs/solutions/solution.json": result}, output_size=0)
    import_runs(account=account, folder=app, actor=ACTOR)
    run = only_run(account)
    assert stored(run, RunFile.STDOUT).decode() == result
    assert json.loads(stored(run, RunFile.CLEANED)) == {"solution": {"km": None}}
    assert run.warnings


def test_at_most_so_many_are_looked_at_and_the_next_time_goes_on(account: Account, app: Path):
    for number in range(5):
        make_folder(runs_of(app), f"local-{number}")
    lefts = [import_runs(account=account, folder=app, actor=ACTOR, most=2).left for _ in range(3)]
    assert lefts == [3, 1, 0]
    assert account.runs.count() == 5


def test_nor_is_one_begun_when_the_time_is_over(account: Account, app: Path):
    for number in range(3):
        make_folder(runs_of(app), f"local-{number}")
    report = import_runs(account=account, folder=app, actor=ACTOR, within_s=0)
    # One at least, or the same again would never end.
    assert (report.imported, report.left) == (1, 2)


def test_a_folder_without_runs_and_an_id_that_can_be_none_are_refused(
    account: Account, tmp_path: Path, app: Path
):
    (tmp_path / "nothing" / "a").mkdir(parents=True)
    (tmp_path / "nothing" / "b").mkdir()
    for folder in (tmp_path / "nothing", tmp_path / "missing"):
        with pytest.raises(InputRejected):
            import_runs(account=account, folder=folder, actor=ACTOR)
    make_folder(runs_of(app), "local-1")
    with pytest.raises(FieldsInvalid):
        import_runs(account=account, folder=app, actor=ACTOR, application_id="no id!")


def packed(folder: Path, name: str) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        archive.add(folder, name)
    return data.getvalue()


@pytest.mark.parametrize(
    ("below", "name"),
    [("", "routing app"), (".nextmv", ".nextmv"), (".nextmv/runs", "."), (".nextmv/runs", "runs")],
)
def test_an_archive_of_any_of_them_will_do(
    account: Account, app: Path, tmp_path: Path, below: str, name: str
):
    make_folder(runs_of(app), "local-1")
    source = tmp_path / "sent"
    source.write_bytes(packed(app / below, name))
    report = import_archive(
        account=account, source=source, actor=ACTOR, file_name="my runs.tar.gz", most=10
    )
    assert report.imported == 1
    assert list((tmp_path / "data" / "tmp").iterdir()) == []


def test_an_archive_that_is_none_is_refused(account: Account, tmp_path: Path):
    source = tmp_path / "sent"
    source.write_bytes(b"no archive at all")
    with pytest.raises(ArchiveRejected, match=r"`x\.zip`"):
        import_archive(account=account, source=source, actor=ACTOR, file_name="x.zip", most=10)


def test_folders_of_the_server_are_read_where_that_is_allowed_alone(
    account: Account, app: Path, tmp_path: Path, settings: Any
):
    make_folder(runs_of(app), "local-1")
    settings.RUNSITE_APP_FOLDERS = [tmp_path / "other"]
    with pytest.raises(FieldsInvalid):
        import_server_folder(account=account, folder=app, actor=ACTOR, most=10)
    settings.RUNSITE_APP_FOLDERS = [tmp_path]
    assert import_server_folder(account=account, folder=app, actor=ACTOR, most=10).imported == 1


def test_only_admins_may(account: Account, app: Path):
    from runs.actions.actors import person
    from tests.factories import make_member

    make_folder(runs_of(app), "local-1")
    developer = person(make_member(account, "developer"), role="developer")
    with pytest.raises(NotAllowed):
        import_runs(account=account, folder=app, actor=developer)
    with pytest.raises(NotAllowed):
        import_archive(account=account, source=app, actor=developer, most=1)
    with pytest.raises(NotAllowed):
        import_server_folder(account=account, folder=app, actor=developer, most=1)
