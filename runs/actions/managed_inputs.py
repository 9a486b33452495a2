"""Managed inputs: named stored inputs of an application."""

from __future__ import annotations

from datetime import datetime

from django.db import IntegrityError, transaction
from django.utils import timezone

from runs.actions.actors import Actor
from runs.actions.applications import LONGEST_DESCRIPTION, check_manages, id_fault, raise_invalid
from runs.actions.audit import record_change
from runs.domain.content import is_folder_format
from runs.domain.errors import InputRejected, Taken
from runs.models import Application, InputData, ManagedInput, Run


def check_new_input(
    *, application: Application, input_id: str, name: str = "", description: str = ""
) -> None:
    """Raise `FieldsInvalid` unless an input may be named so; to be asked before bytes are kept."""
    errors: dict[str, list[str]] = {}
    if fault := id_fault(input_id):
        errors["input_id"] = [fault]
    elif application.managed_inputs.filter(input_id=input_id).exists():
        errors["input_id"] = [_taken(input_id)]
    if len(name) > 200:
        errors["name"] = ["A name has at most 200 characters."]
    if len(description) > LONGEST_DESCRIPTION:
        errors["description"] = [f"A description has at most {LONGEST_DESCRIPTION:,} characters."]
    if errors:
        raise_invalid(errors, "input_id", _taken(input_id))


def create_managed_input(
    *,
    application: Application,
    input_id: str,
    input_data: InputData,
    actor: Actor,
    name: str = "",
    description: str = "",
    now: datetime | None = None,
) -> ManagedInput:
    """Name a stored input (`actions.inputs` stores texts, folders and archives).

    Raises `InputRejected` when it is of the wrong kind for the application.
    """
    check_manages(actor)
    check_new_input(application=application, input_id=input_id, name=name, description=description)
    if input_data.account_id != application.account_id:
        raise InputRejected("This input belongs to another account. Upload it here.")
    executable = application.executable
    if executable is not None and is_folder_format(executable.content_format) != is_folder_format(
        input_data.content_format
    ):
        raise InputRejected(
            f"The application reads {executable.content_format}, the input is"
            f" {input_data.content_format}. Choose an input of the right kind."
        )
    now = now or timezone.now()
    try:
        with transaction.atomic():
            managed = ManagedInput.objects.create(
                application=application,
                input_id=input_id,
                name=name.strip(),
                description=description,
                input_data=input_data,
                created_by=actor.user,
                created_at=now,
                updated_at=now,
            )
            _record(managed, actor, "created", now=now)
    except IntegrityError as error:
        raise Taken({"input_id": [_taken(input_id)]}) from error
    return managed


def keep_input_of_run(
    *,
    application: Application,
    run: Run,
    input_id: str,
    actor: Actor,
    name: str = "",
    description: str = "",
    now: datetime | None = None,
) -> ManagedInput:
    """Name the input that a run of the account was given."""
    if run.account_id != application.account_id:
        raise InputRejected("This run belongs to another account.")
    if run.input_data is None:
        raise InputRejected(f"Run {run.run_id} was given no input. Choose another run.")
    return create_managed_input(
        application=application,
        input_id=input_id,
        input_data=run.input_data,
        actor=actor,
        name=name,
        description=description,
        now=now,
    )


def delete_managed_input(
    *, managed_input: ManagedInput, actor: Actor, now: datetime | None = None
) -> None:
    """Take the name away; runs that used the input keep it."""
    check_manages(actor)
    with transaction.atomic():
        _record(managed_input, actor, "deleted", now=now)
        managed_input.delete()


def _taken(input_id: str) -> str:
    return f"The application has an input `{input_id}` already. Choose another id."


def _record(managed: ManagedInput, actor: Actor, verb: str, *, now: datetime | None = None) -> None:
    record_change(
        account=managed.application.account,
        actor=actor,
        verb=verb,
        noun="managed input",
        target=f"{managed.application.application_id}/{managed.input_id}",
        now=now,
    )
