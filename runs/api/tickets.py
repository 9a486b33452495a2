"""Bytes by signed address: sent and fetched in pieces, without a key, never shown as a page."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from functools import wraps
from typing import BinaryIO, cast

from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.request import UnreadablePostError
from django.http.response import HttpResponseBase
from django.urls import path, re_path
from django.utils.http import content_disposition_header
from django.views.decorators.csrf import csrf_exempt

from runs.actions.run_archives import archive_of_run
from runs.actions.tickets import check_ticket, receive_upload
from runs.api.errors import error_response, not_found, shown_path, status_of, unexpected
from runs.domain.downloads import POLICY, harmless_type, safe_name, wanted_range
from runs.domain.errors import NotFound, RunsiteError
from runs.storage import ObjectMissing, StorageError, object_store
from runs.storage.tickets import ARCHIVE, OBJECT, UPLOAD

logger = logging.getLogger(__name__)

View = Callable[..., HttpResponseBase]


class UploadBroken(RunsiteError):
    """Fewer bytes came than were announced."""


def _answers(*methods: str) -> Callable[[View], View]:
    """A view of these methods for everybody who has a ticket; every error leaves as JSON."""

    def decorate(view: View) -> View:
        @csrf_exempt
        @wraps(view)
        def answering(request: HttpRequest, **names: str) -> HttpResponseBase:
            if request.method not in methods:
                message = f"This address takes {' and '.join(methods)} only."
                return error_response(405, message, Allow=", ".join(methods))
            try:
                return view(request, **names)
            except RunsiteError as error:
                return error_response(status_of(error), error.message)
            except StorageError as error:
                logger.warning(
                    "the store failed at %s %s: %s", request.method, shown_path(request), error
                )
                return error_response(
                    503, "The store of files cannot be used now. Try again in a minute."
                )
            except Exception as error:
                return unexpected(request, error)

        answering.access = "public"  # type: ignore[attr-defined] # read by the test of all addresses
        return answering

    return decorate


@_answers("PUT")
def ticket_upload(request: HttpRequest, upload_id: str) -> HttpResponseBase:
    """Takes the bytes of one upload, whatever their content type says.

    411 without a length, 413 above the limit: never with Retry-After, the client would repeat it.
    """
    check_ticket(purpose=UPLOAD, subject=upload_id, words=_words(request))
    length = _length(request)
    if length is None:
        return error_response(
            411, "The upload says no length. Send it whole with a Content-Length, not chunked."
        )
    body = cast(BinaryIO, _Body(request, length))
    try:
        upload = receive_upload(upload_id=upload_id, stream=body, length=length)
    except UnreadablePostError:
        raise UploadBroken(
            f"Upload {upload_id} broke off. Nothing was kept; send it again."
        ) from None
    except OSError as error:
        logger.error("upload %s could not be kept: %s", upload_id, error)
        return error_response(
            503,
            f"Upload {upload_id} could not be kept: the disk of the server is full or broken. Tell"
            " the people who run this console.",
        )
    return JsonResponse(
        {"upload_id": upload_id, "size": upload.size_bytes, "sha256": upload.sha256}
    )


@_answers("GET", "HEAD")
def ticket_object(request: HttpRequest, key: str) -> HttpResponseBase:
    """Sends one object as a download, or one range of it; 304 for who has it. No query is made.

    Objects never change, so the key is what the tag is made of.
    """
    ticket = check_ticket(purpose=OBJECT, subject=key, words=_words(request))
    try:
        size = object_store().size(key)
    except ObjectMissing as error:
        raise NotFound(f"`{ticket.name}` is not in the store any more.") from error
    tag = f'"{hashlib.sha256(f"{key} {size}".encode()).hexdigest()[:32]}"'
    response: HttpResponseBase
    if tag in request.headers.get("If-None-Match", ""):
        response = HttpResponse(status=304)
        response["ETag"] = tag
        return _as_download(response, ticket.name, ticket.content_type)
    whole = request.headers.get("If-Range", tag) != tag
    wanted = None if whole else wanted_range(request.headers.get("Range", ""), size)
    if wanted is not None and wanted[0] >= wanted[1]:
        message = f"`{ticket.name}` has {size} bytes, and none of them was asked for."
        return error_response(416, message, **{"Content-Range": f"bytes */{size}"})
    start, end = wanted or (0, size)
    if request.method == "HEAD":
        response = HttpResponse()
    else:
        response = StreamingHttpResponse(object_store().stream(key, start, end - start))
    if wanted:
        response.status_code = 206
        response["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    response["Content-Length"] = str(end - start)
    response["Accept-Ranges"] = "bytes"
    response["ETag"] = tag
    return _as_download(response, ticket.name, ticket.content_type)


@_answers("GET", "HEAD")
def ticket_archive(request: HttpRequest, run_id: str, part: str) -> HttpResponseBase:
    """Sends the files of a run as tar.gz, packed meanwhile: its length is not known before."""
    check_ticket(purpose=ARCHIVE, subject=f"{run_id}/{part}", words=_words(request))
    pieces = archive_of_run(run_id=run_id, part=part)
    # A stream for HEAD as well: an answer without one would get a length of 0.
    response = StreamingHttpResponse(iter(()) if request.method == "HEAD" else pieces)
    response["Accept-Ranges"] = "none"
    return _as_download(response, f"{run_id}-{part}.tar.gz", "application/gzip")


@csrf_exempt
def unknown_ticket(request: HttpRequest, rest: str = "") -> HttpResponse:
    """What is at no other address of tickets."""
    return not_found(request)


unknown_ticket.access = "public"  # type: ignore[attr-defined] # read by the test of all addresses

ticket_urls = [
    path("tickets/uploads/<str:upload_id>", ticket_upload, name="ticket-upload"),
    path("tickets/objects/<path:key>", ticket_object, name="ticket-object"),
    path("tickets/archives/<str:run_id>/<str:part>", ticket_archive, name="ticket-archive"),
    re_path(r"^tickets(?P<rest>/.*)?$", unknown_ticket, name="unknown-ticket"),
]
"""The addresses of tickets, at the root of the host; see `actions.tickets.PATHS`."""


class _Body:
    """The body of a request, of which `length` bytes were announced; fewer are an error."""

    def __init__(self, request: HttpRequest, length: int) -> None:
        self._request = request
        self._length = length
        self._left = length

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes; none at the end only. Raises `UploadBroken` before it."""
        data = self._request.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        if not data and size and self._left:
            raise UploadBroken(
                f"The upload broke off after {self._length - self._left} of {self._length} bytes."
                " Nothing was kept; send it again."
            )
        return data


def _length(request: HttpRequest) -> int | None:
    text = str(request.META.get("CONTENT_LENGTH") or "")
    if request.headers.get("Transfer-Encoding") or not (text.isascii() and text.isdecimal()):
        return None
    return int(text) if len(text) <= 18 else 10**18


def _words(request: HttpRequest) -> dict[str, str]:
    return {name: str(value) for name, value in request.GET.items()}


def _as_download(response: HttpResponseBase, name: str, content_type: str) -> HttpResponseBase:
    clean = safe_name(name)
    response["Content-Type"] = harmless_type(content_type)
    response["Content-Disposition"] = content_disposition_header(True, clean) or "attachment"
    response["Content-Security-Policy"] = POLICY
    response["X-Content-Type-Options"] = "nosniff"
    response["Cache-Control"] = "private, no-cache"
    return response
