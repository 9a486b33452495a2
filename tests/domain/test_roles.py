"""Roles and what each may do."""

from __future__ import annotations

import pytest

from runs.domain.roles import PERMISSIONS, ROLES, may, rank, roles_up_to


def test_each_role_may_what_a_lesser_one_may():
    for permission in PERMISSIONS:
        allowed = [may(role, permission) for role in ROLES]
        assert allowed == sorted(allowed)
        assert allowed[-1], "root may everything"


@pytest.mark.parametrize(
    ("role", "first_refused", "last_allowed"),
    [
        ("viewer", "launch", "view"),
        ("operator", "manage applications", "launch"),
        ("developer", "manage members", "manage applications"),
    ],
)
def test_the_lines_between_the_roles(role: str, first_refused: str, last_allowed: str):
    assert may(role, last_allowed)
    assert not may(role, first_refused)


@pytest.mark.parametrize("role", ["", "Admin", "owner"])
def test_an_unknown_role_may_nothing(role: str):
    assert rank(role) == -1
    assert not any(may(role, permission) for permission in PERMISSIONS)
    assert roles_up_to(role) == ()


def test_a_misspelt_permission_is_an_error_and_no_refusal():
    with pytest.raises(KeyError):
        may("admin", "lanch")


def test_root_is_never_given():
    assert (
        roles_up_to("root") == roles_up_to("admin") == ("viewer", "operator", "developer", "admin")
    )
    assert roles_up_to("operator") == ("viewer", "operator")
