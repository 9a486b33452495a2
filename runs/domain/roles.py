"""The roles of members and what each may do."""

from __future__ import annotations

from types import MappingProxyType

ROLES = ("viewer", "operator", "developer", "admin", "root")
"""From the least to the most. `root` is the installation's and is not given in an account."""

PERMISSIONS: MappingProxyType[str, str] = MappingProxyType(
    {
        "view": "viewer",
        "launch": "operator",
        "cancel": "operator",
        "cancel any": "developer",
        "delete runs": "developer",
        "manage applications": "developer",
        "manage queue": "developer",
        "manage keys": "developer",
        "register folders": "admin",
        "manage workers": "admin",
        "manage members": "admin",
    }
)
"""Each permission and the least role that has it. `cancel` is of one's own runs."""


def may(role: str, permission: str) -> bool:
    """Whether `role` has `permission`; an unknown role has none. Raises KeyError on a typo."""
    return rank(role) >= rank(PERMISSIONS[permission])


def rank(role: str) -> int:
    """The place of a role among the others, the higher the more; -1 for an unknown one."""
    return ROLES.index(role) if role in ROLES else -1


def roles_up_to(role: str) -> tuple[str, ...]:
    """The roles that a member with `role` may give to keys and members, the least first."""
    return tuple(name for name in ROLES if name != "root" and rank(name) <= rank(role))


def _check_table() -> None:
    """Fail on import when a permission asks for a role that does not exist."""
    for permission, role in PERMISSIONS.items():
        if role not in ROLES:
            raise AssertionError(f"{permission!r} asks for the unknown role {role!r}")


_check_table()
