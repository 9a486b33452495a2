"""Managed inputs: named stored inputs of an application."""

from __future__ import annotations

from datetime import datetime

from django.db import IntegrityError, transaction
from django.utils import timezone

from runs.actions.actors import Actor
from runs.actions.applications import LONGEST_DESCRIPTION, check_manages, id_fault, raise_invalid
from runs.actions.audit import record_change
from runs.domain.content import FORMATS, is_folder_format
from runs.domain.errors import FieldsInvalid, InputRejected, Taken
from runs.models import Application, InputData, ManagedInput, Run


def check_new_input(
    *, application: Application, input_id: str, name: str = "", description: str = ""
) -> None:
    """Raise `FieldsInvalid` unless an input may be named so; to be asked before bytes are kept."""
    errors = _text_errors(name, description)
    if fault := id_fault(input_id):
        errors["input_id"] = [fault]
    elif application.managed_inputs.filter(input_id=input_id).exists():
        errors["input_id"] = [_taken(input_id)]
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
    output_format: str = "",
    from_run: str = "",
    from_upload: str = "",
    any_kind: bool = False,
    now: datetime | None = None,
) -> ManagedInput:
    """Name a stored input (`actions.inputs` stores texts, folders and archives).

    `from_run` and `from_upload` say where it came from; it does not need them any more. Raises
    `InputRejected` when it is of the wrong kind for the newest executable, unless `any_kind`: an
    instance, or the next push, may read another kind.
    """
    check_manages(actor)
    check_new_input(application=application, input_id=input_id, name=name, description=description)
    if output_format not in {"", *FORMATS}:
        raise FieldsInvalid({"format": [f"Choose one of {', '.join(FORMATS)}."]})
    if input_data.account_id != application.account_id:
        raise InputRejected("This input belongs to another account. Upload it here.")
    executable = None if any_kind else application.executable
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
                output_format=output_format,
                from_run=from_run,
                from_upload=from_upload,
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
    output_format: str = "",
    any_kind: bool = False,
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
        output_format=output_format,
        from_run=run.run_id,
        any_kind=any_kind,
        now=now,
    )


def update_managed_input(
    *,
    managed_input: ManagedInput,
    actor: Actor,
    name: str | None = None,
    description: str | None = None,
    now: datetime | None = None,
) -> ManagedInput:
    """Change the words about an input; None leaves them, and what it holds never changes."""
    check_manages(actor)
    name = managed_input.name if name is None else name.strip()
    description = managed_input.description if description is None else description
    if errors := _text_errors(name, description):
        raise FieldsInvalid(errors)
    if (managed_input.name, managed_input.description) == (name, description):
        return managed_input
    columns = {"name": name, "description": description, "updated_at": now or timezone.now()}
    with transaction.atomic():
        ManagedInput.objects.filter(pk=managed_input.pk).update(**columns)
        _record(managed_input, actor, "changed", now=now)
    for column, value in columns.items():
        setattr(managed_input, column, value)
    return managed_input


def delete_managed_input(
    *, managed_input: ManagedInput, actor: Actor, now: datetime | None = None
) -> None:
    """Take the name away; runs that used the input keep it."""
    check_manages(actor)
    with transaction.atomic():
        _record(managed_input, actor, "deleted", now=now)
        managed_input.delete()


def _text_errors(name: str, description: str) -> dict[str, list[str]]:
    errors: dict[str, list[str]] = {}
    if len(name) > 200:
        errors["name"] = ["A name has at most 200 characters."]
    if len(description) > LONGEST_DESCRIPTION:
        errors["description"] = [f"A description has at most {LONGEST_DESCRIPTION:,} characters."]
    return errors


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
