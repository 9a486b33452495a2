"""Runs that were executed elsewhere: what is recorded, what is refused, what stays behind."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError
from django.utils import timezone

from runs.actions import tracked_runs
from runs.actions.actors import person
from runs.actions.inputs import NewFile, scratch_folder, store_text_input
from runs.actions.logs import find_in_log, read_log, read_tail
from runs.actions.runs import cancel_run, delete_run, set_priority
from runs.actions.tracked_runs import TrackedResult, error_as_sent
from runs.domain.errors import (
    ArchiveRejected,
    Conflict,
    FieldsInvalid,
    NotAllowed,
    OptionsInvalid,
    TooLarge,
)
from runs.domain.status import EndReason, Status
from runs.models import (
    Account,
    Application,
    Asset,
    Attempt,
    LogChunk,
    Queue,
    Run,
    RunEvent,
    RunFile,
    RunMetric,
)
from runs.queue.claim import claim_next
from runs.queue.lease import WorkerIdentity
from runs.storage import StorageError, object_store
from tests.actions.submitting import make_app, submit
from tests.factories import (
    make_application,
    make_instance,
    make_managed_input,
    make_member,
    make_tracked_run,
    make_user,
    make_version,
    make_worker,
)

pytestmark = pytest.mark.django_db

SOLUTION = {"options": {}, "solution": {"routes": [1, 2]}, "statistics": {"result": {"value": 7}}}
PLOT = {"data": [{"type": "bar", "x": ["a"], "y": [1]}], "layout": {}}
ASSETS = [
    {"name": "table", "content": {"a": 1}, "content_type": "json"},
    {
        "name": "chart",
        "content": [PLOT, PLOT],
        "visual": {"schema": "plotly", "type": "custom-tab", "label": "Charts"},
    },
]


@pytest.fixture(autouse=True)
def store(settings, tmp_path):
    settings.RUNSITE_DATA_DIR = tmp_path / "data"


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


def packed(files: dict[str, bytes], *, kind: str = "w:gz", folder: str = "") -> bytes:
    """An archive as the client makes it: regular files only, unless one is a link."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode=kind) as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(folder + name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return target.getvalue()


def record(
    application: Application | None = None,
    status: str = "succeeded",
    *,
    role: str = "operator",
    **fields: Any,
) -> Run:
    fields.setdefault("actor", person(make_user(), role=role))
    return make_tracked_run(application, status, **fields)


def stored(run: Run, role: str, number: int = 0) -> bytes:
    row = RunFile.objects.get(run=run, role=role, number=number)
    data = b"".join(object_store().stream(row.key))
    assert row.size_bytes == len(data)
    return data


def kept_objects() -> list[str]:
    return list(object_store().list("runs/"))


def test_a_succeeded_run_is_final_at_once_with_everything_that_was_sent():
    application = make_application()
    input_data = store_text_input(
        account=application.account, content_format="json", data=b'{"n": 1}'
    )
    actor = person(make_member(application.account, "operator"), role="operator")
    run = record(
        application,
        actor=actor,
        input_data=input_data,
        name="Nightly",
        description="On the laptop",
        options={"threads": "4", "fast": True},
        execution_s=12.5,
        batch_experiment_id="batch-1",
        output=as_json(SOLUTION),
        log=b"one\ntwo\n",
        metrics=as_json({"metrics": {"value": 3.5, "inner": {"gap": 0.1}}}),
        statistics=as_json({"statistics": {"result": {"duration": 2}}}),
        assets=as_json({"assets": ASSETS}),
    )
    run = Run.objects.get(pk=run.pk)
    assert (run.status, run.end_reason, run.run_type) == ("succeeded", "exited", "external")
    assert run.is_tracked
    assert run.is_final
    assert (run.error, run.detail, run.warnings) == ("", "", [])
    assert (run.executable, run.version, run.instance) == (None, None, None)
    assert (run.name, run.description, run.batch_experiment_id) == (
        "Nightly",
        "On the laptop",
        "batch-1",
    )
    assert (run.execution_s, run.duration_s) == (12.5, 12.5)
    assert run.created_at == run.ended_at == run.started_at
    assert (run.input_bytes, run.output_bytes) == (8, len(as_json(SOLUTION)))
    assert (run.result_kind, run.value) == ("json", 3.5)
    assert (run.queue.name, run.lane.environment) == ("default", None)
    assert run.submitted_by == actor.user
    assert list(run.options.values_list("name", "text", "source").order_by("position")) == [
        ("threads", "4", "run"),
        ("fast", "true", "run"),
    ]
    assert stored(run, RunFile.STDOUT) == as_json(SOLUTION)
    assert json.loads(stored(run, RunFile.METRICS)) == {"value": 3.5, "inner": {"gap": 0.1}}
    assert json.loads(stored(run, RunFile.STATISTICS)) == {"result": {"duration": 2}}
    assert dict(RunMetric.objects.filter(run=run).values_list("name", "number")) == {
        "value": 3.5,
        "inner.gap": 0.1,
        "result.duration": 2.0,
    }
    table, chart = Asset.objects.filter(run=run).order_by("number")
    assert (table.name, table.schema) == ("table", "")
    assert (chart.schema, chart.label, chart.figures) == ("plotly", "Charts", 2)
    assert json.loads(b"".join(object_store().stream(chart.key))) == [PLOT, PLOT]


def test_its_history_is_one_event_and_one_attempt_without_a_worker():
    run = record(log=b"x\n")
    event = RunEvent.objects.get(run=run)
    assert (event.kind, event.before, event.after) == (RunEvent.RECORDED, "", "succeeded")
    attempt = Attempt.objects.get(run=run)
    assert (attempt.number, attempt.worker, attempt.worker_name) == (1, None, "")
    assert attempt.ended_at is not None
    assert attempt.outcome == EndReason.EXITED


def test_the_log_can_be_read_searched_and_tailed_like_any_other():
    log = b"".join(b"line %d\n" % number for number in range(60_000))
    run = record(log=log)
    attempt = Attempt.objects.get(run=run)
    assert (run.log_bytes, attempt.log_bytes, attempt.log_lines) == (len(log), len(log), 60_000)
    piece = read_log(attempt=attempt, cursor=0)
    assert piece.data == log[: len(piece.data)]
    assert {at for _, at in piece.times} == {run.created_at}
    tail = read_tail(attempt=attempt).last_lines(2)
    assert tail.data == b"line 59998\nline 59999\n"
    assert tail.first_line == 59_999
    found = find_in_log(attempt=attempt, text="line 50000", start=0)
    assert found.position == log.index(b"line 50000\n")


def test_of_a_log_above_the_limit_both_ends_are_kept(settings):
    settings.RUNSITE_LOG_LIMIT = 1000
    log = b"".join(b"%09d\n" % number for number in range(300))
    run = record(log=log)
    attempt = Attempt.objects.get(run=run)
    assert (attempt.log_bytes, attempt.log_cut_at, attempt.log_cut_bytes) == (3000, 500, 2000)
    assert read_log(attempt=attempt, cursor=0).data == log[:500]
    after = read_log(attempt=attempt, cursor=500)
    assert (after.data, after.first_byte, after.first_line) == (log[2500:], 2500, 251)
    assert "2,000 bytes in the middle of the log were dropped" in run.warnings[0]


def test_a_failed_run_tells_the_error_that_was_sent():
    run = record(status="failed", error="No vehicles.\nGive some.", log=b"oops\n", output=b"{}")
    assert (run.status, run.end_reason) == ("failed", "failed_elsewhere")
    assert run.error == "No vehicles."
    assert run.detail == "Give some."
    assert error_as_sent(run) == "No vehicles.\nGive some."
    assert stored(run, RunFile.STDOUT) == b"{}"


def test_a_failed_run_without_an_error_says_where_it_failed():
    run = record(status="failed")
    assert (run.error, run.detail) == ("failed elsewhere", "")


@pytest.mark.parametrize("error", ["x" * 500, "x" * 501, "x" * 2000 + "\nmore", "a\n\nb", "…"])
def test_an_error_of_any_length_is_kept_whole(error: str):
    run = Run.objects.get(pk=record(status="failed", error=error).pk)
    assert error_as_sent(run) == error
    assert "\n" not in run.error


def test_a_canceled_run_may_be_imported():
    run = record(status="canceled", error="by hand")
    assert (run.status, run.end_reason, run.error) == ("canceled", "canceled", "by hand")


@pytest.mark.parametrize("kind", ["bytes", "path", "stream"])
def test_parts_come_as_bytes_files_or_streams(tmp_path: Path, kind: str):
    def part(name: str, data: bytes) -> bytes | Path | Callable[[], io.BytesIO]:
        if kind == "bytes":
            return data
        (tmp_path / name).write_bytes(data)
        return tmp_path / name if kind == "path" else partial(io.BytesIO, data)

    run = record(
        output=part("o", b'{"a": 1}'),
        log=part("l", b"hello\n"),
        metrics=part("m", b'{"value": 1}'),
    )
    assert stored(run, RunFile.STDOUT) == b'{"a": 1}'
    assert (run.value, run.log_bytes) == (1.0, 6)
    if kind == "path":
        assert (tmp_path / "o").read_bytes() == b'{"a": 1}'


def test_a_link_is_not_followed(tmp_path: Path):
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(OSError, match=r".*"):
        record(log=tmp_path / "link")
    assert kept_objects() == []


def test_what_a_json_output_holds_counts_when_nothing_else_was_sent():
    output = {"metrics": {"value": 1}, "statistics": {"run": {"duration": 2}}, "assets": ASSETS}
    run = record(output=as_json(output))
    assert json.loads(stored(run, RunFile.METRICS)) == {"value": 1}
    assert json.loads(stored(run, RunFile.STATISTICS)) == {"run": {"duration": 2}}
    assert Asset.objects.filter(run=run).count() == 2


def test_what_was_sent_for_itself_goes_before_what_the_output_holds():
    run = record(output=as_json({"metrics": {"value": 1}}), metrics=as_json({"value": 2}))
    assert run.value == 2


@pytest.mark.parametrize("wrapped", [True, False])
def test_documents_may_be_bare_or_under_their_name(wrapped: bool):
    def part(name: str, value: object) -> bytes:
        return as_json({name: value} if wrapped else value)

    run = record(
        metrics=part("metrics", {"a": 1}),
        statistics=part("statistics", {"result": {"value": 5}}),
        assets=part("assets", ASSETS),
    )
    assert json.loads(stored(run, RunFile.METRICS)) == {"a": 1}
    assert run.value == 5
    assert [asset.name for asset in run.assets.order_by("number")] == ["table", "chart"]
    assert (run.result_kind, run.output_bytes) == ("none", 0)


def test_broken_documents_are_warnings():
    run = record(
        output=b"not json",
        metrics=b"{broken",
        statistics=b"\xff\xfe",
        assets=as_json([{"content": 1}, "nonsense", {"name": "ok", "content": 1}]),
    )
    assert (run.status, run.result_kind) == ("succeeded", "unreadable")
    text = "\n".join(run.warnings)
    assert "The result is unreadable: the output is not one JSON document" in text
    assert "stderr" not in text
    assert "The metrics in `metrics.json` could not be read" in text
    assert "The statistics in `statistics.json` could not be read" in text
    assert stored(run, RunFile.STDOUT) == b"not json"
    assert "ok" in set(run.assets.values_list("name", flat=True))


def test_nan_and_infinities_become_null_in_a_cleaned_document():
    run = record(output=b'{"a": NaN, "metrics": {"gap": Infinity, "value": 2}}')
    assert stored(run, RunFile.STDOUT) == b'{"a": NaN, "metrics": {"gap": Infinity, "value": 2}}'
    assert json.loads(stored(run, RunFile.CLEANED)) == {
        "a": None,
        "metrics": {"gap": None, "value": 2},
    }
    assert "became null" in run.warnings[0]
    assert run.value == 2


def test_text_is_kept_as_it_is():
    run = record(output="größer\n".encode(), input_format="text", output_format="text")
    assert (run.result_kind, run.output_format) == ("text", "text")
    assert stored(run, RunFile.STDOUT).decode() == "größer\n"


@pytest.mark.parametrize("announced", ["multi-file", "csv-archive", "json"])
def test_an_archive_becomes_the_files_of_the_result(announced: str):
    files = {"b/plan.csv": b"x,y\n", "a.txt": b"hello"}
    run = record(output=packed(files), output_format=announced)
    assert run.output_format == ("multi-file" if announced == "json" else announced)
    assert (run.result_kind, run.output_bytes) == ("files", 9)
    rows = RunFile.objects.filter(run=run, role=RunFile.SOLUTION).order_by("number")
    assert [row.path for row in rows] == ["a.txt", "b/plan.csv"]
    assert stored(run, RunFile.SOLUTION, 1) == b"x,y\n"


def test_files_may_come_one_by_one():
    run = record(
        files=[
            NewFile("x/one.csv", partial(io.BytesIO, b"1")),
            NewFile("two.csv", partial(io.BytesIO, b"22")),
        ],
        output_format="multi-file",
    )
    assert (run.result_kind, run.output_bytes) == ("files", 3)
    assert sorted(run.files.values_list("path", flat=True)) == ["two.csv", "x/one.csv"]


def test_an_empty_folder_is_no_result():
    run = record(output=packed({}), output_format="multi-file")
    assert (run.result_kind, run.output_bytes, run.warnings) == ("none", 0, [])


def test_a_json_document_where_files_were_announced_is_taken_as_what_it_is():
    run = record(output=b'{"metrics": {"value": 1}}', output_format="multi-file")
    assert (run.output_format, run.result_kind, run.value) == ("json", "json", 1)


def linked() -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        entry = tarfile.TarInfo("link")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(entry)
    return target.getvalue()


@pytest.mark.parametrize(
    "archive",
    [
        packed({"../../evil": b"x"}),
        packed({"/etc/evil": b"x"}),
        packed({"a": b"1", "a/b": b"2"}),
        linked(),
        packed({"a": b"x" * 5000})[:-40],
        gzip.compress(b"\0" * 100_000),
        b"no archive at all",
    ],
    ids=["up", "absolute", "file and folder", "link", "cut off", "zeros", "no archive"],
)
def test_a_broken_or_hostile_archive_is_refused_and_nothing_is_kept(archive: bytes):
    application = make_application()
    if archive == gzip.compress(b"\0" * 100_000):
        assert record(application, output=archive, output_format="multi-file").result_kind == "none"
        return
    with pytest.raises(ArchiveRejected, match=r"^The output cannot be unpacked\."):
        record(application, output=archive, output_format="multi-file", log=b"x", metrics=b"{}")
    assert Run.objects.count() == 0
    assert kept_objects() == []
    assert list(scratch_folder().iterdir()) == []


def test_the_limits_of_size_and_number_hold(settings):
    settings.RUNSITE_OUTPUT_LIMIT = 2000
    settings.RUNSITE_UNPACKED_FILES = 3
    bomb = packed({"zeros": b"\0" * 100_000})
    assert len(bomb) < 2000
    with pytest.raises(ArchiveRejected, match="limit of 2000 bytes"):
        record(output=bomb, output_format="multi-file")
    with pytest.raises(ArchiveRejected, match="more than 3 files"):
        record(output=packed({str(n): b"" for n in range(4)}), output_format="multi-file")
    with pytest.raises(TooLarge, match=r"The output is too large.*RUNSITE_OUTPUT_LIMIT"):
        record(output=b" " * 2001)
    with pytest.raises(ArchiveRejected, match="more than 3 files"):
        record(files=[NewFile(str(n), partial(io.BytesIO, b"")) for n in range(4)])
    with pytest.raises(ArchiveRejected, match="occurs twice"):
        record(files=[NewFile("a", partial(io.BytesIO, b""))] * 2)
    assert kept_objects() == []


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"status": "running"}, "status"),
        ({"status": "queued"}, "status"),
        ({"error": "but why"}, "error_message"),
        ({"output_format": "yaml"}, "output_format"),
        ({"execution_s": -1.0}, "execution_duration"),
        ({"execution_s": float("nan")}, "execution_duration"),
        ({"name": "x" * 201}, "name"),
        ({"description": "x" * 10_001}, "description"),
        ({"external_id": "x" * 201}, "external_id"),
    ],
)
def test_wrong_fields_are_refused_by_name(fields: dict[str, Any], where: str):
    with pytest.raises(FieldsInvalid) as refused:
        record(**fields)
    assert list(refused.value.errors) == [where]
    assert Run.objects.count() == 0


def test_options_without_a_proper_name_are_refused():
    with pytest.raises(OptionsInvalid):
        record(options={"a b": 1})


def test_a_viewer_may_not_record():
    with pytest.raises(NotAllowed):
        record(role="viewer")


def test_an_archived_application_takes_no_runs():
    with pytest.raises(Conflict, match="is archived"):
        record(make_application(archived_at=timezone.now()))


def test_zero_characters_are_replaced_where_no_database_keeps_them():
    run = record(status="failed", name="a\0b", description="c\0d", error="e\0f")
    run.refresh_from_db()
    assert "\0" not in run.name + run.description + run.error


def test_an_instance_gives_its_version_and_a_managed_input_its_data():
    version = make_version()
    application = version.application
    instance = make_instance(application, version=version)
    managed = make_managed_input(application)
    run = record(application, instance=instance, managed_input=managed)
    assert (run.instance, run.version, run.executable) == (instance, version, None)
    assert (run.input_data, run.managed_input) == (managed.input_data, managed)


def test_an_import_keeps_its_time_and_the_same_one_is_taken_once():
    application = make_application()
    began = timezone.now() - timedelta(days=3)
    run = record(
        application,
        created_at=began,
        execution_s=60.0,
        external_id="local-1234abcd",
        source="import",
        warnings=["imported while unfinished"],
    )
    assert run.created_at == run.started_at == began
    assert run.ended_at == began + timedelta(seconds=60)
    assert run.warnings == ["imported while unfinished"]
    assert "local-1234abcd" in RunEvent.objects.get(run=run).text
    before = kept_objects()
    with pytest.raises(Conflict, match=run.run_id):
        record(application, external_id="local-1234abcd", log=b"again")
    assert kept_objects() == before
    assert record(make_application(), external_id="local-1234abcd").pk != run.pk


def test_an_import_that_loses_the_race_keeps_nothing(monkeypatch):
    application = make_application()
    first: list[Run] = []
    usual = tracked_runs.store_tracked

    def slow(run: Run, result: TrackedResult) -> Any:
        rows = usual(run, result)
        if not first:
            first.append(run)
            record(application, external_id="same", actor=person(make_user(), role="root"))
        return rows

    monkeypatch.setattr(tracked_runs, "store_tracked", slow)
    with pytest.raises(Conflict, match="is recorded in"):
        record(application, external_id="same", log=b"mine")
    assert Run.objects.count() == 1
    assert [key for key in kept_objects() if first[0].run_id in key] == []


@pytest.mark.parametrize("seconds", [None, 0.0, 10.0, 10_000.0])
def test_an_end_is_never_before_the_begin_nor_in_the_future(seconds: float | None):
    now = timezone.now()
    for created_at in (None, now - timedelta(minutes=5), now + timedelta(days=1)):
        run = record(created_at=created_at, execution_s=seconds, now=now)
        assert run.ended_at is not None
        assert run.created_at <= run.ended_at <= max(now, run.created_at)
        assert run.execution_s == seconds


def test_nothing_is_kept_when_the_rows_cannot_be_written(monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise DatabaseError("no")

    application = make_application()
    monkeypatch.setattr(tracked_runs, "write_options", fail)
    with pytest.raises(DatabaseError):
        record(application, output=b"{}", log=b"x", assets=as_json(ASSETS))
    assert (Run.objects.count(), Queue.objects.count()) == (0, 0)
    assert kept_objects() == []


def test_nothing_is_kept_when_the_store_fails(monkeypatch):
    usual = type(object_store()).put_bytes

    def fail(self: Any, key: str, data: bytes) -> Any:
        if "assets" in key:
            raise StorageError("away")
        return usual(self, key, data)

    monkeypatch.setattr(type(object_store()), "put_bytes", fail)
    with pytest.raises(StorageError):
        record(output=b"{}", log=b"x", assets=as_json(ASSETS))
    assert Run.objects.count() == 0
    assert kept_objects() == []


def test_queue_keys_and_waits_are_left_alone(django_capture_on_commit_callbacks):
    application = make_app("runsite: {concurrency: {key: fixed, limit: 1}}\n")
    with django_capture_on_commit_callbacks() as after_commit:
        run = record(application)
    assert after_commit == []
    assert (run.hold, run.open_waits, run.concurrency_key) == ("", 0, "")
    assert Queue.objects.get(account=application.account).nudged_at is None
    assert not set_priority(run=run, priority=1, actor=person(make_user(), role="root"))


def test_no_worker_ever_takes_it():
    record()
    worker = make_worker()
    identity = WorkerIdentity(worker.pk, worker.name, worker.boot_id, worker.host)
    assert claim_next(identity, now=timezone.now()) is None


def test_a_run_may_wait_for_it_and_waits_for_nothing():
    application = make_app()
    tracked = record(application)
    waiting = submit(application, waits_for=[tracked])
    assert (waiting.hold, waiting.open_waits) == ("", 0)


def test_a_run_that_waits_for_a_failed_one_ends_as_with_any_other():
    application = make_app()
    waiting = submit(application, waits_for=[record(application, status="failed")])
    assert waiting.end_reason == EndReason.WAIT_FAILED


def test_a_cancel_changes_nothing_and_a_delete_removes_everything():
    run = record(output=b"{}", log=b"x\n", assets=as_json(ASSETS))
    actor = person(make_user(), role="developer")
    assert not cancel_run(run=run, actor=actor, now=timezone.now())
    assert Run.objects.get(pk=run.pk).status == Status.SUCCEEDED
    assert kept_objects() != []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("runs.actions.runs.transaction.on_commit", lambda act: act())
        delete_run(run=run, actor=actor)
    assert kept_objects() == []
    assert (Attempt.objects.count(), LogChunk.objects.count(), Asset.objects.count()) == (0, 0, 0)


def test_another_account_sees_nothing_of_it():
    record()
    assert Account.objects.create(slug="other", name="Other").runs.count() == 0
