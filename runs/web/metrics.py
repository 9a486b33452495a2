"""Figures for monitoring: for who has the token, or has signed in as root of the installation."""

from __future__ import annotations

import secrets

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from runs.actions.actors import ROOT
from runs.metrics import CONTENT_TYPE, exposition
from runs.web.access import load_person, public


@public
@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """The figures in Prometheus' text format; to all others there is nothing here."""
    if not (_has_token(request) or _is_root(request)):
        raise Http404
    return HttpResponse(exposition(timezone.now()), content_type=CONTENT_TYPE)


def _has_token(request: HttpRequest) -> bool:
    kind, _, given = request.headers.get("Authorization", "").partition(" ")
    token = settings.RUNSITE_METRICS_TOKEN
    if not token or kind.lower() != "bearer":
        return False
    return secrets.compare_digest(given.strip().encode(), token.encode())


def _is_root(request: HttpRequest) -> bool:
    return load_person(request) and getattr(request, "role", "") == ROOT
