"""The queue as a page: order, reasons, pause, limits, priority."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from runs.domain.status import Status
from runs.models import Account, AuditEvent, Queue, RunWait
from tests.factories import get_queue, make_application, make_run, make_worker
from tests.web.conftest import Browser


def text_of(response) -> str:
    return response.content.decode()


def test_waiting_runs_stand_in_order_with_their_reasons(account: Account, viewer: Browser):
    app = make_application(account)
    late, first = make_run(app, name="late"), make_run(app, name="first", priority=1)
    make_run(name="foreign")
    response = viewer.get("/queue/")
    assert [one["run"] for one in response.context["waiting"]] == [first, late]
    assert "No worker is running." in text_of(response)
    make_worker(slots=1, slots_used=1)
    page = text_of(viewer.get("/queue/"))
    assert "The only slot is in use." in page
    assert "1 run goes first." in page
    assert "foreign" not in page


def test_an_empty_queue_says_so(viewer: Browser):
    page = text_of(viewer.get("/queue/"))
    assert "Nothing waits" in page
    assert "Nothing is running." in page


def test_each_queue_shows_its_figures(account: Account, viewer: Browser):
    app = make_application(account)
    gpu = get_queue(account, "gpu")
    oldest = make_run(app, queue=gpu)
    make_run(app, queue=gpu, priority=1)
    make_run(make_application(account), queue=gpu)
    make_run(app, status=Status.RUNNING)
    make_run(app, status=Status.FAILED, queue=gpu)
    figures = {
        one["queue"].name: (one["figures"].waiting.number, one["running"], one["figures"].oldest_at)
        for one in viewer.get("/queue/").context["queues"]
    }
    assert figures == {"default": (0, 1, None), "gpu": (3, 0, oldest.created_at)}


def test_a_long_queue_goes_on_on_further_pages(account: Account, viewer: Browser):
    app = make_application(account)
    runs = [make_run(app) for _ in range(53)]
    first = viewer.get("/queue/")
    with CaptureQueriesContext(connection) as queries:
        second = viewer.get(first.context["older"])
    assert len(queries) <= 10
    assert [one["run"] for one in second.context["waiting"]] == runs[50:]
    assert second.context["waiting"][0]["place"] == 51
    assert viewer.get("/queue/?after=gone").status_code == 200


def test_the_page_asks_when_its_runs_should_start_and_shows_it(account: Account, viewer: Browser):
    make_worker()
    run = make_run(make_application(account), name="mine")
    foreign = make_run(name="foreign")
    first = viewer.get("/queue/")
    assert first.context["starts"] == f"/queue/starts/?run={run.run_id}"
    assert 'title="Not looked up yet"' in text_of(first)
    asked = viewer.get(f"{first.context['starts']}&run={foreign.run_id}").json()
    [event] = asked["events"]
    assert event["data"]["id"] == f"queue-start-{run.run_id}"
    assert ">now<" in event["data"]["html"]
    # From now on the page itself says it.
    assert event["data"]["html"].strip() in text_of(viewer.get("/queue/"))


def test_without_script_the_starts_are_a_link_away(account: Account, viewer: Browser):
    make_worker()
    make_run(make_application(account))
    assert 'href="?starts=1"' in text_of(viewer.get("/queue/"))
    assert ">now<" in text_of(viewer.get("/queue/?starts=1"))


def test_a_run_that_waits_for_others_stands_in_its_place_with_a_link(
    account: Account, viewer: Browser
):
    app = make_application(account, concurrency_limit=1)
    awaited = make_run(app, status=Status.RUNNING, concurrency_key="*")
    waiting = make_run(app, hold="runs", open_waits=1)
    RunWait.objects.create(run=waiting, awaited=awaited)
    make_run(app, hold="key", concurrency_key="*", slots=2)
    page = text_of(viewer.get("/queue/"))
    assert f'href="/runs/{awaited.run_id}/"' in page
    assert "Waits for its key" in page
    assert "2 slots" in page


def test_the_starts_of_many_runs_take_few_queries(account: Account, dev: Browser):
    make_worker()
    runs = [make_run(make_application(account)) for _ in range(12)]
    address = "/queue/starts/?" + "&".join(f"run={run.run_id}" for run in runs)
    with CaptureQueriesContext(connection) as queries:
        assert len(dev.get(address).json()["events"]) == 12
    assert len(queries) <= 10


def test_the_queue_stays_below_its_ceiling(account: Account, dev: Browser):
    for number in range(12):
        app = make_application(account)
        queue = get_queue(account, f"q{number % 3}")
        make_run(app, queue=queue, submitted_by=dev.user)
        make_run(app, queue=queue, status=Status.RUNNING, submitted_by=dev.user)
        make_worker()
    for address in ("/queue/", "/queue/parts/"):
        with CaptureQueriesContext(connection) as queries:
            assert dev.get(address).status_code == 200
        assert len(queries) <= 10


@pytest.mark.skipif(connection.vendor != "sqlite", reason="reads the plans of SQLite")
def test_counting_what_waits_costs_nothing_for_what_has_ended(account: Account):
    from runs.models.run_counts import count_outcomes, list_queues

    make_run(make_application(account))
    with CaptureQueriesContext(connection) as queries:
        list_queues(account)
        count_outcomes(account, now=timezone.now())
    for query in queries.captured_queries:
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN QUERY PLAN {query['sql']}")
            lines = [str(row[3]) for row in cursor.fetchall()]
        assert not [line for line in lines if line.startswith("SCAN runs_run")]
        for line in lines:
            if "lane_id=?" in line and "runs_run" in line:
                assert "run_waiting_by_lane" in line


def test_the_parts_are_those_of_the_page(account: Account, dev: Browser):
    app = make_application(account)
    make_run(app)
    make_run(app, status=Status.RUNNING)
    page = text_of(dev.get("/queue/"))
    for event in dev.get("/queue/parts/").json()["events"]:
        assert event["data"]["html"].strip() in page


def test_pause_and_resume(account: Account, dev: Browser):
    make_run(make_application(account))
    dev.post("/queue/pause/", {"queue": "default"})
    page = text_of(dev.get("/queue/"))
    assert "is paused by dev@example.org" in page
    assert "running runs go on" in page
    dev.post("/queue/resume/", {"queue": "default"})
    assert Queue.objects.get(account=account).paused_at is None
    assert [e.verb for e in AuditEvent.objects.order_by("pk")] == ["paused", "resumed"]


def test_a_limit_is_set_and_taken_away(account: Account, dev: Browser):
    queue = get_queue(account)
    dev.post("/queue/limit/", {"queue": "default", "limit-default": "3"})
    queue.refresh_from_db()
    assert queue.running_limit == 3
    for bad in ("0", "-1", "x", "9" * 30, "²"):
        dev.post("/queue/limit/", {"queue": "default", "limit-default": bad})
        queue.refresh_from_db()
        assert queue.running_limit == 3
    dev.post("/queue/limit/", {"queue": "default", "limit-default": ""})
    queue.refresh_from_db()
    assert queue.running_limit is None


def test_a_new_queue_keeps_what_was_typed_when_it_is_wrong(account: Account, dev: Browser):
    response = dev.post("/queue/new/", {"name": "a b", "running_limit": "7"})
    assert response.status_code == 422
    assert 'value="a b"' in text_of(response)
    assert 'value="7"' in text_of(response)
    response = dev.post("/queue/new/", {"name": "gpu", "running_limit": "x"})
    assert response.status_code == 422
    assert dev.post("/queue/new/", {"name": "gpu", "running_limit": "2"}).status_code == 302
    assert Queue.objects.get(account=account, name="gpu").running_limit == 2
    assert "already" in text_of(dev.post("/queue/new/", {"name": "gpu"}))


def test_priority_is_changed_and_a_run_moved_first(account: Account, dev: Browser):
    run = make_run(make_application(account))
    dev.post("/queue/priority/", {"run": run.run_id, f"priority-{run.run_id}": "8"})
    run.refresh_from_db()
    assert run.priority == 8
    for bad in ("0", "10", "", "x", "²", "1e9", "9" * 50):
        response = dev.post("/queue/priority/", {"run": run.run_id, "priority": bad})
        assert response.status_code == 302
        run.refresh_from_db()
        assert run.priority == 8
    dev.post("/queue/first/", {"run": run.run_id})
    run.refresh_from_db()
    assert run.priority == 1


def test_a_run_that_started_meanwhile_keeps_its_priority(account: Account, dev: Browser):
    run = make_run(make_application(account), status=Status.RUNNING)
    dev.post("/queue/first/", {"run": run.run_id})
    assert "does not wait any more" in text_of(dev.get("/queue/"))


def test_a_run_is_canceled_from_the_queue(account: Account, operator: Browser):
    app = make_application(account)
    own, foreign = make_run(app, submitted_by=operator.user), make_run(app)
    operator.post("/queue/cancel/", {"run": own.run_id})
    own.refresh_from_db()
    assert own.status == Status.CANCELED
    assert operator.post("/queue/cancel/", {"run": foreign.run_id}).status_code == 403


@pytest.mark.parametrize("verb", ["pause", "resume", "limit", "new", "priority", "first"])
def test_operators_do_not_manage_the_queue(account: Account, operator: Browser, verb: str):
    run = make_run(make_application(account))
    data = {"queue": "default", "run": run.run_id, "priority": "1", "name": "x"}
    assert operator.post(f"/queue/{verb}/", data).status_code == 403
    assert "Pause" not in text_of(operator.get("/queue/"))


@pytest.mark.parametrize("verb", ["pause", "resume", "limit", "priority", "first", "cancel"])
def test_the_queue_of_others_cannot_be_touched(account: Account, outsider: Browser, verb: str):
    run = make_run(make_application(account), queue=get_queue(account, "gpu"))
    data = {"queue": "gpu", "run": run.run_id, "priority": "1", "running_limit": "1"}
    assert outsider.post(f"/queue/{verb}/", data).status_code == 404
    assert outsider.post(f"/queue/{verb}/", {"queue": "\x00", "run": "\x00"}).status_code == 404
    run.refresh_from_db()
    assert (run.status, run.priority) == ("queued", 6)
