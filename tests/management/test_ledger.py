"""`manage.py ledger`: figures for people and programs, and an exit code for alarms."""

from __future__ import annotations

import io
import json
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from tests.factories import make_account, make_application, make_run

pytestmark = pytest.mark.django_db


def said(*words: str) -> str:
    out = io.StringIO()
    call_command("ledger", *words, stdout=out)
    return out.getvalue()


def test_it_says_that_everything_adds_up():
    make_run()
    text = said()
    assert "Everything adds up." in text
    assert "submitted" in text
    assert json.loads(said("--json"))["balanced"] is True


def test_it_ends_with_1_and_names_the_run_when_something_is_overdue(capsys):
    run = make_run(expires_at=timezone.now() - timedelta(hours=1))
    out = io.StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("ledger", stdout=out)
    assert ended.value.code == 1
    assert f"Run {run.run_id}" in out.getvalue()
    out = io.StringIO()
    with pytest.raises(SystemExit):
        call_command("ledger", "--json", stdout=out)
    found = json.loads(out.getvalue())
    assert (found["balanced"], found["overdue"][0]["run_id"]) == (False, run.run_id)


def test_it_is_of_one_account_when_asked():
    make_run(expires_at=timezone.now() - timedelta(hours=1))
    mine = make_application(make_account("mine"))
    make_run(mine)
    make_run(mine)
    assert "There are older runs" in said("--account", "mine", "--runs", "1")
    with pytest.raises(CommandError, match="nobody"):
        said("--account", "nobody")
    with pytest.raises(CommandError, match="above 0"):
        said("--runs", "0")
