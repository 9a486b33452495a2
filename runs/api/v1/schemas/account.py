"""The shapes of an account: what waits and runs in it, and who belongs to it."""

from __future__ import annotations

from ninja import Schema

from runs.api.times import Instant


class QueuedRunOut(Schema):
    """A run that has not ended."""

    id: str
    user_email: str
    name: str
    description: str
    created_at: Instant
    application_id: str
    application_instance_id: str
    application_version_id: str
    execution_class: str
    status_v2: str


class QueueOut(Schema):
    """The runs of the account that run or wait: running ones first, then in their order."""

    runs: list[QueuedRunOut]


class MemberOut(Schema):
    """A member of the account."""

    email: str
    role: str
    pending_invite: bool


class OrganizationOut(Schema):
    """The account and its members."""

    id: str
    name: str
    members: list[MemberOut]
