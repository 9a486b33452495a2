"""Values as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from django.template import Context, Template
from django.test import RequestFactory

from runs.templatetags import human


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1229, "1.2 KiB"),
        (102_400, "100 KiB"),
        (1_048_575, "1.0 MiB"),
        (2 * 2**30, "2.0 GiB"),
        (5 * 2**60, "5120 PiB"),
        (-2048, "-2.0 KiB"),
        (None, "–"),  # noqa: RUF001 (what pages show)
        ("", "–"),  # noqa: RUF001
        ("nonsense", "–"),  # noqa: RUF001
    ],
)
def test_sizes(value, text):
    assert human.filesize(value) == text


def test_a_size_has_its_exact_bytes_in_the_title():
    assert human.size(1229) == '<data value="1229" title="1,229 bytes">1.2 KiB</data>'
    assert 'title="1 byte"' in human.size(1)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 s"),
        (0.0031, "3 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.0 s"),
        (1.25, "1.2 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 0 s"),
        (184, "3 min 4 s"),
        (3599.6, "1 h 0 min"),
        (7500, "2 h 5 min"),
        (86_399, "23 h 59 min"),
        (86_400, "1 d 0 h"),
        (273_600, "3 d 4 h"),
        (400 * 86_400, "400 d 0 h"),
        (-184, "-3 min 4 s"),
        (timedelta(minutes=3, seconds=4), "3 min 4 s"),
        (None, "–"),  # noqa: RUF001 (what pages show)
        (float("nan"), "–"),  # noqa: RUF001
    ],
)
def test_durations(value, text):
    assert human.duration(value) == text


def test_an_instant_is_exact_without_script_and_in_utc():
    at = datetime(2026, 11, 21, 15, 2, 3, 120_000, tzinfo=timezone(timedelta(hours=1)))
    assert human.when(at) == (
        '<time data-relative datetime="2026-11-21T14:02:03.120Z">2026-11-21 14:02:03 UTC</time>'
    )
    assert human.iso(at) == "2026-11-21T14:02:03.120Z"
    assert human.when(None) == human.NOTHING
    assert human.iso(None) == ""
    assert human.iso(datetime(2026, 1, 1, tzinfo=UTC)) == "2026-01-01T00:00:00.000Z"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1204, "1,204"),
        (1204.0, "1,204"),
        (0.125, "0.125"),
        (1234.5678, "1,234.57"),
        (1234.5, "1,234.5"),
        (-3.14159265, "-3.14159"),
        (1.5e-9, "1.5e-09"),
        (1e20, "1e+20"),
        ("7", "7"),
    ],
)
def test_numbers(value, text):
    assert human.number(value) == text


def test_shares():
    assert human.percent(0.5) == "50 %"
    assert human.percent(None) == human.NOTHING


def test_backticks_become_code_and_nothing_else_becomes_markup():
    assert human.coded("Queue `a<b>` is <b>paused</b>") == (
        "Queue <code>a&lt;b&gt;</code> is &lt;b&gt;paused&lt;/b&gt;"
    )
    assert human.coded("one ` alone") == "one ` alone"
    assert human.coded(None) == ""


def test_the_query_is_kept_changed_and_escaped(rf: RequestFactory):
    template = Template(
        "{% load human %}{% query_string status='failed' after=None %}|"
        "{% query_string q='a&b' %}|{% query_string tag=tags %}"
    )
    request = rf.get("/runs/?q=vrp&after=9&status=queued")
    text = template.render(Context({"request": request, "tags": ["x", "y"]}))
    first, second, third = text.split("|")
    assert first == "?q=vrp&amp;status=failed"
    assert second == "?q=a%26b&amp;after=9&amp;status=queued"
    assert third.endswith("tag=x&amp;tag=y")
    assert request.GET["status"] == "queued"


def test_a_query_without_request_starts_empty():
    template = Template("{% load human %}{% query_string a=1 %}")
    assert template.render(Context({})) == "?a=1"
