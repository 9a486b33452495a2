"""Records runs that were executed elsewhere: final at once, without queue and worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from django.db import DatabaseError, IntegrityError, OperationalError, transaction
from django.utils import timezone

from runs.actions.actors import Actor
from runs.actions.run_options import write_options
from runs.actions.tracked_results import ATTEMPT, TrackedResult, TrackedRows, store_tracked
from runs.domain.content import FORMATS
from runs.domain.errors import Conflict, FieldsInvalid, NotAllowed, OptionsInvalid
from runs.domain.ids import new_id, new_run_id
from runs.domain.options import ResolvedOption, check_amount, check_options
from runs.domain.roles import may
from runs.domain.status import FINAL, WORDS, EndReason, Status
from runs.models import (
    Account,
    Application,
    Attempt,
    InputData,
    Instance,
    Lane,
    ManagedInput,
    Queue,
    Run,
    RunEvent,
)
from runs.models.queues import DEFAULT_QUEUE
from runs.storage import keys, object_store

__all__ = ["TrackedResult", "error_as_sent", "record_run"]

_REASONS = {
    Status.SUCCEEDED: EndReason.EXITED,
    Status.FAILED: EndReason.FAILED_ELSEWHERE,
    Status.CANCELED: EndReason.CANCELED,
}
LONGEST_ERROR = 500
LONGEST_DETAIL = 100_000


def record_run(
    *,
    account: Account,
    application: Application,
    actor: Actor,
    status: Status | str,
    result: TrackedResult,
    input_format: str,
    output_format: str,
    input_data: InputData | None = None,
    instance: Instance | None = None,
    name: str = "",
    description: str = "",
    options: Mapping[str, object] | None = None,
    created_at: datetime | None = None,
    execution_s: float | None = None,
    error: str = "",
    external_id: str = "",
    source: str = "api",
    batch_experiment_id: str = "",
    cloned_from: Run | None = None,
    managed_input: ManagedInput | None = None,
    warnings: Sequence[str] = (),
    note: Callable[[Run], None] | None = None,
    now: datetime | None = None,
) -> Run:
    """Record a run that was executed elsewhere; it is final when this returns.

    `status` is *succeeded*, *failed* or *canceled*, `error` why it did not succeed. Without
    `created_at` it counts as made now. `execution_s` is how long it took, in seconds. What was sent
    decides the output format: an archive makes it `multi-file`, see `TrackedResult`. `external_id`
    is its id where it was executed; an application takes each once. `warnings` are kept with it.
    `note` is told of the run in the transaction that writes it.

    The application needs no executable. Bytes are stored first, then all rows are written in one
    transaction; queue, keys and waits are left alone. Raises `NotAllowed`, `FieldsInvalid`,
    `OptionsInvalid`, `ArchiveRejected`, `TooLarge`, and `Conflict` when the application is archived
    or has a run with this `external_id`; nothing is kept then.
    """
    if not may(actor.role, "launch"):
        raise NotAllowed("Your role may not record runs. Ask an admin of the account.")
    if application.archived_at is not None:
        raise Conflict(
            f"{application} is archived. Bring it back in its settings, then record again."
        )
    now = now or timezone.now()
    given = dict(options or {})
    _check(status, name, description, error, input_format, output_format, execution_s, external_id)
    check_amount(given)
    if errors := check_options([], given, strict=False, free_options=True):
        raise OptionsInvalid(errors)
    if external_id:
        _refuse_known(application, external_id)
    if managed_input is not None and input_data is None:
        input_data = managed_input.input_data
    name, description = _storable(name), _storable(description)
    status = Status(status)
    reason = _REASONS[status]
    began = created_at or now
    ended = now if created_at is None else _end_of(began, execution_s, now)
    short, detail = _error_columns(status, reason, error)
    run = Run(
        account=account,
        run_id=new_run_id(),
        application=application,
        instance=instance,
        version=instance.version if instance else None,
        name=name,
        description=description,
        status=status,
        end_reason=reason,
        error=short,
        detail=detail,
        run_type=Run.EXTERNAL,
        input_format=input_format,
        output_format=output_format,
        requested_options=given,
        input_data=input_data,
        input_bytes=input_data.size_bytes if input_data else 0,
        managed_input=managed_input,
        cloned_from=cloned_from,
        batch_experiment_id=batch_experiment_id,
        external_id=external_id,
        submitted_by=actor.user,
        api_key=actor.key,
        source=source,
        created_at=began,
        started_at=began,
        ended_at=ended,
        duration_s=execution_s if execution_s is not None else (ended - began).total_seconds(),
        execution_s=execution_s,
        attempt_number=ATTEMPT,
        max_attempts=ATTEMPT,
    )
    try:
        rows = store_tracked(run, result)
        _take_over(run, rows, warnings)
        with transaction.atomic():
            _write(run, rows, given, actor, now)
            if note is not None:
                note(run)
    except BaseException as problem:
        if not (isinstance(problem, OperationalError) and _may_be_written(run.run_id)):
            object_store().delete_prefix(keys.run_prefix(run.run_id))
        if external_id and isinstance(problem, IntegrityError):
            _refuse_known(application, external_id)  # somebody recorded it at the same moment
        raise
    return run


def _may_be_written(run_id: str) -> bool:
    """Whether there is a row, although the database broke off: it may have written it before."""
    try:
        return Run.objects.filter(run_id=run_id).exists()
    except DatabaseError:
        return True


def _write(
    run: Run, rows: TrackedRows, given: Mapping[str, object], actor: Actor, now: datetime
) -> None:
    queue, _ = Queue.objects.get_or_create(account=run.account, name=DEFAULT_QUEUE)
    run.queue = queue
    run.lane, _ = Lane.objects.get_or_create(
        queue=queue, application=run.application, environment=None, slots=run.slots
    )
    run.save(force_insert=True)
    write_options(run, [ResolvedOption(name, value, "run", True) for name, value in given.items()])
    Attempt.objects.create(
        run=run,
        number=ATTEMPT,
        token=new_id(),
        worker=None,
        worker_name="",
        boot_id="",
        claimed_at=run.created_at,
        started_at=run.started_at,
        executed_at=run.ended_at,
        ended_at=run.ended_at,
        outcome=run.end_reason,
        error=run.error,
        detail=run.detail,
        log_bytes=rows.log_bytes,
        log_lines=rows.log_lines,
        log_cut_at=rows.log_cut_at,
        log_cut_bytes=rows.log_cut_bytes,
        log_key=rows.log_key,
    )
    rows.write()
    RunEvent.objects.create(
        run=run,
        kind=RunEvent.RECORDED,
        at=now,
        after=run.status,
        end_reason=run.end_reason,
        attempt_number=ATTEMPT,
        user=actor.user,
        actor=actor.name,
        text=f"It was run {run.external_id} there" if run.external_id else "",
    )


def _take_over(run: Run, rows: TrackedRows, warnings: Sequence[str]) -> None:
    """The columns of the run that its result tells."""
    run.output_format = rows.output_format
    run.result_kind = rows.result_kind
    run.output_bytes = rows.output_bytes
    run.value = rows.value
    run.log_bytes = rows.log_bytes
    run.warnings = rows.shown_warnings(list(warnings))


def _error_columns(status: Status, reason: EndReason, error: str) -> tuple[str, str]:
    """The first line and what follows it: what was sent, or what the end reason says."""
    error = _storable(error).strip()
    if status is Status.SUCCEEDED:
        return "", ""
    if not error:
        return WORDS[reason], ""
    first, _, rest = error.partition("\n")
    if len(first) > LONGEST_ERROR:
        return f"{first[: LONGEST_ERROR - 1]}…", error[:LONGEST_DETAIL]
    return first.rstrip(), rest[:LONGEST_DETAIL]


def error_as_sent(run: Run) -> str:
    """The whole error of a run that was executed elsewhere; empty when it succeeded."""
    if run.detail and run.error.endswith("…") and run.detail.startswith(run.error[:-1]):
        return run.detail
    return f"{run.error}\n{run.detail}" if run.detail else run.error


def _storable(text: str) -> str:
    """Without the character that no database keeps."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def _end_of(began: datetime, execution_s: float | None, now: datetime) -> datetime:
    """When it ended there: not before it began, and not after now unless it began so."""
    if execution_s is None:
        return began
    return max(began, min(began + timedelta(seconds=execution_s), now))


def _check(
    status: Status | str,
    name: str,
    description: str,
    error: str,
    input_format: str,
    output_format: str,
    execution_s: float | None,
    external_id: str,
) -> None:
    errors: dict[str, list[str]] = {}
    if status not in FINAL:
        known = ", ".join(sorted(FINAL))
        errors["status"] = [f"A run that is recorded has ended: give one of {known}."]
    elif status == Status.SUCCEEDED and error.strip():
        errors["error_message"] = [
            "A run that succeeded has no error. Leave it out, or record the run as failed."
        ]
    for field, value in (("input_format", input_format), ("output_format", output_format)):
        if value not in FORMATS:
            errors[field] = [f"`{value[:40]}` is not a format. Give one of {', '.join(FORMATS)}."]
    if execution_s is not None and not 0 <= execution_s <= MOST_SECONDS:
        errors["execution_duration"] = [
            "A duration is not negative, and not longer than ten years."
        ]
    if len(name) > 200:
        errors["name"] = ["A name has at most 200 characters."]
    if len(description) > 10_000:
        errors["description"] = ["A description has at most 10,000 characters."]
    if len(external_id) > 200:
        errors["external_id"] = ["An id has at most 200 characters."]
    if errors:
        raise FieldsInvalid(errors)


MOST_SECONDS = 10 * 366 * 86_400


def _refuse_known(application: Application, external_id: str) -> None:
    known = Run.objects.filter(application=application, external_id=external_id)
    run_id = known.values_list("run_id", flat=True).first()
    if run_id is not None:
        raise Conflict(f"`{external_id}` is recorded in {application} already, as run {run_id}.")
