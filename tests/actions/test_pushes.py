"""Pushes: what the published client sends becomes an executable, at once or after a check."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from runs.actions import checking, pushes
from runs.actions.actors import Actor, key_holder, person
from runs.actions.builds import build_from_archive
from runs.actions.checking import check_executable, release_left
from runs.actions.executables import store_build
from runs.actions.pushes import activate_push, new_push
from runs.actions.run_stops import cancel_run
from runs.actions.runs import resolve_target, submit_run
from runs.actions.samples import look_at_sample, sample_input
from runs.actions.versions import create_version
from runs.domain.errors import (
    ArchiveRejected,
    Conflict,
    FieldsInvalid,
    ManifestInvalid,
    NotAllowed,
    TooLarge,
)
from runs.domain.manifest import manifest_from_json
from runs.domain.status import EndReason, Status
from runs.execution import bundles
from runs.execution.archive import list_entries, read_member
from runs.models import ApiKey, Application, AuditEvent, Executable, Run, Upload, Version
from runs.queue.claim import WorkerIdentity, claim_next
from runs.queue.order import waiting_in_order
from runs.storage import ObjectMissing, object_store
from tests.actions.applying import app_files, tar_bytes
from tests.actions.pushing import Push, activated, make_wheel, push, sent
from tests.actions.submitting import end
from tests.factories import (
    make_account,
    make_application,
    make_build,
    make_instance,
    make_run,
    make_user,
    make_worker,
)

pytestmark = pytest.mark.django_db
DECLARED = {"requirements": {"executable_type": "python"}}


@pytest.fixture(autouse=True)
def own_store(settings: Any, data_dir: Path) -> Path:
    settings.RUNSITE_DATA_DIR = data_dir
    return data_dir


@pytest.fixture
def application() -> Application:
    return make_application(make_account("demo"), application_id="app")


@pytest.fixture
def actor(application: Application) -> Actor:
    return key_holder(make_key(application))


@pytest.fixture
def x86(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server is an Intel machine with Linux, wherever the tests run."""
    monkeypatch.setattr(bundles, "this_platform", lambda: "linux-x86_64")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")


@pytest.fixture
def all_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every push is one that a worker checks."""
    monkeypatch.setattr(pushes, "SMALL_BYTES", 0)


def make_key(application: Application, name: str = "ci", role: str = "developer") -> ApiKey:
    return ApiKey.objects.create(
        account=application.account,
        name=name,
        role=role,
        hint="rs_",
        hashed=f"{name}-{ApiKey.objects.count()}",
        created_by=make_user(),
    )


def names_in(executable: Executable) -> list[str]:
    with object_store().open(executable.archive_key) as stream:
        return [entry.name for entry in list_entries(stream)]


def checked(executable: Executable, folder: Path, boot_id: str = "boot") -> Executable:
    """What a worker does with an executable that waits."""
    Executable.objects.filter(pk=executable.pk).update(
        state=Executable.CHECKING, worker_name="w1", boot_id=boot_id
    )
    check_executable(executable=executable, boot_id=boot_id, scratch=folder)
    return Executable.objects.get(pk=executable.pk)


def submit(application: Application, **fields: Any) -> Run:
    application.refresh_from_db()
    return submit_run(
        account=application.account,
        application=application,
        actor=person(make_user(), role="operator"),
        **fields,
    )


# --- What the client sends ----------------------------------------------------------------------


def test_a_push_of_the_client_without_packages_is_in_use_at_once(
    application: Application, actor: Actor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = (
        "type: python\nfiles: [main.py, data/]\nruntime: ghcr.io/nextmv-io/runtime/pyomo:latest\n"
    )
    files = app_files(manifest) | {"data/a.csv": "1\n"}
    caught = push(tmp_path, files, monkeypatch)
    executable = activated(application, actor, caught)
    application.refresh_from_db()
    assert application.executable == executable
    assert (executable.number, executable.state, executable.uploaded_by) == (
        1,
        Executable.READY,
        actor.user,
    )
    assert names_in(executable) == ["app.yaml", "data/a.csv", "main.py"]
    assert manifest_from_json(executable.manifest).runtime.endswith("pyomo:latest")
    assert executable.environment is not None
    assert executable.environment.requirements == []
    upload = Upload.objects.get()
    assert (upload.purpose, upload.api_key) == (Upload.EXECUTABLE, actor.key)
    with pytest.raises(ObjectMissing):
        object_store().size(upload.key)
    event = AuditEvent.objects.get(noun="executable")
    assert (event.verb, event.target) == ("uploaded", "app build 1")


def test_bundled_packages_for_this_machine_stay_as_they_are(
    application: Application,
    actor: Actor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    x86: None,
) -> None:
    make_wheel(tmp_path / "wheels", "swift", machine="x86_64")
    make_wheel(tmp_path / "wheels", "plain")
    manifest = "files: [main.py]\npython: {arch: amd64, pip-requirements: [swift, plain]}\n"
    caught = push(tmp_path, app_files(manifest), monkeypatch, tmp_path / "wheels")
    assert len(members(caught.archive)) > 1  # gzip after gzip, as the client joins them
    executable = activated(application, actor, caught)
    names = names_in(executable)
    assert ".nextmv/python/deps/plain/__init__.py" in names
    assert ".nextmv/python/deps/swift/_fast.cpython-311-x86_64-linux-gnu.so" in names
    assert executable.environment is not None
    assert executable.environment.requirements == []
    assert executable.environment.python_version == "3.11"
    assert executable.warnings == []


def test_bundled_packages_of_another_machine_are_installed_from_their_pins(
    application: Application,
    actor: Actor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    x86: None,
) -> None:
    for machine in ("x86_64", "aarch64"):
        make_wheel(tmp_path / "wheels", "swift", "2.1", machine=machine)
    make_wheel(tmp_path / "wheels", "plain")
    # Without `arch`, the client bundles for arm64.
    manifest = "files: [main.py]\npython: {pip-requirements: ['swift>=2', plain]}\n"
    caught = push(tmp_path, app_files(manifest), monkeypatch, tmp_path / "wheels")
    executable = activated(application, actor, caught)
    assert names_in(executable) == ["app.yaml", "main.py"]
    assert executable.environment is not None
    assert executable.environment.requirements == ["plain==1.0", "swift==2.1"]
    assert executable.environment.python_version == "3.11"
    [warning] = executable.warnings
    assert "built for linux-aarch64, this server is linux-x86_64" in warning
    assert "plain==1.0, swift==2.1" in warning


def test_pure_packages_work_on_every_machine(
    application: Application,
    actor: Actor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    x86: None,
) -> None:
    for name in ("plain", "simple"):
        make_wheel(tmp_path / "wheels", name)
    manifest = "files: [main.py]\npython: {pip-requirements: requirements.txt}\n"
    files = app_files(manifest, requirements__txt="plain\nsimple==1.0\n")
    caught = push(tmp_path, files, monkeypatch, tmp_path / "wheels")
    executable = activated(application, actor, caught)
    assert {name.split("/")[3] for name in names_in(executable) if "/deps/" in name} >= {
        "plain",
        "simple",
    }
    assert executable.environment is not None
    assert executable.environment.requirements == []
    assert executable.environment.python_version == ""


def test_a_compiled_package_that_is_in_no_index_is_refused_with_the_remedy(
    application: Application,
    actor: Actor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    x86: None,
) -> None:
    wheel = make_wheel(tmp_path / "own", "swift", machine="aarch64")
    manifest = f"files: [main.py]\npython: {{pip-requirements: ['swift @ {wheel.as_uri()}']}}\n"
    caught = push(tmp_path, app_files(manifest), monkeypatch)
    with pytest.raises(ManifestInvalid, match=r"set `python: \{arch: amd64\}` in `app.yaml`"):
        activated(application, actor, caught)
    assert not Executable.objects.exists()


def test_a_pure_package_that_is_in_no_index_stays_bundled_beside_those_installed(
    application: Application,
    actor: Actor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    x86: None,
) -> None:
    own = make_wheel(tmp_path / "own", "mine")
    make_wheel(tmp_path / "wheels", "swift", machine="aarch64")
    manifest = f"files: [main.py]\npython: {{pip-requirements: [swift, 'mine @ {own.as_uri()}']}}\n"
    caught = push(tmp_path, app_files(manifest), monkeypatch, tmp_path / "wheels")
    executable = activated(application, actor, caught)
    below = {name.split("/")[3] for name in names_in(executable) if "/deps/" in name}
    assert below == {"mine", "mine-1.0.dist-info"}
    assert executable.environment is not None
    assert executable.environment.requirements == ["swift==1.0"]


def test_a_record_of_a_bundled_package_that_nobody_can_read_is_refused(
    application: Application, actor: Actor, tmp_path: Path, x86: None
) -> None:
    make_wheel(tmp_path / "wheels", "swift", machine="aarch64")
    files = app_files() | bundle(tmp_path / "wheels")
    (record,) = [name for name in files if name.endswith("/RECORD")]
    files[record] = b'"' + b"x" * 200_000
    files[record.replace("RECORD", "direct_url.json")] = b"{}"
    with pytest.raises(ManifestInvalid, match="RECORD` cannot be read"):
        activated(application, actor, Push(tar_bytes(files), DECLARED))
    assert not Executable.objects.exists()


def test_packages_for_another_python_are_installed_from_their_pins(
    application: Application,
    actor: Actor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    x86: None,
) -> None:
    make_wheel(tmp_path / "wheels", "swift", machine="x86_64", python="39")
    files = app_files() | bundle(tmp_path / "wheels")
    executable = activated(application, actor, Push(tar_bytes(files), DECLARED))
    assert executable.environment is not None
    assert executable.environment.requirements == ["swift==1.0"]
    assert "built for Python 3.9" in executable.warnings[0]


def test_a_requirements_file_that_asks_for_nothing_need_not_come_along(
    application: Application, actor: Actor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = "files: [main.py]\npython: {pip-requirements: requirements.txt}\n"
    files = app_files(manifest, requirements__txt="# nothing yet\n")
    executable = activated(application, actor, push(tmp_path, files, monkeypatch))
    assert executable.environment is not None
    assert executable.environment.requirements == []
    assert "`requirements.txt` is not in the archive" in executable.warnings[0]


def test_a_manifest_among_the_files_keeps_what_the_client_does_not_know(
    application: Application, actor: Actor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = "files: [main.py, app.yaml]\nrunsite: {slots: 3}\n"
    executable = activated(application, actor, push(tmp_path, app_files(manifest), monkeypatch))
    assert manifest_from_json(executable.manifest).runsite.slots == 3


# --- Activation -----------------------------------------------------------------------------------


def test_the_same_upload_activated_again_is_the_same_executable(
    application: Application, actor: Actor
) -> None:
    first = activated(application, actor, Push(tar_bytes(app_files()), DECLARED))
    again = activate_push(application=application, actor=actor, declared=DECLARED)
    assert again.pk == first.pk
    assert Executable.objects.count() == 1
    # A ticket that was asked for since and never used changes nothing.
    new_push(application=application, actor=actor)
    assert activate_push(application=application, actor=actor, declared=DECLARED).pk == first.pk


def test_two_requests_at_once_make_one_executable(
    application: Application, actor: Actor, tmp_path: Path
) -> None:
    upload = sent(application, actor, tar_bytes(app_files()))
    first = activate_push(application=application, actor=actor, declared=DECLARED)
    source = tmp_path / "archive"
    source.write_bytes(tar_bytes(app_files()))
    with build_from_archive(source=source) as build:  # the other had come as far as this
        second = store_build(application=application, build=build, actor=actor, upload=upload)
    assert second.pk == first.pk
    assert len(list(object_store().list("executables/"))) == 1


def test_nothing_is_activated_that_somebody_else_uploaded(
    application: Application, actor: Actor
) -> None:
    sent(application, key_holder(make_key(application, "other")), tar_bytes(app_files()))
    with pytest.raises(FieldsInvalid, match="No archive was uploaded"):
        activate_push(application=application, actor=actor, declared=DECLARED)
    new_push(application=application, actor=actor)
    with pytest.raises(FieldsInvalid, match="No archive was uploaded"):
        activate_push(application=application, actor=actor, declared=DECLARED)


def test_a_push_that_cannot_be_used_is_refused_at_once_and_changes_nothing(
    application: Application, actor: Actor
) -> None:
    good = activated(application, actor, Push(tar_bytes(app_files()), DECLARED))
    for archive, error in (
        (b"no archive", ArchiveRejected),
        (tar_bytes({"../x": "1", **app_files()}), ArchiveRejected),
        (tar_bytes({"main.py": "1"}), ManifestInvalid),
        (tar_bytes(app_files("files: [gone.py]\n")), ManifestInvalid),
    ):
        with pytest.raises(error):
            activated(application, actor, Push(archive, DECLARED))
    wrong = {"requirements": {"executable_type": "ruby"}}
    with pytest.raises(ManifestInvalid, match="`ruby`"):
        activated(application, actor, Push(tar_bytes(app_files()), wrong))
    application.refresh_from_db()
    assert application.executable == good
    assert Executable.objects.count() == 1


def test_an_upload_above_the_limit_is_refused(
    application: Application, actor: Actor, settings: Any
) -> None:
    settings.RUNSITE_EXECUTABLE_LIMIT = 1000
    with pytest.raises(TooLarge, match="RUNSITE_EXECUTABLE_LIMIT"):
        activated(application, actor, Push(os.urandom(2000), DECLARED))


def test_operators_push_nothing(application: Application) -> None:
    operator = key_holder(make_key(application, role="operator"))
    with pytest.raises(NotAllowed):
        new_push(application=application, actor=operator)
    with pytest.raises(NotAllowed):
        activate_push(application=application, actor=operator, declared=DECLARED)


def test_a_small_archive_that_unpacks_to_much_is_left_to_a_worker(
    application: Application, actor: Actor
) -> None:
    zeros = bytes(pushes.SMALL_UNPACKED_BYTES + 1)
    archive = tar_bytes(app_files() | {"zeros.bin": zeros})
    assert len(archive) < pushes.SMALL_BYTES
    executable = activated(application, actor, Push(archive, DECLARED))
    assert executable.state == Executable.WAITING


# --- Checked by a worker ------------------------------------------------------------------------


def test_runs_wait_for_a_large_push_and_go_on_in_its_environment(
    application: Application, actor: Actor, tmp_path: Path, all_large: None
) -> None:
    manifest = "files: [main.py]\npython: {pip-requirements: [six==1.17.0]}\nrunsite: {slots: 2}\n"
    declared = {"requirements": {"executable_type": "python", "entrypoint": "main.py"}}
    executable = activated(application, actor, Push(tar_bytes(app_files(manifest)), declared))
    application.refresh_from_db()
    assert (application.executable, executable.state) == (executable, Executable.WAITING)
    run = submit(application)
    version = create_version(application=application, version_id="v1", actor=actor)
    named = submit(application, instance=make_instance(application, version=version))
    assert (run.hold, named.hold) == (Run.WAITS_FOR_EXECUTABLE, Run.WAITS_FOR_EXECUTABLE)
    worker = make_worker(slots=4)
    me = WorkerIdentity(worker.pk, worker.name, worker.boot_id, worker.host, ())
    assert claim_next(me, now=timezone.now()) is None
    [first, _] = waiting_in_order(application.account)
    assert "Waits until a worker has checked the executable that was pushed for it." in first.holds
    assert look_at_sample(executable) is None
    assert sample_input(account=application.account, executable=executable) is None

    executable = checked(executable, tmp_path)
    assert (executable.state, executable.error) == (Executable.READY, "")
    assert names_in(executable) == ["app.yaml", "main.py"]
    assert executable.environment is not None
    assert executable.environment.requirements == ["six==1.17.0"]
    assert len(executable.sha256) == 64
    assert list(object_store().list("uploads/")) == []
    assert list(tmp_path.glob("build-*")) == []
    for one in (run, named):
        one.refresh_from_db()
        assert (one.status, one.hold, one.slots) == (Status.QUEUED, "", 2)
        assert one.environment == executable.environment
        assert one.lane.environment == executable.environment
    make_build(executable.environment, host=worker.host)
    claimed = claim_next(me, now=timezone.now())
    assert claimed is not None
    assert claimed.run == run


def test_a_refused_push_ends_its_runs_and_the_one_before_is_in_use(
    application: Application, actor: Actor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = activated(application, actor, Push(tar_bytes(app_files()), DECLARED))
    monkeypatch.setattr(pushes, "SMALL_BYTES", 0)
    bad = activated(application, actor, Push(tar_bytes({"main.py": "1"}), DECLARED))
    run = submit(application)
    version = create_version(application=application, version_id="v2", actor=actor)
    bad = checked(bad, tmp_path)
    assert bad.state == Executable.FAILED
    assert "There is no `app.yaml`" in bad.error
    application.refresh_from_db()
    assert application.executable == good
    run.refresh_from_db()
    assert (run.status, run.end_reason) == (Status.FAILED, EndReason.NOT_STARTED)
    assert "Build 2 of App" in run.detail
    assert "There is no `app.yaml`" in run.detail
    assert AuditEvent.objects.filter(verb="refused", target="app build 2").exists()
    assert resolve_target(application=application).executable == good
    version = Version.objects.get(pk=version.pk)
    with pytest.raises(Conflict, match=r"Build 2 of version `v2` of App was refused: There is no"):
        resolve_target(
            application=application, instance=make_instance(application, version=version)
        )
    # The client sends its activation again: it learns why.
    with pytest.raises(ArchiveRejected, match=r"There is no `app.yaml`"):
        activate_push(application=application, actor=actor, declared=DECLARED)


def test_an_application_whose_only_push_was_refused_says_why(
    application: Application, actor: Actor, tmp_path: Path, all_large: None
) -> None:
    checked(activated(application, actor, Push(b"no archive", DECLARED)), tmp_path)
    application.refresh_from_db()
    assert application.executable is None
    with pytest.raises(Conflict, match=r"Build 1 of App was refused: The file is not an archive"):
        resolve_target(application=application)


def test_a_newer_push_stays_in_use_when_an_older_one_is_refused(
    application: Application, actor: Actor, tmp_path: Path, all_large: None
) -> None:
    bad = activated(application, actor, Push(b"no archive", DECLARED))
    newer = activated(application, actor, Push(tar_bytes(app_files()), DECLARED))
    checked(bad, tmp_path)
    application.refresh_from_db()
    assert application.executable == newer


def test_what_another_worker_has_taken_is_left_alone(
    application: Application, actor: Actor, tmp_path: Path, all_large: None
) -> None:
    executable = activated(application, actor, Push(tar_bytes(app_files()), DECLARED))
    Executable.objects.filter(pk=executable.pk).update(
        state=Executable.CHECKING, boot_id="another boot"
    )
    assert not check_executable(executable=executable, boot_id="boot", scratch=tmp_path)
    executable.refresh_from_db()
    assert (executable.state, executable.boot_id) == (Executable.CHECKING, "another boot")


def test_an_executable_deleted_while_it_is_checked_leaves_nothing_in_the_store(
    application: Application, actor: Actor, tmp_path: Path, all_large: None
) -> None:
    executable = activated(application, actor, Push(tar_bytes(app_files()), DECLARED))
    taken = Executable.objects.get(pk=executable.pk)
    Application.objects.filter(pk=application.pk).update(executable=None)
    Executable.objects.filter(pk=executable.pk).delete()
    assert not check_executable(executable=taken, boot_id="boot", scratch=tmp_path)
    assert list(object_store().list("executables/")) == []


def test_a_declaration_that_is_corrected_counts_until_the_check(
    application: Application, actor: Actor, all_large: None
) -> None:
    executable = activated(application, actor, Push(tar_bytes(app_files()), DECLARED))
    corrected = {"io_configuration": {"format": "multi-file"}}
    again = activate_push(
        application=application, actor=actor, declared={"requirements": corrected}
    )
    assert (again.pk, again.content_format) == (executable.pk, "multi-file")


def test_a_run_held_for_its_executable_still_waits_for_its_runs_and_its_key(
    application: Application, actor: Actor, tmp_path: Path, all_large: None
) -> None:
    application.concurrency_limit = 1
    application.save()
    executable = activated(application, actor, Push(tar_bytes(app_files()), DECLARED))
    awaited = make_run(application)
    after = submit(application, waits_for=[awaited])
    first, second = submit(application), submit(application)
    assert {run.hold for run in (after, first, second)} == {Run.WAITS_FOR_EXECUTABLE}
    checked(executable, tmp_path)
    holds = {run.pk: run.hold for run in Run.objects.all()}
    assert holds[after.pk] == Run.WAITS_FOR_RUNS
    assert (holds[first.pk], holds[second.pk]) == (Run.NO_HOLD, Run.WAITS_FOR_KEY)
    end(first)
    end(awaited)
    second.refresh_from_db()
    assert second.hold == Run.NO_HOLD


def test_the_awaited_may_end_before_the_executable_is_checked(
    application: Application, actor: Actor, tmp_path: Path, all_large: None
) -> None:
    executable = activated(application, actor, Push(tar_bytes(app_files()), DECLARED))
    awaited = make_run(application)
    after = submit(application, waits_for=[awaited], limits={"queue_limit_s": 60})
    end(awaited)
    after.refresh_from_db()
    assert (after.hold, after.open_waits) == (Run.WAITS_FOR_EXECUTABLE, 0)
    checked(executable, tmp_path)
    after.refresh_from_db()
    assert after.hold == Run.NO_HOLD
    assert after.expires_at is not None


def test_a_run_that_waits_for_its_executable_can_be_canceled(
    application: Application, actor: Actor, tmp_path: Path, all_large: None
) -> None:
    executable = activated(application, actor, Push(tar_bytes(app_files()), DECLARED))
    run = submit(application)
    cancel_run(run=run, actor=actor)
    checked(executable, tmp_path)
    run.refresh_from_db()
    assert (run.status, run.hold) == (Status.CANCELED, "")


def test_runs_that_an_accident_left_behind_are_let_go(
    application: Application,
    actor: Actor,
    tmp_path: Path,
    all_large: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    executable = activated(application, actor, Push(tar_bytes(app_files()), DECLARED))
    run = submit(application)
    assert release_left(timezone.now()) == 0
    with monkeypatch.context() as killed:  # between the two
        killed.setattr(checking, "release_held", lambda *_args, **_words: 0)
        checked(executable, tmp_path)
    run.refresh_from_db()
    assert run.hold == Run.WAITS_FOR_EXECUTABLE
    assert release_left(timezone.now()) == 1
    run.refresh_from_db()
    assert run.hold == Run.NO_HOLD


@pytest.mark.django_db(transaction=True)
def test_a_run_submitted_while_the_check_ends_is_not_forgotten(
    application: Application,
    actor: Actor,
    tmp_path: Path,
    all_large: None,
) -> None:
    executable = activated(application, actor, Push(tar_bytes(app_files()), DECLARED))
    application.refresh_from_db()
    stale = application.executable  # read before the check ended
    assert stale is not None
    assert stale.state == Executable.WAITING
    checked(executable, tmp_path)
    run = submit_run(
        account=application.account,
        application=application,
        actor=person(make_user(), role="operator"),
    )
    run.refresh_from_db()
    assert run.hold == Run.NO_HOLD
    assert run.environment is not None


# --- Archives as no other program makes them ------------------------------------------------------


def members(archive: bytes) -> list[bytes]:
    """The members of a gzip file, unpacked."""
    import zlib

    found = []
    while archive:
        unpacker = zlib.decompressobj(wbits=31)
        found.append(unpacker.decompress(archive))
        archive = unpacker.unused_data
    return found


def bundle(wheels: Path) -> dict[str, bytes]:
    """The files of wheels as a push bundles them."""
    import zipfile

    files = {}
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                files[f".nextmv/python/deps/{name}"] = archive.read(name)
    return files


def test_a_file_that_two_packages_bring_is_the_last_one(
    application: Application, actor: Actor
) -> None:
    def part(*files: tuple[str, bytes]) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            folder = tarfile.TarInfo(".nextmv/python/deps")
            folder.type = tarfile.DIRTYPE
            archive.addfile(folder)
            for name, content in files:
                header = tarfile.TarInfo(name)
                header.size = len(content)
                archive.addfile(header, io.BytesIO(content))
            end = archive.offset
        return gzip.compress(buffer.getvalue()[:end])  # no end mark

    lock = ".nextmv/python/deps/.lock"
    archive = (
        part((lock, b"1"))
        + part((lock, b"22"))
        + gzip.compress(gzip.decompress(tar_bytes(app_files())))
    )
    executable = activated(application, actor, Push(archive, DECLARED))
    with object_store().open(executable.archive_key) as stream:
        assert read_member(stream, lock, 10) == b"22"
    twice = part(("main.py", b"1"), ("app.yaml", b"files: [main.py]")) + tar_bytes(app_files())
    with pytest.raises(ArchiveRejected, match="occurs twice"):
        activated(application, actor, Push(twice, DECLARED))
