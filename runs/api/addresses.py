"""The public address of this console, as clients must use it in links that we hand out."""

from __future__ import annotations

import re

from django.conf import settings
from django.http import HttpRequest

from runs.domain.networks import lies_in

_HOST = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?"
)


def public_base(request: HttpRequest) -> str:
    """Scheme and host without a slash at the end, as `https://runs.example.org:8443`.

    `RUNSITE_PUBLIC_URL` when it was set, else what the client used. What a proxy says of that is
    believed when `RUNSITE_TRUSTED_PROXIES` names its network, and only then.
    """
    if settings.RUNSITE_PUBLIC_URL_IS_SET:
        return str(settings.RUNSITE_PUBLIC_URL).rstrip("/")
    scheme, host = request.scheme or "http", request.get_host()
    if lies_in(str(request.META.get("REMOTE_ADDR", "")), settings.RUNSITE_TRUSTED_PROXIES):
        forwarded = _first(request, "X-Forwarded-Proto").lower()
        if forwarded in {"http", "https"}:
            scheme = forwarded
        name = _first(request, "X-Forwarded-Host")
        if _HOST.fullmatch(name):
            host = name
    return f"{scheme}://{host}"


def _first(request: HttpRequest, header: str) -> str:
    """What the proxy that is nearest to the client said, where several added to the header."""
    return request.headers.get(header, "").partition(",")[0].strip()
