"""Every error of the API leaves through `error_response`: one short JSON object for people.

The published client shows the body of 400, 409, 413 and 422 as it is; of 401, 403, 404 and 429 its
command line shows a sentence of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, cast

from django.core.exceptions import RequestDataTooBig
from django.db import DataError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.utils.encoding import escape_uri_path
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError

from runs.domain.errors import (
    NothingPushed,
    QueueFull,
    RunsiteError,
    Taken,
    TooManyAttempts,
)
from runs.health import is_database_away
from runs.storage import ObjectMissing, StorageError

logger = logging.getLogger(__name__)

LONGEST_MESSAGE = 4000
_NO_KEY = (
    "The API key is missing or wrong. Send it as `Authorization: Bearer KEY`; keys are made in the"
    " settings of the account, and a revoked one is wrong as well."
)
_NOTHING = "Nothing is at this address. docs/api.md and /api/openapi.json list what there is."
_BROKEN = "Something broke on our side. The log of the server says what; try again."
_AWAY = "The database does not answer now. Try again in a minute."


def error_response(status: int, message: str, **headers: str) -> HttpResponse:
    """The answer to a request that did not work; `message` names the thing and the remedy."""
    body = {"error": message[:LONGEST_MESSAGE], "status": status}
    return JsonResponse(body, status=status, headers=headers)


def status_of(error: RunsiteError) -> int:
    """The status that the contract wants: what a body names wrongly is 400, a taken id 409."""
    if isinstance(error, Taken):
        return 409
    if isinstance(error, NothingPushed):
        return 400
    return 400 if error.status == 422 else error.status


def install(api: NinjaAPI) -> None:
    """Give the API our answers to every kind of error."""

    @api.exception_handler(RunsiteError)
    def on_ours(request: HttpRequest, error: RunsiteError) -> HttpResponse:
        if isinstance(error, QueueFull):
            # Over https the client tries ten times; without a time it would wait for minutes.
            return error_response(error.status, error.message, **{"Retry-After": "1"})
        if isinstance(error, TooManyAttempts):
            return error_response(error.status, error.message, **{"Retry-After": "5"})
        return error_response(status_of(error), error.message)

    @api.exception_handler(ValidationError)
    def on_invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
        return error_response(400, invalid_words(error.errors))

    @api.exception_handler(AuthenticationError)
    def on_unknown(request: HttpRequest, error: AuthenticationError) -> HttpResponse:
        return error_response(401, _NO_KEY, **{"WWW-Authenticate": "Bearer"})

    @api.exception_handler(HttpError)
    def on_http(request: HttpRequest, error: HttpError) -> HttpResponse:
        if isinstance(error.__cause__, RequestDataTooBig):
            return too_large()
        if problem := getattr(request, "body_problem", ""):
            return error_response(400, problem)
        return error_response(error.status_code, str(error))

    @api.exception_handler(RequestDataTooBig)
    def on_large(request: HttpRequest, error: RequestDataTooBig) -> HttpResponse:
        return too_large()

    @api.exception_handler(Http404)
    def on_missing(request: HttpRequest, error: Http404) -> HttpResponse:
        return error_response(404, str(error) or _NOTHING)

    @api.exception_handler(StorageError)
    def on_store(request: HttpRequest, error: StorageError) -> HttpResponse:
        logger.warning("the store failed at %s %s: %s", request.method, shown_path(request), error)
        if isinstance(error, ObjectMissing):
            return error_response(404, "This file is not in the store any more.")
        return error_response(503, "The store of files cannot be used now. Try again in a minute.")

    @api.exception_handler(Exception)
    def on_other(request: HttpRequest, error: Exception) -> HttpResponse:
        return unexpected(request, error)


def unexpected(request: HttpRequest, error: Exception) -> HttpResponse:
    """The answer to what we did not foresee; the log has the rest."""
    if isinstance(error, UnicodeEncodeError) or (
        isinstance(error, DataError | ValueError) and "NUL" in str(error)
    ):
        text = "A text of the request holds a zero byte or half a character. Remove it."
        return error_response(400, text)
    if is_database_away(error):
        logger.warning(
            "the database failed at %s %s: %s", request.method, shown_path(request), error
        )
        return error_response(503, _AWAY)
    logger.error("error at %s %s", request.method, shown_path(request), exc_info=error)
    return error_response(500, _BROKEN)


def shown_path(request: HttpRequest) -> str:
    """The path for a line of the log: with escapes, so that nobody writes a line of their own."""
    return escape_uri_path(request.path)


def not_found(request: HttpRequest) -> HttpResponse:
    """The answer at an address that the API does not have."""
    return error_response(404, _NOTHING)


def too_large() -> HttpResponse:
    """The answer to a body above the limit; never with Retry-After, the client would repeat it."""
    return error_response(
        413,
        "The body of the request is larger than 8 MiB. Send large inputs by an upload:"
        " POST …/runs/uploadurl gives the address.",
    )


def invalid_words(errors: Sequence[Any]) -> str:
    """What does not fit a schema, in one sentence for each place; the first five places."""
    words = []
    for one in cast("Sequence[dict[str, Any]]", errors)[:5]:
        place = [str(part) for part in one.get("loc", ())]
        # The first two are where it stands and the name of our parameter.
        where = ".".join(place[2:] if place[:1] == ["body"] else place[1:]) or "body"
        text = str(one.get("msg", "cannot be used")).rstrip(".")
        words.append(f"`{where}`: {text[:1].lower()}{text[1:]}")
    more = len(errors) - 5
    return "; ".join(words) + (f"; and {more} more" if more > 0 else "") + "."
