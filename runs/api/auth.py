"""Who asks: the key in the header decides the account and the role.

Each endpoint says what it needs: `auth=Key("launch")`. Queries then start at `request.account`.
"""

from __future__ import annotations

import threading
import time
from typing import cast

from django.conf import settings
from django.http import HttpRequest
from django.utils import timezone
from ninja.security import HttpBearer

from runs.actions.accounts import find_api_key, note_key_use
from runs.actions.actors import Actor, key_holder
from runs.domain.errors import NotAllowed, TooManyAttempts
from runs.domain.roles import PERMISSIONS, may
from runs.models import Account, ApiKey

LONGEST_KEY = 200


class ApiRequest(HttpRequest):
    """The request of an endpoint: queries start at `account`, actions are done by `actor`."""

    account: Account
    actor: Actor
    key: ApiKey


class Key(HttpBearer):
    """Lets in who shows a key in force whose role has `permission`.

    401 without such a key, 403 when its role does not suffice. One query.
    """

    openapi_description = "A key of the account, made in its settings or by `createapikey`."

    def __init__(self, permission: str) -> None:
        if permission not in PERMISSIONS:
            raise KeyError(permission)
        super().__init__()
        self.permission = permission

    def authenticate(self, request: HttpRequest, token: str) -> ApiKey | None:
        """The key that was shown, with its account and actor put on the request."""
        token = token.strip()
        if not token or len(token) > LONGEST_KEY or not token.isascii():
            return None
        key = find_api_key(token)
        if key is None:
            return None
        _rates.take(key.pk)
        note_key_use(key, now=timezone.now())
        known = cast(ApiRequest, request)
        known.key, known.account, known.actor = key, key.account, key_holder(key)
        if not may(key.role, self.permission):
            raise NotAllowed(
                f"The key `{key.name}` has the role {key.role}, which may not do this. Use a key"
                f" of the role {PERMISSIONS[self.permission]} or above."
            )
        return key


class Rates:
    """Counts the requests of each key, where `RUNSITE_API_RATE` limits them.

    A bucket of a minute's worth that fills evenly; each web process counts for itself.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: dict[int, tuple[float, float]] = {}

    def take(self, key: int, *, now: float | None = None) -> None:
        """Take one request from the bucket of a key; raises `TooManyAttempts` when it is empty."""
        rate = settings.RUNSITE_API_RATE
        if not rate:
            return
        now = time.monotonic() if now is None else now
        with self._lock:
            left, at = self._left.get(key, (float(rate), now))
            left = min(float(rate), left + (now - at) * rate / 60)
            self._left[key] = (left - 1 if left >= 1 else left, now)
        if left < 1:
            raise TooManyAttempts(
                f"This key may send {rate} requests a minute. Wait a few seconds, or ask the"
                " people who run this console to raise RUNSITE_API_RATE."
            )


_rates = Rates()
