"""Home: figures, applications, newest runs, and the way for a newcomer."""

from __future__ import annotations

import re
from datetime import timedelta

from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from runs.domain.status import Status
from runs.models import Account, Worker
from tests.factories import make_application, make_executable, make_run, make_worker
from tests.web.conftest import Browser


def test_home_says_what_runs_waits_and_failed(account: Account, viewer: Browser):
    app = make_application(account)
    now = timezone.now()
    make_run(app, status=Status.RUNNING)
    for _ in range(2):
        make_run(app)
    for _ in range(3):
        make_run(app, status=Status.FAILED, ended_at=now)
    make_run(app, status=Status.FAILED, ended_at=now - timedelta(days=3))
    make_run(app, status=Status.SUCCEEDED, ended_at=now - timedelta(hours=5))
    make_run(status=Status.FAILED)  # of others
    make_worker(slots=4, slots_used=1)
    make_worker(slots=4, state=Worker.LOST)
    make_worker(slots=8, drain_wanted=True)
    context = viewer.get("/").context
    assert (context["running"], context["waiting"].number) == (1, 2)
    assert (context["failed"], context["succeeded"]) == (3, 1)
    assert (context["slots"], context["free"], context["draining"]) == (4, 3, 1)
    assert len(context["runs"]) == 8


def test_runs_per_hour_are_drawn_by_outcome(account: Account, viewer: Browser):
    app = make_application(account)
    now = timezone.now()
    for hours in (0, 0, 2):
        make_run(app, status=Status.FAILED, ended_at=now - timedelta(hours=hours))
    make_run(app, status=Status.SUCCEEDED, ended_at=now)
    response = viewer.get("/")
    traces = {trace["name"]: trace for trace in response.context["figure"]["data"]}
    assert set(traces) == {"failed", "succeeded"}
    hours = traces["failed"]["x"]
    assert len(hours) == 24
    present = hours.index(now.replace(minute=0, second=0, microsecond=0).isoformat())
    assert traces["failed"]["y"][present] == 2
    assert traces["failed"]["y"][present - 2] == 1
    assert traces["succeeded"]["y"][present] == 1
    assert "'unsafe-inline'" in response["Content-Security-Policy"]
    assert "script-src 'self';" in response["Content-Security-Policy"]
    assert "data-plot" in response.content.decode()


def test_a_newcomer_sees_the_applications_to_launch(account: Account, operator: Browser):
    app = make_application(account, application_id="routing")
    make_executable(app)
    page = operator.get("/").content.decode()
    assert "Nothing has been launched yet" in page
    assert 'href="/applications/routing/launch/"' in page
    assert "data-plot-src" not in page


def test_without_any_application_home_says_how_to_add_one(account: Account, operator: Browser):
    page = operator.get("/").content.decode()
    assert "Add an application" in page
    assert "no worker is running" in page


def test_pinned_applications_come_first_and_archived_ones_not_at_all(
    account: Account, viewer: Browser
):
    make_application(account, name="Alpha")
    make_application(account, name="Zeta", pinned=True)
    make_application(account, name="Gone", archived_at=timezone.now())
    make_application(name="Foreign", pinned=True)
    cards = viewer.get("/").context["cards"]
    assert [str(card) for card in cards] == ["Zeta", "Alpha"]


def test_home_stays_below_its_ceiling(account: Account, viewer: Browser):
    for number in range(15):
        app = make_application(account, pinned=True)
        make_run(app, status=list(Status)[number % 5], submitted_by=viewer.user)
        make_worker()
    with CaptureQueriesContext(connection) as queries:
        assert viewer.get("/").status_code == 200
    assert len(queries) <= 10
    with CaptureQueriesContext(connection) as queries:
        assert viewer.get("/parts/home/").status_code == 200
    assert len(queries) <= 10


def test_the_parts_are_those_of_the_page(account: Account, viewer: Browser):
    make_run(make_application(account))
    page = _without_hours(viewer.get("/").content.decode())
    events = viewer.get("/parts/home/").json()["events"]
    assert [event["data"]["id"] for event in events] == ["home-stats", "home-runs"]
    for event in events:
        assert _without_hours(event["data"]["html"].strip()) in page


def _without_hours(html: str) -> str:
    """The hour of a link may change between two requests."""
    return re.sub(r"from=[^\"&]+", "from=", html)


def test_home_is_for_members(client, db):
    assert client.get("/")["Location"].startswith("/sign-in/")
    assert client.get("/parts/home/", headers={"Accept": "application/json"}).status_code == 401
