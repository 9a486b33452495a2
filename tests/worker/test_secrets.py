"""Secrets of a run: in its environment and its files, and in nothing that is written of it."""

from __future__ import annotations

import base64
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.db.models import Model

from runs.actions.logs import read_log
from runs.actions.secrets import change_collection
from runs.domain.masking import Masker
from runs.domain.secrets import MASK, SecretOperation
from runs.domain.status import EndReason, Status
from runs.execution.spec import Ended, RunSpec
from runs.models import Attempt, EndedProcess, LogChunk, Run, RunFile, Secret
from runs.storage import object_store
from runs.worker import conduct, secrets
from runs.worker.secrets import RunSecrets
from tests.actions.test_secrets import ROOT
from tests.factories import make_instance, make_secrets
from tests.worker.worlds import Bench, make_app

pytestmark = pytest.mark.django_db(transaction=True)
KEY = "key-of-the-license-server"
PEM = "-----BEGIN KEY-----\nMIIEowIBAAKCAQEA0Zm\n-----END KEY-----\n"


@pytest.fixture
def bench(data_dir: Path, settings: Any) -> Bench:
    settings.RUNSITE_DATA_DIR = data_dir
    settings.RUNSITE_GRACE_S = 0.5
    settings.RUNSITE_PIPE_WAIT_S = 0.3
    return Bench(data_dir)


def result(run: Run) -> Any:
    [file] = RunFile.objects.filter(run=run, role=RunFile.STDOUT)
    return object_store().read_range(file.key, 0, 100_000).decode()


def written() -> str:
    """Every row, as text; bytes of logs with it."""
    models: list[type[Model]] = list(apps.get_app_config("runs").get_models())
    rows = json.dumps([list(model._default_manager.values()) for model in models], default=str)
    return rows + "".join(str(bytes(chunk.data or b"")) for chunk in LogChunk.objects.all())


def log_of(run: Run) -> str:
    attempt = Attempt.objects.filter(run=run).order_by("-number")[0]
    return read_log(attempt=attempt, cursor=0).data.decode()


# The program tells what it sees in base64: so nothing masks it on the way to this test.
TELL = (
    'printf %s "$API_KEY" | base64 -w0; echo; base64 -w0 keys/a.pem; echo;'
    ' stat -c %a keys/a.pem keys; tr "\\0" " " </proc/$$/cmdline; echo; pwd'
)


def test_a_run_finds_its_secrets_and_nobody_else_does(
    bench: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    app = make_app(tmp_path / "teller", TELL)
    given = make_secrets(app, {"API_KEY": KEY, "keys/a.pem": PEM})
    run = bench.make(app, secrets=given)
    assert run.status == Status.SUCCEEDED, run.detail
    variable, file, file_mode, folder_mode, command, folder = result(run).splitlines()
    assert base64.b64decode(variable).decode() == KEY
    assert base64.b64decode(file).decode() == PEM
    assert (file_mode, folder_mode) == ("600", "700")
    assert KEY not in command
    assert "teller" not in command
    for value in (KEY, "MIIEowIBAAKCAQEA0Zm"):
        assert value not in written()
        assert value not in caplog.text
    assert not Path(folder).exists()
    assert not list(bench.places.runs.iterdir()), "the files go with the workspace"


def test_secrets_of_the_instance_are_given_and_as_they_are_now(
    bench: Bench, tmp_path: Path
) -> None:
    app = make_app(tmp_path / "teller", 'printf %s "$API_KEY" | base64 -w0')
    given = make_secrets(app, {"API_KEY": KEY})
    run = bench.submit(app, instance=make_instance(app, secrets=given))
    change_collection(
        collection=given,
        operations=[SecretOperation("update", "env", "API_KEY", "another-key")],
        actor=ROOT,
    )
    bench.conductor(bench.claim())
    assert base64.b64decode(result(run)).decode() == "another-key"


def test_ours_is_never_replaced(bench: Bench, tmp_path: Path) -> None:
    app = make_app(tmp_path / "teller", 'printf %s "$RUN_ID"')
    given = make_secrets(app, {"A": "x"})
    # As a row of an older release might be, that had other rules.
    Secret.objects.update(location="RUN_ID")
    run = bench.make(app, secrets=given)
    assert (run.status, run.end_reason) == (Status.FAILED, EndReason.NOT_STARTED)
    assert "set by Runsite" in run.detail


# --- What is written of the run -----------------------------------------------------------------


def test_the_log_is_masked_and_the_result_is_the_programs_own(bench: Bench, tmp_path: Path) -> None:
    script = 'for part in "$API_KEY" x; do printf "%s " "$part" >&2; done; echo "$API_KEY"'
    app = make_app(tmp_path / "loud", script)
    run = bench.make(app, secrets=make_secrets(app, {"API_KEY": KEY}))
    assert log_of(run) == f"{MASK} x "
    assert result(run) == f"{KEY}\n"
    assert KEY not in written()


def test_a_value_that_is_printed_in_pieces_is_masked(bench: Bench, tmp_path: Path) -> None:
    half = len(KEY) // 2
    script = f'printf %s "{KEY[:half]}" >&2; sleep 0.2; printf "%s\\n" "{KEY[half:]}" >&2'
    app = make_app(tmp_path / "slow", script)
    run = bench.make(app, secrets=make_secrets(app, {"API_KEY": KEY}))
    assert log_of(run) == f"{MASK}\n"


def test_the_end_of_a_log_that_looks_like_a_value_is_kept(bench: Bench, tmp_path: Path) -> None:
    app = make_app(tmp_path / "cut", f'printf %s "the {KEY[:9]}" >&2')
    run = bench.make(app, secrets=make_secrets(app, {"API_KEY": KEY}))
    assert log_of(run) == f"the {KEY[:9]}"


def test_the_list_of_ended_processes_is_masked(bench: Bench, tmp_path: Path) -> None:
    script = 'sh -c "sleep 60; : $API_KEY" >/dev/null 2>&1 & sleep 0.2'
    app = make_app(tmp_path / "leaver", script)
    run = bench.make(app, secrets=make_secrets(app, {"API_KEY": KEY}))
    commands = list(EndedProcess.objects.filter(attempt__run=run).values_list("command", flat=True))
    assert any(MASK in command for command in commands), commands
    assert KEY not in written()


def test_what_a_program_that_failed_said_is_masked(bench: Bench, tmp_path: Path) -> None:
    app = make_app(tmp_path / "failing", 'echo "ValueError: wrong key $API_KEY" >&2; exit 3')
    run = bench.make(app, secrets=make_secrets(app, {"API_KEY": KEY}))
    assert run.status == Status.FAILED
    assert KEY not in written()
    assert KEY not in log_of(run)


def test_an_error_of_ours_tells_no_value(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*args: Any, **words: Any) -> None:
        raise RuntimeError(f"about {KEY}")

    monkeypatch.setattr(conduct, "execute", breaks)
    app = make_app(tmp_path / "any", "true")
    run = bench.make(app, secrets=make_secrets(app, {"API_KEY": KEY}))
    assert run.end_reason == EndReason.INTERNAL_ERROR
    assert f"about {MASK}" in log_of(run)
    assert KEY not in written()


def test_no_text_made_of_a_run_has_the_environment() -> None:
    spec = RunSpec(
        run_id="r",
        attempt=1,
        workspace=Path("/w"),
        command=("main",),
        cwd=Path("/w"),
        env={"API_KEY": KEY},
        mark="m",
    )
    assert KEY not in repr(spec)
    assert "env" not in repr(spec)
    assert Masker([KEY]).text(Ended(1, f"main {KEY}", "", "").command) == f"main {MASK}"


def test_a_run_without_secrets_writes_its_log_directly(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sinks: list[Any] = []
    execute = conduct.execute

    def watched(spec: Any, *, log: Any, **words: Any) -> Any:
        sinks.append(log)
        return execute(spec, log=log, **words)

    monkeypatch.setattr(conduct, "execute", watched)
    bench.make(make_app(tmp_path / "plain", "echo x >&2"))
    assert isinstance(sinks[0], conduct.Recorder)


# --- What cannot be given -----------------------------------------------------------------------


def test_a_secret_that_cannot_be_decrypted_ends_the_run(
    bench: Bench, tmp_path: Path, settings: Any
) -> None:
    app = make_app(tmp_path / "any", "true")
    given = make_secrets(app, {"API_KEY": KEY}, collection_id="prod")
    run = bench.submit(app, secrets=given)
    settings.SECRET_KEY = "another key of at least 32 characters"
    bench.conductor(bench.claim())
    run.refresh_from_db()
    assert (run.status, run.end_reason) == (Status.FAILED, EndReason.NOT_STARTED)
    assert run.error == "not started: a secret cannot be decrypted"
    assert "variable `API_KEY`" in run.detail.lower().replace("api_key", "API_KEY")
    assert "`prod`" in run.detail
    assert "RUNSITE_SECRETS_KEY" in run.detail


@pytest.mark.parametrize(
    ("location", "links", "words"),
    [
        ("link/key", {"link": "/tmp"}, "a link"),
        ("key", {"key": "/etc/passwd"}, "a link"),
        ("main/key", {}, "a file"),
        ("folder", {}, "a folder"),
    ],
)
def test_a_file_goes_nowhere_but_into_the_working_directory(
    tmp_path: Path, location: str, links: dict[str, str], words: str
) -> None:
    work = tmp_path / "work"
    (work / "folder").mkdir(parents=True)
    (work / "main").write_text("program")
    for name, target in links.items():
        (work / name).symlink_to(target)
    before = {path: path.lstat().st_mtime_ns for path in work.rglob("*")}
    with pytest.raises(secrets.CannotStage, match=words):
        placed(location, work, work)
    assert {path: path.lstat().st_mtime_ns for path in work.rglob("*")} == before


def placed(location: str, folder: Path, work: Path, **places: str) -> None:
    from runs.domain.secrets import SecretValue
    from runs.execution.output import Places

    given = RunSecrets((SecretValue("file", location, KEY),))
    given.place(folder, work=work, outputs=Places(**places))


@pytest.mark.parametrize(
    ("location", "places"),
    [
        ("results/key", {"solutions": "results/"}),
        ("key", {"solutions": "."}),
        ("metrics.json", {"metrics": "./metrics.json"}),
        ("outputs/key", {}),
    ],
)
def test_a_file_does_not_become_a_result(
    tmp_path: Path, location: str, places: dict[str, str]
) -> None:
    with pytest.raises(secrets.CannotStage, match="results"):
        placed(location, tmp_path, tmp_path, **places)
    assert not list(tmp_path.iterdir())


def test_a_file_replaces_the_placeholder_of_the_application(tmp_path: Path) -> None:
    folder = tmp_path / "service"
    folder.mkdir()
    (folder / ".env").write_text("KEY=put it here")
    (folder / ".env").chmod(0o644)
    (tmp_path / "same").hardlink_to(folder / ".env")
    placed(".env", folder, tmp_path)
    assert (folder / ".env").read_text() == KEY
    assert (folder / ".env").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "same").read_text() == "KEY=put it here"
