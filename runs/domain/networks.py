"""Addresses of hosts, and the networks that they lie in."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable


def lies_in(address: str, networks: Iterable[str]) -> bool:
    """Whether `address` is in one of `networks`, as 10.0.0.0/8; False for what is no address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(parsed in ipaddress.ip_network(network, strict=False) for network in networks)
