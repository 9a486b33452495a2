"""Logs of lost attempts become one object, and stay readable before and after."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from runs.actions.logs import read_log, stream_log
from runs.domain.status import EndReason, Status
from runs.models import Attempt, LogChunk
from runs.queue.reaper import give_back
from runs.storage import keys, object_store
from runs.supervision.lost_logs import tidy_lost_attempts
from tests.factories import make_attempt, make_run

pytestmark = pytest.mark.django_db

PIECES = (b"one\ntwo\n", b"three\nfo", b"ur\n")


@pytest.fixture(autouse=True)
def store(settings: Any, data_dir: Path) -> None:
    settings.RUNSITE_DATA_DIR = data_dir


def _lost(pieces: tuple[bytes, ...] = PIECES, *, parts: int = 1) -> Attempt:
    """An attempt whose worker was lost; the first `parts` pieces of its log are objects."""
    run = make_run(status=Status.RUNNING)
    attempt = make_attempt(run, started_at=timezone.now() - timedelta(seconds=60))
    position, line = 0, 0
    for number, data in enumerate(pieces):
        words: dict[str, Any] = {"data": data}
        if number < parts:
            key = keys.log_part(run.run_id, attempt.number, position)
            object_store().put_bytes(key, data)
            words = {"key": key, "times": [[position, line, 1.5]]}
        LogChunk.objects.create(
            attempt=attempt,
            first_byte=position,
            size=len(data),
            first_line=line,
            lines=data.count(b"\n"),
            **words,
        )
        position += len(data)
        line += data.count(b"\n")
    assert give_back(run, attempt, timezone.now()) is Status.QUEUED
    attempt.refresh_from_db()
    return attempt


def _read(attempt: Attempt) -> bytes:
    return b"".join(stream_log(attempt=attempt))


def test_the_rows_and_parts_of_a_lost_attempt_can_be_read_and_are_joined() -> None:
    attempt = _lost()
    assert _read(attempt) == b"".join(PIECES)
    assert tidy_lost_attempts(timezone.now()) == 1
    attempt.refresh_from_db()
    assert attempt.log_key == keys.found_log(attempt.run.run_id, attempt.number)
    assert (attempt.log_bytes, attempt.log_lines, attempt.log_cut_bytes) == (19, 4, 0)
    assert attempt.outcome == EndReason.WORKER_LOST
    assert _read(attempt) == b"".join(PIECES)
    piece = read_log(attempt=attempt, cursor=14)
    assert (piece.data, piece.first_line, piece.ended) == (b"four\n", 4, True)
    assert not LogChunk.objects.exists()
    assert sorted(object_store().list(keys.run_prefix(attempt.run.run_id))) == [
        attempt.log_key,
        f"{attempt.log_key}-index",
    ]
    assert tidy_lost_attempts(timezone.now()) == 0


def test_a_part_that_is_gone_is_a_gap() -> None:
    attempt = _lost(parts=2)
    object_store().delete(keys.log_part(attempt.run.run_id, attempt.number, 8))
    tidy_lost_attempts(timezone.now())
    attempt.refresh_from_db()
    assert (attempt.log_cut_at, attempt.log_cut_bytes, attempt.log_bytes) == (8, 8, 19)
    piece = read_log(attempt=attempt, cursor=8)
    assert (piece.data, piece.first_byte, piece.missing) == (b"ur\n", 16, 8)


def test_the_live_log_of_a_run_that_goes_on_is_left_alone() -> None:
    attempt = make_attempt()
    LogChunk.objects.create(attempt=attempt, first_byte=0, size=3, data=b"abc")
    assert tidy_lost_attempts(timezone.now()) == 0
    assert LogChunk.objects.exists()


def test_rows_of_a_log_that_is_kept_already_go() -> None:
    attempt = _lost()
    key = keys.log(attempt.run.run_id, attempt.number)
    object_store().put_bytes(key, b"the whole log")
    Attempt.objects.filter(pk=attempt.pk).update(log_key=key)
    tidy_lost_attempts(timezone.now())
    attempt.refresh_from_db()
    assert attempt.log_key == key
    assert not LogChunk.objects.exists()
    assert list(object_store().list(keys.run_prefix(attempt.run.run_id))) == [key]
