"""Figures for monitoring: what they say, who may read them, and how little they ask."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from runs.domain.status import EndReason, Status
from runs.metrics import exposition
from runs.models import Counter, LoopLease, Run, Worker
from tests.factories import (
    get_queue,
    make_account,
    make_application,
    make_attempt,
    make_run,
    make_tracked_run,
    make_user,
    make_worker,
)
from tests.web.conftest import browser_of

MOST_QUERIES = 12
pytestmark = pytest.mark.django_db


def read(now=None) -> dict[tuple[str, frozenset], float]:
    """The figures by name and labels."""
    text = exposition(now or timezone.now()).decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def figure(found, name: str, **labels: str) -> float:
    return found[f"runsite_{name}", frozenset(labels.items())]


def test_queues_are_counted_by_what_their_runs_wait_for():
    now = timezone.now()
    application = make_application(make_account("demo"))
    make_run(application, created_at=now - timedelta(seconds=90))
    make_run(application, created_at=now - timedelta(seconds=30))
    make_run(application, created_at=now - timedelta(hours=2), hold=Run.WAITS_FOR_RUNS)
    make_run(application, hold=Run.WAITS_FOR_RETRY, held_until=now)
    make_run(application, status=Status.RUNNING)
    make_run(application, status=Status.SUCCEEDED)
    queue = get_queue(application.account)
    queue.paused_at = now
    queue.save(update_fields=["paused_at"])
    found = read(now)
    of_queue = {"account": "demo", "queue": "default"}
    assert figure(found, "queue_runs", **of_queue, state="claimable") == 2
    assert figure(found, "queue_runs", **of_queue, state="waits for runs") == 1
    assert figure(found, "queue_runs", **of_queue, state="waits for its retry") == 1
    assert figure(found, "queue_runs", **of_queue, state="waits for its key") == 0
    assert figure(found, "queue_runs", **of_queue, state="running") == 1
    assert figure(found, "queue_oldest_claimable_seconds", **of_queue) == 90
    assert figure(found, "queue_paused", **of_queue) == 1
    assert figure(found, "queued_runs_cut") == 0


def test_an_empty_queue_is_shown_with_an_age_of_nothing():
    get_queue(make_account("demo"), "gpu")
    found = read()
    assert figure(found, "queue_oldest_claimable_seconds", account="demo", queue="gpu") == 0
    assert figure(found, "queue_runs", account="demo", queue="gpu", state="claimable") == 0


def test_more_waiting_runs_than_are_counted_are_said_to_be_more(monkeypatch):
    monkeypatch.setattr("runs.metrics.MOST_COUNTED", 2)
    application = make_application(make_account("demo"))
    for _ in range(3):
        make_run(application)
    found = read()
    assert figure(found, "queued_runs_cut") == 1
    state = {"account": "demo", "queue": "default", "state": "claimable"}
    assert figure(found, "queue_runs", **state) == 2


def test_workers_are_told_by_state_slots_and_heartbeat():
    now = timezone.now()
    make_worker(name="a", slots=4, slots_used=3, seen_at=now - timedelta(seconds=2), log_lag_s=1.5)
    make_worker(name="b", slots=2, drain_wanted=True, state=Worker.DRAINING, seen_at=now)
    make_worker(name="c", slots=8, state=Worker.LOST, seen_at=now - timedelta(hours=1))
    make_worker(name="d", slots=8, state=Worker.STOPPED)
    found = read(now)
    assert figure(found, "slots") == 6
    assert figure(found, "slots_used") == 3
    assert figure(found, "worker_slots_used", worker="a") == 3
    assert figure(found, "worker_draining", worker="a") == 0
    assert figure(found, "worker_draining", worker="b") == 1
    assert figure(found, "worker_log_lag_seconds", worker="a") == 1.5
    assert figure(found, "worker_heartbeat_age_seconds", worker="a") == 2
    assert figure(found, "worker_heartbeat_age_seconds", worker="c") == 3600
    assert [figure(found, "workers", state=state) for state, _ in Worker.STATES] == [1, 1, 1, 1]
    # One that was stopped on purpose must not raise an alarm for ever.
    assert ("runsite_worker_heartbeat_age_seconds", frozenset({("worker", "d")})) not in found


def test_the_last_hour_is_told_by_end_reason():
    now = timezone.now()
    application = make_application(make_account("demo"))
    for reason in (EndReason.EXIT_CODE, EndReason.EXIT_CODE, EndReason.TIMED_OUT):
        make_run(application, status=Status.FAILED, ended_at=now, end_reason=reason)
    make_run(application, status=Status.SUCCEEDED, ended_at=now - timedelta(hours=2))
    found = read(now)
    name = "runs_ended_last_hour"
    assert figure(found, name, status="failed", end_reason="exit_code") == 2
    assert figure(found, name, status="failed", end_reason="timed_out") == 1
    assert figure(found, name, status="failed", end_reason="worker_lost") == 0
    assert ("runsite_runs_ended_last_hour", frozenset()) not in found
    assert sum(value for (key, _), value in found.items() if key.endswith("last_hour")) == 3


def test_runs_executed_elsewhere_are_told_apart(settings, tmp_path):
    settings.RUNSITE_DATA_DIR = tmp_path
    for status in ("succeeded", "failed", "failed"):
        make_tracked_run(status=status)
    found = read(timezone.now())
    assert figure(found, "runs_recorded_last_hour", status="succeeded") == 1
    assert figure(found, "runs_recorded_last_hour", status="failed") == 2
    assert figure(found, "runs_recorded_last_hour", status="canceled") == 0
    ended = [value for (key, _), value in found.items() if key == "runsite_runs_ended_last_hour"]
    assert sum(ended) == 0


def test_what_was_counted_is_told_over_all_processes():
    Counter.add("reaped", "given_back", by=3)
    Counter.add("nudges_lost")
    Counter.add("store_errors", "put", by=2)
    LoopLease.objects.create(
        name="scheduler", holder="h (1)", seen_at=timezone.now() - timedelta(seconds=9)
    )
    make_attempt()
    found = read()
    assert figure(found, "reaped_total", action="given_back") == 3
    assert figure(found, "reaped_total", action="worker_lost") == 0
    assert figure(found, "nudges_lost_total") == 1
    assert figure(found, "store_errors_total", operation="put") == 2
    assert figure(found, "loop_heartbeat_age_seconds", loop="scheduler") >= 9
    assert figure(found, "loop_held", loop="scheduler") == 1
    assert figure(found, "attempts_open") == 1


def test_a_scrape_asks_little_however_much_there_is():
    def asked() -> int:
        with CaptureQueriesContext(connection) as queries:
            exposition(timezone.now())
        return len(queries)

    make_run()
    few = asked()
    for _ in range(5):
        application = make_application()
        make_run(application)
        make_run(application, status=Status.SUCCEEDED, ended_at=timezone.now())
        make_attempt()
    assert asked() == few <= MOST_QUERIES


def test_the_token_opens_the_figures(settings):
    settings.RUNSITE_METRICS_TOKEN = "sesame"
    client = Client()
    with CaptureQueriesContext(connection) as queries:
        answer = client.get("/metrics", headers={"Authorization": "Bearer sesame"})
    assert answer.status_code == 200
    assert answer["Content-Type"].startswith("text/plain; version=0.0.4")
    assert "no-store" in answer["Cache-Control"]
    assert b"runsite_build_info{" in answer.content
    assert len(queries) <= MOST_QUERIES


@pytest.mark.parametrize("given", ["Bearer wrong", "Basic sesame", "sesame", "Bearer ", "Bearer é"])
def test_another_token_opens_nothing(settings, given: str):
    settings.RUNSITE_METRICS_TOKEN = "sesame"
    assert Client().get("/metrics", headers={"Authorization": given}).status_code == 404


def test_an_empty_token_opens_nothing(settings):
    settings.RUNSITE_METRICS_TOKEN = None
    assert Client().get("/metrics", headers={"Authorization": "Bearer "}).status_code == 404
    assert Client().get("/metrics", headers={"Authorization": "Bearer None"}).status_code == 404


def test_root_reads_them_on_a_page_and_an_admin_does_not(ann):
    assert ann.get("/metrics").status_code == 404
    root = browser_of(make_user("root@example.org", is_superuser=True))
    assert root.get("/metrics").status_code == 200


@pytest.fixture
def ann(db):
    from tests.factories import make_member

    return browser_of(make_member(make_account("demo"), "admin", "ann@example.org"))
