"""The description of the API, as OpenAPI; with what each operation needs, and real examples."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from django.http import HttpRequest, HttpResponse

from runs.api.auth import Key
from runs.api.examples import EXAMPLES
from runs.api.v1 import api
from runs.domain.roles import PERMISSIONS


def openapi(request: HttpRequest) -> HttpResponse:
    """The whole description; public, as it says nothing that the sources do not."""
    return HttpResponse(_text(), content_type="application/json")


openapi.access = "public"  # type: ignore[attr-defined] # read by the test of all addresses


def document() -> dict[str, Any]:
    """The description as OpenAPI 3.1.

    Beside what the library says, each operation has `x-permission`, `x-role` (the least role that
    has it), `x-ours` where the contract does not know it, and its first sentence as `summary`.
    """
    found: dict[str, Any] = json.loads(json.dumps(api.get_openapi_schema(path_prefix="/v1/")))
    permissions = dict(_permissions())
    for operation in (one for methods in found["paths"].values() for one in methods.values()):
        permission = permissions[operation["operationId"]]
        operation["x-permission"], operation["x-role"] = permission, PERMISSIONS[permission]
        if description := operation.get("description", ""):
            first = " ".join(description.split("\n\n")[0].split())
            operation["summary"] = first.split(". ")[0].rstrip(".")
            operation["x-ours"] = first.endswith(" Ours.")
    schemas = found["components"]["schemas"]
    for name, example in EXAMPLES.items():
        if name in schemas:
            schemas[name]["examples"] = [example]
    return found


def _permissions() -> Iterator[tuple[str, str]]:
    """What each operation needs, by its id."""
    for router in api._get_bound_routers():  # the library says it nowhere else
        for view in router.path_operations.values():
            for operation in view.operations:
                name = operation.operation_id or api.get_openapi_operation_id(operation)
                for check in operation.auth_callbacks:
                    if isinstance(check, Key):
                        yield name, check.permission


@lru_cache(maxsize=1)
def _text() -> str:
    return json.dumps(document())
