"""Live parts: the hub tells followers what is new, from any cursor, until the run has ended."""

from __future__ import annotations

import json
import re
import threading

import pytest
from django.utils import timezone

from runs.domain.errors import RunsiteError
from runs.domain.status import EndReason, Status
from runs.models import Attempt, LogChunk, Membership, Run, UsageSample
from runs.storage import keys, object_store
from runs.web import live, live_follow, live_hub, live_lines
from runs.web.live import EventStream, parse_cursor
from runs.web.live_follow import Cursor, Follower
from runs.web.live_hub import Hub
from runs.web.run_pages import Viewer
from tests.factories import make_application, make_attempt, make_run, make_worker
from tests.web.conftest import Browser

VIEWER = Viewer("viewer", may_launch=False, may_cancel=False, may_delete=False)


@pytest.fixture(autouse=True)
def store(settings, tmp_path):
    settings.RUNSITE_DATA_DIR = tmp_path


@pytest.fixture
def hub(db: None) -> Hub:
    """A hub whose ticks are ours: no thread."""
    return Hub()


@pytest.fixture
def attempt(db: None) -> Attempt:
    return make_attempt(make_run(status=Status.RUNNING))


def write(attempt: Attempt, data: bytes, *, at_once: int = 40) -> None:
    """Append to the live log, as the recorder does."""
    for start in range(0, len(data), at_once):
        piece = data[start : start + at_once]
        rows = LogChunk.objects.filter(attempt=attempt)
        last = rows.order_by("-first_byte").first()
        LogChunk.objects.create(
            attempt=attempt,
            first_byte=last.first_byte + last.size if last else 0,
            first_line=last.first_line + last.lines if last else 0,
            size=len(piece),
            lines=piece.count(b"\n"),
            data=piece,
        )


def end(attempt: Attempt, status: Status = Status.SUCCEEDED) -> None:
    """End the run as the worker does: one object in place of the rows."""
    rows = LogChunk.objects.filter(attempt=attempt).order_by("first_byte")
    data = b"".join(bytes(row.data) for row in rows)
    run = attempt.run
    if data:
        attempt.log_key = keys.log(run.run_id, attempt.number)
        object_store().put_bytes(attempt.log_key, data)
    attempt.ended_at = timezone.now()
    attempt.save()
    reason = EndReason.EXITED if status is Status.SUCCEEDED else EndReason.EXIT_CODE
    run.move_to(status, now=timezone.now(), reason=reason)
    rows.delete()


def follow(hub: Hub, attempt: Attempt, cursor: str = "1.0.", tab: str = "log") -> Follower:
    return Follower(
        hub, attempt.run_id, parse_cursor(cursor), tab=tab, with_log=True, viewer=VIEWER
    )


def look(hub: Hub, follower: Follower) -> list[live_follow.Event]:
    hub.tick()
    return list(follower.collect())


def lines(events: list[live_follow.Event]) -> list[str]:
    html = "".join(event.data["html"] for event in events if event.name == "log")
    return re.findall(r'<span class="log-text">(.*?)</span></div>', html)


def numbers(events: list[live_follow.Event]) -> list[int]:
    html = "".join(event.data["html"] for event in events if event.name == "log")
    return [int(number) for number in re.findall(r'id="L(\d+)"', html)]


def names(events: list[live_follow.Event]) -> list[str]:
    return [event.data.get("id", event.name) for event in events]


# --- Following --------------------------------------------------------------------------------


def test_lines_come_once_and_in_order(hub: Hub, attempt: Attempt):
    follower = follow(hub, attempt)
    write(attempt, b"one\ntwo\n")
    assert lines(look(hub, follower)) == ["one", "two"]
    assert lines(look(hub, follower)) == []
    write(attempt, b"three\n")
    events = look(hub, follower)
    assert lines(events) == ["three"]
    assert numbers(events) == [3]


def test_a_line_comes_when_it_is_whole_and_is_shown_below_until_then(hub: Hub, attempt: Attempt):
    follower = follow(hub, attempt)
    write(attempt, b"one\n")
    look(hub, follower)
    write(attempt, "hal\u2603".encode()[:-1])
    events = look(hub, follower)
    assert lines(events) == []
    assert "hal" in next(e for e in events if names([e]) == ["log-partial"]).data["html"]
    write(attempt, "\u2603".encode()[-1:] + b"f\n")
    events = look(hub, follower)
    assert lines(events) == ["hal\u2603f"]
    assert "hidden" in next(e for e in events if names([e]) == ["log-partial"]).data["html"]


def test_two_followers_share_what_was_drawn(hub: Hub, attempt: Attempt, monkeypatch):
    first, second = follow(hub, attempt), follow(hub, attempt)
    write(attempt, b"one\n")
    look(hub, first)
    monkeypatch.setattr(live, "next_lines", None)  # neither may read by itself
    assert lines(list(second.collect())) == ["one"]
    write(attempt, b"two\n")
    assert lines(look(hub, first)) == lines(list(second.collect())) == ["two"]


DATA = "".join(f"line {n} \u017c\u2603\n" for n in range(1, 60)).encode()


@pytest.mark.parametrize("position", [*range(0, 40), 300, len(DATA) - 1, len(DATA)])
def test_a_page_goes_on_from_any_byte(hub: Hub, attempt: Attempt, position: int):
    other = follow(hub, attempt, "1.100.")
    write(attempt, DATA)
    look(hub, other)
    follower = follow(hub, attempt, f"1.{position}.")
    events = list(follower.collect())
    write(attempt, b"last\n")
    events += look(hub, follower)
    rest = (DATA + b"last\n")[position:]
    expected = rest.removesuffix(b"\n").split(b"\n")
    assert lines(events) == [line.decode(errors="replace") for line in expected]
    assert follower.cursor.position == len(DATA) + 5


def test_every_cursor_of_an_event_is_a_place_to_go_on(hub: Hub, attempt: Attempt, monkeypatch):
    monkeypatch.setattr(live_lines, "SEGMENT_LINES", 7)
    write(attempt, DATA)
    follower = follow(hub, attempt)
    events = look(hub, follower)
    seen: list[str] = []
    for event in events:
        if event.name == "log":
            seen += lines([event])
            again = follow(hub, attempt, str(event.cursor))
            assert seen + lines(list(again.collect())) == lines(events)


def test_who_is_far_behind_jumps_to_the_end(hub: Hub, attempt: Attempt, monkeypatch):
    monkeypatch.setattr(live_lines, "BEHIND_BYTES", 2000)
    monkeypatch.setattr(live_hub, "STEP_BYTES", 1000)
    monkeypatch.setattr(live_lines.next_lines, "__kwdefaults__", {"limit": 1000})
    monkeypatch.setattr(live_lines, "TAIL_BYTES", 500)
    follower = follow(hub, attempt)
    look(hub, follower)
    write(attempt, b"".join(b"line %d\n" % n for n in range(1, 1001)), at_once=500)
    events = look(hub, follower)
    events += look(hub, follower)
    assert lines(events)[-1] == "line 1000"
    assert numbers(events)[-1] == 1000
    assert len(lines(events)) < 200
    assert next(event.data["cut"] for event in events if event.name == "log")


def test_events_stay_small(hub: Hub, attempt: Attempt):
    write(attempt, b"<\n" * 20_000, at_once=60_000)
    events = look(hub, follow(hub, attempt))
    assert len(lines(events)) == 20_000
    assert max(len(event.encode()) for event in events) < 256 * 1024


def test_rows_that_became_a_part_are_read_there(hub: Hub, attempt: Attempt):
    follower = follow(hub, attempt)
    write(attempt, b"one\n")
    look(hub, follower)
    write(attempt, b"two\nthree\n")
    LogChunk.objects.filter(attempt=attempt).delete()
    key = keys.log_part(attempt.run.run_id, 1, 0)
    object_store().put_bytes(key, b"one\ntwo\nthree\n")
    LogChunk.objects.create(attempt=attempt, first_byte=0, size=14, lines=3, key=key, times=[])
    write(attempt, b"four\n")
    events = look(hub, follower)
    assert lines(events) == ["two", "three", "four"]
    assert numbers(events) == [2, 3, 4]


# --- The end ----------------------------------------------------------------------------------


def test_the_end_comes_after_the_last_line_and_the_last_status(hub: Hub, attempt: Attempt):
    follower = follow(hub, attempt)
    write(attempt, b"one\n")
    look(hub, follower)
    write(attempt, b"two\nlast without an end")
    end(attempt, Status.FAILED)
    events = look(hub, follower)
    assert lines(events) == ["two", "last without an end"]
    header = next(event for event in events if names([event]) == ["run-status"])
    assert 'data-status="failed"' in header.data["html"]
    assert names(events)[-1] == "end"
    assert names(events).index("run-status") > names(events).index("log")


def test_who_comes_after_the_end_gets_the_rest_and_the_end(hub: Hub, attempt: Attempt):
    write(attempt, b"one\ntwo\n")
    end(attempt)
    events = look(hub, follow(hub, attempt, "1.4."))
    assert lines(events) == ["two"]
    assert names(events)[-1] == "end"


def test_the_summary_comes_with_the_end(hub: Hub, attempt: Attempt):
    follower = Follower(hub, attempt.run_id, Cursor(), tab="summary", with_log=False, viewer=VIEWER)
    assert "run-summary" in names(look(hub, follower))
    end(attempt)
    events = look(hub, follower)
    assert "run-summary" in names(events)
    assert names(events)[-1] == "end"


def test_a_run_that_ends_before_it_began_ends(hub: Hub, db: None):
    run = make_run()
    follower = Follower(hub, run.pk, Cursor(), tab="log", with_log=True, viewer=VIEWER)
    assert "end" not in names(look(hub, follower))
    run.move_to(Status.CANCELED, now=timezone.now(), reason=EndReason.CANCELED)
    assert names(look(hub, follower))[-1] == "end"


def test_a_run_that_was_deleted_ends(hub: Hub, attempt: Attempt):
    follower = follow(hub, attempt)
    look(hub, follower)
    Run.objects.filter(pk=attempt.run_id).delete()
    assert names(look(hub, follower)) == ["end"]


def test_a_second_attempt_follows_the_first(hub: Hub, attempt: Attempt):
    follower = follow(hub, attempt)
    write(attempt, b"one\n")
    look(hub, follower)
    late = follow(hub, attempt, "1.0.")
    write(attempt, b"two\n")
    run = attempt.run
    now = timezone.now()
    Attempt.objects.filter(pk=attempt.pk).update(ended_at=now, outcome="worker_lost")
    run.move_to(Status.QUEUED, now=now)
    events = look(hub, follower)
    assert lines(events) == ["two"]
    assert "end" not in names(events)
    changes = {"token": "second", "attempt_number": 2}
    run.move_to(Status.RUNNING, now=now, changes=changes)
    second = make_attempt(run, number=2, token="second")
    write(second, b"again\n")
    events = look(hub, follower) + look(hub, follower)
    assert lines(events) == ["again"]
    assert "Attempt 2 begins here" in "".join(event.data.get("html", "") for event in events)
    assert lines(list(late.collect())) == ["one", "two", "again"]


def test_parts_come_only_when_something_changed(hub: Hub, attempt: Attempt):
    follower = follow(hub, attempt)
    first = look(hub, follower)
    assert {"run-status", "run-actions", "run-header"} <= set(names(first))
    assert look(hub, follower) == []
    fresh = follow(hub, attempt, str(first[-1].cursor))
    assert names(list(fresh.collect())) == []
    Run.objects.filter(pk=attempt.run_id).update(phase="collecting")
    assert "run-header" in names(look(hub, follower))


def test_the_use_of_resources_is_told(hub: Hub, attempt: Attempt, monkeypatch):
    monkeypatch.setattr(live_hub, "USAGE_S", 0)
    follower = follow(hub, attempt)
    look(hub, follower)
    UsageSample.objects.create(attempt=attempt, at_s=2, cpu_s=1.5, memory_bytes=5 * 1024**2)
    events = look(hub, follower)
    assert names(events) == ["run-usage"]
    assert "5.0 MiB" in events[0].data["html"]


def test_a_tick_costs_the_same_however_many_watch(hub: Hub, django_assert_max_num_queries):
    attempts = [make_attempt(make_run(status=Status.RUNNING)) for _ in range(12)]
    followers = [follow(hub, attempt) for attempt in attempts for _ in range(5)]
    hub.tick()
    hub.tick()
    for attempt in attempts:
        write(attempt, b"one\n")
    with django_assert_max_num_queries(4):
        hub.tick()
    # Drawing the header once each is not part of the tick.
    assert all(lines(list(follower.collect())) == ["one"] for follower in followers)


def test_who_left_is_forgotten(hub: Hub, attempt: Attempt, django_assert_num_queries):
    follower = follow(hub, attempt)
    follower.leave()
    follower.leave()
    assert hub.streams == 0
    with django_assert_num_queries(0):
        hub.tick()


# --- Streams ----------------------------------------------------------------------------------


def test_a_stream_gives_its_place_back_even_when_nobody_reads_it(hub: Hub, attempt: Attempt):
    stream = EventStream(follow(hub, attempt), recheck=lambda: True)
    assert hub.streams == 1
    stream.close()
    assert hub.streams == 0
    dropped = EventStream(follow(hub, attempt), recheck=lambda: True)
    del dropped
    assert hub.streams == 0


def test_a_silent_stream_sends_comments(hub: Hub, attempt: Attempt):
    stream = EventStream(follow(hub, attempt), recheck=lambda: True, comment_s=0)
    pieces = [next(stream) for _ in range(3)]
    assert pieces[0] == b"retry: 1000\n\n"
    assert pieces[-1].startswith(b":")
    stream.close()


def test_a_stream_ends_when_its_person_may_not_see_it_any_more(hub: Hub, attempt: Attempt):
    stream = EventStream(follow(hub, attempt), recheck=lambda: False, recheck_s=0)
    assert list(stream) == [b"retry: 1000\n\n"]
    assert hub.streams == 0


def test_streams_end_when_the_process_stops(hub: Hub, attempt: Attempt):
    stream = EventStream(follow(hub, attempt), recheck=lambda: True, comment_s=60)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.extend(stream))
    reader.start()
    hub.close()
    reader.join(30)
    assert not reader.is_alive()
    assert hub.streams == 0


@pytest.mark.django_db(transaction=True)
def test_the_stream_of_a_run_is_read_to_its_end(viewer: Browser, account):
    attempt = make_attempt(make_run(make_application(account), status=Status.RUNNING))
    write(attempt, b"one\n<script>\n")
    answer = viewer.get(f"/runs/{attempt.run.run_id}/live/?after=1.0.&tab=log&log=1")
    assert answer["Content-Type"] == "text/event-stream"
    pieces = iter(answer.streaming_content)
    text = ""
    while "&lt;script&gt;" not in text:
        text += next(pieces).decode()
    end(attempt)
    text += b"".join(pieces).decode()
    assert "event: end" in text
    assert "<script>" not in text
    datas = re.findall(r"^data: (.*)$", text, re.MULTILINE)
    assert all(isinstance(json.loads(data), dict) for data in datas)
    assert re.search(r"^id: 1\.13\.[0-9a-f]{8}$", text, re.MULTILINE)
    answer.close()
    assert live.hub.streams == 0


def test_beyond_the_cap_the_page_has_to_ask(viewer: Browser, account, settings):
    settings.RUNSITE_STREAMS = 0
    run = make_run(make_application(account), status=Status.RUNNING)
    assert viewer.get(f"/runs/{run.run_id}/live/").status_code == 503
    assert viewer.get(f"/runs/{run.run_id}/poll/").status_code == 200


def test_asking_again_tells_the_same_as_the_stream(viewer: Browser, account):
    attempt = make_attempt(make_run(make_application(account), status=Status.RUNNING))
    write(attempt, b"one\ntwo\nthr")
    address = f"/runs/{attempt.run.run_id}/poll/?tab=log&log=1"
    first = viewer.get(f"{address}&after=1.4.").json()
    assert "two" in json.dumps(first["events"])
    assert "one<" not in json.dumps(first["events"])
    assert first["after"].startswith("1.8.")
    assert not first["end"]
    again = viewer.get(f"{address}&after={first['after']}").json()
    assert again == {"events": [], "after": first["after"], "end": False}
    write(attempt, b"ee\n")
    end(attempt)
    last = viewer.get(f"{address}&after={first['after']}").json()
    assert "three" in json.dumps(last["events"])
    assert "run-status" in json.dumps(last["events"])
    assert last["end"]


@pytest.mark.parametrize("part", ["live/", "poll/"])
def test_the_run_of_others_is_not_told(outsider: Browser, account, part: str):
    run = make_run(make_application(account), status=Status.RUNNING)
    assert outsider.get(f"/runs/{run.run_id}/{part}").status_code == 404


@pytest.mark.parametrize(
    "cursor", ["x", "1", "1.2.zz", "1.2.3", "-1.0.", "1.9999999999999999.", "\u0661.0."]
)
def test_a_cursor_that_is_none_is_refused(viewer: Browser, account, cursor: str):
    run = make_run(make_application(account), status=Status.RUNNING)
    for part in ("live/", "poll/"):
        assert viewer.get(f"/runs/{run.run_id}/{part}", {"after": cursor}).status_code == 400
    with pytest.raises(RunsiteError):
        parse_cursor(cursor)


def test_who_lost_the_membership_or_the_session_is_told_no_more(viewer: Browser, account, rf):
    request = rf.get("/")
    request.session, request.user, request.account = viewer.session, viewer.user, account
    look_again = live._still_allowed(request)
    assert look_again()
    Membership.objects.filter(user=viewer.user).delete()
    assert not look_again()
    Membership.objects.create(user=viewer.user, account=account)
    assert look_again()
    viewer.logout()
    assert not look_again()


def test_a_waiting_run_is_told_about_anew_though_its_row_is_the_same(hub: Hub):
    make_worker()
    run = make_run()
    fingerprint = live_hub.load_state(run.pk).fingerprint
    follower = Follower(
        hub, run.pk, Cursor(0, 0, fingerprint), tab="summary", with_log=False, viewer=VIEWER
    )
    hub.tick()
    [event] = list(follower.collect())
    assert event.data["id"] == "run-waiting"
    assert "now" in event.data["html"]
    hub.tick()
    assert list(follower.collect()) == []  # the same again is not sent


def test_what_holds_a_run_is_part_of_its_state(hub: Hub):
    run = make_run()
    before = live_hub.load_state(run.pk).fingerprint
    Run.objects.filter(pk=run.pk).update(hold="key")
    assert live_hub.load_state(run.pk).fingerprint != before
    running = make_run(status=Status.RUNNING)
    before = live_hub.load_state(running.pk).fingerprint
    Run.objects.filter(pk=running.pk).update(stop_requested_at=timezone.now())
    assert live_hub.load_state(running.pk).fingerprint != before
