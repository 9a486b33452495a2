"""Submits, cancels and deletes runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from runs.actions.actors import Actor
from runs.actions.audit import record_change
from runs.domain.errors import Conflict, FieldsInvalid, InputRejected, NotAllowed, OptionsInvalid
from runs.domain.ids import new_run_id
from runs.domain.manifest import Manifest, manifest_from_json
from runs.domain.options import ResolvedOption, check_options, resolve_options, to_wire
from runs.domain.roles import may
from runs.domain.status import FINAL, EndReason, Status
from runs.execution.environment import VARIABLES
from runs.models import (
    Account,
    Application,
    Executable,
    InputData,
    Instance,
    Lane,
    ManagedInput,
    Queue,
    Run,
    RunEvent,
    RunOption,
    RunWait,
    Version,
)
from runs.models.runs import DEFAULT_PRIORITY, rank_of
from runs.queue.dispatch import nudge_after_commit
from runs.storage import keys, object_store


@dataclass(frozen=True)
class Target:
    """What a run is made of: the instance, its version, and the executable behind them."""

    instance: Instance | None
    version: Version | None
    executable: Executable
    manifest: Manifest

    @property
    def content_format(self) -> str:
        """The format of its input unless a run says otherwise."""
        chosen = self.instance.content_format if self.instance else ""
        return chosen or self.manifest.content.format


def resolve_target(*, application: Application, instance: Instance | None = None) -> Target:
    """What would run now: the instance named, else the default one, else the newest executable.

    Raises `Conflict` when nothing was ever uploaded, and for an archived application.
    """
    if application.archived_at is not None:
        raise Conflict(
            f"{application} is archived. Bring it back in its settings, then launch again."
        )
    instance = instance or application.default_instance
    version = instance.version if instance else None
    executable = version.executable if version else application.executable
    if executable is None:
        raise Conflict(
            f"{application} has no executable yet. Upload one on its page, then launch again."
        )
    return Target(instance, version, executable, manifest_from_json(executable.manifest))


def usual_time_limit_s(target: Target, application: Application) -> int | None:
    """The time limit of a run that names none, in seconds; None for the installation's.

    The instance goes before the application, the application before its manifest; none is above
    what the installation allows.
    """
    of_manifest = target.manifest.runsite.time_limit_s
    wanted = (
        (target.instance.time_limit_s if target.instance else None)
        or application.time_limit_s
        or (math.ceil(of_manifest) if of_manifest else None)
    )
    return min(wanted, int(settings.RUNSITE_TIME_LIMIT_S)) if wanted else None


def submit_run(
    *,
    account: Account,
    application: Application,
    actor: Actor,
    instance: Instance | None = None,
    options: Mapping[str, object] | None = None,
    input_data: InputData | None = None,
    managed_input: ManagedInput | None = None,
    input_format: str | None = None,
    name: str = "",
    description: str = "",
    priority: int | None = None,
    queuing_disabled: bool | None = None,
    time_limit_s: int | None = None,
    execution_class: str | None = None,
    cloned_from: Run | None = None,
    source: str = "console",
    run_type: str = "standard",
    enforce: bool = True,
    now: datetime | None = None,
) -> Run:
    """Accept a run: the row, its options and its first event in one transaction; nudge after it.

    With `enforce` options are checked as in a form; else only as far as the manifest asks for, and
    the rest becomes warnings. Raises `OptionsInvalid`, `FieldsInvalid`, `InputRejected`,
    `Conflict`, `NotAllowed`; nothing is written then.
    """
    if not may(actor.role, "launch"):
        raise NotAllowed("Your role may not launch runs. Ask an admin of the account.")
    now = now or timezone.now()
    target = resolve_target(application=application, instance=instance)
    instance, manifest = target.instance, target.manifest
    if managed_input is not None and input_data is None:
        input_data = managed_input.input_data
    content_format = input_format or target.content_format
    _check_input(input_data, content_format)
    requested = dict(options or {})
    of_instance = dict(instance.options) if instance else {}
    warnings = _check_options(manifest, {**of_instance, **requested}, enforce)
    resolved = resolve_options(
        manifest.options.items,
        of_instance,
        requested,
        strict=manifest.options.strict,
        environment=VARIABLES,
    )
    columns = _checked_columns(
        priority if priority is not None else (instance.priority if instance else None),
        time_limit_s if time_limit_s is not None else usual_time_limit_s(target, application),
        name,
        description,
    )
    queue_name = execution_class or (instance.execution_class if instance else "") or "default"
    if queuing_disabled is None:
        queuing_disabled = bool(instance and instance.queuing_disabled)
    queue = _find_queue(account, queue_name)
    environment = target.executable.environment
    with transaction.atomic():
        lane, _ = Lane.objects.get_or_create(
            queue=queue, application=application, environment=environment
        )
        run = Run.objects.create(
            account=account,
            run_id=new_run_id(),
            application=application,
            instance=instance,
            version=target.version,
            executable=target.executable,
            environment=environment,
            queue=queue,
            lane=lane,
            execution_class="" if queue_name == "default" else queue_name,
            queuing_disabled=queuing_disabled,
            run_type=run_type,
            runtime=manifest.runtime[:200],
            input_format=content_format,
            output_format=_output_format(manifest, content_format),
            requested_options=requested,
            input_data=input_data,
            input_bytes=input_data.size_bytes if input_data else 0,
            managed_input=managed_input,
            cloned_from=cloned_from,
            submitted_by=actor.user,
            api_key=actor.key,
            source=source,
            warnings=warnings,
            max_attempts=settings.RUNSITE_MAX_ATTEMPTS if _repeatable(target, application) else 1,
            created_at=now,
            **columns,
        )
        _write_options(run, resolved)
        RunEvent.objects.create(
            run=run,
            kind=RunEvent.SUBMITTED,
            at=now,
            after=Status.QUEUED,
            user=actor.user,
            actor=actor.name,
            text=f"Run again from {cloned_from.run_id}" if cloned_from else "",
        )
        nudge_after_commit(queue)
    return run


def cancel_run(*, run: Run, actor: Actor, now: datetime | None = None) -> bool:
    """Cancel a run: at once while it is queued, else the worker is told within 0.2 s.

    Returns whether this changed anything; a run that has ended stays as it is. Raises
    `NotAllowed` when the member may cancel their own runs only.
    """
    now = now or timezone.now()
    own = run.submitted_by_id is not None and actor.user and run.submitted_by_id == actor.user.pk
    if not (may(actor.role, "cancel any") or (own and may(actor.role, "cancel"))):
        raise NotAllowed("You may cancel your own runs only. Ask a developer or an admin.")
    for _ in range(10):
        fresh = Run.objects.get(pk=run.pk)
        if fresh.status in FINAL:
            return False
        if fresh.status == Status.QUEUED:
            who = f"canceled by {actor.name}"
            moved = fresh.move_to(
                Status.CANCELED,
                now=now,
                reason=EndReason.CANCELED,
                actor=actor.name,
                user=actor.user,
                text="Canceled before it started",
                changes={
                    "cancel_requested_at": now,
                    "cancel_actor": actor.name,
                    "error": who,
                    "detail": f"{who.capitalize()} before it started.",
                },
            )
            if moved:
                return True
            continue  # a worker took it in this moment: ask that worker
        with transaction.atomic():
            asked = Run.objects.filter(
                pk=run.pk, status=Status.RUNNING, cancel_requested_at__isnull=True
            ).update(cancel_requested_at=now, cancel_actor=actor.name)
            if asked:
                RunEvent.objects.create(
                    run=fresh,
                    kind=RunEvent.CANCEL_REQUESTED,
                    at=now,
                    attempt_number=fresh.attempt_number,
                    user=actor.user,
                    actor=actor.name,
                )
                return True
        if Run.objects.filter(pk=run.pk, cancel_requested_at__isnull=False).exists():
            return False
    raise Conflict("The run changes too fast to be canceled. Try again.")


def set_priority(*, run: Run, priority: int, actor: Actor, now: datetime | None = None) -> bool:
    """Give a queued run another priority, 1 (first) to 9; whether it was still queued."""
    if not may(actor.role, "manage queue"):
        raise NotAllowed("Your role may not change priorities. Ask a developer or an admin.")
    if not 1 <= priority <= 9:
        raise FieldsInvalid({"priority": ["Give a priority from 1 (first) to 9."]})
    with transaction.atomic():
        awaited = RunWait.objects.filter(awaited=run, open=True).exists()
        changed = Run.objects.filter(pk=run.pk, status=Status.QUEUED).update(
            priority=priority, rank=rank_of(priority, awaited=awaited)
        )
        if changed:
            RunEvent.objects.create(
                run=run,
                kind=RunEvent.NOTED,
                at=now or timezone.now(),
                user=actor.user,
                actor=actor.name,
                text=f"Priority {run.priority} → {priority}",
            )
    return bool(changed)


def delete_run(*, run: Run, actor: Actor) -> None:
    """Delete a run that has ended, and everything it stored; its id is never used again."""
    if not may(actor.role, "delete runs"):
        raise NotAllowed("Your role may not delete runs. Ask a developer or an admin.")
    if run.status not in FINAL:
        raise Conflict(f"Run {run.run_id} has not ended. Cancel it first, then delete it.")
    run_id, account = run.run_id, run.account
    with transaction.atomic():
        run.delete()
        record_change(account=account, actor=actor, verb="deleted", noun="run", target=run_id)
        transaction.on_commit(lambda: object_store().delete_prefix(keys.run_prefix(run_id)))


def _check_input(input_data: InputData | None, content_format: str) -> None:
    if input_data is None:
        if content_format in {"json", "text"}:
            return  # an app that reads nothing gets an empty stdin
        raise InputRejected(f"An app of format {content_format} needs input files. Give some.")
    if not fits(input_data.content_format, content_format):
        raise InputRejected(
            f"The app reads {content_format}, the input is {input_data.content_format}."
            " Choose an input of the right kind."
        )


def fits(given: str, content_format: str) -> bool:
    """Whether an input stored as `given` can be read as `content_format`; JSON is text, too."""
    return given == content_format or (given == "json" and content_format == "text")


def _repeatable(target: Target, application: Application) -> bool:
    """Whether a lost run may be made again; the manifest can only forbid it."""
    return application.repeatable and target.manifest.runsite.repeatable is not False


def _output_format(manifest: Manifest, content_format: str) -> str:
    """The contract: the manifest decides; a `text` run writes JSON."""
    output = manifest.content.format if manifest.content.declared else content_format
    return "json" if output == "text" else output


def _check_options(manifest: Manifest, values: Mapping[str, object], enforce: bool) -> list[str]:
    """Raise `OptionsInvalid`, or say in words what does not fit but is let through."""
    errors = check_options(
        manifest.options.items,
        values,
        strict=manifest.options.strict,
        free_options=manifest.allows_free_options,
    )
    if not errors:
        return []
    declared = {item.name for item in manifest.options.items}
    unknown = {name for name in errors if name not in declared}
    if enforce or manifest.options.enforce == "all" or (manifest.options.strict and unknown):
        raise OptionsInvalid(errors)
    return [f"Option `{name}`: {text}" for name, texts in errors.items() for text in texts]


def _checked_columns(
    priority: int | None, time_limit_s: int | None, name: str, description: str
) -> dict[str, Any]:
    errors: dict[str, list[str]] = {}
    priority = DEFAULT_PRIORITY if priority is None else priority
    if not 1 <= priority <= 9:
        errors["priority"] = ["Give a priority from 1 (first) to 9."]
    most = int(settings.RUNSITE_TIME_LIMIT_S)
    if time_limit_s is not None and not 1 <= time_limit_s <= most:
        errors["time_limit_s"] = [f"Give a time limit from 1 to {most} seconds."]
    if len(name) > 200:
        errors["name"] = ["A name has at most 200 characters."]
    if len(description) > 10_000:
        errors["description"] = ["A description has at most 10,000 characters."]
    if errors:
        raise FieldsInvalid(errors)
    return {
        "priority": priority,
        "rank": rank_of(priority),
        "time_limit_s": time_limit_s,
        "name": name,
        "description": description,
    }


def _find_queue(account: Account, name: str) -> Queue:
    if name == "default":
        return Queue.objects.get_or_create(account=account, name=name)[0]
    queue = Queue.objects.filter(account=account, name=name).first()
    if queue is None:
        known = ", ".join(Queue.objects.filter(account=account).values_list("name", flat=True))
        raise FieldsInvalid(
            {"execution_class": [f"There is no queue `{name}`. Known: {known or 'default'}."]}
        )
    return queue


def _write_options(run: Run, resolved: list[ResolvedOption]) -> None:
    rows = []
    for position, option in enumerate(resolved):
        text = "" if option.value is None else to_wire(option.value)
        rows.append(
            RunOption(
                account_id=run.account_id,
                application_id=run.application_id,
                run=run,
                name=option.name,
                position=position,
                text=text,
                short=text[:200],
                number=_number(option.value),
                source=option.source,
                passed=option.passed,
            )
        )
    RunOption.objects.bulk_create(rows)


def _number(value: object) -> float | None:
    """The number that lists sort by; numbers in strings count, as the wire has only strings."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        number = float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
