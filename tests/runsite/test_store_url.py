"""The address of the store: what it may say, and what is refused with one clear line."""

from __future__ import annotations

import pytest

from runsite.env import SettingError
from runsite.store_url import parse_store_url

PLAIN = {
    "bucket": "runs",
    "prefix": "",
    "endpoint": None,
    "region": None,
    "path_style": None,
    "presign": True,
    "public": None,
}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("s3://runs", {}),
        ("s3://runs/", {}),
        ("s3://runs/a/b/", {"prefix": "a/b"}),
        ("s3://runs?region=eu-1", {"region": "eu-1"}),
        ("s3://runs?endpoint=https://s3.example.org/", {"endpoint": "https://s3.example.org"}),
        (
            "s3://runs/x?endpoint=http://10.0.0.1:9000&path_style=0",
            {"prefix": "x", "endpoint": "http://10.0.0.1:9000", "path_style": False},
        ),
        ("s3://runs?endpoint=http%3A%2F%2Fs3%3A9000", {"endpoint": "http://s3:9000"}),
        ("s3://runs?path_style=1&endpoint=", {"path_style": True}),
        ("s3://runs?presign=0", {"presign": False}),
        ("s3://runs?presign=1", {}),
        ("s3://runs?public=https://files.example.org/", {"public": "https://files.example.org"}),
    ],
)
def test_an_address_names_its_parts(url, expected):
    assert parse_store_url("RUNSITE_STORE_URL", url) == PLAIN | expected


def test_no_address_is_the_folder():
    assert parse_store_url("RUNSITE_STORE_URL", "") is None


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("runs", "no scheme"),
        ("http://runs", "http"),
        ("s3://", "no bucket"),
        ("s3:///prefix", "no bucket"),
        ("s3://a", "no bucket"),
        ("s3://bad*name", "no bucket"),
        ("s3://the-id:the-secret@runs", "RUNSITE_S3_SECRET_KEY"),
        ("s3://runs/../up", "prefix"),
        ("s3://runs/a//b", "prefix"),
        ("s3://runs/a%20b", "prefix"),
        ("s3://runs/" + "a" * 101, "prefix"),
        ("s3://runs?endpont=https://s3", "endpont"),
        ("s3://runs?endpoint=s3.example.org", "endpoint"),
        ("s3://runs?endpoint=https://s3/path", "more than a host"),
        ("s3://runs?endpoint=https://the-id:the-secret@s3", "more than a host"),
        ("s3://runs?path_style=yes", "path_style"),
        ("s3://runs?presign=no", "presign"),
        ("s3://runs?public=files.example.org", "public"),
        ("s3://runs?public=https://files.example.org/path", "more than a host"),
    ],
)
def test_a_wrong_address_is_refused_without_being_repeated(url, word):
    with pytest.raises(SettingError, match=word) as refusal:
        parse_store_url("RUNSITE_STORE_URL", url)
    assert "RUNSITE_STORE_URL" in str(refusal.value)
    assert "the-secret" not in str(refusal.value)
