"""The recorder makes rows, joins old ones, and keeps an index of the whole log."""

from __future__ import annotations

import pytest
from django.utils import timezone

from runs.execution.spec import Usage
from runs.models import LogChunk, UsageSample
from runs.storage import object_store
from runs.worker import recorder as module
from runs.worker.recorder import ENTRY, Flusher, Recorder, packed_index
from runs.worker.spool import Spool
from tests.factories import make_attempt
from tests.processes import until

pytestmark = pytest.mark.django_db


@pytest.fixture
def recorder(tmp_path):
    attempt = make_attempt()
    return Recorder(attempt, attempt.run.run_id, Spool(tmp_path / "log", limit_bytes=10**7))


def _flush_all(recorder: Recorder) -> None:
    while recorder.flush(timezone.now()):
        pass


def _stored(recorder: Recorder) -> bytes:
    """The log as its rows and parts hold it, which must touch each other."""
    data, position = b"", 0
    for chunk in LogChunk.objects.filter(attempt_id=recorder.attempt_pk).order_by("first_byte"):
        assert chunk.first_byte == position
        piece = bytes(chunk.data) if chunk.data is not None else b""
        if chunk.key:
            with object_store().open(chunk.key) as stream:
                piece = stream.read()
        assert len(piece) == chunk.size
        assert chunk.first_line == data.count(b"\n")
        assert chunk.lines == piece.count(b"\n")
        data += piece
        position += chunk.size
    return data


def test_each_flush_makes_one_row_of_what_is_new(recorder):
    recorder.write(b"one\ntwo\n")
    _flush_all(recorder)
    recorder.write(b"three\n")
    _flush_all(recorder)
    assert _stored(recorder) == b"one\ntwo\nthree\n"
    assert LogChunk.objects.count() == 2
    assert not recorder.has_news


def test_the_lag_is_the_age_of_the_oldest_part_without_a_row(recorder, monkeypatch):
    at = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: at[0])
    flusher = Flusher()
    assert flusher.lag_s() == 0
    flusher.add(recorder)
    recorder.write(b"a" * module.ROW_BYTES)
    at[0] += 2
    recorder.write(b"b" * 10)
    at[0] += 3
    assert flusher.lag_s() == 5
    recorder.flush(timezone.now())
    assert flusher.lag_s() == 3
    recorder.flush(timezone.now())
    assert flusher.lag_s() == 0
    at[0] += 60
    recorder.write(b"c")
    at[0] += 1
    assert flusher.lag_s() == 1


def test_nothing_new_makes_no_row(recorder):
    assert recorder.flush(timezone.now()) is False
    assert not LogChunk.objects.exists()


def test_old_rows_are_joined_into_objects(recorder, monkeypatch):
    monkeypatch.setattr(module, "ROW_BYTES", 100)
    monkeypatch.setattr(module, "ROWS_BYTES", 1000)
    log = b"".join(b"line %d\n" % number for number in range(2000))
    for start in range(0, len(log), 90):
        recorder.write(log[start : start + 90])
        _flush_all(recorder)
    assert _stored(recorder) == log
    rows = LogChunk.objects.filter(key="")
    assert sum(row.size for row in rows) <= 2000
    joined = LogChunk.objects.exclude(key="")
    assert joined.exists()
    assert all(chunk.times for chunk in joined)


def test_a_flood_goes_into_objects_at_once(recorder, monkeypatch):
    monkeypatch.setattr(module, "PART_BYTES", 1000)
    log = b"x" * 4500 + b"\n"
    recorder.write(log)
    _flush_all(recorder)
    assert _stored(recorder) == log
    assert LogChunk.objects.exclude(key="").count() == 4
    assert recorder.totals().lines == 1


def test_the_index_finds_the_line_of_a_byte(recorder):
    for number in range(10):
        recorder.write(b"line %d\nand more\n" % number)
        _flush_all(recorder)
    packed = packed_index(recorder, recorder.totals())
    entries = list(ENTRY.iter_unpack(packed))
    assert [line for _, line, _ in entries] == list(range(0, 20, 2))
    assert [byte for byte, _, _ in entries] == [number * 16 for number in range(10)]


def test_usage_becomes_samples(recorder):
    recorder.usage(Usage(at_s=0.2, cpu_s=0.1, memory_bytes=1000, processes=1))
    recorder.usage(Usage(at_s=2.0, cpu_s=1.1, memory_bytes=2000, processes=2))
    _flush_all(recorder)
    samples = UsageSample.objects.order_by("at_s").values_list("at_s", "memory_bytes")
    assert list(samples) == [(0.2, 1000), (2.0, 2000)]
    assert len(recorder.all_usage) == 2


def test_the_totals_say_what_was_cut(tmp_path):
    attempt = make_attempt()
    spool = Spool(tmp_path / "log", limit_bytes=100, segment_bytes=10)
    recorder = Recorder(attempt, attempt.run.run_id, spool)
    for number in range(100):
        recorder.write(b"line %04d\n" % number)
        recorder.flush(timezone.now())
    _flush_all(recorder)
    totals = recorder.totals()
    assert totals.written == 1000
    assert totals.cut_at == 50
    assert totals.cut_bytes + len(b"".join(spool.pieces())) == 1000
    bytes_kept = [entry[0] for entry in ENTRY.iter_unpack(packed_index(recorder, totals))]
    assert bytes_kept == sorted(set(bytes_kept))
    assert bytes_kept[-1] < 1000 - totals.cut_bytes


@pytest.mark.django_db(transaction=True)
def test_the_flusher_flushes_by_itself(recorder):
    flusher = Flusher()
    flusher.start()
    flusher.add(recorder)
    recorder.write(b"hello\n")
    until(lambda: LogChunk.objects.filter(attempt_id=recorder.attempt_pk).exists())
    flusher.remove(recorder)
    flusher.stop()
    assert _stored(recorder) == b"hello\n"


def test_a_row_whose_commit_was_not_heard_of_is_written_again(recorder):
    recorder.write(b"one\n")
    recorder.flush(timezone.now())
    recorder.flushed, recorder.flushed_lines = 0, 0  # as after an error that came too late
    recorder.write(b"two\n")
    recorder.flush(timezone.now())
    assert _stored(recorder) == b"one\ntwo\n"
    assert LogChunk.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_fault_with_one_log_does_not_stop_the_others(recorder, tmp_path, caplog):
    attempt = make_attempt()
    other = Recorder(attempt, attempt.run.run_id, Spool(tmp_path / "other", limit_bytes=10**7))

    def broken(now):
        raise ValueError("never thought of")

    other.flush = broken
    flusher = Flusher()
    flusher.start()
    try:
        flusher.add(other)
        other.write(b"x")
        until(lambda: other.failing)
        flusher.add(recorder)
        recorder.write(b"hello\n")
        until(lambda: LogChunk.objects.filter(attempt_id=recorder.attempt_pk).exists())
        assert caplog.text.count("waits on disk") == 1
    finally:
        flusher.remove(recorder)
        flusher.remove(other)
        flusher.stop()


def test_of_a_steady_log_beyond_the_limit_the_store_keeps_what_the_spool_keeps(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "ROW_BYTES", 100)
    monkeypatch.setattr(module, "ROWS_BYTES", 500)
    monkeypatch.setattr(module, "PART_BYTES", 700)
    attempt = make_attempt()
    spool = Spool(tmp_path / "log", limit_bytes=4000, segment_bytes=500)
    recorder = Recorder(attempt, attempt.run.run_id, spool)
    for number in range(1000):
        recorder.write(b"line %04d of a program that talks and talks\n" % number)
        _flush_all(recorder)
    kept = sum(LogChunk.objects.exclude(key="").values_list("size", flat=True))
    assert kept < 8000
    assert spool.missing > 20_000
