"""Runs: submit, list, read, cancel, stop, delete. The parts of one are in `run_reads`."""

from __future__ import annotations

import json
from functools import partial
from typing import Annotated, Any

from django.db import transaction
from django.http import JsonResponse
from django.http.response import HttpResponseBase
from ninja import Header, Query, Router, Status

from runs.actions.applications import LATEST
from runs.actions.run_content import content_of_output, pieces_of, read_end_of_log
from runs.actions.run_export import error_of
from runs.actions.run_stops import cancel_run, stop_run
from runs.actions.run_waits import find_awaited, upstream
from runs.actions.runs import delete_run, submit_run
from runs.actions.secrets import named_collection
from runs.actions.shown_runs import COLUMNS
from runs.actions.submissions import Note, digest_of, submit_once
from runs.actions.tracked_runs import record_run
from runs.api.auth import ApiRequest, Key
from runs.api.pages import Paging, answer_list
from runs.api.v1.finding import find_application
from runs.api.v1.run_requests import Wanted, read_request
from runs.api.v1.run_shapes import URL, find_run, information, items, json_stream
from runs.api.v1.schemas.base import FAILURES
from runs.api.v1.schemas.runs import RunCreated, RunIn, RunPage, RunResult, RunState
from runs.domain.errors import FieldsInvalid
from runs.domain.status import Status as RunStatus
from runs.models import Application, Run

router = Router(tags=["runs"])

_KEY = "A name for this request: one that comes again within a day is answered with the same run."


IdempotencyKey = Annotated[str, Header(alias="Idempotency-Key", description=_KEY)]


class Filter(Paging):
    """Which runs are listed; the filters are ours."""

    status: str = ""
    instance_id: str = ""
    batch_experiment_id: str = ""


@router.post(
    "applications/{app_id}/runs", auth=Key("launch"), response={202: RunCreated, **FAILURES}
)
def submit(
    request: ApiRequest,
    app_id: str,
    body: RunIn,
    instance_id: str = "",
    idempotency_key: IdempotencyKey = "",
) -> Any:
    """Submit a run; with `result` record one that was executed elsewhere.

    Without `instance_id` the default instance of the application is taken, else the newest push. A
    request that is repeated after a time-out, or comes again with the same `Idempotency-Key`, is
    answered with the run of the first one.
    """
    application = find_application(request, app_id)
    wanted = read_request(request, application, body, instance_id)
    run = submit_once(
        account=request.account,
        actor=request.actor,
        digest=digest_of(request.path, request.META.get("QUERY_STRING", ""), request.body),
        key=idempotency_key.strip(),
        submit=partial(_record if body.result else _submit, request, application, wanted),
    )
    return Status(202, {"run_id": run.run_id})


@router.get(
    "applications/{app_id}/runs",
    auth=Key("view"),
    response={200: RunPage, **FAILURES},
    exclude_none=True,
)
def list_runs(request: ApiRequest, app_id: str, wanted: Query[Filter]) -> Any:
    """The runs of an application, the newest first."""
    application = find_application(request, app_id)
    rows = request.account.runs.filter(application=application)
    if wanted.status:
        known = ", ".join(RunStatus)
        if wanted.status not in set(RunStatus):
            text = f"`{wanted.status[:40]}` is no status. Give one of {known}."
            raise FieldsInvalid({"status": [text]})
        rows = rows.filter(status=wanted.status)
    if wanted.instance_id == LATEST:
        rows = rows.filter(instance=None, former_instance_id="")
    elif wanted.instance_id:
        rows = rows.filter(instance__instance_id=wanted.instance_id)
    if wanted.batch_experiment_id:
        rows = rows.filter(batch_experiment_id=wanted.batch_experiment_id)
    related = ("instance", "version", "managed_input", "submitted_by")
    shown = [name for name in COLUMNS if name.partition("__")[0] not in {"cloned_from", "secrets"}]
    return answer_list(
        rows.select_related(*related).only(*shown),
        wanted,
        lambda page: items(application.application_id, page),
        newest_first=True,
        name="runs",
        bare=False,
    )


@router.get(
    "applications/{app_id}/runs/{run_id}", auth=Key("view"), response={200: RunResult, **FAILURES}
)
def result(request: ApiRequest, app_id: str, run_id: str, format: str = "") -> HttpResponseBase:
    """A run with its output, as far as there is one that is an object.

    With `format=url` without output: `…/output?format=url` then says where it can be fetched.
    """
    run = find_run(request, app_id, run_id)
    answer = information(request, app_id, run)
    answer["waits_for"] = [one.run_id for one in upstream(run)]
    if run.is_final and run.status != RunStatus.SUCCEEDED:
        stderr = read_end_of_log(run)
        error = "\n".join(text for text in (error_of(run), run.detail) if text)
        answer["error_log"] = {"error": error, "stdout": "", "stderr": stderr}
    content = content_of_output(run) if format != URL and run.is_final else None
    if content is None or not content.is_object:
        return JsonResponse(answer)
    # The output goes through as it is: no need to take it apart, whatever its size.
    head = json.dumps(answer)[:-1].encode() + b', "output": '
    size = len(head) + content.size_bytes + 1
    return json_stream([head, pieces_of(content), b"}"], size)


@router.patch(
    "applications/{app_id}/runs/{run_id}/cancel",
    auth=Key("cancel"),
    response={202: RunState, **FAILURES},
)
def cancel(request: ApiRequest, app_id: str, run_id: str) -> Any:
    """Cancel a run: at once while it waits, else its program is stopped. Harmless when it ended."""
    run = find_run(request, app_id, run_id)
    cancel_run(run=run, actor=request.actor)
    return Status(202, _state(run))


@router.patch(
    "applications/{app_id}/runs/{run_id}/stop",
    auth=Key("cancel"),
    response={202: RunState, **FAILURES},
)
def stop(request: ApiRequest, app_id: str, run_id: str) -> Any:
    """Stop a running run and keep its result: one that wrote some succeeds. Ours."""
    run = find_run(request, app_id, run_id)
    stop_run(run=run, actor=request.actor)
    return Status(202, _state(run))


@router.delete(
    "applications/{app_id}/runs/{run_id}",
    auth=Key("delete runs"),
    response={204: None, **FAILURES},
)
def delete(request: ApiRequest, app_id: str, run_id: str) -> Any:
    """Delete a run that has ended, with everything it stored; its id is never used again."""
    delete_run(run=find_run(request, app_id, run_id), actor=request.actor)
    return Status(204, None)


def _state(run: Run) -> dict[str, str]:
    run.refresh_from_db(fields=["status"])
    return {"run_id": run.run_id, "status_v2": run.status}


def _submit(request: ApiRequest, application: Application, wanted: Wanted, note: Note) -> Run:
    """Submit a run. Its input is stored before the transaction begins."""
    body, configuration = wanted.body, wanted.configuration
    queuing = configuration.queuing
    collection_id = configuration.secrets_collection_id
    wanted.check_visible()
    input_data, managed_input = wanted.take_input()
    with transaction.atomic():
        run = submit_run(
            account=request.account,
            application=application,
            actor=request.actor,
            instance=wanted.instance,
            use_latest=wanted.use_latest,
            options=wanted.options,
            input_data=input_data,
            managed_input=managed_input,
            input_format=wanted.input_format or None,
            output_format=wanted.output_format or None,
            name=body.name or "",
            description=body.description or "",
            priority=queuing.priority if queuing else None,
            queuing_disabled=queuing.disabled if queuing else None,
            time_limit_s=body.time_limit_s,
            execution_class=configuration.execution_class or None,
            cloned_from=wanted.cloned_from,
            source="api",
            enforce=False,
            waits_for=find_awaited(account=request.account, run_ids=body.waits_for or ()),
            wait_policy=body.wait_policy or "fail",
            limits=body.limits,
            secrets=named_collection(application, collection_id) if collection_id else None,
            batch_experiment_id=wanted.batch_experiment_id,
        )
        note(run)
    return run


def _record(request: ApiRequest, application: Application, wanted: Wanted, note: Note) -> Run:
    """Record a run that was executed elsewhere."""
    body, sent = wanted.body, wanted.tracked
    input_data, managed_input = wanted.take_input()
    return record_run(
        account=request.account,
        application=application,
        actor=request.actor,
        status=sent.status or "",
        result=wanted.take_result(),
        input_data=input_data,
        managed_input=managed_input,
        instance=wanted.instance,
        name=body.name or "",
        description=body.description or "",
        options=wanted.options,
        input_format=input_data.content_format if input_data else wanted.content_format,
        output_format=wanted.content_of_output,
        execution_s=None if sent.execution_duration is None else sent.execution_duration / 1000,
        error=sent.error_message or "",
        source="api",
        batch_experiment_id=wanted.batch_experiment_id,
        cloned_from=wanted.cloned_from,
        note=note,
    )
