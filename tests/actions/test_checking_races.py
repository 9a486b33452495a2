"""Executables that are checked while somebody else changes what they belong to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, connection
from django.utils import timezone

from runs.actions import checking, pushes
from runs.actions.actors import product
from runs.actions.applications import delete_application
from runs.actions.checking import check_executable
from runs.actions.pushes import activate_push
from runs.domain.status import EndReason, Status
from runs.models import Application, Executable, Run
from runs.storage import keys, object_store
from runs.supervision.held_runs import expire_waiting
from tests.actions.applying import app_files, tar_bytes
from tests.actions.pushing import Push, activated, sent
from tests.actions.submitting import end, submit
from tests.factories import make_application, make_run

pytestmark = pytest.mark.django_db(transaction=True)
DECLARED = {"requirements": {"executable_type": "python"}}


def in_a_thread(act: Callable[[], Any], errors: list[BaseException]) -> threading.Thread:
    def run() -> None:
        try:
            act()
        except DatabaseError as error:
            errors.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.mark.parametrize("good", [True, False])
def test_an_application_may_be_deleted_while_its_executable_is_checked(
    good: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Both lock the application first, so neither is broken off as a deadlock."""
    monkeypatch.setattr(pushes, "SMALL_BYTES", 0)
    application = make_application()
    archive = tar_bytes(app_files() if good else {"main.py": "1"})
    executable = activated(application, product(), Push(archive, DECLARED))
    Executable.objects.filter(pk=executable.pk).update(state="checking", boot_id="b")
    errors: list[BaseException] = []
    threads: list[threading.Thread] = []
    deleting = threading.Event()
    lock = checking._lock

    def delete() -> None:
        deleting.set()
        delete_application(application=application, actor=product())

    def locked(*words: Any) -> Any:
        found = lock(*words)
        if not threads:
            threads.append(in_a_thread(delete, errors))
            assert deleting.wait(30)
            threads[0].join(1.5)  # it comes as far as it can
        return found

    monkeypatch.setattr(checking, "_lock", locked)
    in_a_thread(
        lambda: check_executable(executable=executable, boot_id="b", scratch=tmp_path), errors
    ).join(60)
    threads[0].join(60)
    assert errors == []
    assert not Application.objects.filter(pk=application.pk).exists()
    prefix = keys.executable_prefix(application.pk, executable.executable_id)
    assert list(object_store().list(prefix)) == []


def test_an_upload_activated_twice_at_once_is_one_executable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first of the two removes the bytes when it has checked them."""
    application = make_application()
    sent(application, product(), tar_bytes(app_files()))
    fetched, made = pushes._fetched, list[Executable]()

    def slower(upload: Any) -> Any:
        if not made:
            monkeypatch.setattr(pushes, "_fetched", fetched)
            made.append(activate_push(application=application, actor=product(), declared=DECLARED))
        return fetched(upload)

    monkeypatch.setattr(pushes, "_fetched", slower)
    second = activate_push(application=application, actor=product(), declared=DECLARED)
    assert made == [second]
    assert list(application.executables.all()) == made


def being_checked(application: Application, archive: bytes) -> Executable:
    """An executable that the boot `b` has taken."""
    executable = activated(application, product(), Push(archive, DECLARED))
    Executable.objects.filter(pk=executable.pk).update(state="checking", boot_id="b")
    application.refresh_from_db()
    return executable


def test_runs_submitted_while_a_check_ends_are_let_go_and_obey_their_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(pushes, "SMALL_BYTES", 0)
    application = make_application(concurrency_expression="all", concurrency_limit=2)
    executable = being_checked(application, tar_bytes(app_files()))
    errors: list[BaseException] = []
    begin = threading.Barrier(4)

    def send() -> None:
        begin.wait(30)
        for _ in range(4):
            submit(Application.objects.get(pk=application.pk))

    def check() -> None:
        begin.wait(30)
        check_executable(executable=executable, boot_id="b", scratch=tmp_path)

    threads = [in_a_thread(act, errors) for act in (send, send, send, check)]
    for thread in threads:
        thread.join(120)
    assert errors == []
    holds = list(Run.objects.values_list("hold", flat=True))
    assert sorted(holds) == [Run.NO_HOLD] * 2 + [Run.WAITS_FOR_KEY] * 10


def test_a_run_held_for_its_executable_ends_at_its_queue_limit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(pushes, "SMALL_BYTES", 0)
    application = make_application()
    executable = being_checked(application, tar_bytes(app_files()))
    run = submit(application, limits={"queue_limit_s": 60})
    assert expire_waiting(timezone.now() + timedelta(seconds=59)) == 0
    assert expire_waiting(timezone.now() + timedelta(seconds=61)) == 1
    check_executable(executable=executable, boot_id="b", scratch=tmp_path)
    run.refresh_from_db()
    assert (run.status, run.end_reason, run.hold) == (Status.FAILED, EndReason.QUEUE_LIMIT, "")


def test_a_run_held_for_its_executable_ends_with_the_run_that_it_waits_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(pushes, "SMALL_BYTES", 0)
    application = make_application()
    executable = being_checked(application, tar_bytes(app_files()))
    awaited = make_run(application)
    run = submit(application, waits_for=[awaited])
    end(awaited, Status.FAILED)
    check_executable(executable=executable, boot_id="b", scratch=tmp_path)
    run.refresh_from_db()
    assert (run.status, run.end_reason, run.hold) == (Status.FAILED, EndReason.WAIT_FAILED, "")
