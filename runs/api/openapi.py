"""The description of the API, as OpenAPI."""

from __future__ import annotations

import json
from functools import lru_cache

from django.http import HttpRequest, HttpResponse

from runs.api.v1 import api


def openapi(request: HttpRequest) -> HttpResponse:
    """The whole description; public, as it says nothing that the sources do not."""
    return HttpResponse(_document(), content_type="application/json")


openapi.access = "public"  # type: ignore[attr-defined] # read by the test of all addresses


@lru_cache(maxsize=1)
def _document() -> str:
    return json.dumps(api.get_openapi_schema(path_prefix="/v1/"))
