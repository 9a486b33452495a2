"""Applications to submit runs of, for tests."""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from runs.actions.actors import person
from runs.actions.runs import submit_run
from runs.domain.manifest import manifest_to_json, parse_manifest
from runs.domain.status import EndReason, Status
from runs.models import Application, Run
from tests.factories import make_application, make_executable, make_user

MANIFEST = """
files: [main.py]
configuration:
  options:
    items:
      - {name: region, option_type: string, default: north}
      - {name: day, option_type: int}
"""


def make_app(block: str = "", **fields: Any) -> Application:
    """An application with the options `region` and `day`; `block` is its `runsite` block."""
    application = make_application(**fields)
    manifest = manifest_to_json(parse_manifest(MANIFEST + block))
    make_executable(application, manifest=manifest)
    return application


def submit(application: Application, *, role: str = "operator", **fields: Any) -> Run:
    fields.setdefault("actor", person(make_user(), role=role))
    return submit_run(account=application.account, application=application, **fields)


def end(run: Run, status: Status = Status.SUCCEEDED) -> None:
    """End a run as it is in the table."""
    reason = {
        Status.SUCCEEDED: EndReason.EXITED,
        Status.FAILED: EndReason.EXIT_CODE,
        Status.CANCELED: EndReason.CANCELED,
    }[status]
    fresh = Run.objects.get(pk=run.pk)
    if fresh.status == Status.QUEUED and status is Status.SUCCEEDED:
        start(fresh)
    assert fresh.move_to(status, now=timezone.now(), reason=reason)


def start(run: Run) -> None:
    """Make it a running one, as a claim does."""
    changes = {"token": f"token-{run.pk}", "attempt_number": 1}
    assert run.move_to(Status.RUNNING, now=timezone.now(), changes=changes)
