"""Applications: create, change, pin, archive and delete them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, NoReturn

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from runs.actions.actors import Actor
from runs.actions.application_settings import RunSettings, settings_columns
from runs.actions.audit import record_change
from runs.domain.errors import Conflict, FieldsInvalid, NotAllowed, NotFound, Taken
from runs.domain.ids import is_chosen_id
from runs.domain.roles import may
from runs.models import Account, Application, Run
from runs.storage import keys, object_store

RESERVED_IDS = frozenset({"new"})
"""Ids that stand for pages of their own."""
LONGEST_DESCRIPTION = 10_000
MOST_DELETED_RUNS = 5000
"""With more runs an application is not deleted in one go: it would take longer than a request."""
LATEST = "latest"
"""The instance that is always there and always runs the newest executable."""


def create_application(
    *,
    account: Account,
    application_id: str,
    actor: Actor,
    name: str = "",
    description: str = "",
    folder: str = "",
    now: datetime | None = None,
) -> Application:
    """A new application without an executable; its name is its id when none is given.

    Raises `FieldsInvalid` for an id that is taken or no id, `NotAllowed` without the permission
    *manage applications*.
    """
    check_manages(actor)
    check_new_application(
        account=account, application_id=application_id, name=name, description=description
    )
    now = now or timezone.now()
    try:
        with transaction.atomic():
            application = Application.objects.create(
                account=account,
                application_id=application_id,
                name=name.strip() or application_id,
                description=description,
                folder=folder,
                created_by=actor.user,
                created_at=now,
            )
            _record(application, actor, "created", now=now)
    except IntegrityError as error:
        raise Taken({"application_id": [_taken(application_id)]}) from error
    return application


def check_new_application(
    *, account: Account, application_id: str, name: str = "", description: str = ""
) -> None:
    """Raise `FieldsInvalid` unless an application may be made with these values."""
    errors = _text_errors(name, description)
    if message := id_fault(application_id):
        errors["application_id"] = [message]
    elif application_id in RESERVED_IDS:
        errors["application_id"] = [f"`{application_id}` is the address of a page. Choose another."]
    elif account.applications.filter(application_id=application_id).exists():
        errors["application_id"] = [_taken(application_id)]
    if errors:
        raise_invalid(errors, "application_id", _taken(application_id))


def raise_invalid(errors: dict[str, list[str]], field: str, taken: str) -> NoReturn:
    """Raise `Taken` when all that is wrong is an id that another thing has, else what is wrong."""
    raise (Taken if errors == {field: [taken]} else FieldsInvalid)(errors)


def update_application(
    *,
    application: Application,
    actor: Actor,
    name: str,
    description: str = "",
    running_limit: int | None = None,
    time_limit_s: int | None = None,
    repeatable: bool = True,
    main_metric: str = "",
    run_settings: RunSettings | None = None,
    now: datetime | None = None,
) -> Application:
    """Change the settings of an application; limits of None mean those of the installation.

    Without `run_settings` what these hold stays as it is. Raises `FieldsInvalid` with the messages
    of each field.
    """
    check_manages(actor)
    errors = _text_errors(name, description)
    if not name.strip():
        errors["name"] = ["Give a name."]
    most = int(settings.RUNSITE_TIME_LIMIT_S)
    if time_limit_s is not None and not 1 <= time_limit_s <= most:
        errors["time_limit_s"] = [f"Give a time limit from 1 to {most} seconds."]
    if running_limit is not None and not 1 <= running_limit <= 100_000:
        errors["running_limit"] = ["Give a number from 1 to 100000, or leave it empty."]
    if len(main_metric) > 200:
        errors["main_metric"] = ["A metric's name has at most 200 characters."]
    more: dict[str, Any] = {}
    if run_settings is not None:
        try:
            more = settings_columns(application, run_settings)
        except FieldsInvalid as error:
            errors |= error.errors
    if errors:
        raise FieldsInvalid(errors)
    columns = {
        "name": name.strip(),
        "description": description,
        "running_limit": running_limit,
        "time_limit_s": time_limit_s,
        "repeatable": repeatable,
        "main_metric": main_metric.strip(),
        **more,
    }
    changed = [field for field, value in columns.items() if getattr(application, field) != value]
    if not changed:
        return application
    with transaction.atomic():
        Application.objects.filter(pk=application.pk).update(**columns)
        _record(application, actor, "changed", detail=", ".join(changed), now=now)
    for field, value in columns.items():
        setattr(application, field, value)
    return application


def describe_application(
    *,
    application: Application,
    actor: Actor,
    name: str | None = None,
    description: str | None = None,
    default_instance_id: str | None = None,
    experiment_instance_id: str | None = None,
    now: datetime | None = None,
) -> Application:
    """Change what an application is called and which instances it takes; None leaves it so.

    The default instance may be empty or `latest`: then runs take the newest executable. Raises
    `FieldsInvalid` for an instance that is not there.
    """
    check_manages(actor)
    columns: dict[str, Any] = {}
    errors = _text_errors(name or "", description or "")
    if name is not None:
        columns["name"] = name.strip() or application.application_id
    if description is not None:
        columns["description"] = description
    if default_instance_id is not None:
        columns["default_instance"] = None
        if default_instance_id not in {"", LATEST}:
            chosen = application.instances.filter(instance_id=default_instance_id).first()
            if chosen is None:
                errors["default_instance"] = [
                    f"There is no instance `{default_instance_id[:128]}` in this application."
                ]
            columns["default_instance"] = chosen
    if experiment_instance_id is not None:
        if id_fault(experiment_instance_id) and experiment_instance_id:
            errors["default_experiment_instance"] = [id_fault(experiment_instance_id)]
        columns["experiment_instance_id"] = experiment_instance_id
    if errors:
        raise FieldsInvalid(errors)
    changed = [field for field, value in columns.items() if getattr(application, field) != value]
    if not changed:
        return application
    columns["updated_at"] = now or timezone.now()
    with transaction.atomic():
        Application.objects.filter(pk=application.pk).update(**columns)
        _record(application, actor, "changed", detail=", ".join(changed), now=now)
    for field, value in columns.items():
        setattr(application, field, value)
    return application


def pin_application(*, application: Application, pinned: bool, actor: Actor) -> None:
    """Show an application first in lists and on the home page, or no longer."""
    check_manages(actor)
    Application.objects.filter(pk=application.pk).update(pinned=pinned)
    application.pinned = pinned


def archive_application(
    *, application: Application, actor: Actor, now: datetime | None = None
) -> bool:
    """Take an application out of the lists; its runs stay. Whether this changed anything."""
    check_manages(actor)
    now = now or timezone.now()
    with transaction.atomic():
        changed = Application.objects.filter(pk=application.pk, archived_at=None).update(
            archived_at=now, pinned=False
        )
        if changed:
            _record(application, actor, "archived", now=now)
            application.archived_at, application.pinned = now, False
    return bool(changed)


def restore_application(
    *, application: Application, actor: Actor, now: datetime | None = None
) -> bool:
    """Bring an archived application back; whether this changed anything."""
    check_manages(actor)
    archived = Application.objects.filter(pk=application.pk, archived_at__isnull=False)
    with transaction.atomic():
        changed = archived.update(archived_at=None)
        if changed:
            _record(application, actor, "restored", now=now)
            application.archived_at = None
    return bool(changed)


def delete_application(
    *,
    application: Application,
    actor: Actor,
    with_runs: bool = False,
    now: datetime | None = None,
) -> None:
    """Delete an application with its versions, instances, inputs, secrets and executables.

    Raises `Conflict` when it has runs: they are history, so it can only be archived. `with_runs`
    deletes them as well, unless one has not ended or there are more than `MOST_DELETED_RUNS`.
    """
    check_manages(actor)
    if with_runs and not may(actor.role, "delete runs"):
        raise NotAllowed("Your role may not delete runs. Ask a developer or an admin.")
    with transaction.atomic():
        held = Application.objects.select_for_update().filter(pk=application.pk).first()
        if held is None:
            raise NotFound(f"{application} was deleted meanwhile.")
        prefixes = [
            keys.executable_prefix(held.pk, executable_id)
            for executable_id in held.executables.values_list("executable_id", flat=True)
        ]
        uploads = held.uploads.values_list("upload_id", flat=True)
        prefixes += [keys.upload_prefix(upload_id) for upload_id in uploads]
        run_ids = _runs_to_delete(held, with_runs=with_runs)
        prefixes += [keys.run_prefix(run_id) for run_id in run_ids]
        held.runs.all().delete()
        Application.objects.filter(pk=held.pk).update(executable=None, default_instance=None)
        held.instances.all().delete()
        held.versions.all().delete()
        held.executables.all().delete()
        _record(held, actor, "deleted", detail=_with_runs(len(run_ids)), now=now)
        held.delete()
    _remove_objects(prefixes)


def _runs_to_delete(held: Application, *, with_runs: bool) -> list[str]:
    """The ids of the runs that go with an application that is locked; locks them.

    Raises `Conflict` when they stay.
    """
    if not with_runs:
        if held.runs.exists():
            raise Conflict(
                f"{held} has runs, which are kept. Archive it instead, or delete its runs first."
            )
        return []
    # Before the locks: of a million runs not one is touched.
    if going := Run.objects.filter(application=held).active().order_by("pk").first():
        raise Conflict(
            f"Application '{held.application_id}' has runs that have not ended, as {going.run_id}."
            " Wait for them or cancel them, then delete it."
        )
    found = held.runs.order_by("pk").values_list("run_id", flat=True)
    if len(found[: MOST_DELETED_RUNS + 1]) > MOST_DELETED_RUNS:
        raise Conflict(
            f"Application '{held.application_id}' has more than {MOST_DELETED_RUNS:,} runs, too"
            " many to be deleted at once. Archive it in its settings instead, or delete its oldest"
            " runs first."
        )
    return list(found.select_for_update())


def _remove_objects(prefixes: list[str]) -> None:
    """Remove from the store what no row names any more; several at once, as each may be slow."""
    if not prefixes:
        return
    with ThreadPoolExecutor(max_workers=8) as pool:
        for _ in pool.map(object_store().delete_prefix, prefixes):
            pass


def _with_runs(count: int) -> str:
    return f"runs deleted with it: {count}" if count else ""


def check_manages(actor: Actor) -> None:
    """Raise `NotAllowed` unless the actor may change applications."""
    if not may(actor.role, "manage applications"):
        raise NotAllowed("Your role may not change applications. Ask a developer or an admin.")


def id_fault(text: str) -> str:
    """Why `text` cannot be a chosen id, in words; empty when it can."""
    if is_chosen_id(text):
        return ""
    if not text:
        return "Give an id."
    return "Use 1 to 128 letters, digits, dots, dashes and underscores, without two dots in a row."


def _text_errors(name: str, description: str) -> dict[str, list[str]]:
    errors: dict[str, list[str]] = {}
    if len(name) > 200:
        errors["name"] = ["A name has at most 200 characters."]
    if len(description) > LONGEST_DESCRIPTION:
        errors["description"] = [f"A description has at most {LONGEST_DESCRIPTION:,} characters."]
    return errors


def _taken(application_id: str) -> str:
    return f"The account has an application `{application_id}` already. Choose another id."


def _record(
    application: Application,
    actor: Actor,
    verb: str,
    *,
    detail: str = "",
    now: datetime | None = None,
) -> None:
    record_change(
        account=application.account,
        actor=actor,
        verb=verb,
        noun="application",
        target=application.application_id,
        detail=detail,
        now=now,
    )
