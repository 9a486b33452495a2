"""The admin panel: every model, few queries, no large value, nobody but staff."""

from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from runs.admin.site import BoundedPaginator, site
from runs.domain.status import Status
from runs.models import (
    Account,
    ApiKey,
    Asset,
    AuditEvent,
    Counter,
    EndedProcess,
    LogChunk,
    LoopLease,
    Membership,
    Run,
    RunFile,
    RunMetric,
    RunOption,
    RunWait,
    Secret,
    SignInLink,
    Submission,
    Upload,
    UsageSample,
    User,
    WorkerBoot,
)
from tests.factories import (
    make_account,
    make_application,
    make_attempt,
    make_build,
    make_environment,
    make_executable,
    make_instance,
    make_managed_input,
    make_member,
    make_run,
    make_secrets,
    make_user,
    make_version,
)

MODELS = sorted(apps.get_app_config("runs").get_models(), key=lambda model: model.__name__)
LARGE = "large-value-that-no-page-shows"
SECRET = "hash-that-no-page-shows"


@pytest.fixture
def root(db: None) -> Client:
    client = Client()
    client.force_login(make_user("root@example.org", is_staff=True, is_superuser=True))
    return client


def fill(number: int) -> None:
    """A row of every model, with large values and secrets where there is room for them."""
    account = make_account(f"filled-{number}")
    user = make_member(account, "admin")
    application = make_application(account, created_by=user)
    environment = make_environment(requirements=[LARGE])
    make_build(environment, log=LARGE, error=LARGE)
    executable = make_executable(
        application, manifest={"a": LARGE}, environment=environment, uploaded_by=user
    )
    version = make_version(executable, created_by=user)
    instance = make_instance(application, version=version, options={"a": LARGE}, created_by=user)
    managed = make_managed_input(application, created_by=user)
    key = ApiKey.objects.create(
        account=account, name="k", hint="h", hashed=f"{SECRET}{number}", created_by=user
    )
    SignInLink.objects.create(user=user, hashed=f"{SECRET}{number}", expires_at=account.created_at)
    collection = make_secrets(application, {})
    Secret.objects.create(
        collection=collection, kind="env", location="A", encrypted=f"{SECRET}{number}"
    )
    AuditEvent.objects.create(account=account, user=user, verb="did", noun="it")
    Upload.objects.create(account=account, upload_id=f"u{number}", key="k", created_by=user)
    run = make_run(
        application,
        status=Status.RUNNING,
        environment=environment,
        executable=executable,
        version=version,
        instance=instance,
        input_data=managed.input_data,
        managed_input=managed,
        submitted_by=user,
        api_key=key,
        requested_options={"a": LARGE},
        detail=LARGE,
        cloned_from=Run.objects.first(),
    )
    parts: dict[str, Any] = {"account": account, "application": application, "run": run}
    RunOption.objects.create(**parts, name="o", text=LARGE, source="run")
    RunMetric.objects.create(**parts, name="m", number=1.0)
    RunFile.objects.create(run=run, role="stdout", path="stdout", size_bytes=1, key="k")
    Asset.objects.create(
        run=run, asset_id=f"a{number}", number=0, size_bytes=1, key="k", warning=LARGE
    )
    attempt = make_attempt(run, detail=LARGE)
    LogChunk.objects.create(attempt=attempt, first_byte=0, size=1, data=LARGE.encode())
    UsageSample.objects.create(attempt=attempt, at_s=1, cpu_s=1, memory_bytes=1)
    EndedProcess.objects.create(attempt=attempt, pid=2, how="by us", signal="SIGTERM")
    assert attempt.worker is not None
    WorkerBoot.objects.create(worker=attempt.worker, boot_id=f"b{number}")
    LoopLease.objects.create(name=f"loop-{number}")
    RunWait.objects.create(run=make_run(application, hold="runs", open_waits=1), awaited=run)
    Submission.objects.create(account=run.account, api_key=key, digest="0" * 64, run=run)
    Counter.objects.create(name="reaped", label=f"l{number}", value=number)


def list_of(model: type) -> str:
    return reverse(f"admin:runs_{model._meta.model_name}_changelist")


def page_of(row: Any) -> str:
    return reverse(f"admin:runs_{row._meta.model_name}_change", args=[row.pk])


def test_every_model_is_in_the_panel_and_searchable():
    assert {table for table in site._registry if table._meta.app_label == "runs"} == set(MODELS)
    for model, table in site._registry.items():
        assert table.search_fields, model
        assert table.show_full_result_count is False, model


def test_the_panel_is_called_runsite(root: Client):
    assert "Runsite" in root.get("/admin/").content.decode()


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_a_list_makes_no_query_per_row(root: Client, model: type):
    fill(0)
    counts = []
    for number in range(1, 5):
        with CaptureQueriesContext(connection) as queries:
            page = root.get(list_of(model))
        assert page.status_code == 200
        counts.append(len(queries))
        fill(number)
    assert counts[0] == counts[-1] <= 6
    text = page.content.decode()
    assert LARGE not in text
    assert SECRET not in text


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_a_row_opens_without_its_large_values(
    root: Client, model: type, django_assert_max_num_queries
):
    fill(0)
    fill(1)
    row = model._default_manager.order_by("-pk").first()
    assert row is not None, "fill() makes a row of every model"
    with django_assert_max_num_queries(8):
        page = root.get(page_of(row))
    assert page.status_code == 200
    text = page.content.decode()
    assert LARGE not in text
    assert SECRET not in text


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_searching_works(root: Client, model: type):
    fill(0)
    page = root.get(list_of(model), {"q": "no-such-thing"})
    assert page.status_code == 200
    assert "0 results" in page.content.decode()


def test_a_run_is_found_by_its_id_and_cannot_be_changed(root: Client):
    run, _ = make_run(), make_run()
    page = root.get(list_of(Run), {"q": run.run_id}).content.decode()
    assert page.count('class="action-checkbox"') <= 1
    assert run.run_id in page
    assert root.post(page_of(run), {"status": "succeeded"}).status_code == 403
    assert root.get("/admin/runs/run/add/").status_code == 403
    assert root.get(f"/admin/runs/run/{run.pk}/delete/").status_code == 403
    run.refresh_from_db()
    assert run.status == Status.QUEUED


def test_nobody_but_staff_comes_in(client: Client, db: None):
    response = client.get("/admin/runs/run/")
    assert response.status_code == 302
    assert client.get(response["Location"])["Location"] == "/sign-in/?next=%2Fadmin%2Fruns%2Frun%2F"
    client.force_login(make_member(make_account(), "admin"))
    response = client.get("/admin/", follow=True)
    assert response.status_code == 403
    assert "for those who run this console" in response.content.decode()


def test_signing_out_and_the_password_are_the_consoles_own(root: Client):
    assert root.get("/admin/password_change/")["Location"] == "/settings/password/"
    assert root.get("/admin/logout/")["Location"] == "/admin/"
    assert root.get("/admin/").status_code == 200
    assert root.post("/admin/logout/")["Location"] == "/sign-in/"
    assert root.get("/admin/").status_code == 302


def test_staff_without_root_gives_nobody_power(db: None):
    from django.contrib.auth.models import Permission

    staff = make_user("staff@example.org", is_staff=True)
    staff.user_permissions.add(*Permission.objects.filter(codename__endswith="_user"))
    other = make_user("other@example.org")
    client = Client()
    client.force_login(staff)
    response = client.post(
        page_of(other), {"email": "taken@example.org", "name": "New", "is_superuser": "on"}
    )
    assert response.status_code == 302
    other.refresh_from_db()
    assert (other.email, other.name, other.is_superuser) == ("other@example.org", "New", False)


def test_root_switches_a_person_off(root: Client):
    other = make_user("other@example.org")
    root.post(page_of(other), {"email": "Other@Example.org", "name": ""})
    other.refresh_from_db()
    assert (other.email, other.is_active) == ("other@example.org", False)


def test_a_new_person_has_no_password_yet(root: Client):
    root.post("/admin/runs/user/add/", {"email": "New@example.org", "is_active": "on"})
    assert not User.objects.get(email="new@example.org").has_usable_password()


def test_a_new_account_gets_its_first_admin(root: Client):
    root.post("/admin/runs/account/add/", {"slug": "plant", "name": "Plant"})
    account, user = Account.objects.get(slug="plant"), make_user()
    root.post(
        "/admin/runs/membership/add/", {"account": account.pk, "user": user.pk, "role": "admin"}
    )
    assert Membership.objects.get(account=account).user == user


def test_keys_are_revoked_with_a_line_in_the_trail(root: Client):
    account = make_account()
    key = ApiKey.objects.create(account=account, name="k", hint="h", hashed="x")
    root.post(list_of(ApiKey), {"action": "revoke", "_selected_action": [key.pk]})
    key.refresh_from_db()
    assert key.revoked_at is not None
    assert account.audit_events.get().verb == "revoked"


def test_rows_are_counted_to_a_cap(db: None, monkeypatch: pytest.MonkeyPatch):
    for _ in range(4):
        make_account()
    monkeypatch.setattr("runs.admin.site.COUNTED", 3)
    assert BoundedPaginator(Account.objects.order_by("pk"), 50).count == 3
