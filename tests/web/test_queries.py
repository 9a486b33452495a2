"""No page asks more of the database when there is more to show."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from runs.domain.ids import new_id
from runs.domain.status import EndReason, Status
from runs.models import (
    ApiKey,
    Asset,
    Attempt,
    EndedProcess,
    Executable,
    InputFile,
    Membership,
    Run,
    RunEvent,
    RunFile,
    RunMetric,
    RunOption,
    RunWait,
    Secret,
    UsageSample,
    Worker,
    WorkerBoot,
)
from runs.storage import object_store
from tests.factories import (
    make_application,
    make_attempt,
    make_build,
    make_executable,
    make_instance,
    make_managed_input,
    make_member,
    make_queue,
    make_run,
    make_secrets,
    make_user,
    make_version,
    make_worker,
)
from tests.web.conftest import browser_of
from tests.web.test_matrix import PAGES
from tests.web.world import World, make_world, text_of

FEW, MANY = 3, 60
MOST_QUERIES = 10
"""Of any page."""
NOT_PAGES = {
    *("healthz", "readyz", "metrics", "unknown-address", "run-live", "sign-in", "sign-in-link"),
}
SHOWN = [name for name, page in PAGES.items() if page.get and name not in NOT_PAGES]


def grow(world: World, number: int) -> None:
    """Make `number` more of everything that a page lists."""
    account, application = world.account, world.application
    for _ in range(number):
        other = make_application(account)
        make_version(make_executable(other))
        make_run(other, status=Status.SUCCEEDED, value=1.0, submitted_by=make_user())
        executable = make_executable(application)
        version = make_version(executable)
        secrets = make_secrets(application)
        instance = make_instance(application, version=version, secrets=secrets)
        make_instance(application, version=version, secrets=world.secrets)
        Secret.objects.create(
            collection=world.secrets, kind="env", location=new_id(), encrypted="x"
        )
        managed = make_managed_input(application)
        shared: dict[str, Any] = {
            "executable": executable,
            "version": version,
            "instance": instance,
            "input_data": managed.input_data,
            "managed_input": managed,
            "secrets": secrets,
            "submitted_by": make_user(),
        }
        queue = make_queue(account, name=f"q-{new_id()[:8]}", running_limit=1)
        make_run(application, queue=queue, **shared)
        make_run(application, **shared)
        awaited = make_run(application, status=Status.RUNNING, **shared)
        make_attempt(awaited)
        waiting = make_run(application, hold="runs", open_waits=2, **shared)
        RunWait.objects.create(run=waiting, awaited=awaited)
        RunWait.objects.create(run=waiting, awaited=world.run)
        make_run(application, hold="key", concurrency_key="k", **shared)
        unchecked = make_executable(application, state=Executable.WAITING)
        make_run(application, **{**shared, "hold": "executable", "executable": unchecked})
        again = make_run(application, hold="retry", held_until=timezone.now(), **shared)
        make_attempt(again, ended_at=timezone.now(), outcome=EndReason.EXIT_CODE)
        make_run(application, environment=world.executable.environment, **shared)
        lost = make_run(application, status=Status.FAILED, attempt_number=1, **shared)
        worker = make_worker(state=Worker.LOST)
        WorkerBoot.objects.create(worker=worker, boot_id=worker.boot_id)
        make_attempt(lost, worker=worker, ended_at=timezone.now(), outcome=EndReason.WORKER_LOST)
        make_build(world.executable.environment, host=new_id())
        user = make_member(account, "viewer")
        ApiKey.objects.create(
            account=account, name="k", hint=new_id()[:8], hashed=new_id(), created_by=user
        )
        grow_run(world.run)
    application.executable = world.executable
    application.save(update_fields=["executable"])


def grow_run(run: Run) -> None:
    """One more of everything that belongs to a run."""
    number = run.events.count()
    columns = {"account": run.account, "application": run.application, "run": run}
    name, key = f"n{number}", f"runs/{run.run_id}/n{number}"
    object_store().put_bytes(key, b"1")
    RunEvent.objects.create(run=run, kind=RunEvent.NOTED, actor=name, user=make_user())
    RunMetric.objects.create(**columns, name=name, number=1.0, position=number)
    RunOption.objects.create(**columns, name=name, text="1", source="run", position=number)
    RunFile.objects.create(
        run=run, role=RunFile.SOLUTION, number=number, path=name, size_bytes=1, key=key
    )
    InputFile.objects.create(
        input_data=run.input_data, number=number, path=name, size_bytes=1, key=key
    )
    Asset.objects.create(
        run=run,
        asset_id=new_id(),
        number=number,
        name=name,
        label=name,
        schema="plotly" if number % 2 else "",
        figures=1,
        size_bytes=1,
        key=key,
    )
    attempt: Attempt = run.attempts.order_by("number")[0]
    EndedProcess.objects.create(attempt=attempt, pid=number, command="c", how="h", signal="KILL")
    UsageSample.objects.create(attempt=attempt, at_s=number, cpu_s=1, memory_bytes=1, processes=1)
    make_attempt(
        run,
        number=number + 100,
        token=new_id(),
        worker=attempt.worker,
        ended_at=timezone.now() - timedelta(seconds=number),
        outcome=EndReason.WORKER_LOST,
    )


def asked_by(client: Client, world: World) -> dict[str, list[str]]:
    """The queries of each page, in their order."""
    found = {}
    for name in SHOWN:
        page = PAGES[name]
        parts = {
            part: told[1:] if told.startswith("=") else world.names[told]
            for part, told in page.names.items()
        }
        address = reverse(name, kwargs=parts)
        if name == "runs-parts":
            ids = world.account.runs.order_by("-id").values_list("run_id", flat=True)[:50]
            address += "?" + "&".join(f"run={run_id}" for run_id in ids)
        with CaptureQueriesContext(connection) as queries:
            response: Any = client.get(address)
            text_of(response)
        assert response.status_code == page.shown, (name, response.status_code)
        found[name] = [query["sql"] for query in queries.captured_queries]
    return found


@pytest.mark.django_db
def test_every_page_asks_as_little_of_many_rows_as_of_few(settings: Any, tmp_path: Any) -> None:
    settings.RUNSITE_DATA_DIR = tmp_path
    world = make_world("demo", "Quokka7731")
    user = make_user("root@roles.example", is_superuser=True)
    Membership.objects.create(account=world.account, user=user, role="admin")
    client = browser_of(user)
    grow(world, FEW)
    asked_by(client, world)  # what a process keeps from its first requests
    few = asked_by(client, world)
    grow(world, MANY - FEW)
    many = asked_by(client, world)
    more = {
        name: (len(few[name]), len(many[name]), many[name])
        for name in SHOWN
        if len(many[name]) > len(few[name])
    }
    assert {name: counts[:2] for name, counts in more.items()} == {}, more
    assert {name: len(asked) for name, asked in many.items() if len(asked) > MOST_QUERIES} == {}
