"""Asks for the environments of executables; a worker of each host builds its own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db import transaction
from django.utils import timezone

from runs.actions.actors import Actor
from runs.actions.audit import record_change
from runs.domain.errors import Conflict, NotAllowed
from runs.domain.roles import may
from runs.execution.dependencies import environment_key, host_platform
from runs.models import Account, Environment, EnvironmentBuild


def ensure_environment(
    *, requirements: Sequence[str], python_version: str = "", now: datetime | None = None
) -> Environment:
    """The environment with this content, asked to be built when no host has begun yet.

    `requirements` are lines as `read_requirements` gives them; an empty list is an environment
    too, with nothing but its Python. The wanted host is left open: the first worker takes it, and
    others build their own when runs of theirs wait for it.
    """
    platform = host_platform()
    key = environment_key(requirements, python_version, platform)
    environment, _ = Environment.objects.get_or_create(
        key=key,
        defaults={
            "requirements": list(requirements),
            "python_version": python_version,
            "platform": platform,
        },
    )
    if not environment.builds.exists():
        EnvironmentBuild.objects.get_or_create(
            environment=environment,
            host="",
            defaults={
                "state": EnvironmentBuild.WAITING,
                "requested_at": now or timezone.now(),
            },
        )
    return environment


def rebuild_environment(
    *, environment: Environment, account: Account, actor: Actor, now: datetime | None = None
) -> int:
    """Have the failed builds of an environment tried again; how many hosts will.

    A host without a build is asked as well when there is none at all. Raises `Conflict` when
    nothing failed, `NotAllowed` without the permission *manage applications*.
    """
    if not may(actor.role, "manage applications"):
        raise NotAllowed("Your role may not build environments. Ask a developer or an admin.")
    now = now or timezone.now()
    with transaction.atomic():
        asked = environment.builds.filter(state=EnvironmentBuild.FAILED).update(
            state=EnvironmentBuild.WAITING,
            error="",
            requested_at=now,
            started_at=None,
            ended_at=None,
        )
        if not asked and not environment.builds.exists():
            EnvironmentBuild.objects.create(environment=environment, requested_at=now)
            asked = 1
        if not asked:
            raise Conflict(
                f"No build of environment {environment} has failed. Builds that wait or are under"
                " way end by themselves."
            )
        record_change(
            account=account,
            actor=actor,
            verb="rebuilt",
            noun="environment",
            target=str(environment),
            now=now,
        )
    return asked
