"""The people of the tests: four members of one account with their roles, and an outsider."""

from __future__ import annotations

import pytest
from django.test import Client

from runs.models import Account, User
from tests.factories import make_account, make_member


class Browser(Client):
    """A browser in which `user` has signed in."""

    user: User


def browser_of(user: User) -> Browser:
    browser = Browser()
    browser.force_login(user)
    browser.user = user
    return browser


@pytest.fixture
def account(db: None) -> Account:
    return make_account("demo")


@pytest.fixture
def ann(account: Account) -> Browser:
    """An admin of the account."""
    return browser_of(make_member(account, "admin", "ann@example.org"))


@pytest.fixture
def dev(account: Account) -> Browser:
    return browser_of(make_member(account, "developer", "dev@example.org"))


@pytest.fixture
def operator(account: Account) -> Browser:
    return browser_of(make_member(account, "operator", "operator@example.org"))


@pytest.fixture
def viewer(account: Account) -> Browser:
    return browser_of(make_member(account, "viewer", "viewer@example.org"))


@pytest.fixture
def outsider(account: Account) -> Browser:
    """An admin of another account."""
    return browser_of(make_member(make_account("other"), "admin", "outsider@example.org"))
