"""Version 1 of the API: the published client's words exactly."""

from __future__ import annotations

from django.conf import settings
from ninja import NinjaAPI

from runs.api import errors
from runs.api.parsing import JsonParser
from runs.api.v1 import (
    account,
    applications,
    assets,
    elsewhere,
    executables,
    instances,
    logs,
    managed_inputs,
    run_reads,
    runs,
    secrets,
    uploads,
    versions,
)

api = NinjaAPI(
    title="Runsite",
    version=settings.RUNSITE_RELEASE,
    description=(
        "Browse and launch runs of decision apps. The published `nextmv` client (1.13.0) speaks"
        " this API unmodified; what Runsite adds are optional fields and sub-paths."
    ),
    urls_namespace="v1",
    docs_url=None,
    openapi_url=None,
    parser=JsonParser(),
)
errors.install(api)
for _room in (
    applications,
    executables,
    versions,
    instances,
    uploads,  # before runs: `runs/uploadurl` is no run
    runs,
    run_reads,
    logs,
    assets,
    managed_inputs,
    secrets,
    account,
    elsewhere,
):
    api.add_router("", _room.router)
