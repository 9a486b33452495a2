"""Sees to it that nothing but JSON leaves the API, whatever answered, and no redirect."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from runs.api.errors import error_response, too_large

PREFIXES = ("/v1", "/v0", "/api", "/tickets")
_WORDS = {
    400: "The request cannot be read. Look at its address, host and headers.",
    404: "Nothing is at this address. docs/api.md and /api/openapi.json list what there is.",
    405: "This address does not take {method}.",
    503: "The console cannot answer now. Try again in a minute.",
}


class ApiMiddleware:
    """Turns whatever is no JSON below the addresses of the API into the error of the contract."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if not is_api(request.path_info):
            return response
        response = self._as_json(request, response)
        # Whoever asks with a key gets what is for that key alone; a download says so itself.
        response.headers.setdefault("Cache-Control", "private, no-store")
        return response

    @staticmethod
    def _as_json(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if response.status_code < 300:
            return response
        if response.headers.get("Content-Type", "").startswith("application/json"):
            return response
        status = response.status_code
        if status < 400 and status != HTTPStatus.NOT_MODIFIED:
            status = 404  # a client would repeat the request in another form
        if status == 413:
            return too_large()
        if status == HTTPStatus.NOT_MODIFIED:
            return response
        words = _WORDS.get(status, "This did not work; the log of the server says why.")
        answer = error_response(status, words.format(method=request.method))
        if allowed := response.headers.get("Allow"):
            answer["Allow"] = allowed
        return answer


def is_api(path: str) -> bool:
    """Whether this path belongs to the API; with slashes doubled at its begin as well."""
    path = f"/{path.lstrip('/')}"
    return any(path == prefix or path.startswith(f"{prefix}/") for prefix in PREFIXES)
