"""Which addresses lie in which networks."""

from __future__ import annotations

import pytest

from runs.domain.networks import lies_in


@pytest.mark.parametrize(
    ("address", "networks", "inside"),
    [
        ("10.1.2.3", ("10.0.0.0/8",), True),
        ("10.1.2.3", ("10.1.2.3",), True),
        ("10.1.2.3", ("10.0.0.1/8",), True),
        ("11.1.2.3", ("192.168.0.0/16", "10.0.0.0/8"), False),
        ("::1", ("10.0.0.0/8", "::1"), True),
        ("10.1.2.3", (), False),
        ("unix:", ("0.0.0.0/0",), False),
        ("", ("0.0.0.0/0",), False),
    ],
)
def test_an_address_lies_in_a_network_or_does_not(address, networks, inside):
    assert lies_in(address, networks) is inside
