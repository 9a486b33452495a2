"""What is read of one run: its state, input and output, waits, estimate and export."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from django.utils.http import content_disposition_header
from ninja import Router

from runs.actions.estimates import expected_start, usual_duration
from runs.actions.run_archives import INPUT, OUTPUT
from runs.actions.run_content import (
    Content,
    content_of_input,
    content_of_output,
    pieces_of,
    texts_of,
)
from runs.actions.run_export import export_run
from runs.actions.run_waits import Neighbour, downstream, upstream
from runs.actions.tickets import archive_url, download_url
from runs.api.addresses import public_base
from runs.api.auth import ApiRequest, Key
from runs.api.times import wire_time
from runs.api.v1.run_shapes import URL, find_run, find_shown_run, information, json_stream
from runs.api.v1.schemas.base import FAILURES
from runs.api.v1.schemas.runs import Estimate, RunInformation, Waits
from runs.domain.content import is_folder_format
from runs.domain.errors import Conflict, NotFound
from runs.models import Run

router = Router(tags=["runs"])

_RUN = "applications/{app_id}/runs/{run_id}"


@router.get(
    f"{_RUN}/metadata",
    auth=Key("view"),
    response={200: RunInformation, **FAILURES},
    exclude_none=True,
)
def metadata(request: ApiRequest, app_id: str, run_id: str) -> Any:
    """The state of a run; meant to be asked again and again. Three queries at most."""
    return information(request, app_id, find_shown_run(request, app_id, run_id))


@router.get(f"{_RUN}/input", auth=Key("view"), response={200: Any, **FAILURES})
def read_input(request: ApiRequest, app_id: str, run_id: str, format: str = "") -> HttpResponseBase:
    """The input of a run: JSON as it came, a text as JSON string; null where there was none.

    With `format=url`, and for the folder formats always, `{"url": …}`: JSON and text as they came,
    folders as .tar.gz.
    """
    run = find_run(request, app_id, run_id)
    if is_folder_format(run.input_format):
        return _archive_link(request, run, INPUT)
    content = content_of_input(run)
    if format != URL:
        return _inline(content)
    return _link(request, run, content, "input")


@router.get(f"{_RUN}/output", auth=Key("view"), response={200: Any, **FAILURES})
def read_output(
    request: ApiRequest, app_id: str, run_id: str, format: str = ""
) -> HttpResponseBase:
    """The output of a run that has ended; null where there is none.

    What is no JSON is a JSON string. With `format=url`, and for the folder formats always,
    `{"url": …}`: JSON and text as the program wrote them, folders as .tar.gz, also an empty one.
    """
    run = find_run(request, app_id, run_id)
    if not run.is_final:
        raise Conflict(f"Run {run.run_id} is {run.status}: it has no output yet. Ask again later.")
    if run.output_format != "json":
        return _archive_link(request, run, OUTPUT)
    content = content_of_output(run)
    if format != URL:
        return _inline(content)
    return _link(request, run, content, "output")


@router.get(f"{_RUN}/waits", auth=Key("view"), response={200: Waits, **FAILURES})
def waits(request: ApiRequest, app_id: str, run_id: str) -> Any:
    """For which runs this one waits, and which wait for it, at most 100 of each. Ours."""
    run = find_run(request, app_id, run_id)
    return {
        "waits_for": [_wait(one) for one in upstream(run)],
        "awaited_by": [_wait(one) for one in downstream(run)],
    }


@router.get(
    f"{_RUN}/estimate",
    auth=Key("view"),
    response={200: Estimate, **FAILURES},
    exclude_none=True,
)
def estimate(request: ApiRequest, app_id: str, run_id: str) -> Any:
    """When a queued run will start, and how long such runs take. Ours."""
    run = find_run(request, app_id, run_id)
    now = timezone.now()
    start = expected_start(run, now=now)
    answer: dict[str, Any] = {"status_v2": run.status, "reason": start.reason if start else ""}
    if start and None not in (start.low_s, start.median_s, start.high_s):
        answer["expected_start"] = {
            name: wire_time(now + timedelta(seconds=seconds or 0))
            for name, seconds in (
                ("low", start.low_s),
                ("median", start.median_s),
                ("high", start.high_s),
            )
        }
    usual = usual_duration(run.application, run.input_bytes)
    if usual.range is not None:
        answer["expected_duration"] = {
            "low_s": usual.low_s,
            "median_s": usual.seconds,
            "high_s": usual.high_s,
            "runs": usual.runs,
        }
    return answer


@router.get(
    f"{_RUN}/export",
    auth=Key("view"),
    response=FAILURES,
    openapi_extra={
        "responses": {
            200: {
                "description": "The run as a folder of the local tool, zipped.",
                "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}},
            }
        }
    },
)
def export(request: ApiRequest, app_id: str, run_id: str) -> HttpResponseBase:
    """The run as a folder that the published local tool lists and reads, zipped. Ours."""
    name, pieces = export_run(find_run(request, app_id, run_id))
    response = StreamingHttpResponse(pieces, content_type="application/zip")
    response["Content-Disposition"] = content_disposition_header(True, name) or "attachment"
    return response


def _inline(content: Content | None) -> HttpResponseBase:
    """Bytes that are JSON as they are, others as one JSON string."""
    if content is None:
        return HttpResponse(b"null", content_type="application/json")
    if content.is_json:
        return json_stream([pieces_of(content)], content.size_bytes)
    return json_stream([b'"', texts_of(pieces_of(content)), b'"'])


def _link(request: ApiRequest, run: Run, content: Content | None, noun: str) -> HttpResponseBase:
    if content is None:
        raise NotFound(f"Run {run.run_id} has no {noun}.")
    url = download_url(
        key=content.key,
        file_name=f"{run.run_id}-{content.name}",
        content_type="application/json" if content.is_json else "text/plain; charset=utf-8",
        base=public_base(request),
    )
    return JsonResponse({"url": url})


def _archive_link(request: ApiRequest, run: Run, part: str) -> HttpResponseBase:
    url = archive_url(run=run, part=part, base=public_base(request))
    return JsonResponse({"url": url})


def _wait(one: Neighbour) -> dict[str, Any]:
    return {
        "run_id": one.run_id,
        "name": one.name,
        "status_v2": one.status,
        "open": one.open,
        "outcome": one.outcome,
        "policy": one.policy,
    }
