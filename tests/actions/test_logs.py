"""Logs are read by byte, from rows, parts and kept objects alike."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from runs.actions import logs
from runs.actions.log_sources import ENTRY
from runs.actions.logs import (
    LogPiece,
    find_in_log,
    log_end,
    read_before,
    read_log,
    read_tail,
    stream_log,
)
from runs.domain.status import Status
from runs.models import Attempt, LogChunk
from runs.storage import keys, object_store
from runs.worker import recorder
from tests.factories import make_attempt, make_run

START = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
TEXT = "".join(f"line {n}: żółć ☃ {'x' * (n % 50)}\n" for n in range(1, 401)).encode()


@pytest.fixture(autouse=True)
def store(db: None, settings, tmp_path):
    settings.RUNSITE_DATA_DIR = tmp_path


def live_attempt(data: bytes = TEXT, *, piece: int = 333, part: int = 0) -> Attempt:
    """An attempt under way: its first `part` bytes in an object, the rest in rows."""
    attempt = make_attempt(make_run(status=Status.RUNNING), started_at=START)
    if part:
        key = keys.log_part(attempt.run.run_id, attempt.number, 0)
        object_store().put_bytes(key, data[:part])
        middle = data.index(b"\n", part // 2) + 1
        times = [[0, 0, 0.5], [middle, data[:middle].count(b"\n"), 1.5]]
        add_chunk(attempt, data, 0, part, data=None, key=key, times=times)
    for start in range(part, len(data), piece):
        add_chunk(attempt, data, start, min(len(data), start + piece))
    return attempt


def add_chunk(attempt: Attempt, log: bytes, start: int, end: int, **fields) -> None:
    columns = {
        "first_byte": start,
        "size": end - start,
        "first_line": log[:start].count(b"\n"),
        "lines": log[start:end].count(b"\n"),
        "at": START + timedelta(seconds=start),
        "data": log[start:end],
    }
    LogChunk.objects.create(attempt=attempt, **{**columns, **fields})


def kept_attempt(data: bytes = TEXT, *, cut: tuple[int, int] | None = None, step: int = 500):
    """An ended attempt; `cut` is where bytes are missing, and how many."""
    attempt = make_attempt(make_run(status=Status.SUCCEEDED), started_at=START, ended_at=START)
    run_id = attempt.run.run_id
    attempt.log_key = keys.log(run_id, attempt.number)
    kept = data
    if cut:
        attempt.log_cut_at, attempt.log_cut_bytes = cut
        kept = data[: cut[0]] + data[cut[0] + cut[1] :]
    attempt.log_bytes = len(data)
    attempt.save()
    object_store().put_bytes(attempt.log_key, kept)
    index = [(byte, kept[:byte].count(b"\n"), byte / 1000) for byte in range(0, len(kept), step)]
    packed = b"".join(ENTRY.pack(*entry) for entry in index)
    object_store().put_bytes(keys.log_index(run_id, attempt.number), packed)
    return attempt


SOURCES = {
    "rows": live_attempt,
    "a part and rows": lambda: live_attempt(part=TEXT.index(b"\n", 5000) + 1),
    "a kept object": kept_attempt,
}


@pytest.fixture(params=SOURCES)
def attempt(request) -> Attempt:
    return SOURCES[request.param]()


def test_the_index_is_read_as_the_recorder_packs_it():
    assert ENTRY.format == recorder.ENTRY.format


def test_pieces_from_the_start_join_to_the_whole(attempt: Attempt):
    position, pieces = 0, []
    while (piece := read_log(attempt=attempt, cursor=position, limit=700)).data:
        assert piece.first_byte == position
        assert len(piece.data) <= 700
        pieces.append(piece.data)
        position = piece.next_cursor
    assert b"".join(pieces) == TEXT
    assert position == log_end(attempt=attempt) == len(TEXT)


@pytest.mark.parametrize("position", [0, 1, 9, 10, 12, 332, 333, 334, 5001, 9999])
def test_a_log_goes_on_at_any_byte(attempt: Attempt, position: int):
    piece = read_log(attempt=attempt, cursor=position, limit=100)
    assert piece.data == TEXT[position : position + 100]
    assert piece.first_line == TEXT[:position].count(b"\n") + 1


def test_every_byte_of_a_character_is_a_cursor(attempt: Attempt):
    start = TEXT.index("żółć".encode())
    for position in range(start, start + 12):
        one = read_log(attempt=attempt, cursor=position, limit=1)
        assert one.data == TEXT[position : position + 1]


def test_times_hold_from_their_byte_on(attempt: Attempt):
    piece = read_log(attempt=attempt, cursor=700, limit=2000)
    positions = [position for position, _ in piece.times]
    assert positions[0] == 700
    assert positions == sorted(positions)
    assert all(700 <= position < 2700 for position in positions)
    assert all(instant >= START for _, instant in piece.times)


def test_the_tail_begins_at_a_line(attempt: Attempt):
    piece = read_tail(attempt=attempt, limit=300)
    assert TEXT.endswith(piece.data)
    assert 0 < len(piece.data) <= 301
    assert piece.data.startswith(b"line ")
    assert piece.first_line == TEXT[: piece.first_byte].count(b"\n") + 1
    assert piece.next_cursor == len(TEXT)


def test_a_short_log_is_its_own_tail(attempt: Attempt):
    assert read_tail(attempt=attempt, limit=10**6).data == TEXT


def test_what_stands_before_a_position(attempt: Attempt):
    position = TEXT.index(b"line 200")
    piece = read_before(attempt=attempt, position=position, limit=500)
    assert piece.next_cursor == position
    assert TEXT[:position].endswith(piece.data)
    assert piece.data.startswith(b"line ")


def test_a_search_goes_both_ways(attempt: Attempt, monkeypatch):
    monkeypatch.setattr(logs, "SEARCH_PIECE_BYTES", 256)
    first, second = TEXT.index(b"line 25"), TEXT.index(b"line 250")
    assert find_in_log(attempt=attempt, text="LINE 25".lower(), start=0).position == first
    found = find_in_log(attempt=attempt, text="line 25", start=first + 1)
    assert found.position == second
    back = find_in_log(attempt=attempt, text="line 25", start=second, forward=False)
    assert back.position == first
    last = find_in_log(attempt=attempt, text="line 25", start=len(TEXT), forward=False)
    assert last.position == TEXT.rindex(b"line 25")
    none = find_in_log(attempt=attempt, text="nowhere", start=0)
    assert (none.position, none.complete) == (None, True)


def test_a_search_finds_what_lies_over_two_pieces(attempt: Attempt, monkeypatch):
    for size in (64, 100, 333):
        monkeypatch.setattr(logs, "SEARCH_PIECE_BYTES", size)
        needle = TEXT[size - 10 : size + 10].decode(errors="ignore").strip("\n")
        place = TEXT.index(needle.encode())
        assert find_in_log(attempt=attempt, text=needle, start=0).position == place


def test_capital_letters_count_only_when_searched_for():
    attempt = kept_attempt(b"an Error\nan error\n")
    assert find_in_log(attempt=attempt, text="error", start=0).position == 3
    assert find_in_log(attempt=attempt, text="Error", start=4).position is None


def test_a_search_is_bounded_and_says_so(attempt: Attempt, monkeypatch):
    monkeypatch.setattr(logs, "SEARCH_PIECE_BYTES", 256)
    found = find_in_log(attempt=attempt, text="line 400", start=0, limit=1000)
    assert found.position is None
    assert not found.complete
    again = find_in_log(attempt=attempt, text="line 400", start=found.looked_to)
    assert again.position == TEXT.index(b"line 400")


def test_a_gap_is_passed_and_its_size_said():
    attempt = kept_attempt(cut=(4000, 3000))
    piece = read_log(attempt=attempt, cursor=3900, limit=1000)
    assert piece.data == TEXT[3900:4000]
    assert piece.missing == 0
    following = read_log(attempt=attempt, cursor=piece.next_cursor, limit=50)
    assert (following.first_byte, following.missing) == (7000, 3000)
    assert following.data == TEXT[7000:7050]
    inside = read_log(attempt=attempt, cursor=5000, limit=50)
    assert (inside.first_byte, inside.missing) == (7000, 2000)
    assert read_tail(attempt=attempt, limit=len(TEXT) - 6500).first_byte >= 7000
    whole = b"".join(stream_log(attempt=attempt))
    assert whole.startswith(TEXT[:4000])
    assert whole.endswith(TEXT[7000:])
    assert b"[3000 bytes were dropped here]" in whole


def test_a_search_crosses_a_gap_and_never_matches_over_it():
    data = b"a" * 100 + b"needle" + b"b" * 100
    attempt = kept_attempt(data, cut=(103, 50), step=20)
    assert find_in_log(attempt=attempt, text="needle", start=0).position is None
    assert find_in_log(attempt=attempt, text="bbb", start=0).position == 153
    assert find_in_log(attempt=attempt, text="nee", start=206, forward=False).position == 100


def test_a_gap_between_live_rows_is_passed():
    attempt = live_attempt()
    LogChunk.objects.filter(attempt=attempt, first_byte__range=(1000, 4000)).delete()
    first_gone = 1332  # 999 is the fourth row and stays
    piece = read_log(attempt=attempt, cursor=0, limit=10**6)
    assert piece.data == TEXT[:first_gone]
    following = read_log(attempt=attempt, cursor=first_gone, limit=10)
    assert following.missing > 0
    assert following.data == TEXT[following.first_byte :][:10]


def test_a_cursor_beyond_the_end_waits_at_the_end(attempt: Attempt):
    piece = read_log(attempt=attempt, cursor=10**9)
    assert piece.data == b""
    assert piece.next_cursor == len(TEXT)


def test_only_an_ended_log_ends():
    live, kept = live_attempt(), kept_attempt()
    assert not read_log(attempt=live, cursor=0, limit=10**6).ended
    assert not read_log(attempt=kept, cursor=0, limit=100).ended
    assert read_log(attempt=kept, cursor=0, limit=10**6).ended


def test_a_log_without_a_byte_ends_as_well():
    attempt = make_attempt(make_run(status=Status.SUCCEEDED), ended_at=START)
    piece = read_log(attempt=attempt, cursor=0)
    assert (piece.data, piece.ended, piece.next_cursor) == (b"", True, 0)


def test_rows_of_a_lost_worker_are_a_log_that_ended():
    attempt = live_attempt()
    Attempt.objects.filter(pk=attempt.pk).update(ended_at=START)
    attempt.refresh_from_db()
    assert read_log(attempt=attempt, cursor=0, limit=10**6).ended


def test_a_reader_does_not_notice_that_rows_became_an_object():
    attempt = live_attempt()
    first = read_log(attempt=attempt, cursor=0, limit=1000)
    LogChunk.objects.filter(attempt=attempt).delete()
    key = keys.log(attempt.run.run_id, attempt.number)
    object_store().put_bytes(key, TEXT)
    Attempt.objects.filter(pk=attempt.pk).update(ended_at=START, log_key=key)
    rest = read_log(attempt=attempt, cursor=first.next_cursor, limit=10**6)
    assert first.data + rest.data == TEXT
    assert rest.ended


def test_live_reading_takes_few_queries(django_assert_max_num_queries):
    attempt = live_attempt(piece=7)
    with django_assert_max_num_queries(6):
        piece = read_log(attempt=attempt, cursor=1000, limit=5000)
    assert len(piece.data) == 5000


def test_a_piece_is_cut_at_lines():
    piece = LogPiece(b"rest\none\ntwo\nthr", first_byte=10, next_cursor=26, first_line=5)
    begun = piece.from_line_start()
    assert (begun.data, begun.first_byte, begun.first_line) == (b"one\ntwo\nthr", 15, 6)
    whole = piece.whole_lines()
    assert (whole.data, whole.next_cursor) == (b"rest\none\ntwo\n", 23)
    assert piece.first_lines(2).next_cursor == 19
    last = piece.last_lines(2)
    assert (last.data, last.first_line, last.first_byte) == (b"two\nthr", 7, 19)
    assert whole.last_lines(1).data == b"two\n"
