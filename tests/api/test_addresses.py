"""The address that links lead to: set, asked for, or told by a trusted proxy."""

from __future__ import annotations

import pytest
from django.test import RequestFactory

from runs.api.addresses import public_base

FORWARDED = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "runs.example.org:8443"}


@pytest.fixture(autouse=True)
def names(settings):
    settings.ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[2001:db8::1]", ".example.org"]


def request(headers: dict[str, str] | None = None, **words: str):
    words = {"SERVER_NAME": "localhost", "SERVER_PORT": "8000", **words}
    return RequestFactory(headers=headers or {}).get("/v1/applications", **words)


def test_without_a_setting_it_is_what_the_client_used():
    assert public_base(request()) == "http://localhost:8000"
    assert public_base(request({"Host": "127.0.0.1:9"})) == "http://127.0.0.1:9"
    assert public_base(request(**{"wsgi.url_scheme": "https"})) == "https://localhost:8000"


def test_a_set_address_counts_whatever_was_asked(settings):
    settings.RUNSITE_PUBLIC_URL = "https://console.example.org"
    settings.RUNSITE_PUBLIC_URL_IS_SET = True
    settings.RUNSITE_TRUSTED_PROXIES = ("127.0.0.0/8",)
    assert public_base(request(FORWARDED)) == "https://console.example.org"


def test_a_proxy_is_believed_when_it_is_trusted_and_only_then(settings):
    assert public_base(request(FORWARDED)) == "http://localhost:8000"
    settings.RUNSITE_TRUSTED_PROXIES = ("10.0.0.0/8",)
    assert public_base(request(FORWARDED)) == "http://localhost:8000"
    trusted = request(FORWARDED, REMOTE_ADDR="10.1.2.3")
    assert public_base(trusted) == "https://runs.example.org:8443"


@pytest.mark.parametrize(
    ("headers", "base"),
    [
        ({"X-Forwarded-Proto": "https, http"}, "https://localhost:8000"),
        ({"X-Forwarded-Host": "a.example.org, b"}, "http://a.example.org"),
        ({"X-Forwarded-Host": "[2001:db8::1]:8443"}, "http://[2001:db8::1]:8443"),
        ({"X-Forwarded-Proto": "javascript"}, "http://localhost:8000"),
        ({"X-Forwarded-Host": "evil/../path"}, "http://localhost:8000"),
        ({"X-Forwarded-Host": "user@host"}, "http://localhost:8000"),
        ({"X-Forwarded-Host": "attacker.example.com"}, "http://localhost:8000"),
        ({"X-Forwarded-Host": "example.org.attacker.example.com:1"}, "http://localhost:8000"),
        ({"X-Forwarded-Host": ""}, "http://localhost:8000"),
    ],
)
def test_what_a_trusted_proxy_says_must_make_sense(settings, headers, base):
    settings.RUNSITE_TRUSTED_PROXIES = ("127.0.0.0/8",)
    assert public_base(request(headers)) == base
