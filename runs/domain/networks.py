"""Addresses of hosts, and the networks that they lie in."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping

_HOST = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?"
)


def lies_in(address: str, networks: Iterable[str]) -> bool:
    """Whether `address` is in one of `networks`, as 10.0.0.0/8; False for what is no address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(parsed in ipaddress.ip_network(network, strict=False) for network in networks)


def public_address(
    *,
    scheme: str,
    host: str,
    sender: str,
    headers: Mapping[str, str],
    trusted: Iterable[str],
    allowed: Iterable[str],
) -> str:
    """Scheme and host that a client used, without a slash at the end.

    `scheme` and `host` are what the server sees. What a proxy says of them in `headers` is believed
    when `sender`, the address it speaks from, is in a `trusted` network, and only then. A host must
    also be one of `allowed`, as in ALLOWED_HOSTS: many proxies hand on what the client put there.
    """
    if lies_in(sender, trusted):
        forwarded = _first(headers, "X-Forwarded-Proto").lower()
        if forwarded in {"http", "https"}:
            scheme = forwarded
        name = _first(headers, "X-Forwarded-Host")
        if _HOST.fullmatch(name) and _is_allowed(name, allowed):
            host = name
    return f"{scheme}://{host}"


def _is_allowed(name: str, allowed: Iterable[str]) -> bool:
    """Whether the host `name`, with a port or without, is one of `allowed`."""
    bare = re.sub(r":[0-9]*$", "", name) if not name.endswith("]") else name
    bare = bare.lower().removesuffix(".")
    return any(
        pattern == "*"
        or bare == pattern.lower()
        or (pattern.startswith(".") and f".{bare}".endswith(pattern.lower()))
        for pattern in allowed
    )


def _first(headers: Mapping[str, str], name: str) -> str:
    """What the proxy that is nearest to the client said, where several added to the header."""
    return headers.get(name, "").partition(",")[0].strip()
