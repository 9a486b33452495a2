"""The commands that make accounts, people, keys and links."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from runs.actions.accounts import find_api_key
from runs.models import Account, ApiKey, User
from tests.factories import make_account, make_user

pytestmark = pytest.mark.django_db


def printed(*words: str, **options: Any) -> str:
    out = io.StringIO()
    call_command(*words, stdout=out, **options)
    return out.getvalue()


def path_of(link: str) -> str:
    match = re.fullmatch(r"http://[^/]+(/sign-in/link/[A-Za-z0-9_-]+/)\n", link)
    assert match, link
    return match[1]


def test_a_key_stands_alone_on_stdout():
    account = make_account("demo")
    text = printed("createapikey", "--account", "demo", "--role", "operator", "planner")
    assert re.fullmatch(r"\S+\n", text)
    key = find_api_key(text.strip())
    assert key is not None
    assert (key.account, key.role, key.name) == (account, "operator", "planner")
    assert account.audit_events.get().actor == "manage.py createapikey"


def test_a_key_of_an_unknown_account_names_those_there_are():
    make_account("demo")
    with pytest.raises(CommandError, match=r"no account `nope`.*demo"):
        printed("createapikey", "--account", "nope", "planner")
    assert not ApiKey.objects.exists()


def test_an_account_is_made_once():
    assert "plant" in printed("createaccount", "plant", "--name", "The plant")
    assert Account.objects.get().name == "The plant"
    with pytest.raises(CommandError, match="already"):
        printed("createaccount", "plant")


def test_a_new_person_comes_in_by_the_link():
    account = make_account("demo")
    link = printed("createuser", "Ann@B.org", "--account", "demo", "--role", "operator")
    assert account.memberships.get(user__email="ann@b.org").role == "operator"
    client = Client()
    assert client.post(path_of(link)).status_code == 302
    assert client.get("/settings/password/").status_code == 200


def test_a_password_comes_on_stdin_only(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("the right long one\n"))
    text = printed("createuser", "root@b.org", "--root", "--password-stdin")
    user = User.objects.get()
    assert user.check_password("the right long one")
    assert user.is_superuser
    assert "right" not in text


def test_a_known_person_is_added_without_a_link():
    account = make_account("demo")
    make_user("ann@b.org")
    assert printed("createuser", "ann@b.org", "--account", "demo") == "ann@b.org is there.\n"
    assert account.memberships.get().role == "developer"


def test_nothing_is_made_when_the_account_is_unknown():
    with pytest.raises(CommandError, match="nope"):
        printed("createuser", "ann@b.org", "--account", "nope")
    assert not User.objects.exists()


def test_a_known_person_without_account_is_a_mistake():
    make_user("ann@b.org")
    with pytest.raises(CommandError, match="already"):
        printed("createuser", "ann@b.org", "--root")
    assert not User.objects.get().is_superuser


def test_a_link_for_a_known_person():
    user = make_user("ann@b.org", password="the right long one")
    client = Client()
    response = client.post(path_of(printed("signinlink", " Ann@b.org", "--minutes", "5")))
    assert response["Location"] == "/"
    assert client.session["_auth_user_id"] == str(user.pk)


@pytest.mark.parametrize("words", [["nobody@b.org"], ["off@b.org"]])
def test_no_link_for_who_is_not_there(words: list[str]):
    make_user("off@b.org", is_active=False)
    with pytest.raises(CommandError, match="no active user"):
        printed("signinlink", *words)


def test_a_link_is_open_for_a_week_at_most():
    make_user("ann@b.org")
    with pytest.raises(CommandError, match="10080"):
        printed("signinlink", "ann@b.org", "--minutes", "10081")
