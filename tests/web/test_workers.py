"""Workers as a page: right with none at all, and without asking the broker."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from runs.domain.status import EndReason, Status
from runs.models import Account, AuditEvent, Worker, WorkerBoot
from tests.factories import make_application, make_attempt, make_run, make_worker
from tests.web.conftest import Browser


def text_of(response) -> str:
    return response.content.decode()


def test_without_a_worker_the_page_says_how_to_start_one(viewer: Browser):
    assert "No worker has started yet" in text_of(viewer.get("/workers/"))


def test_a_worker_shows_its_slots_and_what_it_runs(account: Account, viewer: Browser):
    worker = make_worker(
        name="w1", slots=4, slots_used=2, queues=["gpu"], free_bytes=5 << 30, load=1.25, note="full"
    )
    run = make_run(make_application(account), status=Status.RUNNING, name="mine")
    make_attempt(run, worker=worker)
    make_attempt(make_run(status=Status.RUNNING, name="foreign"), worker=worker)
    page = text_of(viewer.get("/workers/"))
    for word in ("w1", "2 of 4 slots in use", "gpu", "5.0 GiB", "1.25", "full", "mine"):
        assert word in page
    assert "1 of other accounts" in page
    assert "foreign" not in page


def test_a_silent_worker_is_marked(viewer: Browser):
    make_worker(seen_at=timezone.now() - timedelta(seconds=60))
    assert ">silent<" in text_of(viewer.get("/workers/"))


def test_lost_workers_show_what_became_of_their_runs(account: Account, viewer: Browser):
    worker = make_worker(name="gone", state=Worker.LOST)
    app = make_application(account)
    back, failed = make_run(app, name="back"), make_run(app, status=Status.FAILED, name="dead")
    for run in (back, failed, make_run(name="foreign")):
        make_attempt(run, worker=worker, ended_at=timezone.now(), outcome=EndReason.WORKER_LOST)
    earlier = make_run(app, name="earlier")
    make_attempt(
        earlier,
        worker=worker,
        boot_id="before",
        ended_at=timezone.now(),
        outcome=EndReason.WORKER_LOST,
    )
    response = viewer.get("/workers/")
    [lost] = response.context["lost"]
    assert {attempt.run for attempt in lost["attempts"]} == {back, failed}
    assert "What gone held when it was lost" in text_of(response)
    assert "foreign" not in text_of(response)


def test_runs_of_a_lost_boot_are_shown_also_when_the_worker_is_back(
    account: Account, viewer: Browser
):
    worker = make_worker(name="back again", labels={"gpu": "a100", "<b>": ""})
    run = make_run(make_application(account), status=Status.SUCCEEDED, name="saved")
    run.attempt_number = 2
    run.save(update_fields=["attempt_number"])
    for one, boot in ((run, "before"), (make_run(name="foreign"), "before")):
        make_attempt(
            one,
            number=1,
            worker=worker,
            boot_id=boot,
            ended_at=timezone.now(),
            outcome=EndReason.WORKER_LOST,
        )
    page = text_of(viewer.get("/workers/"))
    assert "Runs taken back from lost workers" in page
    assert "saved" in page
    assert "1 of 2" in page
    assert "foreign" not in page
    assert "gpu=a100" in page
    assert "&lt;b&gt;" in page


def test_a_run_of_several_slots_says_so(account: Account, viewer: Browser):
    run = make_run(make_application(account), status=Status.RUNNING, slots=3)
    make_attempt(run, worker=make_worker(slots=4, slots_used=3))
    assert "3 slots" in text_of(viewer.get("/workers/"))


def test_the_history_names_each_start(viewer: Browser):
    worker = make_worker(name="w1")
    WorkerBoot.objects.create(
        worker=worker, boot_id="a", ended_at=timezone.now(), how="stopped on request"
    )
    assert "stopped on request" in text_of(viewer.get("/workers/"))


def test_the_page_stays_below_its_ceiling(account: Account, ann: Browser):
    app = make_application(account)
    for number in range(12):
        worker = make_worker(state=Worker.LOST if number % 2 else Worker.ACTIVE)
        WorkerBoot.objects.create(worker=worker, boot_id=worker.boot_id)
        make_attempt(make_run(app, status=Status.RUNNING), worker=worker)
    for address in ("/workers/", "/workers/parts/"):
        with CaptureQueriesContext(connection) as queries:
            assert ann.get(address).status_code == 200
        assert len(queries) <= 10


def test_no_worker_page_asks_the_broker(ann: Browser, settings):
    settings.RUNSITE_BROKER_URL = "redis://127.0.0.1:1/0"
    settings.CELERY_BROKER_URL = "redis://127.0.0.1:1/0"
    make_worker(name="w1")
    assert "w1" in text_of(ann.get("/workers/"))
    assert ann.post("/workers/drain/", {"worker": "w1"}).status_code == 302


def test_the_parts_are_those_of_the_page(account: Account, ann: Browser):
    make_worker(seen_at=timezone.now() + timedelta(hours=1))
    [event] = ann.get("/workers/parts/").json()["events"]
    assert event["data"]["html"].strip() in text_of(ann.get("/workers/"))


def test_an_admin_drains_and_resumes(ann: Browser):
    worker = make_worker(name="w1")
    ann.post("/workers/drain/", {"worker": "w1"})
    worker.refresh_from_db()
    assert worker.drain_wanted
    text = text_of(ann.get("/workers/"))
    assert "drained" in text, "nothing runs on it"
    assert "It takes nothing new." in text
    ann.post("/workers/resume/", {"worker": "w1"})
    worker.refresh_from_db()
    assert not worker.drain_wanted
    assert AuditEvent.objects.filter(noun="worker", target="w1").count() == 2


@pytest.mark.parametrize("verb", ["drain", "resume"])
def test_others_do_not_manage_workers(dev: Browser, verb: str):
    worker = make_worker(name="w1")
    assert dev.post(f"/workers/{verb}/", {"worker": "w1"}).status_code == 403
    worker.refresh_from_db()
    assert not worker.drain_wanted
    assert "Drain" not in text_of(dev.get("/workers/"))


@pytest.mark.parametrize("name", ["", "nobody", "\x00", "x" * 5000])
def test_an_unknown_worker_is_not_found(ann: Browser, name: str):
    assert ann.post("/workers/drain/", {"worker": name}).status_code == 404


def test_a_lost_worker_cannot_be_drained(ann: Browser):
    make_worker(name="gone", state=Worker.LOST)
    assert ann.post("/workers/drain/", {"worker": "gone"}).status_code == 409
