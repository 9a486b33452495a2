"""Addresses for whoever watches the installation: does it live, is it ready."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from runs.health import check_readiness
from runs.web.access import public

_TEXT = "text/plain; charset=utf-8"


@public
@never_cache
@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """The web process lives; asks nothing else."""
    return HttpResponse("ok\n", content_type=_TEXT)


@public
@never_cache
@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """200 when runs can be made, with warnings if any; else 503 with the reasons."""
    readiness = check_readiness()
    status = 503 if readiness.problems else 200
    if "application/json" in request.headers.get("Accept", ""):
        body = {
            "ready": status == 200,
            "checks": dict(readiness.checks),
            "warnings": list(readiness.warnings),
        }
        response: HttpResponse = JsonResponse(body, status=status)
    else:
        lines = readiness.problems or ("ready",)
        text = "\n".join((*lines, *(f"Warning: {line}" for line in readiness.warnings)))
        response = HttpResponse(
            f"{text}\n", status=status, content_type="text/plain; charset=utf-8"
        )
    response["Vary"] = "Accept"
    return response
