"""Limits, slots and retry rule of a run: who may ask for what, and whose word goes first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from runs.domain.errors import FieldsInvalid
from runs.domain.limits import limit_errors, manifest_limits, resolve_limits
from runs.domain.manifest import Manifest
from runs.domain.retry import LONGEST_DELAY_S, MOST_RETRIES, USUAL_RETRY_ON
from runs.models import Application, Instance
from runs.models.limits import DEFAULT_RETRY_DELAY_S, LIMIT_NAMES

MOST_SLOTS = 1000


@dataclass(frozen=True)
class RetryRule:
    """How often an attempt that failed is followed by another, after which causes, and when."""

    retries: int = 0
    retry_on: str = ""
    retry_delay_s: float = DEFAULT_RETRY_DELAY_S


def most_allowed() -> dict[str, float]:
    """The limits of the installation, above which no run may go; of memory there is none."""
    return {
        "time_limit_s": int(settings.RUNSITE_TIME_LIMIT_S),
        "log_limit_bytes": int(settings.RUNSITE_LOG_LIMIT),
        "output_limit_bytes": int(settings.RUNSITE_OUTPUT_LIMIT),
    }


def check_asked(limits: Mapping[str, object]) -> None:
    """Raise `FieldsInvalid` with the name of each limit that a run may not ask for."""
    if errors := limit_errors(limits, most=most_allowed()):
        raise FieldsInvalid(errors)


def usual_limits(
    application: Application, manifest: Manifest, instance: Instance | None = None
) -> dict[str, Any]:
    """The limits of a run that asks for none; None or empty for those of the installation.

    The instance (which has a time limit only) goes before the settings of the application, and
    these before the manifest.
    """
    return limits_in_force({}, application, manifest, instance)


def limits_in_force(
    asked: Mapping[str, object],
    application: Application,
    manifest: Manifest,
    instance: Instance | None = None,
) -> dict[str, Any]:
    """As `usual_limits`, with those that a run asks for in front."""
    return resolve_limits(
        asked,
        {"time_limit_s": instance.time_limit_s} if instance else {},
        {name: getattr(application, name) for name in LIMIT_NAMES},
        manifest_limits(manifest.runsite),
        most=most_allowed(),
    )


def slots_of(application: Application, manifest: Manifest) -> int:
    """How many slots a run takes: as the application says, else its manifest, else one."""
    return min(application.slots or manifest.runsite.slots or 1, MOST_SLOTS)


def retry_rule(application: Application, manifest: Manifest) -> RetryRule:
    """The rule in force. One that names no cause means what the program did by itself."""
    said = manifest.runsite
    retries = said.retries if application.retries is None else application.retries
    if not retries:
        return RetryRule()
    causes = application.retry_on or " ".join(said.retry_on) or USUAL_RETRY_ON
    delay = next(
        (delay for delay in (application.retry_delay_s, said.retry_delay_s) if delay is not None),
        DEFAULT_RETRY_DELAY_S,
    )
    return RetryRule(min(retries, MOST_RETRIES), causes, min(delay, LONGEST_DELAY_S))
