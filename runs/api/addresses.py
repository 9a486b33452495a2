"""The public address of this console, as clients must use it in links that we hand out."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest

from runs.domain.networks import public_address


def public_base(request: HttpRequest) -> str:
    """Scheme and host without a slash at the end, as `https://runs.example.org:8443`.

    `RUNSITE_PUBLIC_URL` when it was set, else what the client used. What a proxy says of that is
    believed when `RUNSITE_TRUSTED_PROXIES` names its network, and only then.
    """
    if settings.RUNSITE_PUBLIC_URL_IS_SET:
        return str(settings.RUNSITE_PUBLIC_URL).rstrip("/")
    return public_address(
        scheme=request.scheme or "http",
        host=request.get_host(),
        sender=str(request.META.get("REMOTE_ADDR", "")),
        headers=request.headers,
        trusted=settings.RUNSITE_TRUSTED_PROXIES,
        allowed=settings.ALLOWED_HOSTS,
    )
