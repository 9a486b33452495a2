"""The page Ledger: whose runs it is about, and what it tells of others."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from runs.models import Counter
from tests.factories import make_account, make_application, make_run


def overdue(account):
    return make_run(make_application(account), expires_at=timezone.now() - timedelta(hours=1))


def test_it_says_in_words_that_everything_adds_up(viewer, account):
    make_run(make_application(account))
    text = viewer.get("/ledger/").content.decode()
    assert "Everything adds up." in text
    assert text.count("holds</span>") == 4
    assert "Whole installation" not in text, "who does not manage workers sees one account"


def test_what_does_not_add_up_is_named_with_its_run(viewer, account):
    run = overdue(account)
    text = viewer.get("/ledger/").content.decode()
    assert "Something does not add up." in text
    assert f"/runs/{run.run_id}/history/" in text
    assert "It has waited longer than its queue limit." in text
    assert "1 contradicts" in text


def test_runs_of_other_accounts_are_only_counted(ann, account):
    theirs = overdue(make_account("theirs"))
    assert "Everything adds up." in ann.get("/ledger/").content.decode()
    Counter.add("reaped", "given_back", by=7)
    text = ann.get("/ledger/?of=installation").content.decode()
    assert "a run of another account" in text
    assert theirs.run_id not in text
    assert "Runs given back to the queue" in text


def test_the_whole_installation_is_for_who_manages_workers(viewer, account):
    overdue(make_account("theirs"))
    assert "Everything adds up." in viewer.get("/ledger/?of=installation").content.decode()


def test_it_pages_on_to_older_runs(viewer, account):
    application = make_application(account)
    runs = [make_run(application) for _ in range(3)]
    text = viewer.get(f"/ledger/?before={runs[1].run_id}").content.decode()
    assert "1 older runs" in text
    assert "There are no older runs." in viewer.get("/ledger/?before=none").content.decode()
    assert viewer.get("/ledger/?before=%00x").status_code == 200


def test_the_page_workers_leads_to_it(viewer, account):
    assert 'href="/ledger/"' in viewer.get("/workers/").content.decode()
