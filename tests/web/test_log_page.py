"""The log page: windows, search, colours; whatever a program prints stays inert."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from runs.actions.log_sources import ENTRY
from runs.actions.logs import LogPiece
from runs.domain.status import Status
from runs.models import Attempt, LogChunk, Run
from runs.storage import keys, object_store
from runs.web.log_lines import LONGEST_LINE, LineStyle, render_lines
from tests.factories import make_application, make_attempt, make_run
from tests.web.conftest import Browser

START = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def store(db: None, settings, tmp_path):
    settings.RUNSITE_DATA_DIR = tmp_path


def lines_of(data: bytes, **style) -> str:
    return str(render_lines(LogPiece(data, 0, len(data)), LineStyle(**style)).html)


def text_of(data: bytes, **style) -> str:
    found = re.search(r'<span class="log-text">(.*)</span>', lines_of(data, **style))
    assert found
    return found[1]


def make_log(account, data: bytes, status: Status = Status.SUCCEEDED) -> Run:
    run = make_run(make_application(account), status=status, attempt_number=1)
    attempt = make_attempt(run, started_at=START)
    if status is Status.RUNNING:
        LogChunk.objects.create(attempt=attempt, first_byte=0, size=len(data), data=data)
        return run
    attempt.log_key = keys.log(run.run_id, 1)
    attempt.ended_at, attempt.log_bytes = START, len(data)
    attempt.save()
    object_store().put_bytes(attempt.log_key, data)
    index = b"".join(
        ENTRY.pack(byte, data[:byte].count(b"\n"), byte / 100) for byte in range(0, len(data), 5000)
    )
    object_store().put_bytes(keys.log_index(run.run_id, 1), index)
    return run


# --- Lines ------------------------------------------------------------------------------------


def test_markup_is_text():
    html = lines_of(b'<script>alert(1)</script> & "x" <img src=x onerror=y>\n')
    assert "<script" not in html
    assert "<img" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;x&quot;" in html


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (b"\x1b[31mred\x1b[0m plain", '<span class="ansi-red">red</span> plain'),
        (b"\x1b[1;92;44mx", '<span class="ansi-bold ansi-bright-green ansi-bg-blue">x</span>'),
        (b"\x1b[38;5;196mx", '<span class="ansi-red">x</span>'),
        (b"\x1b[48;2;255;255;255mx", '<span class="ansi-bg-bright-white">x</span>'),
        (b"\x1b[38;2;0;0;0mx\x1b[39my", '<span class="ansi-black">x</span>y'),
        (b"\x1b[2Ka\x1b[1;1Hb", "ab"),
        (b"\x1b]8;;http://evil.example\x07link\x1b]8;;\x07", "link"),
        (b"\x1b]0;title\x1b\\x", "x"),
        (b"\x1b[<script>", "cript&gt;"),
        (b"\x1b\x1b<b>", '<span class="ansi-dim">\N{SYMBOL FOR ESCAPE}</span>b&gt;'),
        (b"\x1b[31;4m<b>\x1b[24m", '<span class="ansi-red ansi-underline">&lt;b&gt;</span>'),
        (b"10 %\r50 %\r100 %", "100 %"),
        (b"windows\r", "windows"),
        (b"a\x00b\x07", '<span class="ansi-dim">\N{SYMBOL FOR NULL}</span>b'),
        (b"\xff\xfe", "\N{REPLACEMENT CHARACTER}" * 2),
        (b"\xe2\x80\xaeevil", '<span class="ansi-dim">[U+202E]</span>evil'),
        ("\u2066a\u200b".encode(), '<span class="ansi-dim">[U+200B]</span>'),
        ("a\u0085b".encode(), '<span class="ansi-dim">[U+0085]</span>'),
    ],
)
def test_what_terminals_read_is_drawn_or_shown(written: bytes, shown: str):
    assert shown in text_of(written)


def test_no_control_or_direction_mark_reaches_the_page():
    everything = "".join(chr(code) for code in range(0x3000) if code != 10).encode()
    html = lines_of(everything + b"\n" + bytes(byte for byte in range(256) if byte != 10))
    shown = re.sub("[\t]", "", html)
    assert not re.search("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]", shown)


def test_numbers_that_no_colour_has_break_nothing():
    for codes in (
        "999",
        "38;5",
        "38;5;999999999",
        "48;2;1",
        "38;9;9",
        ";;;;",
        "31:4:7",
        "38;2;999;0;0",
    ):
        assert text_of(f"\x1b[{codes}mx".encode()).count("x") == 1


def test_a_very_long_line_is_cut_with_a_way_to_the_rest():
    html = lines_of(b"x" * 50_000 + b"\nnext\n", raw_url="/raw?attempt=1")
    assert html.count("x") < LONGEST_LINE + 200
    assert 'href="/raw?attempt=1&amp;start=0&amp;end=50000"' in html
    assert "39.1 KiB more in this line" in html
    assert 'id="L2"' in html


def test_lines_have_the_time_of_their_piece():
    piece = LogPiece(
        b"one\ntwo\nthree\n", 0, 14, times=((0, START), (8, START.replace(microsecond=120_000)))
    )
    html = str(render_lines(piece).html)
    assert html.count(">12:00:00.000<") == 2
    assert 'datetime="2026-05-04T12:00:00.120Z">12:00:00.120</time>' in html


def test_hits_are_marked_and_escaped():
    assert text_of(b"a <b> A", needle="<b>") == "a <mark>&lt;b&gt;</mark> A"
    assert text_of(b"Error error", needle="error").count("<mark>") == 2
    assert text_of(b"Error error", needle="Error").count("<mark>") == 1


# --- The page ---------------------------------------------------------------------------------


def test_a_short_log_is_shown_whole(viewer: Browser, account):
    run = make_log(account, b"first\n<b>second</b>\n")
    page = viewer.get(f"/runs/{run.run_id}/log/").content.decode()
    assert 'id="L1"' in page
    assert "&lt;b&gt;second&lt;/b&gt;" in page
    assert "data-live-url" not in page
    assert "Earlier lines" not in page


def test_a_long_log_opens_at_its_end_and_leads_to_its_start(viewer: Browser, account):
    data = b"".join(b"line %d\n" % n for n in range(1, 100_001))
    run = make_log(account, data)
    page = viewer.get(f"/runs/{run.run_id}/log/").content.decode()
    assert 'id="L100000"' in page
    assert 'id="L98001"' in page
    assert 'id="L98000"' not in page
    earlier = re.search(r'href="([^"]+)">Earlier lines', page)
    assert earlier
    before = viewer.get(earlier[1].replace("&amp;", "&")).content.decode()
    assert 'id="L98000"' in before
    assert 'id="L98001"' not in before
    start = viewer.get(f"/runs/{run.run_id}/log/?at=0").content.decode()
    assert 'id="L1"' in start
    assert "Later lines" in start


def test_a_search_leads_to_the_hits(viewer: Browser, account):
    data = b"".join(b"line %d\n" % n for n in range(1, 50_001))
    run = make_log(account, data)
    page = viewer.get(f"/runs/{run.run_id}/log/?q=line+40000").content.decode()
    assert "<mark>line 40000</mark>" in page
    following = re.search(r'href="([^"]+)">Next', page)
    assert following
    end = viewer.get(following[1].replace("&amp;", "&")).content.decode()
    assert "Not found after here." in end
    none = viewer.get(f"/runs/{run.run_id}/log/?q=%3Cscript%3E").content.decode()
    assert "Not found in this log." in none
    assert "<script>" not in none.replace('<script>"use strict', "")


def test_a_live_log_says_where_its_stream_goes_on(viewer: Browser, account):
    run = make_log(account, b"one\ntwo\nunfin", Status.RUNNING)
    page = viewer.get(f"/runs/{run.run_id}/log/").content.decode()
    assert 'id="L2"' in page
    assert "unfin" not in page
    assert re.search(r'data-live-after="1\.8\.[0-9a-f]{8}"', page)
    assert "tab=log&amp;log=1" in page


def test_a_log_that_is_not_there_is_said(viewer: Browser, account):
    application = make_application(account)
    waiting = make_run(application)
    assert (
        "when a worker takes the run" in viewer.get(f"/runs/{waiting.run_id}/log/").content.decode()
    )
    canceled = make_run(application, status=Status.CANCELED)
    page = viewer.get(f"/runs/{canceled.run_id}/log/").content.decode()
    assert "there is no log" in page


def test_each_attempt_has_its_log(viewer: Browser, account):
    run = make_log(account, b"of the first\n")
    second = make_attempt(run, number=2, ended_at=START)
    LogChunk.objects.create(attempt=second, first_byte=0, size=14, data=b"of the second\n")
    page = viewer.get(f"/runs/{run.run_id}/log/").content.decode()
    assert "of the second" in page
    first = viewer.get(f"/runs/{run.run_id}/log/?attempt=1").content.decode()
    assert "of the first" in first
    assert "of the second" not in first


@pytest.mark.parametrize(
    "query",
    [
        "?at=x",
        "?at=999999999999999999999",
        "?attempt=99",
        "?attempt=x",
        "?before=0",
        "?at=-1",
        "?q=%00",
        "?q=a&from=zzz&direction=q",
    ],
)
def test_strange_questions_are_answered(viewer: Browser, account, query: str):
    run = make_log(account, b"one\ntwo\n")
    assert viewer.get(f"/runs/{run.run_id}/log/{query}").status_code == 200


def test_the_log_of_others_is_not_there(outsider: Browser, account):
    run = make_log(account, b"secret\n")
    for part in ("log/", "log/download/"):
        answer = outsider.get(f"/runs/{run.run_id}/{part}")
        assert answer.status_code == 404
        assert b"secret" not in answer.content


def test_the_log_page_takes_few_queries(viewer: Browser, account, django_assert_max_num_queries):
    kept = make_log(account, b"one\n" * 5000)
    live = make_log(account, b"one\n" * 5000, Status.RUNNING)
    for run in (kept, live):
        with django_assert_max_num_queries(10):
            assert viewer.get(f"/runs/{run.run_id}/log/").status_code == 200


def test_the_download_is_the_log_as_it_was_written(viewer: Browser, account):
    data = b"one\n\xff\xfe<script>\n"
    for status in (Status.SUCCEEDED, Status.RUNNING):
        run = make_log(account, data, status)
        answer = viewer.get(f"/runs/{run.run_id}/log/download/")
        assert b"".join(answer.streaming_content) == data
        assert answer["Content-Type"] == "text/plain; charset=utf-8"
        assert answer["Content-Disposition"] == f'attachment; filename="{run.run_id}.log"'
        assert "sandbox" in answer["Content-Security-Policy"]
        part = viewer.get(f"/runs/{run.run_id}/log/download/?start=4&end=6")
        assert b"".join(part.streaming_content) == b"\xff\xfe"


def test_a_log_with_a_gap_says_so(viewer: Browser, account):
    run = make_log(account, b"a\n" * 1000)
    Attempt.objects.filter(run=run).update(log_cut_at=1000, log_cut_bytes=5 * 1024**2)
    page = viewer.get(f"/runs/{run.run_id}/log/?at=1000").content.decode()
    assert "5.0 MiB left out here" in page
