"""Sends bytes that programs wrote: always as downloads, in pieces, never as a page of ours."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_safe

from runs.actions.logs import log_end, stream_log
from runs.actions.outputs import zip_files
from runs.domain.downloads import POLICY, safe_name, type_by_name, wanted_range
from runs.domain.errors import NotFound
from runs.models import Asset, InputData, InputFile, RunFile
from runs.storage import ObjectMissing, object_store
from runs.web.access import AccountRequest, member
from runs.web.run_pages import attempt_of, find_run


@member("view")
@require_safe
def run_file(request: AccountRequest, run_id: str, role: str, number: int) -> HttpResponseBase:
    """One result file of a run."""
    run = find_run(request, run_id)
    known = role in {name for name, _ in RunFile.ROLES}
    rows = RunFile.objects.filter(run=run, role=role, number=number)
    file = rows.first() if known else None
    if file is None:
        raise NotFound(f"Run {run_id} has no file {number} of this kind.")
    name = f"{run.run_id}-{file.path}" if role != RunFile.SOLUTION else file.path
    return send_object(request, file.key, name)


@member("view")
@require_safe
def run_output_download(request: AccountRequest, run_id: str) -> HttpResponseBase:
    """All solution files as one zip."""
    run = find_run(request, run_id)
    files = RunFile.objects.filter(run=run, role=RunFile.SOLUTION).order_by("number")
    if not files.exists():
        raise NotFound(f"Run {run_id} has no solution files.")
    return send_stream(zip_files(files.iterator(500)), f"{run.run_id}-output.zip")


@member("view")
@require_safe
def run_asset(request: AccountRequest, run_id: str, number: int) -> HttpResponseBase:
    """The content of an asset as JSON."""
    run = find_run(request, run_id)
    asset = Asset.objects.filter(run=run, number=number).first()
    if asset is None:
        raise NotFound(f"Run {run_id} has no asset {number}.")
    name = asset.name or f"asset-{number}"
    return send_object(
        request, asset.key, name if asset.content_type == Asset.PAGE else f"{name}.json"
    )


@member("view")
@require_safe
def run_input_file(request: AccountRequest, run_id: str, number: int) -> HttpResponseBase:
    """One file of the input of a run."""
    run = find_run(request, run_id)
    file = InputFile.objects.filter(input_data=run.input_data_id, number=number).first()
    if file is None or run.input_data_id is None:
        raise NotFound(f"Run {run_id} has no input file {number}.")
    return send_object(request, file.key, file.path)


@member("view")
@require_safe
def run_input_download(request: AccountRequest, run_id: str) -> HttpResponseBase:
    """All input files as one zip."""
    run = find_run(request, run_id)
    input_data: InputData | None = run.input_data
    if input_data is None:
        raise NotFound(f"Run {run_id} has no input.")
    files = input_data.files.order_by("number")
    return send_stream(zip_files(files.iterator(500)), f"{run.run_id}-input.zip")


@member("view")
@require_safe
def run_log_download(request: AccountRequest, run_id: str) -> HttpResponseBase:
    """The log of an attempt as it is now; `start` and `end` choose a stretch of bytes."""
    run = find_run(request, run_id)
    attempt = attempt_of(run, request.GET.get("attempt", ""))
    if attempt is None:
        raise NotFound(f"Run {run_id} has no log: no attempt was made yet.")
    suffix = f"-attempt-{attempt.number}" if attempt.number > 1 else ""
    name = f"{run.run_id}{suffix}.log"
    start, end = _position(request, "start"), _position(request, "end")
    whole_object = attempt.log_key and not attempt.log_cut_bytes
    if start is None and end is None and whole_object:
        return send_object(request, attempt.log_key, name)
    stop = log_end(attempt=attempt) if end is None else end
    return send_stream(stream_log(attempt=attempt, start=start or 0, end=stop), name)


def send_object(request: AccountRequest, key: str, name: str) -> HttpResponseBase:
    """An object of the store as a download; answers one range, and 304 for who has it.

    Raises `NotFound` when it is gone. Objects never change, so the key is what the tag is made of.
    """
    try:
        size = object_store().size(key)
    except ObjectMissing as error:
        raise NotFound(f"`{name[:200]}` is not in the store any more.") from error
    tag = f'"{hashlib.sha256(f"{key} {size}".encode()).hexdigest()[:32]}"'
    response: HttpResponseBase
    if tag in request.headers.get("If-None-Match", ""):
        response = HttpResponse(status=304)
        response["ETag"] = tag
        return _as_download(response, name)
    wanted = _range_of(request, size, tag)
    if wanted is not None and wanted[0] >= wanted[1]:
        response = HttpResponse(status=416)
        response["Content-Range"] = f"bytes */{size}"
        return _as_download(response, name)
    start, end = wanted or (0, size)
    pieces = object_store().stream(key, start, end - start)
    response = StreamingHttpResponse(pieces, status=206 if wanted else 200)
    if wanted:
        response["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    response["Content-Length"] = str(end - start)
    response["Accept-Ranges"] = "bytes"
    response["ETag"] = tag
    return _as_download(response, name)


def send_stream(pieces: Iterator[bytes], name: str) -> HttpResponseBase:
    """Bytes whose number is not known before as a download."""
    return _as_download(StreamingHttpResponse(pieces), name)


def _as_download(response: HttpResponseBase, name: str) -> HttpResponseBase:
    clean = safe_name(name)
    response["Content-Type"] = type_by_name(clean)
    response["Content-Disposition"] = content_disposition_header(True, clean) or "attachment"
    response["Content-Security-Policy"] = POLICY
    response["X-Content-Type-Options"] = "nosniff"
    response["Cache-Control"] = "private, no-cache"
    return response


def _range_of(request: AccountRequest, size: int, tag: str) -> tuple[int, int] | None:
    """The range asked for as (start, end); start ≥ end when it cannot be had; None for all."""
    if request.headers.get("If-Range", tag) != tag:
        return None
    return wanted_range(request.headers.get("Range", ""), size)


def _position(request: AccountRequest, name: str) -> int | None:
    text = request.GET.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None
