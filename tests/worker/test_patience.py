"""Outages are waited for; what waiting cannot mend is raised at once."""

from __future__ import annotations

import errno
import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import OperationalError

from runs.execution.spec import Stop
from runs.queue.claim import Claimed
from runs.storage import InvalidKey, ObjectMissing, ObjectTooLarge, StorageError, Stored
from runs.storage.s3 import S3Store
from runs.worker import patience
from runs.worker.held import Held
from runs.worker.patience import GaveUp, Stopped, patiently, wait_for
from tests.factories import make_attempt
from tests.s3_servers import S3Server

pytestmark = pytest.mark.django_db(transaction=True)

FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    monkeypatch.setattr(patience, "PAUSE_S", 0.001)
    attempt = make_attempt()
    return Held(Claimed(attempt.run, attempt))


class Act:
    """Raises an error so often, then answers."""

    def __init__(self, error: Exception, times: int = 5) -> None:
        self.error, self.left = error, times

    def __call__(self) -> str:
        if self.left:
            self.left -= 1
            raise self.error
        return "done"


@pytest.mark.parametrize(
    "error",
    [OperationalError("away"), StorageError("away"), FULL, OSError(errno.EIO, "I/O error")],
    ids=repr,
)
def test_an_outage_is_waited_for_and_life_is_shown(held: Held, error: Exception) -> None:
    held.ticked = 0
    assert patiently(Act(error), held=held) == "done"
    assert time.monotonic() - held.ticked < 60


@pytest.mark.parametrize(
    "error",
    [
        ObjectMissing("a/b"),
        ObjectTooLarge("a/b", 1),
        InvalidKey("a"),
        ValueError("ours"),
        PermissionError(errno.EACCES, "Permission denied"),
        OSError("not a regular file"),
    ],
    ids=repr,
)
def test_what_stays_as_it_is_is_raised_at_once(held: Held, error: Exception) -> None:
    act = Act(error)
    with pytest.raises(type(error)):
        patiently(act, held=held)
    assert act.left == 4


def test_a_full_disk_is_raised_where_nobody_waits_for_space(held: Held) -> None:
    with pytest.raises(OSError, match="No space"):
        patiently(Act(FULL), held=held, waits_for_space=False)


def test_a_statement_that_the_database_refuses_again_and_again_is_raised(held: Held) -> None:
    act = Act(OperationalError("index row size exceeds maximum"), times=1000)
    with pytest.raises(OperationalError):
        patiently(act, held=held)
    assert act.left == 1000 - patience.MOST_REFUSALS


@pytest.mark.parametrize(
    ("stop", "error", "gives_up"),
    [
        (Stop.KILL, OperationalError("away"), True),
        (Stop.KILL, FULL, True),
        (Stop.CANCEL, FULL, True),
        (Stop.CANCEL, OperationalError("away"), False),
        (Stop.WORKER_STOP, FULL, False),
    ],
)
def test_who_is_killed_gives_up(held: Held, stop: Stop, error: Exception, gives_up: bool) -> None:
    held.stop = stop
    act: Any = Act(error)
    if gives_up:
        with pytest.raises(GaveUp):
            patiently(act, held=held)
    else:
        assert patiently(act, held=held) == "done"


def test_who_is_stopped_does_not_wait_on(held: Held) -> None:
    looks = iter([False, False, True])
    assert wait_for(lambda: next(looks), held=held, pause_s=0.001)
    held.stop = Stop.CANCEL
    with pytest.raises(Stopped):
        wait_for(lambda: False, held=held)


def test_a_store_that_went_away_is_waited_for_until_it_is_back(held: Held) -> None:
    """A service that is ended and started again, with the empty bucket that somebody makes."""
    server = S3Server()
    store = S3Store(server.address("runs"))
    refused = threading.Event()

    def act() -> Stored:
        try:
            return store.put("a/b", io.BytesIO(b"result"))
        except StorageError:
            refused.set()
            raise

    with ThreadPoolExecutor(1) as pool:
        stored = pool.submit(patiently, act, held=held)
        try:
            assert refused.wait(60)
            server.start()
            server.client().create_bucket(Bucket="runs")
            assert stored.result(60).size == 6
            assert store.read_range("a/b", 0, 9) == b"result"
        finally:
            held.stop = Stop.KILL
            server.stop()
