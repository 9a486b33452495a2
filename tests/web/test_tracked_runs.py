"""Pages of runs that were executed elsewhere: they say so, and show what was sent."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from runs.actions.actors import person
from runs.actions.inputs import store_text_input
from runs.domain.status import Status
from runs.models import Application, Run, RunFile
from tests.factories import make_application, make_executable, make_run, make_tracked_run
from tests.web.conftest import Browser

pytestmark = pytest.mark.django_db

TABS = ("", "log/", "input/", "output/", "visuals/", "resources/", "history/")
EVIL = '<script>alert("x")</script>'
PLOT = {"data": [{"type": "bar", "x": ["a"], "y": [1]}], "layout": {}}
ASSETS = [
    {"name": "chart", "content": PLOT, "visual": {"schema": "plotly", "label": "Charts"}},
]


@pytest.fixture(autouse=True)
def store(settings, tmp_path):
    settings.RUNSITE_DATA_DIR = tmp_path


@pytest.fixture
def application(account) -> Application:
    return make_application(account, name="Routing")


def page(browser: Browser, run: Run, tab: str = "") -> str:
    response = browser.get(f"/runs/{run.run_id}/{tab}")
    assert response.status_code == 200
    return response.content.decode()


def full(application: Application, status: str = "succeeded", **fields) -> Run:
    """A run with every part that can be sent."""
    return make_tracked_run(
        application,
        status,
        **{
            "name": "On the laptop",
            "input_data": store_text_input(
                account=application.account, content_format="json", data=b'{"stops": 3}'
            ),
            "options": {"threads": "4"},
            "execution_s": 75.0,
            "output": b'{"solution": {"routes": [1, 2]}}',
            "log": b"iteration 1\niteration 2\n",
            "metrics": json.dumps({"value": 40.84}).encode(),
            "assets": json.dumps(ASSETS).encode(),
            **fields,
        },
    )


@pytest.mark.parametrize("tab", TABS)
def test_every_part_of_the_page_says_that_it_was_run_elsewhere(viewer, application, tab: str):
    assert ">run elsewhere</span>" in page(viewer, full(application), tab)


def test_its_parts_are_shown_as_those_of_any_run(viewer, application):
    run = full(application)
    summary = page(viewer, run)
    assert "40.84" in summary
    assert "threads" in summary
    assert "Charts" in summary
    assert "1 min 15 s" in summary
    assert "iteration 2" in page(viewer, run, "log/")
    assert "stops" in page(viewer, run, "input/")
    assert "routes" in page(viewer, run, "output/")
    assert "Charts" in page(viewer, run, "visuals/")
    download = viewer.get(f"/runs/{run.run_id}/log/download/?attempt=1")
    assert b"".join(download.streaming_content) == b"iteration 1\niteration 2\n"


def test_the_history_says_who_recorded_it_and_that_no_worker_had_it(viewer, operator, application):
    actor = person(operator.user, role="operator")
    run = full(application, actor=actor, external_id="local-abcd1234", source="import")
    history = page(viewer, run, "history/")
    assert "This run was executed elsewhere and recorded here by operator@example.org" in history
    assert "with an import" in history
    assert "local-abcd1234" in history
    for word in ("Attempt 1", "Lease", "Heartbeats", "attempt 1", "Worker</dt>"):
        assert word not in history, word


def test_there_are_no_resources_and_the_page_says_why(viewer, application):
    resources = page(viewer, full(application), "resources/")
    assert "No worker of this console had this run" in resources
    assert "CPU time</div>" not in resources


def test_the_summary_has_nothing_of_a_queue(viewer, application):
    summary = page(viewer, full(application))
    assert "<dt>Queue</dt>" not in summary
    assert "Submitted" not in summary
    assert "Recorded by" in summary


@pytest.mark.parametrize(
    ("tab", "words"),
    [
        ("", "No metrics were sent"),
        ("log/", "No log was sent"),
        ("input/", "No input was sent"),
        ("output/", "No result was sent"),
        ("visuals/", "No asset with a visual was sent"),
    ],
)
def test_what_was_not_sent_is_said(viewer, application, tab: str, words: str):
    assert words in page(viewer, make_tracked_run(application), tab)


def test_a_failed_one_shows_its_message_and_nothing_of_it_is_markup(viewer, application):
    run = full(application, "failed", error=f"No vehicles {EVIL}\nGive some.", log=EVIL.encode())
    for tab in TABS:
        shown = page(viewer, run, tab)
        assert EVIL not in shown
        assert "No vehicles &lt;script&gt;" in shown
        assert shown.count("No vehicles") == 1
        assert "Give some." in shown


def test_it_can_be_run_here_once_the_application_has_an_executable(operator, application):
    run = full(application)
    assert "?from=" not in page(operator, run)
    assert "?waits_for=" not in page(operator, run)
    make_executable(application)
    assert "Run it here" in page(operator, run)
    launch = operator.get(f"/applications/{application.application_id}/launch/?from={run.run_id}")
    assert launch.status_code == 200
    assert "threads" in launch.content.decode()


def test_nobody_can_cancel_it_and_a_developer_can_delete_it(dev, application):
    run = full(application)
    shown = page(dev, run)
    assert "/cancel/" not in shown
    assert dev.post(f"/runs/{run.run_id}/cancel/").status_code == 302
    run.refresh_from_db()
    assert (run.status, run.cancel_requested_at) == (Status.SUCCEEDED, None)
    assert dev.post(f"/runs/{run.run_id}/delete/").status_code == 302
    assert Run.objects.count() == RunFile.objects.count() == 0


def test_the_usual_duration_is_that_of_runs_here(viewer, application):
    tracked = full(application, execution_s=3600.0)
    here = make_run(application, status=Status.SUCCEEDED, execution_s=2.0)
    assert "usually 2.0 s" in page(viewer, here)
    assert "usually" not in page(viewer, tracked)


@pytest.mark.parametrize("address", ["/runs/", "/"])
def test_lists_mark_it_without_a_query_more(viewer, application, address: str):
    make_run(application, status=Status.SUCCEEDED)
    viewer.get(address)
    with CaptureQueriesContext(
        connection,
    ) as before:
        assert ">run elsewhere</span>" not in viewer.get(address).content.decode()
    for _ in range(3):
        full(application)
    with CaptureQueriesContext(connection) as after:
        assert viewer.get(address).content.decode().count(">run elsewhere</span>") == 3
    assert len(after) <= len(before)


def test_home_counts_it_when_it_was_recorded_and_an_import_when_it_ended(viewer, application):
    full(application)
    full(application, "failed", error="no")
    full(application, created_at=timezone.now() - timedelta(days=9), execution_s=1.0)
    figures = viewer.get("/").context
    assert (figures["succeeded"], figures["failed"]) == (1, 1)


def test_the_ledger_counts_it_apart(ann, application):
    full(application)
    shown = ann.get("/ledger/").content.decode()
    assert "Recorded only" in shown
    assert "Everything adds up" in shown


def test_a_member_of_another_account_does_not_see_it(outsider, application):
    run = full(application)
    for tab in TABS:
        assert outsider.get(f"/runs/{run.run_id}/{tab}").status_code == 404
