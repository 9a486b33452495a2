"""The spool keeps the first and the last half of a log, and reads anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from runs.worker.spool import Spool


def _bytes(start: int, count: int) -> bytes:
    return bytes((start + number) % 251 for number in range(count))


def _filled(folder: Path, count: int, *, limit: int, segment: int, piece: int = 7) -> Spool:
    spool = Spool(folder, limit_bytes=limit, segment_bytes=segment)
    for start in range(0, count, piece):
        spool.write(_bytes(start, min(piece, count - start)))
    return spool


def test_what_was_written_is_read_at_any_position(tmp_path):
    spool = _filled(tmp_path / "log", 1000, limit=10_000, segment=64)
    for start in (0, 1, 63, 64, 65, 500, 999):
        first, data = spool.read(start, 5000)
        assert first == start
        assert data == _bytes(start, len(data))
        assert data
    assert spool.read(1000, 10) == (1000, b"")
    assert b"".join(spool.pieces()) == _bytes(0, 1000)
    assert spool.missing == 0


def test_reading_one_piece_after_another_gives_the_whole_log(tmp_path):
    spool = _filled(tmp_path / "log", 777, limit=10_000, segment=50)
    position, parts = 0, []
    while position < spool.written:
        first, data = spool.read(position, 13)
        assert first == position
        parts.append(data)
        position += len(data)
    assert b"".join(parts) == _bytes(0, 777)


@pytest.mark.parametrize("count", [101, 150, 1000, 12_345])
def test_of_a_log_beyond_the_limit_head_and_tail_are_kept(tmp_path, count):
    spool = _filled(tmp_path / "log", count, limit=100, segment=10)
    kept = b"".join(spool.pieces())
    assert kept[:50] == _bytes(0, 50)
    tail = kept[50:]
    assert tail == _bytes(count - len(tail), len(tail))
    assert len(tail) >= min(50, count - 50)
    assert len(kept) + spool.missing == count
    files = sum(path.stat().st_size for path in (tmp_path / "log").iterdir())
    assert files == len(kept)
    assert files <= 100 + 2 * 10


def test_a_position_in_the_gap_is_moved_to_its_end(tmp_path):
    spool = _filled(tmp_path / "log", 1000, limit=100, segment=10)
    first, data = spool.read(60, 5)
    assert first == spool.tail_start
    assert data == _bytes(first, 5)


def test_a_disk_that_refuses_ends_the_log_and_is_said(tmp_path, monkeypatch):
    spool = _filled(tmp_path / "log", 10, limit=1000, segment=100)

    class Full:
        def write(self, _data: bytes) -> int:
            raise OSError(28, "No space left on device")

        def close(self) -> None: ...

    monkeypatch.setattr(spool, "_file", Full())
    spool.write(b"more")
    spool.write(b"and more")
    assert "No space left" in spool.failed
    assert spool.written == 10
