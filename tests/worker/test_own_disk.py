"""A worker whose own disk is full or broken gives its runs to others: they are not to blame."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runs.actions.logs import read_log
from runs.domain.status import EndReason, Status
from runs.models import Attempt, Run, RunEvent, RunFile
from runs.storage.local import LocalStore
from runs.supervision.lost_logs import tidy_lost_attempts
from runs.worker import conduct, patience, staging
from runs.worker.conduct import wait_for_disk
from runs.worker.spool import Spool
from tests.worker.worlds import Bench, make_app

pytestmark = pytest.mark.django_db(transaction=True)

FULL = OSError(errno.ENOSPC, "No space left on device")
MIB = 1024 * 1024


@pytest.fixture
def bench(data_dir: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Bench:
    settings.RUNSITE_DATA_DIR = data_dir
    settings.RUNSITE_GRACE_S = 0.5
    monkeypatch.setattr(patience, "PAUSE_S", 0.01)
    monkeypatch.setattr(conduct, "DISK_WAIT_S", 0.1)
    monkeypatch.setattr(conduct, "DISK_LOOK_S", 0.01)
    return Bench(data_dir)


def _mount(folder: Path, options: str) -> None:
    if os.getuid():
        pytest.skip("only root may mount a small disk")
    command = ["mount", "-t", "tmpfs", "-o", options, "runsite-test", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")


@pytest.fixture
def small_disk(bench: Bench, request: pytest.FixtureRequest) -> Iterator[Bench]:
    """A worker whose workspaces lie on a disk of their own; how small says the parameter."""
    folder = bench.places.runs
    _mount(folder, getattr(request, "param", f"size={MIB}"))
    try:
        yield bench
    finally:
        subprocess.run(["umount", "-l", str(folder)], timeout=60, check=True)


def _assert_given_back(run: Run, what: str = "The disk of worker w1 is full") -> None:
    run.refresh_from_db()
    assert (run.status, run.end_reason, run.token) == (Status.QUEUED, "", ""), run.detail
    attempt = Attempt.objects.get()
    assert attempt.outcome == EndReason.WORKER_STOPPED
    assert attempt.detail.startswith(f"{what}.")
    event = RunEvent.objects.filter(run=run).latest("pk")
    assert event.text == f"{what}; given back for attempt 2 of 2"
    assert not RunFile.objects.exists()


def test_an_output_that_finds_no_room_is_no_fault_of_the_app(
    small_disk: Bench, tmp_path: Path
) -> None:
    app = make_app(tmp_path / "big", "echo before >&2; head -c 3000000 /dev/zero; exec sleep 60")
    run = small_disk.make(app)
    _assert_given_back(run)
    assert read_log(attempt=Attempt.objects.get(), cursor=0).data == b"before\n"
    assert not list(small_disk.places.runs.iterdir())


def test_a_result_that_is_not_whole_counts_for_nothing_even_with_code_0(
    small_disk: Bench, tmp_path: Path
) -> None:
    _assert_given_back(small_disk.make(make_app(tmp_path / "big", "head -c 3000000 /dev/zero")))


def test_a_log_that_finds_no_room_ends_the_attempt_and_keeps_what_there_was(
    small_disk: Bench, tmp_path: Path
) -> None:
    app = make_app(
        tmp_path / "talks", "echo first >&2; head -c 3000000 /dev/zero >&2; exec sleep 60"
    )
    _assert_given_back(small_disk.make(app))
    attempt = Attempt.objects.get()
    assert read_log(attempt=attempt, cursor=0).data.startswith(b"first\n")
    assert 0 < attempt.log_bytes < 3_000_000


def test_a_copy_of_the_app_that_finds_no_room_is_no_fault_of_the_app(
    small_disk: Bench, tmp_path: Path
) -> None:
    filler = small_disk.places.runs / "filler"
    with pytest.raises(OSError, match="No space"):
        filler.write_bytes(bytes(2 * MIB))
    _assert_given_back(small_disk.make(make_app(tmp_path / "echo", "true")))


@pytest.mark.parametrize("small_disk", ["nr_inodes=2"], indirect=True)
def test_a_disk_without_room_for_a_folder_gives_the_run_to_others(
    small_disk: Bench, tmp_path: Path
) -> None:
    (small_disk.places.runs / "filler").touch()
    _assert_given_back(small_disk.make(make_app(tmp_path / "echo", "true")))


def test_a_disk_that_is_read_only_gives_the_run_to_others(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(conduct, "Spool", refuse)
    run = bench.make(make_app(tmp_path / "echo", "true"))
    _assert_given_back(run, "The disk of worker w1 cannot be written")


def test_another_worker_makes_the_run(small_disk: Bench, data_dir: Path, tmp_path: Path) -> None:
    app = make_app(tmp_path / "big", "head -c 3000000 /dev/zero")
    run = small_disk.make(app)
    other = Bench(data_dir, "w2")
    other.conductor(other.claim())
    run.refresh_from_db()
    assert (run.status, run.end_reason) == (Status.SUCCEEDED, EndReason.EXITED), run.detail
    attempts = Attempt.objects.order_by("number").values_list("worker_name", "outcome")
    assert list(attempts) == [("w1", EndReason.WORKER_STOPPED), ("w2", EndReason.EXITED)]
    assert RunFile.objects.get().size_bytes == 3_000_000


class FullDisk(LocalStore):
    """A store whose copies meet a full disk."""

    def fetch(self, key: str, path: Path) -> int:
        raise FULL


def test_a_full_disk_while_staging_gives_the_run_to_others(
    bench: Bench, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "object_store", lambda: FullDisk(data_dir / "store"))
    _assert_given_back(bench.make(make_app(tmp_path / "echo", "true")))


def test_when_no_attempt_is_left_the_run_says_what_was_wrong(
    bench: Bench, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "object_store", lambda: FullDisk(data_dir / "store"))
    run = bench.make(make_app(tmp_path / "echo", "true"))
    bench.conductor(bench.claim())
    run.refresh_from_db()
    assert (run.status, run.end_reason) == (Status.FAILED, EndReason.WORKER_STOPPED)
    assert run.error == "disk of worker w1 is full"
    assert run.detail == (
        "The disk of worker w1 is full. Free space in its data directory, or mend its disk."
        " The run has used all 2 attempts; launch it again then."
    )
    assert str(data_dir) not in run.detail


def test_a_run_that_somebody_canceled_meanwhile_is_canceled(
    bench: Bench, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django.utils import timezone

    run = bench.submit(make_app(tmp_path / "echo", "true"))

    class Canceling(LocalStore):
        def fetch(self, key: str, path: Path) -> int:
            asked = {"cancel_requested_at": timezone.now(), "cancel_actor": "Ada"}
            Run.objects.filter(pk=run.pk).update(**asked)
            raise FULL

    monkeypatch.setattr(staging, "object_store", lambda: Canceling(data_dir / "store"))
    bench.conductor(bench.claim())
    run.refresh_from_db()
    assert (run.status, run.end_reason) == (Status.CANCELED, EndReason.CANCELED)


def test_where_the_store_is_full_too_the_rows_of_the_log_are_kept_and_joined(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One disk for all: the run does not wait for space that its log would need."""
    app = make_app(tmp_path / "talks", "echo first >&2; exec sleep 60")
    bench.flusher.start()
    write, put = Spool._write_some, LocalStore.put

    def full_after_the_first(self: Spool, view: memoryview) -> memoryview:
        rest = write(self, view)
        self.disk_failed = "is full"  # as the next write would find
        return rest

    def full(self: LocalStore, *_: Any, **__: Any) -> Any:
        raise FULL

    run = bench.submit(app)
    monkeypatch.setattr(Spool, "_write_some", full_after_the_first)
    monkeypatch.setattr(LocalStore, "put", full)
    bench.conductor(bench.claim())
    _assert_given_back(run)
    monkeypatch.setattr(LocalStore, "put", put)
    from django.utils import timezone

    assert tidy_lost_attempts(timezone.now()) == 1
    assert read_log(attempt=Attempt.objects.get(), cursor=0).data == b"first\n"
    bench.flusher.stop()


def test_a_slot_stays_taken_while_the_disk_takes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a worker with a broken disk would use up the attempts of all that waits."""
    monkeypatch.setattr(conduct, "DISK_WAIT_S", 60.0)
    looks: list[Path] = []
    write_bytes = Path.write_bytes

    def refuse_twice(self: Path, data: bytes) -> int:
        looks.append(self)
        if len(looks) <= 2:
            raise FULL
        return write_bytes(self, data)

    monkeypatch.setattr(Path, "write_bytes", refuse_twice)
    monkeypatch.setattr(conduct, "DISK_LOOK_S", 0.01)
    wait_for_disk(tmp_path)
    assert len(looks) == 3
    assert not list(tmp_path.iterdir())
