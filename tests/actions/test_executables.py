"""Executables: what an upload must hold, what is kept of it, and what never is."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from runs.actions.actors import Actor, product
from runs.actions.builds import build_from_archive
from runs.actions.executables import (
    add_executable,
    add_executable_files,
    create_with_build,
    register_folder,
)
from runs.actions.inputs import NewFile
from runs.actions.samples import sample_input
from runs.domain.errors import (
    ArchiveRejected,
    FieldsInvalid,
    ManifestInvalid,
    NotAllowed,
    RunsiteError,
    TooLarge,
)
from runs.execution.archive import list_entries, read_member
from runs.models import Application, AuditEvent, Environment, Executable
from runs.storage import object_store
from tests.actions.applying import (
    EXAMPLES,
    MANIFEST,
    app_files,
    tar_bytes,
    write_folder,
    zip_bytes,
    zip_file,
)
from tests.factories import make_account, make_application, make_member

pytestmark = pytest.mark.django_db
ROOT = product()


@pytest.fixture(autouse=True)
def own_store(settings, data_dir: Path) -> Path:
    settings.RUNSITE_DATA_DIR = data_dir
    return data_dir


@pytest.fixture
def application() -> Application:
    return make_application(make_account("demo"), application_id="app")


def names_in(executable: Executable) -> list[str]:
    with object_store().open(executable.archive_key) as stream:
        return [entry.name for entry in list_entries(stream)]


def nothing_is_left(data_dir: Path) -> bool:
    files = [path for path in data_dir.rglob("*") if path.is_file()]
    return not files and not Executable.objects.exists() and not Environment.objects.exists()


def refused(application: Application, folder: Path, files: dict[str, str | bytes]) -> RunsiteError:
    with pytest.raises(RunsiteError) as caught:
        add_executable(application=application, source=zip_file(folder, files), actor=ROOT)
    return caught.value


# --- What is kept -----------------------------------------------------------------------------


def test_an_archive_becomes_the_executable_in_use(application: Application, tmp_path: Path):
    source = zip_file(tmp_path, app_files(extra__txt="not selected"))
    executable = add_executable(application=application, source=source, actor=ROOT)
    application.refresh_from_db()
    assert application.executable == executable
    assert executable.number == 1
    assert names_in(executable) == ["app.yaml", "main.py"]
    assert executable.file_count == 2
    assert executable.unpacked_bytes == len(MANIFEST) + len("print('{}')\n")
    assert executable.archive_bytes == object_store().size(executable.archive_key)
    assert len(executable.sha256) == 64
    assert executable.manifest["entrypoint"] == "main.py"
    assert AuditEvent.objects.filter(noun="executable", target="app build 1").exists()
    assert list((Path(tmp_path) / "data" / "tmp").iterdir()) == []


def test_a_common_top_folder_is_left_out(application: Application, tmp_path: Path):
    source = tmp_path / "app.tar.gz"
    source.write_bytes(tar_bytes(app_files(), root="my-app/"))
    executable = add_executable(application=application, source=source, actor=ROOT)
    assert names_in(executable) == ["app.yaml", "main.py"]


def test_equal_content_gives_equal_bytes(application: Application, tmp_path: Path):
    first = add_executable(
        application=application, source=zip_file(tmp_path, app_files()), actor=ROOT
    )
    packed = tmp_path / "other.tar.gz"
    packed.write_bytes(tar_bytes(app_files(), root="x/"))
    second = add_executable(application=application, source=packed, actor=ROOT)
    assert (first.number, second.number) == (1, 2)
    assert first.sha256 == second.sha256
    assert first.environment == second.environment


def test_requirements_become_an_environment_that_waits_to_be_built(
    application: Application, tmp_path: Path
):
    manifest = MANIFEST + "python:\n  pip-requirements: requirements.txt\n  version: '3.11'\n"
    files = app_files(manifest, requirements__txt="numpy>=1.26  # arrays\n")
    executable = add_executable(
        application=application, source=zip_file(tmp_path, files), actor=ROOT
    )
    assert executable.environment is not None
    assert executable.environment.requirements == ["numpy>=1.26"]
    assert executable.environment.python_version == "3.11"
    assert [(build.host, build.state) for build in executable.environment.builds.all()] == [
        ("", "waiting")
    ]
    assert names_in(executable) == ["app.yaml", "main.py", "requirements.txt"]


def test_bundled_packages_come_along_and_nothing_is_installed(
    application: Application, tmp_path: Path
):
    manifest = MANIFEST + "python:\n  pip-requirements: [numpy]\n"
    files = {**app_files(manifest), ".nextmv/python/deps/helper/__init__.py": ""}
    executable = add_executable(
        application=application, source=zip_file(tmp_path, files), actor=ROOT
    )
    assert executable.environment is not None
    assert executable.environment.requirements == []
    assert ".nextmv/python/deps/helper/__init__.py" in names_in(executable)


def test_the_sample_is_kept_beside_the_files_of_a_run(application: Application, tmp_path: Path):
    source = zip_file(tmp_path, app_files(input__json='{"a": 1}'))
    executable = add_executable(application=application, source=source, actor=ROOT)
    assert names_in(executable) == [".runsite/sample/input.json", "app.yaml", "main.py"]
    data = sample_input(account=application.account, executable=executable)
    assert data is not None
    assert data.size_bytes == len('{"a": 1}')


def test_a_sample_that_the_manifest_selects_stays_in_its_place(
    application: Application, tmp_path: Path
):
    files = app_files(MANIFEST + "  - input.json\n", input__json='{"a": 1}')
    executable = add_executable(
        application=application, source=zip_file(tmp_path, files), actor=ROOT
    )
    assert names_in(executable) == ["app.yaml", "input.json", "main.py"]
    assert sample_input(account=application.account, executable=executable) is not None


def test_an_application_without_a_sample_has_none(application: Application, tmp_path: Path):
    executable = add_executable(
        application=application, source=zip_file(tmp_path, app_files()), actor=ROOT
    )
    assert sample_input(account=application.account, executable=executable) is None


def test_a_compiled_entry_file_is_made_executable(application: Application, tmp_path: Path):
    files = {"app.yaml": "type: binary\nfiles: [main]\n", "main": "#!/bin/sh\necho '{}'\n"}
    executable = add_executable(
        application=application, source=zip_file(tmp_path, files), actor=ROOT
    )
    assert executable.environment is None
    with object_store().open(executable.archive_key) as stream:
        (entry,) = [each for each in list_entries(stream) if each.name == "main"]
    assert entry.executable


def test_a_program_for_another_machine_is_warned_about(application: Application, tmp_path: Path):
    header = bytearray(b"\x7fELF\x02\x01" + bytes(14))
    header[18:20] = (0x28).to_bytes(2, "little")
    files = {"app.yaml": "type: go\nfiles: [main]\n", "main": bytes(header)}
    executable = add_executable(
        application=application, source=zip_file(tmp_path, files), actor=ROOT
    )
    assert executable.platform == "linux-arm"
    assert "built for linux-arm" in executable.warnings[0]


def test_odd_things_are_kept_as_warnings(application: Application, tmp_path: Path):
    manifest = MANIFEST + "  - data\nentrypoint: main.py\n"
    files = {**app_files(manifest), "data/table.csv": "a"}
    executable = add_executable(
        application=application, source=zip_file(tmp_path, files), actor=ROOT
    )
    text = "\n".join(executable.warnings)
    assert "app.yaml, line 5" in text
    assert "execution.entrypoint" in text
    assert "`data`" in text


@pytest.mark.parametrize("name", ["forecast", "knapsack", "routing", "stress"])
def test_every_sample_app_can_be_uploaded(name: str, application: Application, tmp_path: Path):
    folder = EXAMPLES / name
    files = {
        f"{name}/{path.relative_to(folder).as_posix()}": path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    source = zip_file(tmp_path, files)
    executable = add_executable(application=application, source=source, actor=ROOT)
    assert executable.warnings == []
    assert "main.py" in names_in(executable)
    data = sample_input(account=application.account, executable=executable)
    assert data is not None
    inputs = [path for path in folder.rglob("*") if path.suffix in {".csv", ".json"}]
    assert data.size_bytes == sum(path.stat().st_size for path in inputs)


# --- What is refused --------------------------------------------------------------------------


def test_a_missing_manifest_says_where_it_must_be(
    application: Application, tmp_path: Path, own_store: Path
):
    error = refused(application, tmp_path, {"a/main.py": "", "b/app.yaml": "x"})
    assert isinstance(error, ManifestInvalid)
    assert "`b/app.yaml`" in error.message
    error = refused(application, tmp_path, {"app.yml": MANIFEST, "main.py": ""})
    assert "Rename `app.yml` to `app.yaml`" in error.message
    assert nothing_is_left(own_store)


def test_a_broken_manifest_names_its_line(
    application: Application, tmp_path: Path, own_store: Path
):
    error = refused(application, tmp_path, app_files("type: python\nfiles: [main.py\nx: 1\n"))
    assert isinstance(error, ManifestInvalid)
    assert "app.yaml, line" in error.message
    error = refused(application, tmp_path, app_files("type: cobol\nfiles: [main.py]\n"))
    assert "app.yaml, line 1" in error.message
    assert nothing_is_left(own_store)


def test_a_manifest_that_is_no_text_names_its_line(application: Application, tmp_path: Path):
    error = refused(application, tmp_path, {**app_files(), "app.yaml": b"type: python\n\xff"})
    assert "app.yaml, line 2" in error.message
    assert "UTF-8" in error.message


def test_a_pattern_without_files_names_pattern_and_line(
    application: Application, tmp_path: Path, own_store: Path
):
    error = refused(application, tmp_path, app_files(MANIFEST + "  - models/**\n"))
    assert "app.yaml, line 4" in error.message
    assert "could not find files listed in manifest: `models/**`" in error.message
    assert nothing_is_left(own_store)


def test_a_missing_entry_file_says_what_to_do(application: Application, tmp_path: Path):
    error = refused(
        application, tmp_path, {"app.yaml": "files: [other.py]\n", "other.py": "", "main.py": ""}
    )
    assert "missing mandatory files: `main.py`" in error.message
    assert "add `main.py` to `files`" in error.message
    manifest = "type: go\nfiles: [go.mod]\nbuild: {command: go build}\n"
    error = refused(application, tmp_path, {"app.yaml": manifest, "go.mod": ""})
    assert "`go build`" in error.message


@pytest.mark.parametrize(
    ("requirements", "said"),
    [
        ("--index-url https://x.example/\n", "line 1"),
        ("numpy\n./local\n", "line 2"),
    ],
)
def test_requirements_that_cannot_be_installed_name_their_line(
    requirements: str, said: str, application: Application, tmp_path: Path, own_store: Path
):
    manifest = MANIFEST + "python: {pip-requirements: requirements.txt}\n"
    error = refused(application, tmp_path, app_files(manifest, requirements__txt=requirements))
    assert isinstance(error, ManifestInvalid)
    assert "app.yaml, line 4" in error.message
    assert said in error.message
    assert nothing_is_left(own_store)


def test_a_hostile_archive_leaves_nothing(
    application: Application, tmp_path: Path, own_store: Path
):
    error = refused(application, tmp_path, {**app_files(), "../evil.py": "x"})
    assert isinstance(error, ArchiveRejected)
    assert nothing_is_left(own_store)
    assert not (tmp_path / "evil.py").exists()


def test_what_is_no_archive_is_refused_by_name(application: Application, tmp_path: Path):
    source = tmp_path / "x"
    source.write_text("hello")
    with pytest.raises(ArchiveRejected, match=r"`notes.txt`: .*zip, tar and tar.gz"):
        add_executable(application=application, source=source, actor=ROOT, file_name="notes.txt")


def test_an_archive_above_the_limit_is_refused(
    application: Application, tmp_path: Path, settings, own_store: Path
):
    settings.RUNSITE_EXECUTABLE_LIMIT = 100
    error = refused(application, tmp_path, app_files())
    assert isinstance(error, TooLarge)
    assert "RUNSITE_EXECUTABLE_LIMIT" in error.message
    assert nothing_is_left(own_store)


def test_a_bomb_is_refused(application: Application, tmp_path: Path, settings, own_store: Path):
    settings.RUNSITE_UNPACKED_LIMIT = 10_000
    error = refused(application, tmp_path, app_files(zeros__bin=bytes(1_000_000)))
    assert isinstance(error, ArchiveRejected)
    assert nothing_is_left(own_store)


def test_operators_upload_nothing(application: Application, tmp_path: Path):
    actor = Actor(user=None, key=None, role="operator", name="op")
    with pytest.raises(NotAllowed):
        add_executable(application=application, source=zip_file(tmp_path, app_files()), actor=actor)


# --- Folders ----------------------------------------------------------------------------------


def sent(files: dict[str, str | bytes]) -> list[NewFile]:
    def opener(content: str | bytes):
        data = content.encode() if isinstance(content, str) else content
        return lambda: io.BytesIO(data)

    return [NewFile(name, opener(content)) for name, content in files.items()]


def test_the_files_of_a_dropped_folder_become_an_executable(application: Application):
    files = {f"my app/{name}": content for name, content in app_files().items()}
    executable = add_executable_files(application=application, files=sent(files), actor=ROOT)
    assert names_in(executable) == ["app.yaml", "main.py"]


@pytest.mark.parametrize(
    "path", ["../evil.py", "/etc/evil.py", "a/../../evil.py", "C:/evil", "a\\b", "a\x00b"]
)
def test_a_hostile_path_is_refused(path: str, application: Application, own_store: Path):
    with pytest.raises(ArchiveRejected):
        add_executable_files(
            application=application, files=sent({**app_files(), path: "x"}), actor=ROOT
        )
    assert nothing_is_left(own_store)
    assert not list(own_store.parent.rglob("evil*"))


def test_a_path_that_comes_twice_is_refused(application: Application):
    twice = [*sent(app_files()), *sent(app_files())]
    with pytest.raises(ArchiveRejected, match="twice"):
        add_executable_files(application=application, files=twice, actor=ROOT)


def test_a_folder_above_the_limit_is_refused(application: Application, settings, own_store: Path):
    settings.RUNSITE_EXECUTABLE_LIMIT = 1000
    with pytest.raises(TooLarge):
        add_executable_files(
            application=application, files=sent(app_files(big__bin=bytes(2000))), actor=ROOT
        )
    assert nothing_is_left(own_store)


# --- New applications -------------------------------------------------------------------------


def test_a_new_application_takes_name_and_id_from_the_upload(tmp_path: Path):
    source = zip_file(tmp_path, app_files())
    with build_from_archive(source=source, file_name="My Model.zip") as build:
        application = create_with_build(account=make_account(), build=build, actor=ROOT)
    assert (application.name, application.application_id) == ("My Model", "my-model")
    assert application.executable is not None


def test_a_taken_id_makes_nothing(application: Application, tmp_path: Path, own_store: Path):
    source = zip_file(tmp_path, app_files())
    with (
        build_from_archive(source=source) as build,
        pytest.raises(FieldsInvalid) as caught,
    ):
        create_with_build(
            account=application.account, build=build, actor=ROOT, application_id="app"
        )
    assert list(caught.value.errors) == ["application_id"]
    assert nothing_is_left(own_store)
    assert Application.objects.count() == 1


# --- Folders on the server --------------------------------------------------------------------


@pytest.fixture
def served(tmp_path: Path, settings) -> Path:
    root = tmp_path / "apps"
    write_folder(root / "model", app_files())
    settings.RUNSITE_APP_FOLDERS = (root,)
    return root


def test_a_folder_of_the_server_is_registered_and_read_anew(served: Path):
    account = make_account()
    application = register_folder(account=account, folder=served / "model", actor=ROOT)
    assert application.application_id == "model"
    assert application.folder == str(served / "model")
    (served / "model" / "main.py").write_text("print('{\"a\": 1}')\n")
    again = register_folder(account=account, folder=served / "model", actor=ROOT)
    assert again == application
    assert application.executables.count() == 2
    again.refresh_from_db()
    assert again.executable is not None
    with object_store().open(again.executable.archive_key) as stream:
        assert b'"a"' in (read_member(stream, "main.py", 1000) or b"")


@pytest.mark.parametrize("path", ["/etc", "{root}/../model", "{root}x/model", "model", "{root}/no"])
def test_folders_elsewhere_are_refused(path: str, served: Path):
    with pytest.raises(FieldsInvalid) as caught:
        register_folder(account=make_account(), folder=Path(path.format(root=served)), actor=ROOT)
    assert list(caught.value.errors) == ["folder"]
    assert not Application.objects.exists()


def test_links_to_folders_elsewhere_are_refused(served: Path, tmp_path: Path):
    write_folder(tmp_path / "outside", app_files())
    (served / "link").symlink_to(tmp_path / "outside")
    (served / "inner").symlink_to(served / "model")
    for name in ("link", "inner"):
        with pytest.raises(FieldsInvalid, match="link"):
            register_folder(account=make_account(), folder=served / name, actor=ROOT)


def test_a_link_in_a_folder_is_not_followed(served: Path, tmp_path: Path):
    (tmp_path / "secret.py").write_text("SECRET")
    (served / "model" / "main.py").unlink()
    (served / "model" / "main.py").symlink_to(tmp_path / "secret.py")
    with pytest.raises(ManifestInvalid, match=r"missing mandatory|could not find"):
        register_folder(account=make_account(), folder=served / "model", actor=ROOT)


def test_without_the_setting_no_folder_is_registered(served: Path, settings):
    settings.RUNSITE_APP_FOLDERS = ()
    with pytest.raises(FieldsInvalid, match="RUNSITE_APP_FOLDERS"):
        register_folder(account=make_account(), folder=served / "model", actor=ROOT)


def test_only_admins_register_folders(served: Path):
    account = make_account()
    user = make_member(account, "developer")
    actor = Actor(user=user, key=None, role="developer", name=user.email)
    with pytest.raises(NotAllowed):
        register_folder(account=account, folder=served / "model", actor=actor)


def test_a_folder_of_bytes_is_packed_the_same_as_its_archive(
    application: Application, served: Path, tmp_path: Path
):
    registered = register_folder(account=application.account, folder=served / "model", actor=ROOT)
    source = tmp_path / "same.zip"
    source.write_bytes(zip_bytes(app_files()))
    uploaded = add_executable(application=application, source=source, actor=ROOT)
    assert registered.executable is not None
    assert registered.executable.sha256 == uploaded.sha256
