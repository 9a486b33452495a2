"""Programs that speak to the API without a server.

Loaded before Django is ready, so models are imported where they are used.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from django.test import Client
from django.utils import timezone

if TYPE_CHECKING:
    from runs.models import Account


class Program:
    """Sends requests as the published client does: a bearer key, JSON, no cookies."""

    def __init__(self, account: Account, role: str = "developer") -> None:
        from runs.actions.accounts import create_api_key
        from runs.actions.actors import product
        from tests.factories import make_member

        self.account = account
        self.maker = make_member(account, role)
        self.key, self.secret = create_api_key(
            account=account, name=f"{role} key", role=role, actor=product(), now=timezone.now()
        )
        self.key.created_by = self.maker
        self.key.save(update_fields=["created_by"])
        self.client = Client(
            headers={"authorization": f"Bearer {self.secret}"}, raise_request_exception=False
        )

    def send(self, method: str, path: str, body: Any = None, **query: str) -> Any:
        """The answer to a request; `body` is sent as JSON, bytes as they are."""
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body)
        return self.client.generic(
            method, path, data, content_type="application/json", query_params=query
        )

    def get(self, path: str, **query: str) -> Any:
        """The JSON of a GET that succeeds."""
        answer = self.send("GET", path, **query)
        assert answer.status_code == 200, answer.content
        return answer.json()


@pytest.fixture
def account(db: None) -> Account:
    from tests.factories import make_account

    return make_account()


@pytest.fixture
def program(account: Account) -> Program:
    """A program with the key of a developer."""
    return Program(account)
