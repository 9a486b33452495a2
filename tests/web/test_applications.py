"""Pages of applications: list, new, overview, builds, versions, instances, inputs, settings."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from runs.actions.actors import product
from runs.actions.builds import build_from_archive
from runs.actions.executables import create_with_build
from runs.actions.instances import InstanceValues, create_instance
from runs.actions.versions import create_version
from runs.domain.status import Status
from runs.models import Account, Application, EnvironmentBuild, Executable, Instance, ManagedInput
from tests.actions.applying import EXAMPLES, app_files, tar_bytes, write_folder, zip_bytes
from tests.factories import make_application, make_executable, make_run
from tests.web.conftest import Browser

ROOT = product()
MANIFEST = """\
type: python
files: [main.py]
configuration:
  options:
    strict: true
    items:
      - {name: duration, option_type: float, default: 6.0, additional_attributes: {min: 0, max: 9}}
      - name: metric
        option_type: string
        additional_attributes: {values: [total, longest]}
        ui: {control_type: select}
"""


@pytest.fixture(autouse=True)
def own_store(settings, data_dir: Path) -> Path:
    settings.RUNSITE_DATA_DIR = data_dir
    return data_dir


@pytest.fixture
def app(account: Account, tmp_path: Path) -> Application:
    source = tmp_path / "model.zip"
    source.write_bytes(zip_bytes(app_files(MANIFEST)))
    with build_from_archive(source=source) as build:
        return create_with_build(
            account=account, build=build, actor=ROOT, application_id="model", name="The model"
        )


def archive(data: bytes | None = None, name: str = "my-model.zip") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, zip_bytes(app_files()) if data is None else data)


def text_of(response) -> str:
    return response.content.decode()


# --- The list ---------------------------------------------------------------------------------


def test_an_empty_list_says_what_to_do_next(dev: Browser, viewer: Browser):
    assert "New application" in text_of(dev.get("/applications/"))
    page = text_of(viewer.get("/applications/"))
    assert "No applications yet" in page
    assert "New application" not in page


def test_the_list_says_how_each_application_does(viewer: Browser, app: Application):
    for _ in range(3):
        make_run(app, status=Status.SUCCEEDED)
    make_run(app, status=Status.FAILED)
    make_run(app, status=Status.CANCELED)
    page = text_of(viewer.get("/applications/"))
    assert "The model" in page
    assert "75 %" in page
    assert "1.5 s" in page
    assert page.count("<rect data-status") == 5


def test_only_the_newest_fifty_runs_count(viewer: Browser, app: Application):
    for _ in range(5):
        make_run(app, status=Status.FAILED)
    for _ in range(50):
        make_run(app, status=Status.SUCCEEDED)
    page = text_of(viewer.get("/applications/"))
    assert "100 %" in page
    assert page.count("<rect data-status") == 50


def test_the_list_is_searched_and_archived_ones_are_apart(viewer: Browser, account: Account):
    make_application(account, application_id="routing", name="Routing of trucks")
    make_application(account, application_id="cut", name="Cutting")
    page = text_of(viewer.get("/applications/?q=truck"))
    assert "Routing of trucks" in page
    assert "Cutting" not in page
    Application.objects.filter(application_id="cut").update(archived_at="2026-01-01T00:00Z")
    assert "Cutting" not in text_of(viewer.get("/applications/"))
    assert "Cutting" in text_of(viewer.get("/applications/?archived=1"))


def test_the_list_goes_on_where_the_page_ended(viewer: Browser, account: Account):
    for number in range(35):
        make_application(account, application_id=f"a{number:02d}", name=f"App {number:02d}")
    make_application(account, application_id="zz", name="Pinned", pinned=True)
    first = text_of(viewer.get("/applications/"))
    assert "Pinned" in first
    assert "App 28" in first
    assert "App 29" not in first
    rest = text_of(viewer.get("/applications/?after=a28"))
    assert "App 29" in rest
    assert "App 34" in rest
    assert "Pinned" not in rest


def test_pages_stay_few_queries(
    viewer: Browser, ann: Browser, app: Application, account: Account, django_assert_max_num_queries
):
    for number in range(12):
        another = make_application(account)
        make_executable(another)
        for _ in range(3):
            make_run(another, status=Status.SUCCEEDED)
        create_version(application=app, version_id=f"v{number}", actor=ROOT)
        create_instance(
            application=app, instance_id=f"i{number}", values=InstanceValues(), actor=ROOT
        )
    with django_assert_max_num_queries(6):
        viewer.get("/applications/")
    for path in ("", "versions/", "instances/", "instances/i3/", "builds/", "inputs/", "settings/"):
        with django_assert_max_num_queries(9):
            assert ann.get(f"/applications/model/{path}").status_code == 200, path


def test_other_accounts_see_nothing(outsider: Browser, app: Application):
    assert "The model" not in text_of(outsider.get("/applications/"))
    create_version(application=app, version_id="v1", actor=ROOT)
    create_instance(application=app, instance_id="i1", values=InstanceValues(), actor=ROOT)
    key = app.executable.environment.key if app.executable and app.executable.environment else ""
    for path in (
        "", "versions/", "instances/", "instances/i1/", "builds/", "inputs/", "settings/",
        "upload/", f"environments/{key}/",
    ):  # fmt: skip
        assert outsider.get(f"/applications/model/{path}").status_code == 404, path
    for path in (
        "pin/", "archive/", "delete/", "read-folder/", f"environments/{key}/rebuild/",
        "versions/v1/delete/", "instances/i1/default/", "instances/i1/lock/",
        "instances/i1/delete/", "inputs/x/delete/", "upload/", "versions/", "instances/",
    ):  # fmt: skip
        assert outsider.post(f"/applications/model/{path}").status_code == 404, path
    assert app.versions.exists()
    assert app.instances.exists()


@pytest.mark.parametrize("who", ["operator", "viewer"])
def test_who_may_not_manage_changes_nothing(who: str, app: Application, request):
    browser: Browser = request.getfixturevalue(who)
    assert browser.get("/applications/model/").status_code == 200
    assert browser.get("/applications/new/").status_code == 403
    assert browser.post("/applications/new/", {"upload": archive()}).status_code == 403
    for path in ("upload/", "settings/", "pin/", "archive/", "delete/", "versions/", "instances/",
                 "inputs/"):  # fmt: skip
        assert browser.post(f"/applications/model/{path}", {}).status_code == 403, path
    assert Executable.objects.count() == 1
    for path in ("versions/", "instances/", "builds/", "inputs/"):
        assert '<form class="form' not in text_of(browser.get(f"/applications/model/{path}"))


def test_a_missing_application_is_not_found(ann: Browser):
    assert ann.get("/applications/nothing/").status_code == 404


# --- New --------------------------------------------------------------------------------------


def test_an_archive_becomes_an_application(dev: Browser, account: Account):
    response = dev.post("/applications/new/", {"upload": archive()})
    assert response.status_code == 302
    assert response["Location"] == "/applications/my-model/"
    application = account.applications.get()
    assert application.created_by == dev.user
    page = text_of(dev.get("/applications/my-model/"))
    assert "main.py" in page
    assert "waiting" in page


def test_a_dropped_folder_becomes_an_application(dev: Browser, account: Account):
    files = {
        "my model/app.yaml": "files: ['lib/*.py', main.py]\n",
        "my model/main.py": "1",
        "my model/lib/a.py": "",
        "my model/lib/b.py": "",
        "my model/.git/config": "x",
    }
    response = dev.post(
        "/applications/new/",
        {
            "upload_paths": json.dumps(list(files)),
            "upload": [
                SimpleUploadedFile(name.rpartition("/")[2], content.encode())
                for name, content in files.items()
            ],
        },
        headers={"X-Runsite-Upload": "1"},
    )
    assert response.status_code == 200
    assert response["X-Runsite-Location"] == "/applications/my-model/"
    application = account.applications.get()
    assert application.executable is not None
    assert application.executable.file_count == 4


def test_hostile_paths_of_a_folder_are_refused(dev: Browser, own_store: Path):
    names = ["app/app.yaml", "app/../../evil.py"]
    files = [SimpleUploadedFile("f", b"files: [main.py]") for _ in names]
    form = {"upload_paths": json.dumps(names), "upload": files, "name": "Kept"}
    response = dev.post("/applications/new/", form)
    assert response.status_code == 422
    assert "leads out of the folder" in text_of(response)
    assert 'value="Kept"' in text_of(response)
    assert not Application.objects.exists()
    assert not [path for path in own_store.rglob("*") if path.is_file()]


def test_what_was_typed_stays_on_an_error(dev: Browser):
    broken = archive(zip_bytes({"app.yaml": "files: [main.py\n", "main.py": ""}))
    form = {"upload": broken, "name": "My plan", "description": "words", "application_id": "x-1"}
    response = dev.post("/applications/new/", form)
    page = text_of(response)
    assert response.status_code == 422
    assert "app.yaml, line" in page
    for kept in ("My plan", "words", "x-1"):
        assert kept in page


def test_a_form_without_a_file_says_so(dev: Browser):
    response = dev.post("/applications/new/", {"name": "x"})
    assert response.status_code == 422
    assert "Choose a .zip" in text_of(response)


def test_an_upload_above_the_limit_is_413(dev: Browser, settings, own_store: Path):
    settings.RUNSITE_EXECUTABLE_LIMIT = 2000
    files = zip_bytes(app_files(big__bin=bytes(5000)))
    response = dev.post("/applications/new/", {"upload": archive(files), "name": "Kept"})
    assert response.status_code == 413
    assert "too large" in text_of(response)
    assert 'value="Kept"' in text_of(response)
    assert not [path for path in own_store.rglob("*") if path.is_file()]


def test_a_taken_id_is_said_at_its_field(dev: Browser, app: Application):
    response = dev.post("/applications/new/", {"upload": archive(), "application_id": "model"})
    assert response.status_code == 422
    assert "already" in text_of(response)
    assert Application.objects.count() == 1


def test_an_upload_needs_the_token_of_the_form(dev: Browser, account: Account):
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(dev.user)
    assert strict.post("/applications/new/", {"upload": archive()}).status_code == 403
    assert not account.applications.exists()
    strict.get("/applications/new/")
    token = next(morsel.value for name, morsel in strict.cookies.items() if "csrf" in name)
    form = {"upload": archive(), "csrfmiddlewaretoken": token}
    assert strict.post("/applications/new/", form).status_code == 302
    assert account.applications.exists()


def test_admins_register_folders_and_read_them_anew(
    ann: Browser, dev: Browser, account: Account, tmp_path: Path, settings
):
    root = tmp_path / "apps"
    write_folder(root / "model", app_files())
    settings.RUNSITE_APP_FOLDERS = (root,)
    form = {"way": "folder", "folder": str(root / "model"), "folder_name": "On the server"}
    assert dev.post("/applications/new/", form).status_code == 403
    assert ann.post("/applications/new/", form)["Location"] == "/applications/on-the-server/"
    assert dev.post("/applications/on-the-server/read-folder/").status_code == 403
    assert ann.post("/applications/on-the-server/read-folder/").status_code == 302
    assert account.applications.get().executables.count() == 2
    form["folder"] = "/etc"
    response = ann.post("/applications/new/", form)
    assert response.status_code == 422
    assert "RUNSITE_APP_FOLDERS" in text_of(response)


# --- One --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["forecast", "knapsack", "routing", "stress"])
def test_every_sample_app_is_uploaded_and_shown(name: str, dev: Browser):
    files = {
        path.relative_to(EXAMPLES).as_posix(): path.read_bytes()
        for path in (EXAMPLES / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    packed = SimpleUploadedFile(f"{name}.tar.gz", tar_bytes(files))
    assert dev.post("/applications/new/", {"upload": packed}).status_code == 302
    page = text_of(dev.get(f"/applications/{name}/"))
    assert "has warnings" not in page
    assert "requirements.txt" in page
    assert dev.get(f"/applications/{name}/instances/").status_code == 200


def test_an_application_shows_its_manifest_in_words(viewer: Browser, app: Application):
    run = make_run(app, status=Status.SUCCEEDED, name="Last night")
    page = text_of(viewer.get("/applications/model/"))
    for word in ("python", "main.py", "json", "duration", "from 0", "total, longest", "Last night"):
        assert word in page, word
    assert run.run_id in page
    assert "Only these are accepted" in page


def test_texts_of_a_manifest_are_text(dev: Browser):
    evil = "<script>alert(1)</script>"
    manifest = f"files: [main.py]\nruntime: '{evil}'\nbuild: {{command: '{evil}'}}\n"
    form = {"upload": archive(zip_bytes(app_files(manifest))), "name": evil, "description": evil}
    response = dev.post("/applications/new/", {**form, "application_id": "evil"})
    assert response.status_code == 302
    for path in ("/applications/", "/applications/evil/", "/applications/evil/builds/"):
        assert "<script>alert" not in text_of(dev.get(path))


def test_an_application_without_executable_offers_the_upload(
    dev: Browser, viewer: Browser, account: Account
):
    make_application(account, application_id="bare")
    assert "/applications/bare/upload/" in text_of(dev.get("/applications/bare/"))
    for path in ("", "builds/", "versions/", "instances/", "inputs/"):
        assert viewer.get(f"/applications/bare/{path}").status_code == 200
        assert dev.get(f"/applications/bare/{path}").status_code == 200


def test_a_new_executable_is_in_use_and_the_old_one_stays(dev: Browser, app: Application):
    assert dev.get("/applications/model/upload/").status_code == 200
    response = dev.post("/applications/model/upload/", {"upload": archive()})
    assert response.status_code == 302
    app.refresh_from_db()
    assert app.executable is not None
    assert app.executable.number == 2
    page = text_of(dev.get("/applications/model/builds/"))
    assert page.count("in use</span>") == 1
    response = dev.post("/applications/model/upload/", {"upload": archive(b"nonsense")})
    assert response.status_code == 422
    assert "not an archive" in text_of(response)
    assert app.executables.count() == 2


def test_a_failed_environment_shows_its_log_and_is_built_again(dev: Browser, app: Application):
    assert app.executable is not None
    environment = app.executable.environment
    assert environment is not None
    address = f"/applications/model/environments/{environment.key}/"
    assert dev.post(f"{address}rebuild/").status_code == 409
    environment.builds.update(
        state=EnvironmentBuild.FAILED, host="h1", error="No such package.", log="<b>trace</b>"
    )
    assert "No such package." in text_of(dev.get("/applications/model/"))
    page = text_of(dev.get(address))
    assert "&lt;b&gt;trace" in page
    assert dev.post(f"{address}rebuild/").status_code == 302
    assert environment.builds.get().state == EnvironmentBuild.WAITING
    assert dev.get("/applications/model/environments/nothing/").status_code == 404


# --- Settings ---------------------------------------------------------------------------------


def test_settings_are_changed_and_checked(dev: Browser, app: Application):
    form = {"name": "New name", "running_limit": "2", "time_limit_s": "60", "repeatable": "on"}
    assert dev.post("/applications/model/settings/", form).status_code == 302
    app.refresh_from_db()
    assert (app.name, app.running_limit, app.time_limit_s) == ("New name", 2, 60)
    response = dev.post("/applications/model/settings/", {**form, "time_limit_s": "999999999"})
    assert response.status_code == 422
    assert "give 86400 or less" in text_of(response)


def settings_fields(browser: Browser) -> dict[str, Any]:
    """What a browser would send for the form as it is."""
    response = browser.get("/applications/model/settings/")
    form = response.context["form"]
    data: dict[str, Any] = {"seen": response.context["seen"]}
    for name, value in form.initial.items():
        if value is True:
            data[name] = "on"
        elif value not in (None, False):
            data[name] = value
    return data


def test_settings_of_runs_are_kept_in_their_own_units(dev: Browser, app: Application):
    form = {
        **settings_fields(dev),
        "memory_limit_mib": "1.5",
        "slots": "2",
        "concurrency_limit": "1",
        "concurrency_policy": "replace",
        "retries": "3",
        "retry_causes": ["signal", "memory_limit"],
        "retry_exit_codes": "75, 99",
        "stop_signal": "SIGUSR1",
        "keep_at_time_limit": "yes",
    }
    assert dev.post("/applications/model/settings/", form).status_code == 302
    app.refresh_from_db()
    assert (app.memory_limit_bytes, app.slots) == (3 * 512 * 1024, 2)
    assert (app.concurrency_limit, app.concurrency_policy) == (1, "replace")
    assert app.retry_on == "signal memory_limit exit_code:75 exit_code:99"
    assert (app.stop_signal, app.keep_at_time_limit) == ("SIGUSR1", True)
    again = settings_fields(dev)
    assert again["retry_exit_codes"] == "75 99"
    assert dev.post("/applications/model/settings/", again).status_code == 302
    before = Application.objects.values().get(pk=app.pk)
    app.refresh_from_db()
    assert {name: getattr(app, name) for name in before} == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("retry_exit_codes", "0"),
        ("retry_exit_codes", "one"),
        ("concurrency_expression", "{nothing}"),
        ("retries", "999"),
        ("slots", "0"),
        ("retry_causes", "luck"),
    ],
)
def test_settings_that_cannot_be_are_refused_at_their_field(
    dev: Browser, app: Application, name: str, value: str
):
    form = {**settings_fields(dev), "concurrency_limit": "1", name: value}
    response = dev.post("/applications/model/settings/", form)
    assert response.status_code == 422
    assert response.context["form"].errors[name]


def test_a_change_made_meanwhile_by_another_is_not_undone(dev: Browser, app: Application):
    form = {**settings_fields(dev), "description": "mine"}
    Application.objects.filter(pk=app.pk).update(memory_limit_bytes=1 << 30)
    response = dev.post("/applications/model/settings/", form)
    page = text_of(response)
    assert response.status_code == 409
    assert "Memory limit (MiB)" in response.context["form"].non_field_errors()[0]
    assert "mine" in page
    app.refresh_from_db()
    assert (app.description, app.memory_limit_bytes) == ("", 1 << 30)
    again = {**form, "seen": response.context["seen"], "memory_limit_mib": "1024"}
    assert response.context["form"]["memory_limit_mib"].value() == "1024"
    assert dev.post("/applications/model/settings/", again).status_code == 302
    app.refresh_from_db()
    assert (app.description, app.memory_limit_bytes) == ("mine", 1 << 30)


def test_every_field_of_the_settings_stands_in_one_section():
    from runs.web.forms.application_settings import SECTIONS, SettingsForm

    named = [name for section in SECTIONS for name in section.names]
    assert sorted(named) == sorted(SettingsForm.base_fields)


def test_an_application_is_pinned_archived_restored_and_deleted(dev: Browser, app: Application):
    dev.post("/applications/model/pin/", {"pinned": "1"})
    app.refresh_from_db()
    assert app.pinned
    dev.post("/applications/model/archive/")
    app.refresh_from_db()
    assert app.archived_at is not None
    dev.post("/applications/model/archive/", {"restore": "1"})
    app.refresh_from_db()
    assert app.archived_at is None
    run = make_run(app, status=Status.FAILED)
    assert dev.post("/applications/model/delete/").status_code == 409
    run.delete()
    assert dev.post("/applications/model/delete/").status_code == 302
    assert not Application.objects.exists()


# --- Versions and instances -------------------------------------------------------------------


def test_a_version_is_made_and_deleted(dev: Browser, app: Application):
    assert 'value="v1"' in text_of(dev.get("/applications/model/versions/"))
    response = dev.post("/applications/model/versions/", {"version_id": "v1", "build": "1"})
    assert response.status_code == 302
    response = dev.post("/applications/model/versions/", {"version_id": "v1", "build": "1"})
    assert response.status_code == 422
    assert "already" in text_of(response)
    assert dev.post("/applications/model/versions/v1/delete/").status_code == 302
    assert dev.post("/applications/model/versions/v1/delete/").status_code == 404


def test_runs_keep_the_names_of_what_was_deleted(dev: Browser, app: Application):
    version = create_version(application=app, version_id="spring", actor=ROOT)
    instance = create_instance(
        application=app, instance_id="prod", values=InstanceValues(version=version), actor=ROOT
    )
    queued = make_run(app, status=Status.QUEUED, instance=instance, version=version)
    assert dev.post("/applications/model/instances/prod/delete/").status_code == 409
    queued.delete()
    run = make_run(app, status=Status.SUCCEEDED, instance=instance, version=version)
    assert "deleted" not in text_of(dev.get(f"/runs/{run.run_id}/"))
    assert dev.post("/applications/model/instances/prod/delete/").status_code == 302
    assert dev.post("/applications/model/versions/spring/delete/").status_code == 302
    page = text_of(dev.get(f"/runs/{run.run_id}/"))
    for name in ("spring", "prod"):
        assert f'{name} <span class="muted">(deleted)</span>' in page


def test_an_instance_is_made_from_a_form_of_the_options(dev: Browser, app: Application):
    create_version(application=app, version_id="v1", actor=ROOT)
    page = text_of(dev.get("/applications/model/instances/"))
    assert "default: 6.0" in page
    form = {"instance_id": "quick", "version": "v1", "option-0": "3", "option-1": "longest"}
    assert dev.post("/applications/model/instances/", form).status_code == 302
    instance = Instance.objects.get()
    assert instance.options == {"duration": 3.0, "metric": "longest"}
    assert instance.version is not None
    assert instance.version.version_id == "v1"
    response = dev.post("/applications/model/instances/", {**form, "instance_id": "slow",
                                                            "option-0": "99"})  # fmt: skip
    assert response.status_code == 422
    assert "at most 9" in text_of(response)
    assert 'value="99"' in text_of(response)


def test_an_instance_changed_by_somebody_else_is_not_overwritten(dev: Browser, app: Application):
    instance = create_instance(
        application=app, instance_id="i", values=InstanceValues(), actor=ROOT
    )
    seen = instance.updated_at.isoformat()
    form = {"name": "First", "seen_at": seen}
    assert dev.post("/applications/model/instances/i/", form).status_code == 302
    response = dev.post("/applications/model/instances/i/", {"name": "Second", "seen_at": seen})
    assert response.status_code == 409
    assert "somebody else" in text_of(response)
    instance.refresh_from_db()
    assert instance.name == "First"


def test_a_form_keeps_what_it_does_not_show(dev: Browser, app: Application):
    instance = create_instance(
        application=app,
        instance_id="i",
        values=InstanceValues(content_format="json", output_format="multi-file"),
        actor=ROOT,
    )
    form = {"name": "New", "content_format": "json", "seen_at": instance.updated_at.isoformat()}
    assert dev.post("/applications/model/instances/i/", form).status_code == 302
    instance.refresh_from_db()
    assert (instance.name, instance.output_format) == ("New", "multi-file")


def test_a_locked_instance_stays(dev: Browser, app: Application):
    instance = create_instance(
        application=app, instance_id="i", values=InstanceValues(), actor=ROOT
    )
    assert dev.post("/applications/model/instances/i/lock/").status_code == 302
    assert "locked" in text_of(dev.get("/applications/model/instances/i/"))
    assert dev.post("/applications/model/instances/i/delete/").status_code == 409
    instance.refresh_from_db()
    form = {"name": "x", "seen_at": instance.updated_at.isoformat()}
    assert dev.post("/applications/model/instances/i/", form).status_code == 409
    dev.post("/applications/model/instances/i/lock/", {"locked": "0"})
    assert dev.post("/applications/model/instances/i/default/").status_code == 302
    app.refresh_from_db()
    assert app.default_instance == instance
    assert dev.post("/applications/model/instances/i/delete/").status_code == 302
    assert not Instance.objects.exists()


# --- Inputs -----------------------------------------------------------------------------------


def test_inputs_are_kept_from_text_file_and_run(dev: Browser, app: Application):
    address = "/applications/model/inputs/"
    assert dev.post(address, {"input_id": "a", "text": '{"a": 1}'}).status_code == 302
    upload = SimpleUploadedFile("b.json", b'{"b": 2}')
    assert dev.post(address, {"input_id": "b", "upload": upload}).status_code == 302
    data = ManagedInput.objects.get(input_id="b").input_data
    run = make_run(app, status=Status.SUCCEEDED, input_data=data)
    assert dev.post(address, {"input_id": "c", "run_id": run.run_id}).status_code == 302
    assert ManagedInput.objects.get(input_id="c").input_data == data
    page = text_of(dev.get(address))
    assert all(f"<code>{name}</code>" in page for name in "abc")
    assert dev.post(f"{address}a/delete/").status_code == 302
    assert ManagedInput.objects.count() == 2


def test_a_broken_input_is_said_at_its_field_and_kept_as_typed(dev: Browser, app: Application):
    form = {"input_id": "a", "text": '{"a": 1,, }', "name": "Named"}
    response = dev.post("/applications/model/inputs/", form)
    page = text_of(response)
    assert response.status_code == 422
    assert "column" in page
    assert "{&quot;a&quot;: 1,, }" in page
    assert "Named" in page
    assert dev.post("/applications/model/inputs/", {"input_id": "a"}).status_code == 422
    assert not ManagedInput.objects.exists()


def test_the_input_of_anothers_run_is_not_found(dev: Browser, app: Application):
    foreign = make_run(make_application(), status=Status.SUCCEEDED)
    response = dev.post("/applications/model/inputs/", {"input_id": "a", "run_id": foreign.run_id})
    assert response.status_code == 422
    assert "no such run" in text_of(response)


def test_an_input_above_the_limit_is_413(dev: Browser, app: Application, settings):
    settings.RUNSITE_UPLOAD_LIMIT = 1000
    big = SimpleUploadedFile("b.json", io.BytesIO(b"{" + b" " * 2000 + b"}").getvalue())
    response = dev.post("/applications/model/inputs/", {"input_id": "b", "upload": big})
    assert response.status_code == 413
    assert not ManagedInput.objects.exists()


# --- Plots and hidden options of the overview -------------------------------------------------


def test_the_overview_plots_the_newest_runs(viewer: Browser, app: Application):
    for number in range(3):
        run = make_run(
            app, status=Status.SUCCEEDED, value=100.5 + number, execution_s=2.5, input_bytes=77
        )
    make_run(app, status=Status.RUNNING)
    page = text_of(viewer.get("/applications/model/"))
    assert page.count("data-plotly-src") == 2
    assert "[102.5,101.5,100.5]" in page or "[100.5,101.5,102.5]" in page
    assert f'"/runs/{run.run_id}/"' in page
    assert "Duration against input size" in page


def test_one_run_makes_no_plot(viewer: Browser, app: Application):
    make_run(app, status=Status.SUCCEEDED, value=1.5, execution_s=2.5)
    assert "data-plotly-src" not in text_of(viewer.get("/applications/model/"))


def test_the_overview_does_not_name_options_hidden_from_the_role(
    viewer: Browser, dev: Browser, app: Application, tmp_path: Path
):
    hidden = MANIFEST.replace("type: select}", "type: select, hidden_from: [viewer]}")
    source = tmp_path / "hidden.zip"
    source.write_bytes(zip_bytes(app_files(hidden)))
    with build_from_archive(source=source) as build:
        create_with_build(
            account=app.account, build=build, actor=ROOT, application_id="hidden", name="Hidden"
        )
    assert "<code>metric</code>" in text_of(dev.get("/applications/hidden/"))
    page = text_of(viewer.get("/applications/hidden/"))
    assert "<code>metric</code>" not in page
    assert "<code>duration</code>" in page


def test_pages_say_that_a_push_is_checked_or_was_refused(dev: Browser, app: Application) -> None:
    first = app.executable
    newest = make_executable(app, state=Executable.CHECKING)
    overview, builds = "/applications/model/", "/applications/model/builds/"
    assert "Build 2 is being checked" in text_of(dev.get(overview))
    assert "being checked" in text_of(dev.get(builds))
    assert dev.get("/applications/model/launch/").status_code == 200
    reason = "There is no `app.yaml` <here>."
    Executable.objects.filter(pk=newest.pk).update(state=Executable.FAILED, error=reason)
    for in_use, words in ((first, "Build 1 is in use."), (None, "Upload the folder")):
        Application.objects.filter(pk=app.pk).update(executable=in_use)
        page = text_of(dev.get(overview))
        assert "Build 2 was refused" in page
        assert "There is no <code>app.yaml</code> &lt;here&gt;." in page
        assert words in page
    assert "&lt;here&gt;" in text_of(dev.get(builds))
