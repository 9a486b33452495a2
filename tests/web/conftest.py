"""The people of the tests: four members of one account with their roles, and an outsider.

Loaded before Django is ready, so models are imported where they are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.test import Client

if TYPE_CHECKING:
    from runs.models import Account, User


class Browser(Client):
    """A browser in which `user` has signed in."""

    user: User


def browser_of(user: User) -> Browser:
    browser = Browser()
    browser.force_login(user)
    browser.user = user
    return browser


def _member(account: Account, role: str, email: str) -> Browser:
    from tests.factories import make_member

    return browser_of(make_member(account, role, email))


@pytest.fixture
def account(db: None) -> Account:
    from tests.factories import make_account

    return make_account("demo")


@pytest.fixture
def ann(account: Account) -> Browser:
    """An admin of the account."""
    return _member(account, "admin", "ann@example.org")


@pytest.fixture
def dev(account: Account) -> Browser:
    return _member(account, "developer", "dev@example.org")


@pytest.fixture
def operator(account: Account) -> Browser:
    return _member(account, "operator", "operator@example.org")


@pytest.fixture
def viewer(account: Account) -> Browser:
    return _member(account, "viewer", "viewer@example.org")


@pytest.fixture
def outsider(account: Account) -> Browser:
    """An admin of another account."""
    from tests.factories import make_account

    return _member(make_account("other"), "admin", "outsider@example.org")
