"""An account with one of everything, each with a marker in its words and bytes."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.core.signals import request_finished
from django.db import close_old_connections
from django.utils import timezone

from runs.domain.ids import new_id
from runs.domain.manifest import manifest_to_json, parse_manifest
from runs.domain.status import EndReason, Status
from runs.storage import keys, object_store
from tests.factories import (
    make_account,
    make_application,
    make_attempt,
    make_build,
    make_environment,
    make_executable,
    make_input,
    make_instance,
    make_managed_input,
    make_member,
    make_queue,
    make_run,
    make_secrets,
    make_version,
)

if TYPE_CHECKING:
    from runs.models import Account, Application, Executable, Run, SecretsCollection

SECRET = "a-value-that-nobody-sees"
"""Part of every value of a secret: no answer to anybody holds it."""
MANIFEST = """
files: [main.py]
configuration:
  content: {{format: json}}
  options:
    items:
      - {{name: vehicles, option_type: int, default: 4, description: {marker},
         ui: {{control_type: slider}}, additional_attributes: {{min: 1, max: 12, step: 1}}}}
      - {{name: gap, option_type: float, default: 1.0, ui: {{control_type: select}},
         additional_attributes: {{values: [0, 0.5, 1]}}}}
      - {{name: verbose, option_type: bool, default: true, ui: {{control_type: toggle}}}}
      - {{name: label, option_type: string, ui: {{control_type: input}}}}
"""


@dataclass(frozen=True)
class World:
    """What `make_world` made; the ids hold no marker, everything else does."""

    account: Account
    marker: str
    application: Application
    executable: Executable
    run: Run
    running: Run
    queued: Run
    secrets: SecretsCollection
    names: dict[str, str]
    """A value for each part of an address and each field that names a thing."""


def make_world(slug: str, marker: str) -> World:
    """An account `slug` that has one of everything."""
    from runs.models import ApiKey, SignInLink

    account = make_account(slug, name=f"{marker} Ltd")
    owner = make_member(account, "admin", f"owner@{slug}.example", name=f"Owner {marker}")
    application = make_application(
        account,
        application_id=f"routing-{slug}",
        name=f"Routing {marker}",
        description=f"About {marker}",
    )
    executable = _executable(application, marker)
    version = make_version(executable, version_id=f"v1-{slug}", name=marker, description=marker)
    secrets = make_secrets(
        application,
        {"API_KEY": f"{marker}-{SECRET}", "keys/a.json": f"{marker}-{SECRET}-file"},
        collection_id=f"secrets-{slug}",
        name=marker,
        description=marker,
    )
    instance = make_instance(
        application,
        instance_id=f"day-{slug}",
        name=marker,
        version=version,
        description=marker,
        secrets=secrets,
    )
    input_data = make_input(account)
    file = input_data.files.get()
    object_store().put_bytes(file.key, json.dumps({"input": marker}).encode())
    managed = make_managed_input(
        application,
        input_id=f"input-{slug}",
        input_data=input_data,
        name=marker,
        description=marker,
    )
    night = make_queue(account, name=f"night-{slug}", paused_by=marker, paused_at=timezone.now())
    # A member more who can be given another role, or taken away.
    make_member(account, "viewer", f"member@{slug}.example", name=f"Member {marker}")
    ApiKey.objects.create(account=account, name=marker, hint=f"key{slug}"[:16], hashed=new_id() * 2)
    SignInLink.objects.create(
        user=owner, hashed=new_id(), expires_at=timezone.now() + timedelta(hours=1)
    )
    shared = {
        "name": f"Run {marker}",
        "description": marker,
        "executable": executable,
        "version": version,
        "instance": instance,
        "environment": executable.environment,
        "input_data": input_data,
        "managed_input": managed,
        "submitted_by": owner,
        "secrets": secrets,
    }
    run = _ended_run(application, marker, **shared)
    running = make_run(application, status=Status.RUNNING, **shared)
    make_attempt(running)
    queued = make_run(application, queue=night, **shared)
    key = executable.environment.key if executable.environment else ""
    return World(
        account=account,
        marker=marker,
        application=application,
        executable=executable,
        run=run,
        running=running,
        queued=queued,
        secrets=secrets,
        names={
            "application_id": application.application_id,
            "version_id": version.version_id,
            "instance_id": instance.instance_id,
            "input_id": managed.input_id,
            "collection_id": secrets.collection_id,
            "key": key,
            "run_id": run.run_id,
            "running": running.run_id,
            "queued": queued.run_id,
            "queue": night.name,
            "hint": f"key{slug}"[:16],
            "member": f"member@{slug}.example",
            "input_key": input_data.input_key,
            "slug": slug,
        },
    )


def text_of(response: Any) -> str:
    """What an answer says; of a stream that has no end, nothing. It is closed afterwards."""
    if not response.streaming:
        return str(response.content.decode("utf-8", "replace"))
    if response.headers.get("Content-Type") != "text/event-stream":
        return b"".join(response.streaming_content).decode("utf-8", "replace")
    # As the test client does it: the transaction of the test must stay open.
    request_finished.disconnect(close_old_connections)
    try:
        response.close()
    finally:
        request_finished.connect(close_old_connections)
    return ""


def _executable(application: Application, marker: str) -> Executable:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("main.py", b"print('{}')\n")
        archive.writestr("input.json", json.dumps({"sample": marker}))
    key = f"executables/{new_id()}/archive"
    object_store().put_bytes(key, packed.getvalue())
    environment = make_environment(requirements=[f"{marker}==1"])
    make_build(environment, log=f"Building {marker}", state="failed", error=marker)
    return make_executable(
        application,
        archive_key=key,
        manifest=manifest_to_json(parse_manifest(MANIFEST.format(marker=marker))),
        environment=environment,
        warnings=[marker],
    )


def _ended_run(application: Application, marker: str, **fields: object) -> Run:
    """A failed run with files, assets, metrics, options, a log and a history."""
    from runs.models import Asset, EndedProcess, RunEvent, RunFile, RunMetric, RunOption

    run = make_run(
        application,
        status=Status.FAILED,
        attempt_number=1,
        error=f"exit code 3: {marker}",
        detail=marker,
        warnings=[marker],
        result_kind="object",
        **fields,
    )
    log = f"{marker} begins\nline two\n".encode() * 20
    attempt = make_attempt(
        run,
        ended_at=run.ended_at,
        outcome=EndReason.EXIT_CODE,
        error=marker,
        detail=marker,
        log_bytes=len(log),
        log_lines=40,
        log_key=keys.log(run.run_id, 1),
    )
    store = object_store()
    store.put_bytes(attempt.log_key, log)
    EndedProcess.objects.create(attempt=attempt, pid=7, command=marker, how="held", signal="KILL")
    result = json.dumps({"solution": marker, "rows": [{"a": 1, "b": marker}]}).encode()
    for role in (RunFile.STDOUT, RunFile.SOLUTION):
        key = f"runs/{run.run_id}/{role}"
        store.put_bytes(key, result)
        RunFile.objects.create(
            run=run, role=role, path=f"{marker}.json", size_bytes=len(result), key=key
        )
    figure = json.dumps([{"data": [{"type": "bar", "x": [marker], "y": [1]}]}]).encode()
    asset_key = keys.asset(run.run_id, 1, 0)
    store.put_bytes(asset_key, figure)
    Asset.objects.create(
        run=run,
        asset_id=new_id(),
        number=0,
        name=marker,
        label=marker,
        schema="plotly",
        figures=1,
        content_type="json",
        size_bytes=len(figure),
        key=asset_key,
    )
    columns = {"account": run.account, "application": application, "run": run}
    RunMetric.objects.create(**columns, name=marker, text=marker, number=1.0)
    RunOption.objects.create(**columns, name=marker, text=marker, short=marker, source="run")
    RunEvent.objects.create(run=run, kind=RunEvent.NOTED, actor=marker, text=marker)
    return run
