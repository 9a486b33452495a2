"""Finds runs, and turns them into the words of the client."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone

from runs.actions.applications import LATEST
from runs.actions.run_export import error_of
from runs.actions.run_facts import OptionFact, facts_of, list_facts
from runs.actions.shown_runs import RELATED, find_shown
from runs.actions.tracked_runs import error_as_sent
from runs.api.addresses import public_base
from runs.api.auth import ApiRequest
from runs.api.times import ms_between, wire_ms, wire_time
from runs.api.v1.finding import find_application
from runs.domain.errors import NotFound
from runs.domain.options import to_wire
from runs.domain.status import EndReason
from runs.models import Run

URL = "url"
"""The word in the query that asks for an address instead of the bytes."""


def find_run(request: ApiRequest, app_id: str, run_id: str) -> Run:
    """The run of this application with all its columns; 404 where it is not there. One query."""
    rows = request.account.runs.filter(application__application_id=app_id, run_id=run_id)
    run = rows.select_related("application", *RELATED, "input_data", "queue").first()
    return _found(request, app_id, run_id, run)


def find_shown_run(request: ApiRequest, app_id: str, run_id: str) -> Run:
    """The same with what `information` looks at, for the route that is asked most."""
    run = find_shown(request.account, app_id, run_id)
    return _found(request, app_id, run_id, run)


def _found(request: ApiRequest, app_id: str, run_id: str, run: Run | None) -> Run:
    if run is None:
        find_application(request, app_id)
        raise NotFound(f"Run '{run_id[:64]}' does not exist in application '{app_id[:128]}'.")
    run.account = request.account
    return run


def information(
    request: ApiRequest, app_id: str, run: Run, *, now: datetime | None = None
) -> dict[str, Any]:
    """A run without its output, as `RunInformation` has it; one query at most."""
    facts = facts_of(run)
    now = now or timezone.now()
    metadata = {
        "application_id": app_id,
        **_origin(run),
        "created_at": wire_time(run.created_at),
        "duration": _duration_ms(run, now),
        "error": error_as_sent(run) if run.is_tracked else error_of(run),
        "format": {
            "input": {"type": run.input_format},
            "output": {"type": run.output_format},
        },
        "input_size": run.input_bytes,
        "output_size": run.output_bytes or 0,
        "status_v2": run.status,
        "run_type": _run_type(run),
        "execution_class": run.execution_class,
        "runtime": run.runtime,
        "queuing_priority": run.priority,
        "queuing_disabled": run.queuing_disabled,
        "options": {
            "active_options": _as_texts(facts.options),
            "request_options": request_options(run),
            "options_summary": _summary(facts.options),
        },
    }
    tracking = {
        "cloned_run_id": run.cloned_from.run_id if run.cloned_from else None,
        "input_id": run.managed_input.input_id if run.managed_input else None,
    }
    metadata |= _given(
        initiated_at=wire_time(run.started_at) if run.started_at else None,
        execution_duration=wire_ms(run.execution_s) if run.execution_s is not None else None,
        metrics=facts.metrics,
        statistics=facts.statistics,
        experiment_id=run.batch_experiment_id or None,
        secrets_collection_id=run.secrets.collection_id if run.secrets else None,
        tracking=_given(**tracking) or None,
    )
    return {
        "id": run.run_id,
        "name": run.name,
        "description": run.description,
        "user_email": run.submitted_by.email if run.submitted_by else "",
        "console_url": console_address(request, app_id, run.run_id),
        "metadata": metadata,
        "phase": run.phase,
        "end_reason": "" if run.end_reason == EndReason.EXITED else run.end_reason,
        "detail": run.detail,
        "warnings": [str(warning) for warning in run.warnings],
    }


def items(app_id: str, runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Runs as the list shows them; two queries for each 500."""
    facts = list_facts(runs)
    return [_item(app_id, run, facts[run.pk].options, facts[run.pk].indicators) for run in runs]


def console_address(request: ApiRequest, app_id: str, run_id: str) -> str:
    """Where people look at the run."""
    return f"{public_base(request)}/app/{quote(app_id)}/run/{quote(run_id)}"


def json_stream(
    parts: Iterable[bytes | Iterator[bytes]], size: int | None = None
) -> HttpResponseBase:
    """An answer of JSON that is sent while it is read; `size` is the number of its bytes."""

    def pieces() -> Iterator[bytes]:
        for part in parts:
            if isinstance(part, bytes):
                yield part
            else:
                yield from part

    response = StreamingHttpResponse(pieces(), content_type="application/json")
    if size is not None:
        response["Content-Length"] = str(size)
    return response


def request_options(run: Run) -> dict[str, str]:
    """The options that the request carried, as texts."""
    return {name: to_wire(value) for name, value in run.requested_options.items()}


def _item(
    app_id: str,
    run: Run,
    options: Sequence[OptionFact],
    indicators: Sequence[tuple[str, object]],
) -> dict[str, Any]:
    item: dict[str, Any] = {
        "id": run.run_id,
        "user_email": run.submitted_by.email if run.submitted_by else "",
        "name": run.name,
        "description": run.description,
        "created_at": wire_time(run.created_at),
        "application_id": app_id,
        **_origin(run),
        "run_type": _run_type(run),
        "execution_class": run.execution_class,
        "runtime": run.runtime,
        "status_v2": run.status,
        "queuing_priority": run.priority,
        "queuing_disabled": run.queuing_disabled,
        "options": _as_texts(options),
        "request_options": request_options(run),
        "options_summary": _summary(options),
    }
    if indicators:
        named = [{"name": name, "value": value} for name, value in indicators]
        item["metrics"] = {"status": run.status, "indicators": named}
    return item | _given(
        experiment_id=run.batch_experiment_id or None,
        input_id=run.managed_input.input_id if run.managed_input else None,
    )


def _origin(run: Run) -> dict[str, str]:
    """Instance and version; those that were deleted by their former ids."""
    instance = run.instance.instance_id if run.instance else run.former_instance_id
    version = run.version.version_id if run.version else run.former_version_id
    return {
        "application_instance_id": instance or LATEST,
        "application_version_id": version or LATEST,
    }


def _run_type(run: Run) -> dict[str, str]:
    return {"type": run.run_type or "standard", "definition_id": "", "reference_id": ""}


def _duration_ms(run: Run, now: datetime) -> float:
    """From the submit to the end, or to now; of a tracked run what was said of it."""
    if run.is_final:
        return wire_ms(run.duration_s)
    return ms_between(run.created_at, now) if run.started_at else 0.0


def _as_texts(options: Sequence[OptionFact]) -> dict[str, str]:
    return {option.name: option.text for option in options}


def _summary(options: Sequence[OptionFact]) -> list[dict[str, str]]:
    return [
        {"name": option.name, "value": option.text, "source": option.source} for option in options
    ]


def _given(**values: Any) -> dict[str, Any]:
    """Those that are there: the client takes a null for a value."""
    return {name: value for name, value in values.items() if value is not None}
