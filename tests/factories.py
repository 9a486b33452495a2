"""Rows for tests: one plain function for each kind, every field with a default."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from runs.actions.actors import product
from runs.actions.secrets import create_collection
from runs.domain.ids import new_id, new_run_id
from runs.domain.secrets import SecretValue
from runs.domain.status import FINAL, EndReason, Status
from runs.models import (
    Account,
    Application,
    Attempt,
    Environment,
    EnvironmentBuild,
    Executable,
    InputData,
    InputFile,
    Instance,
    Lane,
    ManagedInput,
    Membership,
    Queue,
    Run,
    RunEvent,
    SecretsCollection,
    User,
    Version,
    Worker,
)
from runs.models.runs import DEFAULT_PRIORITY, rank_of

_numbers = itertools.count(1)

MANIFEST: dict[str, Any] = {}


def make_account(slug: str = "", **fields: Any) -> Account:
    slug = slug or f"account-{next(_numbers)}"
    return Account.objects.create(slug=slug, **{"name": slug.title(), **fields})


def make_user(email: str = "", **fields: Any) -> User:
    password = fields.pop("password", None)
    return User.objects.create_user(
        email or f"person{next(_numbers)}@example.org", password, **fields
    )


def make_member(account: Account, role: str = "developer", email: str = "", **fields: Any) -> User:
    user = make_user(email, **fields)
    Membership.objects.create(account=account, user=user, role=role)
    return user


def make_application(account: Account | None = None, **fields: Any) -> Application:
    account = account or make_account()
    application_id = fields.pop("application_id", f"app-{next(_numbers)}")
    return Application.objects.create(
        account=account,
        application_id=application_id,
        **{"name": application_id.title(), **fields},
    )


def make_environment(**fields: Any) -> Environment:
    return Environment.objects.create(**{"key": new_id() * 2, **fields})


def make_build(environment: Environment | None = None, **fields: Any) -> EnvironmentBuild:
    return EnvironmentBuild.objects.create(
        environment=environment or make_environment(),
        **{"host": "host", "state": EnvironmentBuild.READY, **fields},
    )


def make_executable(application: Application | None = None, **fields: Any) -> Executable:
    """An executable, made the one in use of its application. Its archive is not in the store."""
    application = application or make_application()
    executable = Executable.objects.create(
        application=application,
        **{
            "executable_id": new_id(),
            "number": application.executables.count() + 1,
            "archive_key": f"executables/{new_id()}",
            "archive_bytes": 1000,
            "sha256": "0" * 64,
            "manifest": MANIFEST,
            **fields,
        },
    )
    application.executable = executable
    application.save(update_fields=["executable"])
    return executable


def make_version(executable: Executable | None = None, **fields: Any) -> Version:
    executable = executable or make_executable()
    return Version.objects.create(
        application=executable.application,
        executable=executable,
        **{"version_id": f"v{next(_numbers)}", **fields},
    )


def make_instance(application: Application | None = None, **fields: Any) -> Instance:
    application = application or make_application()
    return Instance.objects.create(
        application=application, **{"instance_id": f"instance-{next(_numbers)}", **fields}
    )


def make_input(account: Account | None = None, **fields: Any) -> InputData:
    """An input of one file. Its bytes are not in the store."""
    number = next(_numbers)
    size = fields.pop("size_bytes", 2)
    input_data = InputData.objects.create(
        account=account or make_account(),
        **{
            "input_key": new_id(),
            "content_format": "json",
            "sha256": f"{number:064d}",
            "size_bytes": size,
            **fields,
        },
    )
    InputFile.objects.create(
        input_data=input_data,
        number=0,
        path="input.json",
        size_bytes=size,
        key=f"inputs/{input_data.input_key}/0",
    )
    return input_data


def make_managed_input(application: Application | None = None, **fields: Any) -> ManagedInput:
    application = application or make_application()
    return ManagedInput.objects.create(
        application=application,
        **{
            "input_id": f"input-{next(_numbers)}",
            "input_data": fields.pop("input_data", None) or make_input(application.account),
            **fields,
        },
    )


def make_secrets(
    application: Application | None = None, values: dict[str, str] | None = None, **fields: Any
) -> SecretsCollection:
    """A collection with `values` by location; a location with a dot or a slash is a file."""
    given = {"API_KEY": "value-of-the-api-key"} if values is None else values
    fields.setdefault("collection_id", f"secrets-{next(_numbers)}")
    return create_collection(
        application=application or make_application(),
        actor=product("tests"),
        secrets=[
            SecretValue("file" if "." in place or "/" in place else "env", place, value)
            for place, value in given.items()
        ],
        **fields,
    )


def make_queue(account: Account | None = None, **fields: Any) -> Queue:
    return Queue.objects.create(account=account or make_account(), **{"name": "default", **fields})


def get_queue(account: Account, name: str = "default") -> Queue:
    return Queue.objects.get_or_create(account=account, name=name)[0]


def make_worker(**fields: Any) -> Worker:
    return Worker.objects.create(
        **{
            "name": f"worker-{next(_numbers)}",
            "boot_id": new_id(),
            "host": "host",
            "slots": 2,
            **fields,
        }
    )


def make_run(
    application: Application | None = None,
    *,
    status: Status = Status.QUEUED,
    created_at: datetime | None = None,
    **fields: Any,
) -> Run:
    """A run in any status, with the columns that its status asks for, and its first event.

    A running one has no attempt; `make_attempt` gives it one.
    """
    if application is None:
        queue_of_run = fields.get("queue")
        application = make_application(queue_of_run.account if queue_of_run else None)
    account = application.account
    queue = fields.pop("queue", None) or get_queue(account)
    environment = fields.get("environment")
    lane = Lane.objects.get_or_create(
        queue=queue,
        application=application,
        environment=environment,
        slots=fields.get("slots", 1),
    )[0]
    created_at = created_at or timezone.now()
    columns: dict[str, Any] = {
        "run_id": new_run_id(),
        "name": f"Run {next(_numbers)}",
        "created_at": created_at,
        "rank": rank_of(fields.get("priority", DEFAULT_PRIORITY)),
        "execution_class": "" if queue.name == "default" else queue.name,
    }
    if status is Status.RUNNING:
        columns |= {"token": new_id(), "attempt_number": 1, "phase": "executing"}
        columns |= {"started_at": created_at}
    if status in FINAL:
        reason = {
            Status.SUCCEEDED: EndReason.EXITED,
            Status.FAILED: EndReason.EXIT_CODE,
            Status.CANCELED: EndReason.CANCELED,
        }[status]
        columns |= {"end_reason": reason, "ended_at": created_at + timedelta(seconds=2)}
        columns |= {"duration_s": 2.0, "execution_s": 1.5}
    run = Run.objects.create(
        account=account,
        application=application,
        queue=queue,
        lane=lane,
        status=status,
        **{**columns, **fields},
    )
    RunEvent.objects.create(run=run, kind=RunEvent.SUBMITTED, after=Status.QUEUED, at=created_at)
    return run


def make_attempt(run: Run | None = None, **fields: Any) -> Attempt:
    """An attempt; of a running run the one that holds it."""
    run = run or make_run(status=Status.RUNNING)
    worker = fields.pop("worker", None) or make_worker()
    return Attempt.objects.create(
        run=run,
        worker=worker,
        **{
            "number": run.attempt_number or 1,
            "token": run.token or new_id(),
            "worker_name": worker.name,
            "boot_id": worker.boot_id,
            "host": worker.host,
            **fields,
        },
    )


def make_tracked_run(
    application: Application | None = None, status: str = "succeeded", **fields: Any
) -> Run:
    """A run that was executed elsewhere, recorded as any other: it needs a store.

    `output`, `files`, `log`, `metrics`, `statistics` and `assets` are the parts that were sent.
    """
    from runs.actions.actors import product
    from runs.actions.tracked_runs import TrackedResult, record_run

    application = application or make_application()
    names = ("output", "files", "log", "metrics", "statistics", "assets")
    result = TrackedResult(**{name: fields.pop(name) for name in names if name in fields})
    usual = {"actor": product(), "input_format": "json", "output_format": "json"}
    return record_run(
        account=application.account,
        application=application,
        status=status,
        result=result,
        **{**usual, **fields},
    )
