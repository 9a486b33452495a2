"""Every endpoint of the API: which roles it lets in, that it wants a key, and only its account's.

The endpoints are read from the API itself, so that a new one is asked as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from runs.api.auth import Key
from runs.api.v1 import api
from runs.domain.roles import ROLES, may
from runs.models import Account, ApiKey
from tests.api.conftest import Program
from tests.factories import make_account, make_application

ROLES_OF_KEYS = tuple(role for role in ROLES if role != "root")
BODIES: dict[str, dict[str, Any]] = {
    "PUT applications/{app_id}/binary": {"requirements": {}},
    "POST applications/{app_id}/versions": {"id": "a", "name": "a"},
    "POST applications/{app_id}/instances": {"id": "a", "name": "a", "version_id": "v1"},
    "PUT applications/{app_id}/instances/{instance_id}/lock": {"locked": True},
    "POST applications/{app_id}/inputs": {"id": "a", "name": "a", "upload_id": "u"},
    "POST applications/{app_id}/secrets": {"id": "a", "name": "a", "secrets": []},
}
"""What each needs to be looked at at all; the others take an empty object."""


def _endpoints() -> Iterator[tuple[str, str, str]]:
    for _, router in api._routers:
        for path, view in router.path_operations.items():
            for operation in view.operations:
                (key,) = operation.auth_callbacks
                assert isinstance(key, Key)
                for method in operation.methods:
                    yield method, path, key.permission


ENDPOINTS = list(_endpoints())
OF_APPLICATIONS = [one for one in ENDPOINTS if "{app_id}" in one[1]]


def _filled(path: str, app_id: str) -> str:
    path = path.replace("{app_id}", app_id)
    return "/v1/" + re.sub(r"\{[^}]+\}", "x-1", path)


def _send(program: Program, method: str, path: str, app_id: str = "mine") -> Any:
    body = BODIES.get(f"{method} {path}", {})
    return program.send(method, _filled(path, app_id), None if method == "GET" else body)


def _names(endpoints: list[tuple[str, str, str]]) -> list[str]:
    return [f"{method} {path}" for method, path, _ in endpoints]


@pytest.fixture
def programs(account: Account) -> dict[str, Program]:
    """A program of each role."""
    return {role: Program(account, role) for role in ROLES_OF_KEYS}


def test_there_are_endpoints_to_ask():
    assert len(ENDPOINTS) > 60
    assert not set(BODIES) - set(_names(ENDPOINTS))


def test_each_endpoint_lets_in_the_roles_that_may_and_no_other(programs: dict[str, Program]):
    wrong = []
    for method, path, permission in ENDPOINTS:
        for role, program in programs.items():
            status = _send(program, method, path).status_code
            # Refused for the role: 403. Some answer 403 to everybody.
            refused = status == 403 and "organization" not in path
            if refused == may(role, permission) or status >= 500:
                wrong.append((method, path, role, status))
    assert wrong == []


def test_no_endpoint_answers_without_a_key_in_force(account: Account):
    revoked = Program(account, "admin")
    ApiKey.objects.filter(pk=revoked.key.pk).update(revoked_at=timezone.now())
    wrong = []
    for header in ("", "Bearer none", "Basic abc", "Bearer ", f"Bearer {revoked.secret}"):
        stranger = Client(headers={"authorization": header})
        for method, path, _ in ENDPOINTS:
            answer = stranger.generic(method, _filled(path, "mine"))
            if answer.status_code != 401 or set(answer.json()) != {"error", "status"}:
                wrong.append((header, method, path, answer.status_code))
    assert wrong == []


def test_nothing_of_another_account_is_there(programs: dict[str, Program]):
    make_application(make_account(), application_id="theirs")
    wrong = []
    for method, path, _ in OF_APPLICATIONS:
        answer = _send(programs["admin"], method, path, "theirs")
        if answer.status_code != 404 or set(answer.json()) != {"error", "status"}:
            wrong.append((method, path, answer.status_code, answer.content))
    assert wrong == []


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"7", b'"x"', b"null", b"\xff", b'{"a": "\\ud800"}', b"{" * 5000]
)
def test_no_body_breaks_an_endpoint(account: Account, body: bytes):
    make_application(account, application_id="mine")
    program = Program(account, "admin")
    wrong = []
    for method, path, _ in ENDPOINTS:
        if method == "GET" or path == "applications/{app_id}":
            continue
        answer = program.send(method, _filled(path, "mine"), body)
        is_json = answer.content == b"" or answer["Content-Type"].startswith("application/json")
        if answer.status_code >= 500 or not is_json:
            wrong.append((method, path, answer.status_code))
    assert wrong == []


def test_zero_bytes_and_halves_of_characters_break_nothing(account: Account):
    make_application(account, application_id="mine")
    program = Program(account, "admin")
    wrong = []
    for text in ("a\0b", "\ud800", "x" * 100_000):
        for method, path, _ in ENDPOINTS:
            keys = ("id", "name", "description", "version_id", "upload_id", "run_id")
            body = {**BODIES.get(f"{method} {path}", {}), **dict.fromkeys(keys, text)}
            answer = program.send(method, _filled(path, "mine"), body)
            if answer.status_code >= 500:
                wrong.append((text[:5], method, path, answer.status_code))
            if not path.startswith("applications"):
                continue
            answer = program.send(method, _filled(path, "mine") + "%00", {})
            if answer.status_code >= 500:
                wrong.append(("%00", method, path, answer.status_code))
    assert wrong == []
