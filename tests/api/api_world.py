"""An account with one of everything that the API shows, each with a marker in its words.

What is pushed and uploaded goes through the API itself, so the bytes are in the store.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from runs.domain.status import Status
from runs.models import Account, Instance, Run
from runs.storage import object_store
from tests.api.conftest import Program
from tests.api.pushing import push, upload
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


def make_api_world(slug: str = "demo", marker: str = MARKER) -> ApiWorld:
    """The account of `make_world` with what only the API has: pushes, uploads, tracked runs."""
    web = make_world(slug, marker)
    account, application = web.account, web.application
    admin = Program(account, "admin")
    app_id = application.application_id
    assert push(admin, app_id).status_code == 200
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
        "upload_id": upload(admin, app_id, data),
        "empty_upload": admin.send("POST", f"/v1/applications/{app_id}/runs/uploadurl").json()[
            "upload_id"
        ],
    }
    return ApiWorld(account, web, admin, names, _tickets(admin, app_id, names))


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
