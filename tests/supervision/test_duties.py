"""The duties of the installation, each by itself."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.utils import timezone

from runs.actions.inputs import store_text_input
from runs.models import Executable, InputData, SignInLink, Submission, Upload
from runs.queue import dispatch
from runs.storage import object_store
from runs.supervision import duties
from tests.factories import (
    make_account,
    make_application,
    make_executable,
    make_input,
    make_managed_input,
    make_queue,
    make_run,
    make_user,
)
from tests.factories import make_worker as _make_worker

pytestmark = pytest.mark.django_db


@pytest.fixture
def nudged() -> Iterator[list[str]]:
    names: list[str] = []

    class Sender:
        def send(self, queue_name: str, target: str) -> None:
            names.append(queue_name)

    with dispatch.sent_through(Sender()):
        yield names


def test_queues_in_which_a_run_could_start_are_nudged(nudged: list[str]) -> None:
    _make_worker(slots=2, slots_used=1)
    account = make_account()
    make_run(queue=make_queue(account, name="ready"))
    make_run(queue=make_queue(account, name="paused", paused_at=timezone.now()))
    make_run(make_application(account, running_limit=0), queue=make_queue(account, name="held"))
    make_queue(account, name="empty")
    assert duties.nudge_waiting(timezone.now()) == 1
    assert nudged == ["ready"]


def test_nobody_is_nudged_while_no_slot_is_free(nudged: list[str]) -> None:
    _make_worker(slots=2, slots_used=2)
    make_run()
    assert duties.nudge_waiting(timezone.now()) == 0
    assert nudged == []


def test_a_queue_is_nudged_only_for_workers_that_serve_it(nudged: list[str]) -> None:
    account = make_account()
    make_run(queue=make_queue(account, name="gpu"))
    make_run(queue=make_queue(account, name="big"))
    _make_worker(queues=["gpu"])
    duties.nudge_waiting(timezone.now())
    assert nudged == ["gpu"]


def test_uploads_that_nobody_used_go_after_a_day(settings: Any, data_dir: Path) -> None:
    settings.RUNSITE_DATA_DIR = data_dir
    now = timezone.now()
    account = make_account()
    for name, age in (("old", 25), ("young", 23)):
        object_store().put_bytes(f"uploads/{name}/data", b"bytes")
        object_store().put_bytes(f"uploads/{name}/nobody-names-it", b"bytes")
        Upload.objects.create(
            account=account,
            upload_id=name,
            key=f"uploads/{name}/data",
            created_at=now - timedelta(hours=age),
        )
    assert duties.prune_uploads(now) == 1
    assert Upload.objects.get().upload_id == "young"
    assert list(object_store().list("uploads/")) == [
        "uploads/young/data",
        "uploads/young/nobody-names-it",
    ]


def test_an_upload_that_is_to_be_checked_stays(settings: Any, data_dir: Path) -> None:
    settings.RUNSITE_DATA_DIR = data_dir
    now = timezone.now()
    application = make_application()
    for state, _ in Executable.STATES:
        object_store().put_bytes(f"uploads/{state}/data", b"bytes")
        upload = Upload.objects.create(
            account=application.account,
            upload_id=state,
            key=f"uploads/{state}/data",
            created_at=now - timedelta(hours=25),
        )
        make_executable(application, state=state, upload=upload)
    assert duties.prune_uploads(now) == 2
    assert {upload.upload_id for upload in Upload.objects.all()} == {"waiting", "checking"}
    assert Executable.objects.count() == 4
    assert object_store().exists("uploads/waiting/data")


def test_requests_of_yesterday_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    now = timezone.now()
    account = make_account()
    for hours in (30, 26, 25, 23):
        Submission.objects.create(
            account=account, digest=str(hours), received_at=now - timedelta(hours=hours)
        )
    monkeypatch.setattr(duties, "SUBMISSIONS_BATCH", 2)
    assert duties.prune_submissions(now) == 3
    assert Submission.objects.get().digest == "23"


def test_sign_in_links_and_sessions_that_ran_out_go() -> None:
    now = timezone.now()
    user = make_user()
    for name, age in (("old", 2), ("young", 0)):
        SignInLink.objects.create(user=user, hashed=name, expires_at=now - timedelta(days=age))
        Session.objects.create(
            session_key=name, session_data="", expire_date=now + timedelta(days=1 - age)
        )
    assert duties.prune_links(now) == 1
    assert duties.prune_sessions(now) == 1
    assert SignInLink.objects.get().hashed == "young"
    assert Session.objects.get().session_key == "young"


def test_every_duty_bears_to_be_done_twice(nudged: list[str]) -> None:
    for duty in duties.all_duties():
        for _ in range(2):
            duty.act(timezone.now())
    assert nudged == []


def test_inputs_that_nothing_uses_go_after_a_day(settings: Any, data_dir: Path) -> None:
    settings.RUNSITE_DATA_DIR = data_dir
    now = timezone.now()
    account = make_account()
    kept, old = {}, now - timedelta(hours=25)
    for name in ("unused", "of a run", "managed", "young"):
        age = now if name == "young" else old
        kept[name] = make_input(account, created_at=age)
        object_store().put_bytes(f"inputs/{kept[name].input_key}/00000000", b"{}")
    make_run(make_application(account), input_data=kept["of a run"])
    make_managed_input(make_application(account), input_data=kept["managed"])
    gone = kept.pop("unused")
    assert duties.prune_inputs(now) == 1
    assert {one.pk for one in kept.values()} == set(InputData.objects.values_list("pk", flat=True))
    assert not list(object_store().list(f"inputs/{gone.input_key}/"))
    assert len(list(object_store().list("inputs/"))) == 3
    assert duties.prune_inputs(now) == 0


def test_an_input_that_is_stored_again_counts_as_new(settings: Any, data_dir: Path) -> None:
    settings.RUNSITE_DATA_DIR = data_dir
    account = make_account()
    words: dict[str, Any] = {"account": account, "content_format": "json", "data": b"{}"}
    first = store_text_input(**words)
    InputData.objects.update(created_at=timezone.now() - timedelta(days=2))
    assert store_text_input(**words) == first
    assert duties.prune_inputs(timezone.now()) == 0


def test_what_a_killed_process_left_on_its_way_to_the_store_goes(
    settings: Any, data_dir: Path
) -> None:
    settings.RUNSITE_DATA_DIR = data_dir
    (data_dir / "tmp").mkdir()
    for name, age_s in (("old", 2 * duties.SWEEP_AFTER_S), ("young", 0)):
        folder = data_dir / "tmp" / f"build-{name}"
        folder.mkdir()
        (folder / "file").write_bytes(b"half")
        (data_dir / "tmp" / f"upload-{name}").write_bytes(b"half")
        at = time.time() - age_s
        os.utime(folder, (at, at))
        os.utime(data_dir / "tmp" / f"upload-{name}", (at, at))
    assert duties.sweep_store(timezone.now()) == 2
    assert sorted(path.name for path in (data_dir / "tmp").iterdir()) == [
        "build-young",
        "upload-young",
    ]


def test_what_a_killed_writer_left_in_the_store_goes(settings: Any, data_dir: Path) -> None:
    settings.RUNSITE_DATA_DIR = data_dir
    object_store().put_bytes("runs/a/1/log", b"kept")
    for name, age_s in (("old", 2 * duties.SWEEP_AFTER_S), ("young", 0)):
        left = data_dir / "store" / "tmp" / name
        left.write_bytes(b"half")
        at = time.time() - age_s
        os.utime(left, (at, at))
    assert duties.sweep_store(timezone.now()) == 1
    assert [path.name for path in (data_dir / "store" / "tmp").iterdir()] == ["young"]
