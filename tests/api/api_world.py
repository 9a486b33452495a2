"""An account with one of everything that the API shows, each with a marker in its words.

What is pushed and uploaded goes through the API itself, so the bytes are in the store.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.test import Client
from django.test.client import ClientHandler

from runs.domain.status import Status
from runs.models import Account, Instance, Run
from runs.storage import object_store
from tests.actions.applying import app_files, tar_bytes
from tests.api.conftest import Program
from tests.api.pushing import REQUIREMENTS
from tests.factories import (
    make_application,
    make_instance,
    make_run,
    make_secrets,
    make_tracked_run,
    make_version,
)
from tests.web.world import World, make_world

MARKER = "Zebrafinch"
"""Stands in every text of the first account, and nowhere else."""


@dataclass(frozen=True)
class ApiWorld:
    """What there is: `names` has a value for each part of an address, and for ids in bodies."""

    account: Account
    web: World
    admin: Program
    names: dict[str, str]
    tickets: dict[str, str]
    """Signed addresses of each kind, by what they are for."""


@lru_cache(maxsize=1)
def _handler() -> ClientHandler:
    return ClientHandler(enforce_csrf_checks=False)


def make_client(**words: Any) -> Client:
    """A client that answers 500 for what breaks, as a server does.

    All share their middleware: each would read the list of static files when it first asks.
    """
    client = Client(raise_request_exception=False, **words)
    client.handler = _handler()
    return client


def make_program(account: Account, role: str = "developer") -> Program:
    """A program as of `conftest`, with a client of the others."""
    program = Program(account, role)
    program.client = make_client(headers={"authorization": f"Bearer {program.secret}"})
    return program


def make_api_world(slug: str = "demo", marker: str = MARKER) -> ApiWorld:
    """The account of `make_world` with what only the API has: pushes, uploads, tracked runs."""
    web = make_world(slug, marker)
    account, application = web.account, web.application
    # The run that has ended shows the JSON that it wrote, and the whole of its input.
    Run.objects.filter(pk=web.run.pk).update(result_kind="json")
    assert web.run.input_data is not None
    file = web.run.input_data.files.get()
    file.size_bytes = object_store().size(file.key)
    file.save()
    admin = make_program(account, "admin")
    app_id = application.application_id
    _push(admin, app_id)
    tracked = make_tracked_run(
        application,
        name=marker,
        output=json.dumps({"solution": marker}).encode(),
        log=f"{marker}\n".encode(),
        assets=json.dumps([{"name": marker, "content": {"a": marker}}]).encode(),
        metrics=json.dumps({marker: 1}).encode(),
    )
    # Spare ones, which nothing needs: they can be deleted.
    spare = make_application(account, application_id=f"spare-{slug}", name=marker)
    version = make_version(application.executables.order_by("-pk")[0], version_id=f"v2-{slug}")
    make_instance(application, instance_id=f"spare-{slug}", name=marker)
    make_secrets(application, collection_id=f"spare-{slug}", name=marker)
    succeeded = _succeeded(web, marker)
    data = json.dumps({"data": marker}).encode()
    names = {
        **web.names,
        "app_id": app_id,
        "organization_id": account.slug,
        "integration_id": "x-1",
        "thing_id": "x-1",
        "asset_id": web.run.assets.get().asset_id,
        "spare_app": spare.application_id,
        "spare": f"spare-{slug}",
        "spare_version": version.version_id,
        "tracked": tracked.run_id,
        "succeeded": succeeded.run_id,
        "upload_id": _upload(admin, app_id, data),
        "empty_upload": _upload(admin, app_id, None),
    }
    return ApiWorld(account, web, admin, names, _tickets(admin, app_id, names))


def _push(program: Program, app_id: str) -> None:
    """An executable, sent and activated as the client does it."""
    address = program.get(f"/v1/applications/{app_id}/binary")["upload_url"]
    _send(address, tar_bytes(app_files()))
    body = {"requirements": REQUIREMENTS}
    answer = program.send("PUT", f"/v1/applications/{app_id}/binary", body)
    assert answer.status_code == 200, answer.content


def _upload(program: Program, app_id: str, data: bytes | None) -> str:
    """The id of an upload of these bytes, or of one that was never filled."""
    answer = program.send("POST", f"/v1/applications/{app_id}/runs/uploadurl")
    assert answer.status_code == 201, answer.content
    if data is not None:
        _send(answer.json()["upload_url"], data)
    return str(answer.json()["upload_id"])


def _send(address: str, data: bytes) -> None:
    answer = make_client().generic("PUT", path_of(address), data)
    assert answer.status_code == 200, answer.content


def _succeeded(web: World, marker: str) -> Run:
    """A run of the folder format that has ended well."""
    run = make_run(
        web.application,
        status=Status.SUCCEEDED,
        name=marker,
        executable=web.executable,
        input_format="multi-file",
        output_format="multi-file",
        warnings=[marker],
        requested_options={"vehicles": 3},
    )
    object_store().put_bytes(f"runs/{run.run_id}/a.csv", marker.encode())
    run.files.create(
        role="solution", path="a.csv", size_bytes=len(marker), key=f"runs/{run.run_id}/a.csv"
    )
    return run


def _tickets(program: Program, app_id: str, names: dict[str, str]) -> dict[str, str]:
    """A signed address of each kind, as the API hands them out."""
    root = f"/v1/applications/{app_id}"
    runs = f"{root}/runs"
    asset = f"{runs}/{names['run_id']}/assets/{names['asset_id']}"
    return {
        "push": program.get(f"{root}/binary")["upload_url"],
        "upload": program.send("POST", f"{runs}/uploadurl").json()["upload_url"],
        "input": program.get(f"{runs}/{names['run_id']}/input", format="url")["url"],
        "output": program.get(f"{runs}/{names['run_id']}/output", format="url")["url"],
        "tracked output": program.get(f"{runs}/{names['tracked']}/output", format="url")["url"],
        "archive": program.get(f"{runs}/{names['succeeded']}/output", format="url")["url"],
        "archive of input": program.get(f"{runs}/{names['succeeded']}/input", format="url")["url"],
        "asset": program.get(asset)["download_url"],
    }


def path_of(address: str) -> str:
    """An absolute address of the test server without scheme and host."""
    path = address.removeprefix("http://testserver")
    assert path != address
    return path


def text_of(answer: Any) -> str:
    """Everything that an answer says: its headers and its bytes."""
    body = b"".join(answer.streaming_content) if answer.streaming else answer.content
    head = "\n".join(f"{name}: {value}" for name, value in answer.headers.items())
    return f"{head}\n{body.decode('utf-8', 'replace')}"


def instance_of(world: ApiWorld) -> Instance:
    """The instance that the world is asked about."""
    return world.web.application.instances.get(instance_id=world.names["instance_id"])
