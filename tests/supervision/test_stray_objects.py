"""What dead attempts left in the store goes; what a row names, and what may be named, stays."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from runs.domain.status import EndReason, Status
from runs.models import Asset, Attempt, LogChunk, Run, RunFile
from runs.queue.claim import Claimed
from runs.queue.reaper import give_back
from runs.storage import keys, object_store
from runs.supervision import stray_objects
from runs.supervision.stray_objects import StrayObjects
from runs.worker import stored_logs
from runs.worker.held import Held
from runs.worker.recorder import Recorder
from runs.worker.spool import Spool
from tests.factories import make_attempt, make_run

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def store(settings: Any, data_dir: Path) -> None:
    settings.RUNSITE_DATA_DIR = data_dir


def _lost(*, hours: float = 2, why: EndReason = EndReason.WORKER_LOST) -> Attempt:
    """An attempt that was taken from its worker so long ago."""
    run = make_run(status=Status.RUNNING)
    attempt = make_attempt(run)
    give_back(run, attempt, timezone.now(), why)
    ended_at = timezone.now() - timedelta(hours=hours)
    Attempt.objects.filter(pk=attempt.pk).update(ended_at=ended_at)
    attempt.refresh_from_db()
    return attempt


def _results(attempt: Attempt) -> list[str]:
    """Objects of a whole result, put as a worker does that is killed right afterwards."""
    run_id, number = attempt.run.run_id, attempt.number
    forms = (keys.stdout, keys.cleaned, keys.metrics, keys.statistics, keys.usage)
    made = [form(run_id, number) for form in forms]
    made += [keys.output_file(run_id, number, 0), keys.asset(run_id, number, 0)]
    for key in made:
        object_store().put_bytes(key, b"{}")
    return made


def _log(attempt: Attempt) -> list[str]:
    run_id, number = attempt.run.run_id, attempt.number
    made = [keys.log(run_id, number), keys.log_index(run_id, number)]
    made += [keys.found_log(run_id, number), keys.log_part(run_id, number, 0)]
    for key in made:
        object_store().put_bytes(key, b"1")
    return made


def _stored(attempt: Attempt) -> list[str]:
    return sorted(object_store().list(keys.attempt_prefix(attempt.run.run_id, attempt.number)))


@pytest.mark.parametrize("why", [EndReason.WORKER_LOST, EndReason.WORKER_STOPPED])
def test_a_result_whose_worker_was_killed_before_its_commit_goes(why: EndReason) -> None:
    attempt = _lost(why=why)
    count = len(_results(attempt))
    other = f"runs/{attempt.run.run_id}/2/stdout"
    object_store().put_bytes(other, b"of the next attempt")
    assert StrayObjects().turn(timezone.now()) == count
    assert _stored(attempt) == []
    assert object_store().exists(other)


def test_what_a_row_names_stays() -> None:
    attempt = _lost()
    run_id, number = attempt.run.run_id, attempt.number
    made = [*_results(attempt), *_log(attempt), keys.index_of(keys.found_log(run_id, number))]
    object_store().put_bytes(made[-1], b"")
    run = Run.objects.get(run_id=run_id)
    for index, key in enumerate((made[0], made[1], made[2], made[3], made[5])):
        RunFile.objects.create(run=run, role="solution", number=index, key=key, size_bytes=2)
    Asset.objects.create(run=run, asset_id="a", number=0, name="a", key=made[6], size_bytes=2)
    LogChunk.objects.create(attempt=attempt, first_byte=0, size=1, key=made[10])
    Attempt.objects.filter(pk=attempt.pk).update(
        usage_key=keys.usage(run_id, number), log_key=keys.found_log(run_id, number)
    )
    sweep, now = StrayObjects(), timezone.now()
    for _ in range(3):
        sweep.turn(now)
        now += HOUR
    gone = {keys.log(run_id, number), keys.log_index(run_id, number)}
    assert set(_stored(attempt)) == set(made) - gone


@pytest.mark.parametrize(
    ("hours", "why"),
    [
        (0.5, EndReason.WORKER_LOST),
        (30, EndReason.WORKER_LOST),
        (2, EndReason.EXITED),
        (2, EndReason.EXIT_CODE),
    ],
)
def test_others_are_not_looked_at(hours: float, why: EndReason) -> None:
    attempt = _lost(hours=hours)
    Attempt.objects.filter(pk=attempt.pk).update(outcome=why)
    made = _results(attempt)
    assert StrayObjects().turn(timezone.now()) == 0
    assert _stored(attempt) == sorted(made)


def test_an_attempt_that_goes_on_is_not_looked_at() -> None:
    attempt = make_attempt()
    made = _results(attempt)
    assert StrayObjects().turn(timezone.now()) == 0
    assert _stored(attempt) == sorted(made)


def test_pieces_of_a_log_go_only_when_they_were_in_vain_an_hour_ago_too() -> None:
    attempt = _lost()
    made = _log(attempt)
    sweep, now = StrayObjects(), timezone.now()
    assert sweep.turn(now) == 0
    assert sweep.turn(now + timedelta(minutes=1)) == 0
    late = keys.log_part(attempt.run.run_id, attempt.number, 100)
    object_store().put_bytes(late, b"of a worker that came back")
    assert sweep.turn(now + HOUR) == len(made)
    assert _stored(attempt) == [late]


class _Frozen:
    """A worker that stands still between storing its log and writing the row."""

    def __init__(self, attempt: Attempt, folder: Path) -> None:
        self.held = Held(Claimed(attempt.run, attempt))
        self.recorder = Recorder(
            attempt, attempt.run.run_id, Spool(folder / "log", limit_bytes=1000)
        )
        self.recorder.write(b"evidence\n")


def test_a_late_worker_finds_its_evidence_whole_even_if_it_was_tidied_away_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = _lost()
    frozen = _Frozen(attempt, tmp_path)
    store_log, sweep = stored_logs.store_log, StrayObjects()
    times: list[datetime] = []

    def store_then_stand_still(*args: Any, **words: Any) -> Any:
        stored = store_log(*args, **words)
        if not times:
            times.append(timezone.now())
            sweep.turn(times[0])
            LogChunk.objects.all().delete()  # as `tidy_lost_attempts` does
            assert sweep.turn(times[0] + HOUR) == 2
        return stored

    monkeypatch.setattr(stored_logs, "store_log", store_then_stand_still)
    stored_logs.keep_evidence(frozen.held, frozen.recorder)
    attempt.refresh_from_db()
    assert attempt.log_key == keys.log(attempt.run.run_id, attempt.number)
    assert object_store().read_range(attempt.log_key, 0, 100) == b"evidence\n"
    assert object_store().exists(keys.index_of(attempt.log_key))
    assert sweep.turn(times[0] + 2 * HOUR) == 0


def test_a_round_is_bounded_and_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = [_lost() for _ in range(5)]
    for attempt in attempts:
        object_store().put_bytes(keys.stdout(attempt.run.run_id, attempt.number), b"1")
    seconds = iter(range(100))
    monkeypatch.setattr(stray_objects, "BATCH", 2)
    sweep, now = StrayObjects(clock=lambda: float(next(seconds))), timezone.now()
    # Each look at the clock is a second later, and a turn takes one: an attempt a turn.
    assert [sweep.turn(now) for _ in range(7)] == [1, 1, 1, 1, 1, 0, 0]
    assert not any(_stored(attempt) for attempt in attempts)
    object_store().put_bytes(keys.stdout(attempts[0].run.run_id, 1), b"2")
    assert sweep.turn(now + timedelta(minutes=59)) == 0
    assert sweep.turn(now + HOUR) == 1


def test_between_two_rounds_nothing_is_asked(django_assert_num_queries: Any) -> None:
    sweep, now = StrayObjects(), timezone.now()
    sweep.turn(now)
    with django_assert_num_queries(0):
        assert sweep.turn(now + timedelta(minutes=1)) == 0
