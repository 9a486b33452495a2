"""Health as others ask for it: alive always, ready only when work can be done."""

from __future__ import annotations

import socket
import threading
import time
from datetime import timedelta

import pytest
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client
from django.utils import timezone

from runs.health import Probe, check_disk, check_migrations, check_store
from runs.models import LoopLease, Worker
from runs.queue.dispatch import broker_answers
from runs.storage.local import LocalStore
from tests.factories import make_worker
from tests.services import amqp_url, redis_url


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """Time enough for a machine that is busy with other things."""
    monkeypatch.setattr("runs.health.LIMIT_S", 60.0)


def scheduler(**fields) -> None:
    LoopLease.objects.create(name="scheduler", holder="north (1)", **fields)


def test_alive_asks_nothing(client: Client):
    # Without access to the database: a query would raise.
    response = client.get("/healthz")
    assert (response.status_code, response.content) == (200, b"ok\n")
    assert "no-store" in response["Cache-Control"]


@pytest.mark.django_db(transaction=True)
def test_ready_when_all_answer(client: Client):
    make_worker(seen_at=timezone.now() + timedelta(hours=1))
    scheduler(seen_at=timezone.now() + timedelta(hours=1))
    response = client.get("/readyz")
    assert (response.content, response.status_code) == (b"ready\n", 200)
    answer = client.get("/readyz", headers={"Accept": "application/json"}).json()
    names = ("database", "broker", "store", "disk", "worker", "scheduler")
    assert answer == {"ready": True, "checks": dict.fromkeys(names, ""), "warnings": []}


@pytest.mark.django_db(transaction=True)
def test_a_scheduler_that_does_not_act_is_a_warning(client: Client):
    make_worker(seen_at=timezone.now() + timedelta(hours=1))
    response = client.get("/readyz")
    assert (response.status_code, response.content.splitlines()[0]) == (200, b"ready")
    assert b"Warning: No scheduler acts." in response.content
    scheduler(seen_at=timezone.now() - timedelta(seconds=90))
    assert b"Warning: The scheduler was last seen 9" in client.get("/readyz").content
    LoopLease.objects.update(holder="")
    answer = client.get("/readyz", headers={"Accept": "application/json"}).json()
    assert answer["ready"] is True
    assert len(answer["warnings"]) == 1


@pytest.mark.django_db
def test_a_database_of_a_former_release_is_a_problem_until_it_is_migrated(monkeypatch):
    monkeypatch.setattr("runs.health._migrated", threading.Event())
    applied = MigrationRecorder(connection).migration_qs.filter(app="runs")
    [newest, *_] = applied.order_by("-name")[:1]
    newest.delete()
    assert "1 migrations are missing" in check_migrations()
    newest.save()
    # That of a newer release does not disturb.
    MigrationRecorder(connection).record_applied("runs", "9999_of_the_future")
    assert check_migrations() == ""
    applied.delete()
    assert check_migrations() == "", "it is not asked again"


def test_a_disk_that_is_full_or_gone_is_a_problem(settings, tmp_path, monkeypatch):
    settings.RUNSITE_DATA_DIR = tmp_path
    assert check_disk(1) == ""
    monkeypatch.setattr("runs.health.LEAST_FREE_BYTES", 1 << 70)
    assert "MiB are free" in check_disk(1)
    settings.RUNSITE_DATA_DIR = tmp_path / "gone"
    assert "cannot be read" in check_disk(1)


def test_a_store_that_cannot_be_read_is_a_problem(settings, tmp_path, monkeypatch):
    settings.RUNSITE_DATA_DIR = tmp_path
    assert check_store(1) == ""

    class Broken(LocalStore):
        def exists(self, key: str) -> bool:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr("runs.health.object_store", lambda: Broken(tmp_path))
    assert "The store does not answer" in check_store(1)


@pytest.mark.django_db(transaction=True)
def test_not_ready_without_a_worker(client: Client):
    make_worker(state=Worker.LOST)
    response = client.get("/readyz")
    assert response.status_code == 503
    assert b"No worker is running." in response.content


@pytest.mark.django_db(transaction=True)
def test_not_ready_when_the_heartbeat_is_old(client: Client):
    make_worker(seen_at=timezone.now() - timedelta(seconds=40))
    response = client.get("/readyz", headers={"Accept": "application/json"})
    assert response.status_code == 503
    assert response.json()["ready"] is False
    assert "heartbeat of a worker is " in response.json()["checks"]["worker"]


@pytest.mark.django_db(transaction=True)
def test_not_ready_when_the_database_does_not_answer(client: Client, tmp_path, monkeypatch):
    is_file = connection.vendor == "sqlite"
    name = str(tmp_path / "none" / "x") if is_file else "none"
    monkeypatch.setitem(connection.settings_dict, "NAME", name)
    monkeypatch.setitem(connection.settings_dict, "HOST", str(tmp_path / "none"))
    response = client.get("/readyz")
    assert response.status_code == 503
    assert b"The database does not answer" in response.content
    assert str(tmp_path).encode() not in response.content


def test_the_folder_of_the_broker_must_take_messages(settings, tmp_path):
    settings.RUNSITE_BROKER_URL = "folder://"
    settings.RUNSITE_BROKER_DIR = tmp_path / "broker"
    assert broker_answers(2) == ""
    assert list(tmp_path.iterdir()) == []
    settings.RUNSITE_BROKER_DIR = tmp_path / "gone" / "broker"
    assert "takes no messages" in broker_answers(2)
    assert str(tmp_path) not in broker_answers(2)


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_broker_that_is_not_there_is_said_without_its_address(settings, scheme: str):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused
        port = taken.getsockname()[1]
        settings.RUNSITE_BROKER_URL = f"{scheme}://user:secret-word@127.0.0.1:{port}/0"
        settings.CELERY_BROKER_TRANSPORT_OPTIONS = {}
        text = broker_answers(2)
    assert "does not answer" in text
    assert "secret-word" not in text
    assert str(port) not in text


@pytest.mark.parametrize("url", [redis_url, amqp_url])
def test_a_broker_that_is_there_answers(settings, url):
    settings.RUNSITE_BROKER_URL = url()
    settings.CELERY_BROKER_TRANSPORT_OPTIONS = {}
    assert broker_answers(10) == ""


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_broker_that_accepts_and_says_nothing_does_not_answer(settings, scheme: str):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        settings.RUNSITE_BROKER_URL = f"{scheme}://127.0.0.1:{port}/0"
        settings.CELERY_BROKER_TRANSPORT_OPTIONS = {}
        answers: list[str] = []
        asking = threading.Thread(target=lambda: answers.append(broker_answers(0.3)), daemon=True)
        asking.start()
        asking.join(60)
    assert answers
    assert "does not answer" in answers[0]


def test_a_check_that_hangs_holds_up_nobody_and_is_not_started_twice():
    started, hanging, release = [], threading.Event(), threading.Event()

    def hang(limit_s: float) -> str:
        started.append(limit_s)
        hanging.set()
        release.wait(180)
        return ""

    probe = Probe("thing", hang)
    before = time.monotonic()
    waiting = probe.ask(0.05)
    assert hanging.wait(60)
    assert waiting() == "The thing did not answer within 0.05 s."
    assert probe.ask(0.05)() == "The thing did not answer within 0.05 s."
    assert probe.ask(0.05)() == "The thing did not answer within 0.05 s."
    assert time.monotonic() - before < 150  # it hangs for 180 s
    assert started == [0.05]
    release.set()
    answer = probe.ask(60)
    assert answer() == ""


def test_a_check_that_raises_is_a_problem(caplog):
    def broken(limit_s: float) -> str:
        raise RuntimeError("boom")

    assert "failed" in Probe("thing", broken).ask(60)()
    assert "boom" in caplog.text
