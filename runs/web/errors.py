"""Errors as people see them: one page, one fragment, one JSON shape."""

from __future__ import annotations

import logging
import sys
from typing import Any

from django.core.exceptions import RequestDataTooBig, TooManyFieldsSent, TooManyFilesSent
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.html import format_html

from runs.health import is_database_away
from runs.storage import ObjectMissing, StorageError
from runs.web.access import load_person, public, wants_page

logger = logging.getLogger(__name__)

TITLES = {
    400: "This request cannot be used",
    403: "Not allowed",
    404: "Not found",
    405: "Not possible here",
    409: "Not in this state",
    411: "Length missing",
    413: "Too large",
    422: "Cannot be used",
    429: "Too many attempts",
    500: "Something broke on our side",
    503: "Not available now",
}
_NOT_FOUND = (
    "Nothing of this account is at this address. It may have been deleted, or it belongs to "
    "another account: switch the account, or start from a list."
)
_BROKEN = (
    "The error was written to the log of the server. Try again; if it happens again, tell "
    "the people who run this console the time and the address of this page."
)
_DATABASE_AWAY = (
    "The database does not answer now. Try again in a minute: runs under way go on, and what "
    "they produce is recorded when it is back."
)


def error_response(request: HttpRequest, *, status: int, message: str) -> HttpResponse:
    """An error as the asking side can show it: a toast for htmx, JSON, or a page."""
    title = TITLES.get(status, "This did not work")
    if request.headers.get("HX-Request") == "true":
        response = HttpResponse(
            render_to_string("_toast.html", {"level": "error", "text": message}), status=status
        )
        # Beside the others, in place of the part that was asked for.
        response["HX-Retarget"] = "#toasts"
        response["HX-Reswap"] = "beforeend"
    elif not wants_page(request):
        response = JsonResponse({"error": message}, status=status)
    else:
        response = _page(request, {"status": status, "title": title, "message": message})
    response["X-Runsite-Error"] = str(status)
    return response


def plain_status(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    """A page in place of an answer that has a status and no words (405, 411)."""
    if getattr(response, "content", b"") and request.method != "HEAD":
        return response
    if response.status_code == 405:
        message = f"This address does not take {request.method}. Go back and use the page's form."
    else:
        message = "The request says no length. Send it with a Content-Length."
    answer = error_response(request, status=response.status_code, message=message)
    if allowed := response.headers.get("Allow"):
        answer["Allow"] = allowed
    return answer


@public
def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Handler for 400; also for forms above the limits, which are 413."""
    if isinstance(exception, RequestDataTooBig):
        message = "The form holds more text than is accepted. Send large inputs as files."
        return error_response(request, status=413, message=message)
    if isinstance(exception, TooManyFilesSent | TooManyFieldsSent):
        message = "The form holds too many files or fields. Send a folder as one archive."
        return error_response(request, status=413, message=message)
    message = "The browser sent something that this console cannot read. Go back and try again."
    return error_response(request, status=400, message=message)


@public
def permission_denied(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Handler for 403."""
    message = str(exception) or "Your role does not permit this. Ask an admin of the account."
    return error_response(request, status=403, message=message)


@public
def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer to a form whose proof of origin is missing or old."""
    logger.info("form refused at %s: %s", request.path, reason)
    message = (
        "The form was older than your session, or cookies are off. "
        "Go back, reload the page and send it again."
    )
    return error_response(request, status=403, message=message)


@public
def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Handler for 404."""
    text = str(exception) if exception and exception.args else ""
    # Django's own texts name classes and patterns; ours are sentences.
    message = text if text.endswith(".") and "matches the given query" not in text else _NOT_FOUND
    return error_response(request, status=404, message=message)


def store_failed(request: HttpRequest, error: StorageError) -> HttpResponse:
    """The answer when a file cannot be had: 404 for one that is gone, else 503."""
    logger.warning("the store failed at %s %s: %s", request.method, request.path, error)
    if isinstance(error, ObjectMissing):
        message = (
            "A file of this page is not in the store any more. It was removed there, or the store "
            "was restored from an older copy; the other pages go on."
        )
        return error_response(request, status=404, message=message)
    message = "The store of files cannot be used now. Try again in a minute."
    return error_response(request, status=503, message=message)


@public
def server_error(request: HttpRequest) -> HttpResponse:
    """Handler for 500: logs the error with the path and the run, and shows no detail.

    A database that is away is 503: nobody's fault here, and runs go on without it.
    """
    error = sys.exc_info()[1]
    if is_database_away(error):
        logger.warning("the database failed at %s %s: %s", request.method, request.path, error)
        status, message = 503, _DATABASE_AWAY
    else:
        match = getattr(request, "resolver_match", None)
        run_id = match.kwargs.get("run_id", "") if match else ""
        logger.exception("error at %s %s (run %s)", request.method, request.path, run_id or "none")
        status, message = 500, _BROKEN
    try:
        response = error_response(request, status=status, message=message)
    except Exception:  # whatever broke may break the page as well
        logger.exception("the error page could not be made")
        response = HttpResponse(
            format_html("<!doctype html><title>Error</title><p>{}</p>", message), status=status
        )
    response._has_been_logged = True  # type: ignore[attr-defined] # Django would log it again
    return response


def _page(request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
    try:
        load_person(request)
    except Exception as error:  # the database may be what is broken; the page needs no person
        known = None if is_database_away(error) else error
        logger.warning("who asks could not be found for an error page", exc_info=known)
        request.user = None  # type: ignore[assignment] # base.html then draws no menu
    return render(request, "errors/error.html", context, status=context["status"])
