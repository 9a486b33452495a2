"""The run list: what a filter lets through, pages by cursor, and no scan of the table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from runs.domain.status import Status
from runs.models import Account, Run
from runs.models.run_list import (
    About,
    RunFilter,
    count_about,
    find_page,
    list_rows,
)
from tests.factories import make_account, make_application, make_member, make_run, make_user

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def chosen(**parameters: str | list[str]) -> RunFilter:
    return RunFilter.from_parameters(
        {
            {"since": "from", "until": "to"}.get(name, name): (
                value if isinstance(value, list) else [value]
            )
            for name, value in parameters.items()
        }
    )


def walk_all(account: Account, wanted: RunFilter, *, limit: int, look: int = 5000) -> list[Run]:
    """Every run, page by page, as somebody would who follows "older"."""
    page = find_page(account, wanted, limit=limit, look=look)
    found = list(page.runs)
    for _ in range(200):
        if not page.older:
            return found
        page = find_page(account, wanted, after=page.older, limit=limit, look=look)
        found += page.runs
    raise AssertionError("the pages have no end")


def plans_of(queries: CaptureQueriesContext) -> list[str]:
    plans = []
    captured = [query["sql"] for query in queries.captured_queries]
    for sql in captured:
        if not sql.startswith("SELECT"):
            continue
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
            plans.append("\n".join(str(row[3]) for row in cursor.fetchall()))
    return plans


@pytest.fixture
def account() -> Account:
    return make_account("demo")


def test_runs_come_newest_first_page_by_page(account: Account):
    app = make_application(account)
    runs = [make_run(app) for _ in range(7)]
    make_run()  # of others
    assert [run.pk for run in walk_all(account, RunFilter(), limit=3)] == [
        run.pk for run in reversed(runs)
    ]


def test_the_way_back_leads_over_the_same_pages(account: Account):
    app = make_application(account)
    runs = [make_run(app) for _ in range(9)][::-1]
    first = find_page(account, RunFilter(), limit=3)
    second = find_page(account, RunFilter(), after=first.older, limit=3)
    third = find_page(account, RunFilter(), after=second.older, limit=3)
    assert not first.newer
    assert not third.older
    back = find_page(account, RunFilter(), before=third.newer, limit=3)
    assert back.runs == second.runs == runs[3:6]
    assert find_page(account, RunFilter(), before=back.newer, limit=3).runs == runs[:3]


def test_a_cursor_holds_when_its_run_is_deleted(account: Account):
    app = make_application(account)
    runs = [make_run(app) for _ in range(4)]
    page = find_page(account, RunFilter(), limit=2)
    page.runs[-1].delete()
    assert find_page(account, RunFilter(), after=page.older, limit=2).runs == [runs[1], runs[0]]


@pytest.mark.parametrize("cursor", ["x", "1", "-", "zz-", "!!-1", "1-" + "z" * 40, "\x00", "é-é"])
def test_a_broken_cursor_is_the_first_page(account: Account, cursor: str):
    run = make_run(make_application(account))
    assert find_page(account, RunFilter(), after=cursor).runs == [run]
    assert find_page(account, RunFilter(), before=cursor).runs == [run]


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"status": "failed"},
        {"status": ["failed", "queued"]},
        {"application": "routing"},
        {"application": "routing", "status": ["failed", "succeeded"]},
        {"q": "night"},
        {"q": "night", "status": ["failed", "queued"], "application": "routing"},
        {"source": "api"},
        {"who": "who@example.org", "status": "failed"},
        {"since": "2026-11-20", "until": "2026-11-20"},
        {"since": "2026-11-20", "status": "failed", "application": "routing", "q": "night"},
        {"application": "unknown"},
        {"who": "nobody@example.org"},
    ],
)
@pytest.mark.parametrize("look", [5000, 4])
def test_every_filter_finds_what_a_plain_comparison_finds(
    account: Account, parameters: dict[str, str | list[str]], look: int
):
    who = make_user("who@example.org")
    apps = [make_application(account, application_id=name) for name in ("routing", "stress")]
    statuses = [Status.QUEUED, Status.FAILED, Status.SUCCEEDED]
    runs = [
        make_run(
            apps[number % 2],
            status=statuses[number % 3],
            name=("Night shift" if number % 4 == 0 else f"run {number}"),
            source="api" if number % 5 == 0 else "console",
            submitted_by=who if number % 2 else None,
            created_at=NOON + timedelta(hours=4 * ((number * 7) % 11)),
        )
        for number in range(24)
    ]
    wanted = chosen(**parameters)

    def fits(run: Run) -> bool:
        return (
            (not wanted.statuses or run.status in wanted.statuses)
            and wanted.application in {"", run.application.application_id}
            and wanted.text.lower() in run.name.lower()
            and wanted.source in {"", run.source}
            and (not wanted.who or (run.submitted_by or who).email == wanted.who)
            and (not wanted.who or run.submitted_by is not None)
            and (wanted.since is None or run.created_at >= wanted.since)
            and (wanted.until is None or run.created_at < wanted.until)
        )

    found = walk_all(account, wanted, limit=3, look=look)
    assert len(found) == len(set(found))
    assert set(found) == {run for run in runs if fits(run)}
    by_time = wanted.since is not None
    keys = [(run.created_at if by_time else NOON, run.pk) for run in found]
    assert keys == sorted(keys, reverse=True)


def test_a_search_looks_at_a_bounded_number_of_rows_and_says_so(account: Account):
    app = make_application(account)
    old = make_run(app, name="needle")
    for _ in range(10):
        make_run(app, name="hay")
    page = find_page(account, chosen(q="needle"), look=6)
    assert page.runs == []
    assert page.looked == 6
    assert page.looked_back_to is not None
    further = find_page(account, chosen(q="needle"), after=page.older, look=6)
    assert further.runs == [old]
    assert further.looked is None
    assert not further.older


def test_a_whole_run_id_is_found_however_old_it_is(account: Account):
    app = make_application(account)
    old = make_run(app)
    for _ in range(5):
        make_run(app)
    assert find_page(account, chosen(q=old.run_id), look=2).runs == [old]
    assert find_page(account, chosen(q=old.run_id.upper()), look=2).runs == [old]
    assert old not in find_page(account, chosen(q=old.run_id, status="failed")).runs
    assert find_page(make_account(), chosen(q=old.run_id)).runs == []


@pytest.mark.parametrize("text", ["100%", "a_b", "'; --", "<b>", "é", "\x00"])
def test_a_search_takes_every_sign_literally(account: Account, text: str):
    app = make_application(account)
    plain = text.replace("\x00", "")
    run = make_run(app, name=f"x {plain} y")
    other = make_run(app, name="100 axb")
    found = find_page(account, chosen(q=text)).runs
    assert run in found
    assert (other in found) == (not plain)


def test_bad_parameters_are_said_and_change_nothing():
    wanted = chosen(status=["lost", "failed"], since="yesterday", until="2026-02-31")
    assert wanted == RunFilter(statuses=(Status.FAILED,))
    assert len(wanted.problems) == 3
    for broken in ("0001-01-01", "9999-12-31", "0001-01-01T00:00:00+05:00", "2026-11-21T25:00"):
        assert chosen(since=broken, until=broken).parameters() == []


def test_a_filter_survives_the_way_through_an_address():
    wanted = chosen(
        q=" two  words ",
        status=["queued", "failed", "failed"],
        application="routing",
        source="api",
        who="Ann@example.org",
        since="2026-11-20T10:30:00Z",
        until="2026-11-20",
    )
    parameters: dict[str, list[str]] = {}
    for name, value in wanted.parameters():
        parameters.setdefault(name, []).append(value)
    assert RunFilter.from_parameters(parameters) == wanted
    assert parameters["q"] == ["two words"]
    assert parameters["to"] == ["2026-11-20"]
    assert wanted.until == datetime(2026, 11, 21, tzinfo=UTC)


def test_an_exact_count_comes_from_an_index_only(account: Account, monkeypatch):
    app = make_application(account)
    for _ in range(5):
        make_run(app)
    make_run(app, status=Status.FAILED)
    assert count_about(account, RunFilter()) == About(6)
    assert count_about(account, chosen(status="failed")) == About(1)
    assert count_about(account, chosen(status=["failed", "queued"])) == About(6)
    assert count_about(account, chosen(q="run")) is None
    monkeypatch.setattr("runs.models.run_list.COUNT_CAP", 4)
    assert count_about(account, RunFilter()) == About(3, more=True)


def test_rows_of_others_are_never_listed(account: Account):
    mine, other = make_run(make_application(account)), make_run()
    assert list_rows(account, [mine.run_id, other.run_id]) == [mine]


@pytest.mark.skipif(connection.vendor != "sqlite", reason="reads the plans of SQLite")
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"status": "failed"},
        {"status": ["failed", "queued"]},
        {"application": "routing"},
        {"application": "routing", "status": ["failed", "queued"]},
        {"q": "night", "status": ["failed", "queued"], "application": "routing"},
        {"who": "who@example.org"},
        {"who": "who@example.org", "source": "api", "application": "routing"},
        {"since": "2026-11-20", "until": "2026-11-21"},
        {"since": "2026-11-20", "status": "failed", "application": "routing", "who": "a@b.c"},
    ],
)
def test_no_page_scans_or_sorts_the_table(account: Account, parameters: dict[str, str | list[str]]):
    app = make_application(account, application_id="routing")
    make_member(account, email="who@example.org")
    for _ in range(8):
        make_run(app, status=Status.FAILED, created_at=NOON)
    wanted = chosen(**parameters)
    first = find_page(account, wanted, limit=2, look=4)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        find_page(account, wanted, limit=2, look=4)
        find_page(account, wanted, after=first.older or "1-1", limit=2, look=4)
        find_page(account, wanted, before=first.older or "1-1", limit=2, look=4)
        count_about(account, wanted)
    plans = plans_of(queries)
    assert plans
    for plan in plans:
        assert "SCAN runs_run" not in plan, plan
        assert "TEMP B-TREE" not in plan, plan


def test_a_page_takes_few_queries_and_loads_no_large_value(account: Account):
    app = make_application(account)
    for _ in range(5):
        make_run(app, description="long")
    for wanted in (RunFilter(), chosen(q="long run"), chosen(status=["failed", "queued"])):
        with CaptureQueriesContext(connection) as queries:
            page = find_page(account, wanted, limit=3)
            for run in page.runs:
                str(run), str(run.application), run.submitted_by, run.api_key
        assert len(queries) <= 5
        assert "requested_options" not in " ".join(q["sql"] for q in queries.captured_queries)
