"""Submits, ranks and deletes runs; what ends them is in `run_stops`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from runs.actions import concurrency, run_waits
from runs.actions.actors import Actor
from runs.actions.audit import record_change
from runs.actions.checking import release_held
from runs.actions.run_limits import check_asked, limits_in_force, retry_rule, slots_of
from runs.actions.run_options import check_given, write_options
from runs.actions.run_stops import cancel_run, stop_run
from runs.actions.run_targets import (
    Target,
    check_input,
    fits,
    is_repeatable,
    resolve_target,
    usual_output_format,
    usual_time_limit_s,
)
from runs.actions.secrets import check_of_application, lock_collection
from runs.domain.errors import Conflict, FieldsInvalid, NotAllowed
from runs.domain.ids import new_run_id
from runs.domain.options import resolve_options
from runs.domain.roles import may
from runs.domain.status import FINAL, Status
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
    RunWait,
    SecretsCollection,
)
from runs.models.runs import DEFAULT_PRIORITY, rank_of
from runs.models.waits import FAIL
from runs.queue.admission import lock_queues, refuse_to_wait
from runs.queue.dispatch import nudge_after_commit
from runs.storage import keys, object_store

__all__ = [
    "Target",
    "cancel_run",
    "delete_run",
    "fits",
    "resolve_target",
    "set_priority",
    "stop_run",
    "submit_run",
    "usual_time_limit_s",
]


def submit_run(
    *,
    account: Account,
    application: Application,
    actor: Actor,
    instance: Instance | None = None,
    use_latest: bool = False,
    options: Mapping[str, object] | None = None,
    input_data: InputData | None = None,
    managed_input: ManagedInput | None = None,
    input_format: str | None = None,
    output_format: str | None = None,
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
    waits_for: Sequence[Run] = (),
    wait_policy: str = FAIL,
    limits: Mapping[str, object] | None = None,
    secrets: SecretsCollection | None = None,
    batch_experiment_id: str = "",
    now: datetime | None = None,
) -> Run:
    """Accept a run: the row, its options and its first event in one transaction; nudge after it.

    With `enforce` options are checked as in a form; else only as far as the manifest asks for, and
    the rest becomes warnings. `limits` are asked for by the names of `domain.limits`. It waits for
    the runs `waits_for`; the policy says what becomes of it when one of them does not succeed.
    Where its concurrency key is full and the application reuses runs, the answer is the run that
    is under way already. Raises `OptionsInvalid`, `FieldsInvalid`, `InputRejected`, `Conflict`,
    `NotAllowed`; nothing is written then.

    Without an `instance` the default one of the application is taken; with `use_latest` none, but
    the newest executable. It is given the collection `secrets`, else that of its instance; a
    collection of another application is `FieldsInvalid`. One that may not wait in the queue
    (`queuing_disabled`) is refused with `QueueFull` unless it could start now.

    Locks the collection, the queues for a run that may not wait, the application when there is a
    key, then runs, the oldest first.
    """
    if not may(actor.role, "launch"):
        raise NotAllowed("Your role may not launch runs. Ask an admin of the account.")
    now = now or timezone.now()
    target = resolve_target(application=application, instance=instance, use_latest=use_latest)
    instance, manifest = target.instance, target.manifest
    if managed_input is not None and input_data is None:
        input_data = managed_input.input_data
    content_format = input_format or target.content_format
    check_input(input_data, content_format)
    requested = dict(options or {})
    of_instance = dict(instance.options) if instance else {}
    warnings = check_given(manifest, {**of_instance, **requested}, enforce)
    resolved = resolve_options(
        manifest.options.items,
        of_instance,
        requested,
        strict=manifest.options.strict,
        environment=VARIABLES,
    )
    asked = {**(limits or {})} | ({} if time_limit_s is None else {"time_limit_s": time_limit_s})
    check_asked(asked)
    in_force = limits_in_force(asked, application, manifest, instance)
    rule = retry_rule(application, manifest)
    key, notes = concurrency.key_of(application, manifest, resolved)
    awaited_keys = run_waits.check_awaited(account=account, waits_for=waits_for, policy=wait_policy)
    columns = _checked_columns(
        priority if priority is not None else (instance.priority if instance else None),
        name,
        description,
    )
    queue_name = execution_class or (instance.execution_class if instance else "") or "default"
    if queuing_disabled is None:
        queuing_disabled = bool(instance and instance.queuing_disabled)
    queue = _find_queue(account, queue_name)
    environment = target.executable.environment
    is_ready = target.executable.state == Executable.READY
    slots = slots_of(application, manifest)
    secrets = secrets or (instance.secrets if instance else None)
    check_of_application(application, secrets)
    with transaction.atomic():
        lock_collection(application, secrets)
        if queuing_disabled:
            lock_queues()
        lane, _ = Lane.objects.get_or_create(
            queue=queue, application=application, environment=environment, slots=slots
        )
        room = concurrency.lock_room(application, key) if key else None
        awaited = run_waits.lock_awaited(awaited_keys)
        open_waits = sum(one.status not in FINAL for one in awaited)
        # Who waits for other runs, or for its executable, asks for its key only after that.
        is_full = room is not None and room.is_full
        policy = application.concurrency_policy if is_full and is_ready and not awaited else ""
        if room is not None and policy == Application.REUSE:
            found = concurrency.reuse_newest(application.pk, key, actor=actor.name, now=now)
            if found is not None:
                return found
        limit_s = in_force["queue_limit_s"]
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
            slots=slots,
            hold=_first_hold(open_waits, is_full, is_ready),
            open_waits=open_waits,
            wait_policy=wait_policy,
            expires_at=now + timedelta(seconds=limit_s) if limit_s and not open_waits else None,
            concurrency_key=key,
            execution_class="" if queue_name == "default" else queue_name,
            queuing_disabled=queuing_disabled,
            run_type=run_type,
            runtime=manifest.runtime[:200],
            input_format=content_format,
            output_format=output_format or usual_output_format(target, input_format),
            requested_options=requested,
            input_data=input_data,
            input_bytes=input_data.size_bytes if input_data else 0,
            managed_input=managed_input,
            cloned_from=cloned_from,
            batch_experiment_id=batch_experiment_id,
            secrets=secrets,
            submitted_by=actor.user,
            api_key=actor.key,
            source=source,
            warnings=[*warnings, *notes],
            max_attempts=settings.RUNSITE_MAX_ATTEMPTS
            if is_repeatable(manifest, application)
            else 1,
            retries=rule.retries,
            retry_on=rule.retry_on,
            retry_delay_s=rule.retry_delay_s,
            created_at=now,
            **columns,
            **in_force,
        )
        write_options(run, resolved)
        RunEvent.objects.create(
            run=run,
            kind=RunEvent.SUBMITTED,
            at=now,
            after=Status.QUEUED,
            user=actor.user,
            actor=actor.name,
            text=_origin(cloned_from, secrets),
        )
        run_waits.record_waits(run=run, awaited=awaited, now=now)
        if room is not None and policy == Application.DROP:
            concurrency.drop(run, room, now=now)
        elif room is not None and policy == Application.REPLACE:
            concurrency.replace_others(run, room, now=now)
        if queuing_disabled and run.status == Status.QUEUED:
            refuse_to_wait(run, now=now)
        if run.status == Status.QUEUED and run.hold == Run.NO_HOLD:
            nudge_after_commit(queue)
        if not is_ready:  # it may have been checked meanwhile, and its runs let go before this one
            # Robust: the run is written, and an intake looks as well.
            transaction.on_commit(lambda: release_held(target.executable.pk, now=now), robust=True)
    return run


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
        # First: whoever names it to wait for, or ends what it waited for, locks it before the wait.
        Run.objects.select_for_update().filter(pk=run.pk).first()
        run.delete()
        record_change(account=account, actor=actor, verb="deleted", noun="run", target=run_id)
        transaction.on_commit(lambda: object_store().delete_prefix(keys.run_prefix(run_id)))


def _origin(cloned_from: Run | None, secrets: SecretsCollection | None) -> str:
    """What its history says of a submit; it outlives a collection that is deleted."""
    words = [f"Run again from {cloned_from.run_id}"] if cloned_from else []
    words += [f"Secrets {secrets.collection_id}"] if secrets else []
    return ", ".join(words)


def _first_hold(open_waits: int, is_full: bool, is_ready: bool) -> str:
    if not is_ready:
        return Run.WAITS_FOR_EXECUTABLE
    if open_waits:
        return Run.WAITS_FOR_RUNS
    return Run.WAITS_FOR_KEY if is_full else Run.NO_HOLD


def _checked_columns(priority: int | None, name: str, description: str) -> dict[str, Any]:
    errors: dict[str, list[str]] = {}
    priority = DEFAULT_PRIORITY if priority is None else priority
    if not 1 <= priority <= 9:
        errors["priority"] = ["Give a priority from 1 (first) to 9."]
    if len(name) > 200:
        errors["name"] = ["A name has at most 200 characters."]
    if len(description) > 10_000:
        errors["description"] = ["A description has at most 10,000 characters."]
    if errors:
        raise FieldsInvalid(errors)
    return {
        "priority": priority,
        "rank": rank_of(priority),
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
