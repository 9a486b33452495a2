"""The account over the API: what runs and waits, and who belongs to it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from nextmv.cloud import Client
from nextmv.cloud.account import Account as PublishedAccount
from nextmv.cloud.account import Queue as PublishedQueue

from runs.api.v1 import account as module
from runs.domain.status import Status
from runs.models import Account
from tests.api.conftest import Program
from tests.api.golden import check_golden
from tests.factories import (
    make_application,
    make_executable,
    make_instance,
    make_member,
    make_queue,
    make_run,
    make_version,
)

URL = "/v1/account/queue"


def test_the_queue_has_what_runs_and_waits_in_order(account: Account, program: Program):
    application = make_application(account, application_id="routing")
    version = make_version(make_executable(application), version_id="v1")
    instance = make_instance(application, instance_id="prod", version=version)
    last = make_run(application, name="last", priority=9)
    first = make_run(
        application,
        name="first",
        description="d",
        priority=1,
        instance=instance,
        version=version,
        queue=make_queue(account, name="gpu"),
        submitted_by=program.maker,
    )
    now = timezone.now()
    older = make_run(application, name="older", status=Status.RUNNING, created_at=now)
    newer = make_run(
        application, name="newer", status=Status.RUNNING, created_at=now + timedelta(seconds=1)
    )
    make_run(application, status=Status.SUCCEEDED)
    make_run()
    answer = program.get(URL)
    names = [newer.run_id, older.run_id, first.run_id, last.run_id]
    assert [run["id"] for run in answer["runs"]] == names
    check_golden("queue", answer, person=program.maker.email)
    published = PublishedQueue.from_dict(answer)
    assert [run.status_v2.value for run in published.runs] == [
        "running",
        "running",
        "queued",
        "queued",
    ]


def test_the_queue_is_bounded_and_costs_four_queries(
    account: Account, program: Program, monkeypatch, django_assert_max_num_queries
):
    application = make_application(account)
    for status in (Status.RUNNING, Status.QUEUED, Status.QUEUED, Status.QUEUED):
        make_run(application, status=status)
    monkeypatch.setattr(module, "MOST_QUEUED", 3)
    with django_assert_max_num_queries(4):
        shown = program.get(URL)["runs"]
    assert [run["status_v2"] for run in shown] == ["running", "queued", "queued"]


def test_an_empty_account_has_an_empty_queue(program: Program):
    assert program.get(URL) == {"runs": []}


def test_the_organization_is_the_account_with_its_members(account: Account, program: Program):
    account.name = "Vans"
    account.save()
    make_member(account, "viewer", "ann@example.org")
    answer = program.get(f"/v1/organization/{account.slug}")
    check_golden("organization", answer, person=program.maker.email, slug=account.slug)
    client = Client(api_key="none", url="http://127.0.0.1:9")
    published = PublishedAccount.from_dict({"client": client, **answer})
    assert published.members is not None
    assert published.members[1].email == "ann@example.org"


def test_other_organizations_are_not_there(program: Program, db):
    theirs = make_application().account
    for name in (theirs.slug, "none", str(program.account.pk)):
        assert program.send("GET", f"/v1/organization/{name}").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/organization", {"name": "New", "admins": ["ann@example.org"]}),
        ("PUT", "/v1/organization/{slug}", {"name": "New"}),
        ("DELETE", "/v1/organization/{slug}", None),
    ],
)
def test_accounts_are_not_changed_by_a_key(account: Account, method, path, body):
    program = Program(account, "admin")
    answer = program.send(method, path.format(slug=account.slug), body)
    assert answer.status_code == 403
    assert "by the API" in answer.json()["error"]
    account.refresh_from_db()
    assert account.name != "New"
