"""Names, types and ranges of downloads."""

from __future__ import annotations

import pytest

from runs.domain.downloads import PLAIN_TYPE, harmless_type, type_by_name, wanted_range


@pytest.mark.parametrize(
    ("header", "size", "wanted"),
    [
        ("", 10, None),
        ("bytes=0-3", 10, (0, 4)),
        ("bytes=3-", 10, (3, 10)),
        ("bytes=-4", 10, (6, 10)),
        ("bytes=-40", 10, (0, 10)),
        ("bytes=8-99", 10, (8, 10)),
        (" bytes=9-9 ", 10, (9, 10)),
        ("bytes=4-3", 10, None),
        ("bytes=-", 10, None),
        ("bytes=0-1,3-4", 10, None),
        ("lines=0-1", 10, None),
        ("bytes=" + "9" * 30 + "-", 10, None),
    ],
)
def test_a_range_is_understood_or_everything_is_sent(header, size, wanted):
    assert wanted_range(header, size) == wanted


@pytest.mark.parametrize(
    ("header", "size"), [("bytes=10-", 10), ("bytes=99-100", 10), ("bytes=-0", 10), ("bytes=0-", 0)]
)
def test_a_range_that_cannot_be_had_is_empty(header, size):
    wanted = wanted_range(header, size)
    assert wanted is not None
    assert wanted[0] >= wanted[1]


@pytest.mark.parametrize(
    "kind", ["text/html", "image/svg+xml", "text/xml", "application/xhtml+xml"]
)
def test_no_type_that_a_browser_draws_is_let_through(kind):
    assert harmless_type(kind) == PLAIN_TYPE


def test_types_of_results_are_kept():
    for kind in ("application/json", "text/plain", "application/gzip", PLAIN_TYPE):
        assert harmless_type(kind) == kind
    assert type_by_name("a.JSON") == "application/json"
    assert type_by_name("a.html") == type_by_name("a") == PLAIN_TYPE
