"""Logs: whole, live from a token, with line ends and times, and everything in the last answer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from nextmv.run import RunLog, TimestampedRunLog

from runs.actions import log_pages
from runs.domain.status import EndReason, Status
from runs.models import Attempt, LogChunk, Run
from runs.storage import keys, object_store
from tests.api.golden import check_golden
from tests.api.run_worlds import body_of, make_app
from tests.factories import make_attempt, make_run, make_tracked_run

START = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def store(settings: Any, tmp_path: Any) -> None:
    settings.RUNSITE_DATA_DIR = tmp_path


@pytest.fixture
def app(account: Any) -> Any:
    return make_app(account)


@pytest.fixture
def running(app: Any) -> Run:
    run = make_run(app, status=Status.RUNNING)
    make_attempt(run, started_at=START)
    return run


def path(run: Run, rest: str = "/logs/live") -> str:
    return f"/v1/applications/{run.application.application_id}/runs/{run.run_id}{rest}"


def write(run: Run, data: bytes, at_s: float = 0, number: int = 1) -> None:
    attempt = Attempt.objects.get(run=run, number=number)
    LogChunk.objects.create(
        attempt=attempt,
        first_byte=attempt.log_bytes,
        size=len(data),
        first_line=attempt.log_lines,
        lines=data.count(b"\n"),
        at=START + timedelta(seconds=at_s),
        data=data,
    )
    attempt.log_bytes += len(data)
    attempt.log_lines += data.count(b"\n")
    attempt.save(update_fields=["log_bytes", "log_lines"])


def end(run: Run, data: bytes, number: int = 1) -> None:
    """The worker has stored the log and the run has ended."""
    key = keys.log(run.run_id, number)
    object_store().put_bytes(key, data)
    Attempt.objects.filter(run=run, number=number).update(
        log_key=key, ended_at=START, log_bytes=len(data)
    )
    LogChunk.objects.all().delete()
    assert Run.objects.get(pk=run.pk).move_to(
        Status.SUCCEEDED, now=START + timedelta(minutes=1), reason=EndReason.EXITED
    )


def follow(program: Any, run: Run, since: str = "") -> tuple[dict[str, Any], str]:
    """An answer, and its lines joined."""
    query = {"since": since} if since else {}
    answer = body_of(program.send("GET", path(run), **query))
    assert answer["next_available_in_seconds"] >= 1
    assert isinstance(answer["next_page_token"], str)
    assert answer["next_page_token"]
    for item in answer["items"]:
        assert TimestampedRunLog.from_dict(item).timestamp.tzinfo is not None
    return answer, "".join(item["log"] for item in answer["items"])


def test_a_queued_run_has_no_log_yet(program, app):
    run = make_run(app)
    answer, _ = follow(program, run)
    check_golden("run_logs_live_queued", answer)
    assert body_of(program.send("GET", path(run, "/logs"))) == {"log": ""}


def test_lines_come_once_with_their_ends_and_times(program, running):
    write(running, b"one\ntwo\n", 1)
    answer, text = follow(program, running)
    check_golden("run_logs_live_running", answer)
    assert text == "one\ntwo\n"
    assert answer["items"][0]["timestamp"] == "2026-05-04T12:00:01.000000Z"
    token = answer["next_page_token"]
    answer, text = follow(program, running, token)
    assert (text, answer["next_page_token"]) == ("", token)
    write(running, b"three\n", 5)
    answer, text = follow(program, running, token)
    assert text == "three\n"
    assert answer["items"][0]["timestamp"] == "2026-05-04T12:00:05.000000Z"
    assert body_of(program.send("GET", path(running, "/logs"))) == {"log": "one\ntwo\nthree\n"}


def test_an_unfinished_line_waits_for_its_end(program, running):
    write(running, "one\ngröß".encode())
    answer, text = follow(program, running)
    assert text == "one\n"
    write(running, b"er\n")
    assert follow(program, running, answer["next_page_token"])[1] == "größer\n"


def test_the_last_answer_has_everything_also_a_line_without_end(program, running):
    write(running, b"one\ntw")
    token = follow(program, running)[0]["next_page_token"]
    end(running, b"one\ntwo\nthree")
    answer, text = follow(program, running, token)
    assert (text, answer["status_v2"]) == ("two\nthree", "succeeded")
    check_golden("run_logs_live_last", answer)
    answer, text = follow(program, running)
    assert (text, answer["status_v2"]) == ("one\ntwo\nthree", "succeeded")
    assert follow(program, running, answer["next_page_token"])[1] == ""
    assert RunLog.from_dict(body_of(program.send("GET", path(running, "/logs")))).log == text


def test_a_long_log_is_sent_in_parts_and_at_the_end_as_one(program, running, monkeypatch):
    monkeypatch.setattr(log_pages, "PIECE_BYTES", 1000)
    lines = [f"line {number} größer\n" for number in range(500)]
    data = "".join(lines).encode()
    for begin in range(0, len(data), 700):
        write(running, data[begin : begin + 700], begin / 1000)
    answer, text = follow(program, running)
    assert 500 < len(text.encode()) <= 1000
    assert answer["status_v2"] == "running"
    following, more = follow(program, running, answer["next_page_token"])
    assert lines[: len(following["items"]) + len(answer["items"])] == [
        item["log"] for item in answer["items"] + following["items"]
    ]
    end(running, data)
    assert follow(program, running, answer["next_page_token"])[1] == "".join(lines)[len(text) :]
    response = program.send("GET", path(running))
    assert max(len(piece) for piece in response.streaming_content) < 5000
    assert body_of(program.send("GET", path(running, "/logs")))["log"] == "".join(lines)
    assert more


def test_a_line_that_is_longer_than_an_answer_is_cut_between_characters(
    program, running, monkeypatch
):
    monkeypatch.setattr(log_pages, "PIECE_BYTES", 100)
    text = "ł" * 120 + "☃" * 60
    write(running, text.encode())
    found, token = "", ""
    for _ in range(10):
        answer, more = follow(program, running, token)
        found, token = found + more, answer["next_page_token"]
    assert text.startswith(found)
    assert len(found.encode()) > len(text.encode()) - 100
    end(running, text.encode())
    assert found + follow(program, running, token)[1] == text
    assert follow(program, running)[1] == text


def test_bytes_that_are_no_text_break_nothing(program, app):
    run = make_tracked_run(app, output=b"{}", log=b'ok \xff\xfe\x00 "\\ end\nx\xc3')
    text = body_of(program.send("GET", path(run, "/logs")))["log"]
    assert text == 'ok \ufffd\ufffd\x00 "\\ end\nx\ufffd'
    assert follow(program, run)[1] == text


def test_another_attempt_follows_the_one_before(program, running):
    write(running, b"first\nha")
    token = follow(program, running)[0]["next_page_token"]
    Attempt.objects.filter(run=running).update(ended_at=START, outcome="worker_lost")
    Run.objects.filter(pk=running.pk).update(attempt_number=2, token="second")
    running.refresh_from_db()
    make_attempt(running, number=2, token="second", started_at=START)
    write(running, b"again\n", 9, number=2)
    answer, text = follow(program, running, token)
    assert text == "ha"  # what is left of the first, then the second
    answer, text = follow(program, running, answer["next_page_token"])
    assert text == "again\n"
    assert follow(program, running)[1] == "again\n"
    assert body_of(program.send("GET", path(running, "/logs"))) == {"log": "again\n"}


def test_a_log_whose_middle_was_dropped_says_so(program, app, settings):
    settings.RUNSITE_LOG_LIMIT = 100
    data = b"".join(b"line %03d\n" % number for number in range(100))
    run = make_tracked_run(app, output=b"{}", log=data)
    text = follow(program, run)[1]
    assert text.startswith("line 000\n")
    assert text.endswith("line 099\n")
    assert "[800 bytes were dropped here]" in text
    assert "800 bytes were dropped" in body_of(program.send("GET", path(run, "/logs")))["log"]


@pytest.mark.parametrize("since", ["42", "a.b", "1.", "-1.0", "1.99999999999999999999"])
def test_a_token_that_is_not_ours_is_400(program, running, since):
    answer = program.send("GET", path(running), since=since)
    assert (answer.status_code, "page token" in answer.json()["error"]) == (400, True)


def test_a_token_beyond_the_end_gives_nothing(program, running):
    write(running, b"one\n")
    assert follow(program, running, "1.999999")[1] == ""
    assert follow(program, running, "7.0")[1] == ""


def test_following_costs_few_queries(program, running, django_assert_max_num_queries):
    write(running, b"one\n")
    token = follow(program, running)[0]["next_page_token"]
    with django_assert_max_num_queries(9):
        program.send("GET", path(running), since=token)


def test_a_huge_log_goes_through_in_bounded_memory(program, app):
    """64 MiB leave in pieces; none of them is larger than what one page becomes as JSON."""
    run = make_tracked_run(app, output=b"{}", log=(b"x" * 99 + b"\n") * (64 * 1024 * 1024 // 100))
    count = largest = 0
    for piece in program.send("GET", path(run)).streaming_content:
        count += len(piece)
        largest = max(largest, len(piece))
    assert count > 64 * 1024 * 1024
    assert largest < 3 * 1024 * 1024
    size = sum(map(len, program.send("GET", path(run, "/logs")).streaming_content))
    assert size > 64 * 1024 * 1024
