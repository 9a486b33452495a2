"""What happens around every view: who asks, headers that protect, errors as pages."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from django.db import DataError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from runs.domain.errors import RunsiteError
from runs.storage import StorageError
from runs.web import errors

GetResponse = Callable[[HttpRequest], HttpResponseBase]

UPLOAD_HEADER = "X-Runsite-Upload"
LOCATION_HEADER = "X-Runsite-Location"

_POLICY = {
    "default-src": "'self'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "frame-src": "'self'",
    "object-src": "'none'",
    "base-uri": "'none'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
}
_PERMISSIONS = ", ".join(
    f"{feature}=()"
    for feature in (
        "accelerometer",
        "browsing-topics",
        "camera",
        "display-capture",
        "geolocation",
        "gyroscope",
        "microphone",
        "midi",
        "payment",
        "usb",
    )
)


class AccountMiddleware:
    """Gives each request the places for who asks; `web.access` fills them when a view needs it.

    Nothing is looked up here, so that health checks and static pages cost no query.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        for name, value in (("account", None), ("membership", None), ("actor", None)):
            setattr(request, name, value)
        request.accounts = []  # type: ignore[attr-defined] # see PersonRequest
        request.role = ""  # type: ignore[attr-defined] # see PersonRequest
        return self.get_response(request)


class SecurityHeadersMiddleware:
    """Adds the headers that keep a page from running or showing what is not ours.

    A view that sets its own Content-Security-Policy (a figure in its frame) keeps it. A page
    that draws figures sets `response.inline_styles = True` or `request.inline_styles = True`:
    Plotly needs inline styles. Inline scripts are allowed nowhere.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if response.status_code == HTTPStatus.NOT_MODIFIED:
            # Its headers replace those that the browser kept, so ours would stand on a page
            # that has its own policy.
            return response
        inline = getattr(request, "inline_styles", False) or getattr(
            response, "inline_styles", False
        )
        response.headers.setdefault("Content-Security-Policy", content_policy(bool(inline)))
        response.headers.setdefault("Referrer-Policy", "same-origin")
        response.headers.setdefault("Permissions-Policy", _PERMISSIONS)
        response.headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        if response.headers.get("Content-Type", "").startswith("text/html"):
            # A shared cache must not keep what a member saw.
            response.headers.setdefault("Cache-Control", "private, no-cache")
        return response


def content_policy(inline_styles: bool) -> str:
    """The Content-Security-Policy of a page of ours."""
    policy = dict(_POLICY)
    if inline_styles:
        policy["style-src"] += " 'unsafe-inline'"
    return "; ".join(f"{name} {sources}" for name, sources in policy.items())


class ErrorPagesMiddleware:
    """Turns domain errors and bare error answers into pages; the innermost middleware.

    It also answers uploads by script: a redirect becomes 200 with `X-Runsite-Location`, since a
    script cannot see where a redirect leads.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if response.status_code in {405, 411} and not response.headers.get("X-Runsite-Error"):
            return errors.plain_status(request, response)
        if request.headers.get(UPLOAD_HEADER) == "1" and 300 <= response.status_code < 400:
            answer = HttpResponse(status=200, content_type="text/plain")
            answer[LOCATION_HEADER] = response.headers.get("Location", "/")
            answer.cookies = response.cookies
            return answer
        return response

    def process_exception(
        self, request: HttpRequest, exception: Exception
    ) -> HttpResponseBase | None:
        """The page of a domain error or of the store; others are left to Django's handlers."""
        if isinstance(exception, DataError) and "NUL" in str(exception):
            # PostgreSQL keeps no zero bytes, so nothing is named with one; SQLite finds nothing.
            message = "The address or the form holds a zero byte. Correct it and send it again."
            return errors.error_response(request, status=400, message=message)
        if isinstance(exception, RunsiteError):
            return errors.error_response(
                request, status=exception.status, message=exception.message
            )
        if isinstance(exception, StorageError):
            return errors.store_failed(request, exception)
        return None
