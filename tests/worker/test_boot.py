"""Names, signals and the guardian of a worker's process."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from runs.domain.status import Status
from runs.models import Worker, WorkerBoot
from runs.worker import boot
from runs.worker.boot import Engine, free_row_name, take_name
from tests.factories import make_attempt, make_run, make_worker
from tests.processes import until


@pytest.fixture
def engine(settings: Any, data_dir: Path) -> Engine:
    settings.RUNSITE_DATA_DIR = data_dir
    settings.RUNSITE_WORKER_NAME = "w1"
    return Engine()


def test_workers_of_one_data_directory_get_names_of_their_own(data_dir: Path) -> None:
    first, lock = take_name(data_dir, "w")
    second, other = take_name(data_dir, "w")
    assert (first, second) == ("w", "w-2")
    lock.close()
    again, lock = take_name(data_dir, "w")
    assert again == "w"
    lock.close()
    other.close()


@pytest.mark.django_db
def test_the_row_of_a_living_worker_of_another_host_is_not_taken() -> None:
    make_worker(name="w", host="a", state=Worker.ACTIVE)
    assert free_row_name("w", "a") == "w"
    assert free_row_name("w", "b") == "w-at-2"
    Worker.objects.update(state=Worker.LOST)
    assert free_row_name("w", "b") == "w"


def test_each_signal_is_one_stage_and_quit_ends_the_runs(engine: Engine) -> None:
    assert engine._next_stage(0, wait_s=0) == 0
    engine.on_stop_signal(signal.SIGTERM, None)
    assert engine._next_stage(0, wait_s=0) == 1
    engine.on_stop_signal(signal.SIGTERM, None)
    engine.on_stop_signal(signal.SIGINT, None)
    engine.on_stop_signal(signal.SIGINT, None)
    assert engine._next_stage(1, wait_s=0) == 3
    engine.on_quit_signal(signal.SIGQUIT, None)
    assert engine._next_stage(0, wait_s=0) == 2
    engine.on_quit_signal(signal.SIGQUIT, None)
    assert engine._next_stage(2, wait_s=0) == 3


def test_thousands_of_signals_block_nobody(engine: Engine) -> None:
    for _ in range(100_000):
        engine.on_stop_signal(signal.SIGTERM, None)
    assert engine._next_stage(0, wait_s=0) == 3


class Guardian:
    """One that dies when told to, and says when it was put away."""

    def __init__(self) -> None:
        self.alive, self.closed = True, False

    def is_alive(self) -> bool:
        return self.alive

    def close(self) -> None:
        self.closed = True


def test_a_guardian_that_is_gone_is_put_away_and_replaced(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, new = Guardian(), Guardian()
    gone.alive = False
    engine._guardian = gone
    monkeypatch.setattr(boot.guardian, "start_guardian", lambda prefix: new)
    monkeypatch.setattr(boot.process, "reap_strays", lambda: 0)
    thread = threading.Thread(target=engine._reap_strays, daemon=True)
    thread.start()
    until(lambda: engine._guardian is new)
    engine._over.set()
    thread.join(60)
    assert gone.closed
    assert not new.closed


@pytest.mark.django_db(transaction=True)
def test_a_boot_without_an_end_is_closed_by_the_next_one(engine: Engine) -> None:
    worker = make_worker(name="w1", host=engine.places.host, boot_id="former", state=Worker.LOST)
    former = WorkerBoot.objects.create(worker=worker, boot_id="former", host=worker.host, pid=1)
    run = make_run(status=Status.RUNNING)
    make_attempt(run, worker=worker)
    identity = engine._register()
    assert (identity.worker_id, identity.name) == (worker.pk, "w1")
    former.refresh_from_db()
    assert former.ended_at is not None
    assert former.how == "ended without a word; found at the next start"
    worker.refresh_from_db()
    assert (worker.state, worker.boot_id) == (Worker.ACTIVE, identity.boot_id)
    [open_boot] = WorkerBoot.objects.filter(ended_at__isnull=True)
    assert open_boot.boot_id == identity.boot_id
    run.refresh_from_db()
    assert run.status == Status.QUEUED
