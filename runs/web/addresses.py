"""The address of this console as people and programs reach it."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest

from runs.domain.networks import public_address


def public_base(request: HttpRequest) -> str:
    """Scheme and host without a slash at the end: as set, else as the browser used them."""
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
