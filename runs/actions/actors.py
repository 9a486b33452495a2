"""Who acts: a person on a page, a program with a key, or the product itself."""

from __future__ import annotations

from dataclasses import dataclass

from runs.models import ApiKey, User

ROOT = "root"


@dataclass(frozen=True)
class Actor:
    """Who does something, with which role, and the name under which it is recorded."""

    user: User | None
    key: ApiKey | None
    role: str
    name: str


def person(user: User, *, role: str) -> Actor:
    """`user` acting with `role` in the account at hand."""
    return Actor(user=user, key=None, role=role, name=user.email)


def key_holder(key: ApiKey) -> Actor:
    """A program that showed `key`; the person who made the key is recorded beside it."""
    return Actor(user=key.created_by, key=key, role=key.role, name=f"key {key.name}")


def product(name: str = "Runsite") -> Actor:
    """The product itself or a command line on the server; it may do everything."""
    return Actor(user=None, key=None, role=ROOT, name=name)
