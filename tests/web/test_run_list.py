"""The list of runs as a page: filters, pages, bulk cancel, rows kept true."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from runs.domain.status import EndReason, Status
from runs.models import Account, ApiKey, Run
from tests.factories import make_application, make_run
from tests.web.conftest import Browser

CEILING = 10


def text_of(response) -> str:
    return response.content.decode()


def test_a_list_shows_what_one_wants_to_know_of_each_run(account: Account, viewer: Browser):
    app = make_application(account, application_id="routing", name="Routing")
    make_run(
        app,
        status=Status.FAILED,
        name="Night shift",
        end_reason="timed_out",
        input_bytes=1536,
        output_bytes=10,
        value=12.5,
        submitted_by=viewer.user,
    )
    page = text_of(viewer.get("/runs/"))
    for word in ("Night shift", "Routing", "timed out", "1.5 KiB", "10 B", "12.5", "2.0 s"):
        assert word in page
    assert "1 run<" in page.replace("\n", "")


def test_a_newcomer_is_told_what_to_do(viewer: Browser):
    page = text_of(viewer.get("/runs/"))
    assert "No runs yet" in page
    assert 'href="/applications/"' in page


def test_a_filter_without_a_hit_offers_the_way_out(account: Account, viewer: Browser):
    make_run(make_application(account))
    page = text_of(viewer.get("/runs/?status=failed&q=x"))
    assert "No run fits" in page
    assert "status: <strong>failed</strong>" in page
    assert 'href="/runs/?q=x"' in page  # without the status
    assert "No runs yet" not in page


def test_runs_are_found_by_how_they_ended(account: Account, viewer: Browser):
    app = make_application(account)
    early = make_run(app, status=Status.SUCCEEDED, end_reason=EndReason.STOPPED_EARLY)
    hungry = make_run(app, status=Status.FAILED, end_reason=EndReason.MEMORY_LIMIT)
    make_run(app, status=Status.SUCCEEDED)
    make_run(app, status=Status.FAILED)
    found = viewer.get("/runs/?reason=stopped_early")
    assert found.context["runs"] == [early]
    assert "end: <strong>stopped early</strong>" in text_of(found)
    assert viewer.get("/runs/?reason=memory_limit&status=failed").context["runs"] == [hungry]
    both = viewer.get("/runs/?reason=memory_limit&reason=stopped_early")
    assert both.context["runs"] == [hungry, early]
    assert viewer.get("/runs/?reason=memory_limit&status=succeeded").context["runs"] == []
    wrong = viewer.get("/runs/?reason=boredom")
    assert "There is no end reason" in text_of(wrong)


def test_every_end_reason_can_be_chosen(viewer: Browser):
    page = text_of(viewer.get("/runs/"))
    for reason in EndReason:
        assert not reason or f'<option value="{reason}">' in page


def test_runs_of_others_are_not_listed(account: Account, outsider: Browser):
    run = make_run(make_application(account))
    assert run.name not in text_of(outsider.get("/runs/"))
    assert outsider.get(f"/runs/parts/?run={run.run_id}").json()["events"] == []


def test_pages_are_linked_both_ways_and_keep_the_filter(account: Account, viewer: Browser):
    app = make_application(account)
    for _ in range(53):
        make_run(app, source="api")
    first = viewer.get("/runs/?source=api")
    assert first.context["older"].startswith("/runs/?source=api&after=")
    second = viewer.get(first.context["older"])
    assert len(second.context["runs"]) == 3
    assert viewer.get(second.context["newer"]).context["runs"] == first.context["runs"]
    assert "50 of about 53 runs" in text_of(viewer.get("/runs/"))


def test_htmx_gets_the_list_alone_and_the_address_to_show(account: Account, viewer: Browser):
    make_run(make_application(account), status=Status.FAILED)
    response = viewer.get("/runs/?q=&status=failed&status=failed", headers={"HX-Request": "true"})
    assert response["HX-Push-Url"] == "/runs/?status=failed"
    assert "HX-Request" in response["Vary"]
    assert "<html" not in text_of(response)
    assert 'id="run-list"' in text_of(response)
    assert "status: <strong>failed</strong>" in text_of(response)
    assert "HX-Request" in viewer.get("/runs/")["Vary"]


@pytest.mark.parametrize(
    "query",
    [
        "status=lost&from=x&to=%00",
        "after=%00&before=%ff",
        "after=1-1&before=1-1",
        "q=%00%25_&application=%00&source=%00&who=%00",
        "q=" + "x" * 3000,
        "from=9999-12-31&to=0001-01-01",
        "application=%F0%9F%9A%80&who=a@b.c",
        "status=&status=failed&status=%3Cscript%3E",
    ],
)
def test_no_address_breaks_the_page(account: Account, viewer: Browser, query: str):
    make_run(make_application(account))
    response = viewer.get(f"/runs/?{query}")
    assert response.status_code == 200
    assert "<script>" not in text_of(response).replace("<script src", "")
    assert viewer.get(f"/runs/parts/?run=%00&{query}").status_code == 200


def test_names_are_text_and_nothing_else(account: Account, viewer: Browser):
    make_run(make_application(account, name="<i>app</i>"), name="<img src=x onerror=alert(1)>")
    page = text_of(viewer.get("/runs/?q=%3Cimg"))
    assert "<img src=x" not in page
    assert "&lt;img src=x" in page
    assert "<i>app" not in page


@pytest.mark.parametrize("query", ["", "?q=run", "?status=failed&status=queued&status=running"])
def test_the_list_stays_below_its_ceiling(account: Account, dev: Browser, query: str):
    key = ApiKey.objects.create(account=account, name="ci", hint="x", hashed="y")
    for number in range(30):
        app = make_application(account)
        status = Status.FAILED if number % 2 else Status.RUNNING
        make_run(app, status=status, submitted_by=dev.user, api_key=key if number % 3 else None)
    with CaptureQueriesContext(connection) as queries:
        assert len(dev.get(f"/runs/{query}").context["runs"]) == 30
    assert len(queries) <= CEILING
    ids = "&".join(f"run={run.run_id}" for run in Run.objects.all())
    with CaptureQueriesContext(connection) as queries:
        assert len(dev.get(f"/runs/parts/?{ids}").json()["events"]) == 30
    assert len(queries) <= 3


def test_open_lists_ask_for_their_active_rows_until_all_have_ended(
    account: Account, viewer: Browser
):
    app = make_application(account)
    running, ended = make_run(app, status=Status.RUNNING), make_run(app, status=Status.FAILED)
    address = viewer.get("/runs/").context["poll"]
    assert running.run_id in address
    assert ended.run_id not in address
    answer = viewer.get(address).json()
    assert answer["end"] is False
    [event] = answer["events"]
    assert event["data"]["id"] == f"run-row-{running.run_id}"
    assert event["data"]["html"].strip().startswith(f'<tr id="run-row-{running.run_id}">')
    Run.objects.filter(pk=running.pk).update(
        status="failed", token="", end_reason="exit_code", ended_at=running.created_at
    )
    assert viewer.get(address).json()["end"] is True
    assert viewer.get("/runs/").context["poll"] == ""


def test_a_row_asked_for_again_is_the_row_of_the_page(account: Account, dev: Browser):
    run = make_run(make_application(account))
    page = text_of(dev.get("/runs/"))
    [event] = dev.get(f"/runs/parts/?run={run.run_id}").json()["events"]
    assert event["data"]["html"].strip() in page


def test_chosen_runs_are_canceled_and_one_comes_back_to_the_list(account: Account, dev: Browser):
    app = make_application(account)
    queued, running = make_run(app), make_run(app, status=Status.RUNNING)
    ended, left = make_run(app, status=Status.SUCCEEDED), make_run(app)
    other = make_run()
    names = [run.run_id for run in (queued, running, ended, other)]
    response = dev.post("/runs/cancel/", {"run": names, "next": "/runs/?status=queued"})
    assert response["Location"] == "/runs/?status=queued"
    for run in (queued, running, ended, left, other):
        run.refresh_from_db()
    assert queued.status == Status.CANCELED
    assert running.cancel_requested_at is not None
    assert (ended.status, left.status, other.status) == ("succeeded", "queued", "queued")
    assert "2 runs canceled." in text_of(dev.get("/runs/"))


def test_operators_cancel_their_own_runs_only(account: Account, operator: Browser):
    app = make_application(account)
    own, foreign = make_run(app, submitted_by=operator.user), make_run(app)
    page = text_of(operator.get("/runs/"))
    assert f'value="{own.run_id}"' in page
    assert f'value="{foreign.run_id}"' not in page
    operator.post("/runs/cancel/", {"run": [own.run_id, foreign.run_id]})
    own.refresh_from_db()
    foreign.refresh_from_db()
    assert (own.status, foreign.status) == ("canceled", "queued")
    assert "your own runs only" in text_of(operator.get("/runs/"))


def test_viewers_see_no_boxes_and_cancel_nothing(account: Account, viewer: Browser):
    run = make_run(make_application(account))
    assert 'type="checkbox" name="run"' not in text_of(viewer.get("/runs/"))
    assert viewer.post("/runs/cancel/", {"run": run.run_id}).status_code == 403
    run.refresh_from_db()
    assert run.status == Status.QUEUED


def test_canceling_nothing_says_so(account: Account, dev: Browser):
    ended = make_run(make_application(account), status=Status.FAILED)
    dev.post("/runs/cancel/", {})
    assert "No run was chosen." in text_of(dev.get("/runs/"))
    dev.post("/runs/cancel/", {"run": ended.run_id, "next": "https://evil.example/"})
    assert "they have ended" in text_of(dev.get("/runs/"))
    assert dev.post("/runs/cancel/", {"next": "//evil.example"})["Location"] == "/runs/"


def test_a_search_that_gave_up_says_how_far_it_looked(
    account: Account, viewer: Browser, monkeypatch
):
    app = make_application(account)
    make_run(app, name="needle")
    for _ in range(4):
        make_run(app, name="hay")
    original = __import__("runs.web.run_list", fromlist=["find_page"]).find_page
    monkeypatch.setattr(
        "runs.web.run_list.find_page", lambda *args, **kwargs: original(*args, look=3, **kwargs)
    )
    response = viewer.get("/runs/?q=needle")
    assert "It looked at 3 runs" in text_of(response)
    assert "needle" in text_of(viewer.get(response.context["older"]))
