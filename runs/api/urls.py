"""The addresses of the API, at the root of the host; none ends in a slash, none redirects."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import path, re_path
from django.views.decorators.csrf import csrf_exempt

from runs.api import errors
from runs.api.openapi import openapi
from runs.api.tickets import ticket_urls
from runs.api.v1 import api


@csrf_exempt
def unknown(request: HttpRequest, rest: str = "") -> HttpResponse:
    """What is at no other address of the API."""
    return errors.not_found(request)


unknown.access = "public"  # type: ignore[attr-defined] # read by the test of all addresses

urlpatterns = [
    path("api/openapi.json", openapi, name="openapi"),
    path("v1/", api.urls),
    *ticket_urls,
    re_path(r"^v[01](?P<rest>/.*)?$", unknown, name="unknown-endpoint"),
]
