"""System checks: settings that are possible and yet not what one wants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.utils import timezone

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@register(Tags.security)
def check_secret_key(
    app_configs: Sequence[AppConfig] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """W001: a key of this process alone."""
    if not settings.RUNSITE_SECRET_KEY_IS_TEMPORARY:
        return []
    return [
        Warning(
            "No secret key is kept: sessions of this process are unknown to every other.",
            hint="Set RUNSITE_SECRET_KEY, or start once with ./script/server, which makes one.",
            id="runs.W001",
        )
    ]


@register(Tags.security)
def check_public_address(
    app_configs: Sequence[AppConfig] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """W002: passwords would travel in the clear; W003: links would lead to the wrong place."""
    public = urlsplit(settings.RUNSITE_PUBLIC_URL)
    found: list[CheckMessage] = []
    if public.scheme == "http" and public.hostname not in _LOOPBACK:
        found.append(
            Warning(
                "The public address is http://: passwords and keys travel in the clear.",
                hint="Serve TLS (RUNSITE_TLS=auto, or a certificate), or put a proxy with TLS in "
                "front and set RUNSITE_PUBLIC_URL to https://…",
                id="runs.W002",
            )
        )
    if settings.RUNSITE_HOST not in _LOOPBACK and public.hostname in _LOOPBACK:
        found.append(
            Warning(
                f"The console listens on {settings.RUNSITE_HOST}, but its links lead to "
                f"{public.hostname}, which only works on this machine.",
                hint="Set RUNSITE_PUBLIC_URL to the address that people open.",
                id="runs.W003",
            )
        )
    return found


@register(Tags.security)
def check_debug(
    app_configs: Sequence[AppConfig] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """E001: error pages with all settings, for everybody on the network."""
    if settings.DEBUG and settings.RUNSITE_HOST not in _LOOPBACK:
        return [
            Error(
                "RUNSITE_DEBUG is on while the console listens beyond this machine.",
                hint="Unset RUNSITE_DEBUG, or set RUNSITE_HOST to 127.0.0.1.",
                id="runs.E001",
            )
        ]
    return []


@register(Tags.security)
def check_proxies(
    app_configs: Sequence[AppConfig] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """W004: behind a proxy every browser would have the proxy's address."""
    public = urlsplit(settings.RUNSITE_PUBLIC_URL)
    behind = public.scheme == "https" and settings.RUNSITE_TLS == "off"
    if behind and not settings.RUNSITE_TRUSTED_PROXIES:
        return [
            Warning(
                "The public address is https://, and no proxy is trusted: everybody seems to "
                "come from the proxy, so failed sign-ins of one slow down all.",
                hint="Set RUNSITE_TRUSTED_PROXIES to the proxy's address or network.",
                id="runs.W004",
            )
        ]
    return []


@register(Tags.security)
def check_tls(app_configs: Sequence[AppConfig] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """E002: files that cannot be served; W007: links that would not answer."""
    if settings.RUNSITE_TLS == "off":
        return []
    found: list[CheckMessage] = []
    if settings.RUNSITE_PUBLIC_URL.startswith("http:"):
        found.append(
            Warning(
                "The console serves TLS, but its public address is http://: links to it and to "
                "files lead nowhere, and cookies are not kept off plain HTTP.",
                hint="Set RUNSITE_PUBLIC_URL to https://…, or unset it.",
                id="runs.W007",
            )
        )
    from runsite.env import SettingError
    from runsite.tls import check_given

    try:
        check_given(settings, now=timezone.now())
    except SettingError as error:
        found.append(
            Error(
                str(error),
                hint="Mend RUNSITE_TLS_CERTIFICATE and RUNSITE_TLS_KEY, or unset both.",
                id="runs.E002",
            )
        )
    return found


@register(Tags.security)
def check_store(
    app_configs: Sequence[AppConfig] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """W005: objects would travel in the clear; W006: keys for a store that is not used."""
    store = settings.RUNSITE_STORE
    if store is None:
        if not settings.RUNSITE_S3_ACCESS_KEY:
            return []
        return [
            Warning(
                "Keys for an S3 store are set, but objects are kept in the data directory.",
                hint="Set RUNSITE_STORE_URL to s3://bucket, or unset the keys.",
                id="runs.W006",
            )
        ]
    endpoint = urlsplit(store["endpoint"] or "https://")
    if endpoint.scheme == "http" and endpoint.hostname not in _LOOPBACK:
        return [
            Warning(
                "The endpoint of the store is http://: inputs and results travel in the clear.",
                hint="Give RUNSITE_STORE_URL an endpoint with https://, unless the network"
                " between is yours alone.",
                id="runs.W005",
            )
        ]
    return []
