"""Finds the person of a session together with the memberships, in one query."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.backends import ModelBackend

from runs.models import Membership, User


class MemberBackend(ModelBackend):
    """Django's backend; the user of a request comes with `user.known_memberships`."""

    def get_user(self, user_id: Any) -> User | None:
        """The active user with this key, and every account that user belongs to."""
        memberships = list(
            Membership.objects.filter(user_id=user_id)
            .select_related("user", "account")
            .order_by("account__name", "account_id")
        )
        if memberships:
            user = memberships[0].user
        else:
            found = User.objects.filter(pk=user_id).first()
            if found is None:
                return None
            user = found
        if not user.is_active:
            return None
        user.known_memberships = memberships  # type: ignore[attr-defined] # read by web.access
        return user
