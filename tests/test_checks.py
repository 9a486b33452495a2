"""System checks: what is wrong, with an id and a hint."""

from __future__ import annotations

import pytest

from runs import checks

ALL = (
    checks.check_secret_key,
    checks.check_public_address,
    checks.check_debug,
    checks.check_proxies,
    checks.check_store,
    checks.check_tls,
)


def found() -> list[str]:
    messages = [message for check in ALL for message in check()]
    assert all(message.hint for message in messages)
    return [str(message.id) for message in messages]


@pytest.fixture(autouse=True)
def good(settings) -> None:
    settings.RUNSITE_SECRET_KEY_IS_TEMPORARY = False
    settings.RUNSITE_PUBLIC_URL = "http://127.0.0.1:8000"
    settings.RUNSITE_HOST = "127.0.0.1"
    settings.RUNSITE_TRUSTED_PROXIES = ()
    settings.DEBUG = False
    settings.RUNSITE_STORE = None
    settings.RUNSITE_S3_ACCESS_KEY = None
    settings.RUNSITE_TLS = "off"


def test_the_defaults_are_fine():
    assert found() == []


def test_a_key_of_this_process_alone(settings):
    settings.RUNSITE_SECRET_KEY_IS_TEMPORARY = True
    assert found() == ["runs.W001"]


def test_passwords_in_the_clear(settings):
    settings.RUNSITE_PUBLIC_URL = "http://console.example.org"
    assert found() == ["runs.W002"]


def test_links_to_the_wrong_place(settings):
    settings.RUNSITE_HOST = "0.0.0.0"
    assert found() == ["runs.W003"]


def test_debug_pages_for_the_network(settings):
    settings.DEBUG = True
    settings.RUNSITE_HOST = "0.0.0.0"
    settings.RUNSITE_PUBLIC_URL = "https://console.example.org"
    settings.RUNSITE_TRUSTED_PROXIES = ("10.0.0.1",)
    assert found() == ["runs.E001"]


def test_a_proxy_that_nobody_named(settings):
    settings.RUNSITE_PUBLIC_URL = "https://console.example.org"
    assert found() == ["runs.W004"]


@pytest.mark.parametrize(
    ("endpoint", "ids"),
    [
        (None, []),
        ("https://s3.example.org", []),
        ("http://127.0.0.1:9000", []),
        ("http://s3.example.org", ["runs.W005"]),
    ],
)
def test_objects_in_the_clear(settings, endpoint, ids):
    settings.RUNSITE_STORE = {"bucket": "runs", "endpoint": endpoint}
    settings.RUNSITE_S3_ACCESS_KEY = "key"
    assert found() == ids


def test_keys_of_a_store_that_is_not_used(settings):
    settings.RUNSITE_S3_ACCESS_KEY = "key"
    assert found() == ["runs.W006"]


def test_tls_of_its_own_needs_no_proxy(settings):
    settings.RUNSITE_TLS = "auto"
    settings.RUNSITE_PUBLIC_URL = "https://console.example.org"
    assert found() == []


def test_links_without_tls_to_a_console_with_it(settings):
    settings.RUNSITE_TLS = "auto"
    assert found() == ["runs.W007"]


def test_certificate_files_that_cannot_be_served(settings, tmp_path):
    settings.RUNSITE_TLS = "files"
    settings.RUNSITE_PUBLIC_URL = "https://127.0.0.1:8000"
    settings.RUNSITE_TLS_CERTIFICATE = tmp_path / "missing.pem"
    settings.RUNSITE_TLS_KEY = tmp_path / "missing.key"
    assert found() == ["runs.E002"]
