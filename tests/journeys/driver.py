"""Acts inside an installation for tests: one JSON command a line on stdin, one answer on stdout.

Started by `consoles.Driver` with the environment of the console under test. It submits what no
page offers in one step, and reads the tables behind the pages.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any


def prepare() -> dict[str, Any]:
    """Make database, administrator and account as a first start does, but without the demo."""
    from runs.models import Account, Membership, Queue, User
    from runsite import preparation

    preparation.call("migrate", interactive=False, verbosity=0)
    preparation.make_admin()
    account, _ = Account.objects.get_or_create(slug="demo", defaults={"name": "Demo"})
    Queue.objects.get_or_create(account=account, name="default")
    for user in User.objects.filter(is_superuser=True):
        Membership.objects.get_or_create(account=account, user=user, defaults={"role": "admin"})
    preparation._write_stamp(preparation._schema_stamp())
    return {}


def add_application(*, folder: str, application_id: str) -> dict[str, Any]:
    """Upload the folder as a new application, or as a new executable of it."""
    from runs.actions.actors import product
    from runs.actions.builds import build_from_folder
    from runs.actions.executables import create_with_build, store_build

    account = _account()
    actor = product("tests")
    known = account.applications.filter(application_id=application_id).first()
    with build_from_folder(folder=Path(folder)) as build:
        if known is None:
            create_with_build(
                account=account, build=build, actor=actor, application_id=application_id
            )
        else:
            store_build(application=known, build=build, actor=actor)
    return {}


def submit(
    *,
    application: str,
    options: dict[str, Any] | None = None,
    data: str | None = None,
    files: dict[str, str] | None = None,
    sample: bool = False,
    input_format: str | None = None,
    count: int = 1,
    **more: Any,
) -> list[str]:
    """Submit a run, or `count` equal ones; their ids."""
    from runs.actions.actors import product
    from runs.actions.inputs import scratch_file, store_folder_input, store_text_input
    from runs.actions.runs import resolve_target, submit_run
    from runs.actions.samples import sample_input

    account = _account()
    found = account.applications.get(application_id=application)
    target = resolve_target(application=found)
    content_format = input_format or target.content_format
    given = None
    if sample:
        given = sample_input(account=account, executable=target.executable)
    elif data is not None:
        given = store_text_input(account=account, content_format=content_format, data=data.encode())
    elif files is not None:
        with tempfile.TemporaryDirectory() as folder:
            new = []
            for number, (path, text) in enumerate(files.items()):
                scratch = Path(folder) / str(number)
                scratch.write_text(text)
                new.append(scratch_file(path, scratch))
            given = store_folder_input(account=account, content_format=content_format, files=new)
    return [
        submit_run(
            account=account,
            application=found,
            actor=product("tests"),
            options=options or {},
            input_data=given,
            input_format=input_format,
            **more,
        ).run_id
        for _ in range(count)
    ]


def cancel(*, run_id: str) -> bool:
    """Cancel a run; whether that changed anything."""
    from runs.actions.actors import product
    from runs.actions.runs import cancel_run
    from runs.models import Run

    return cancel_run(run=Run.objects.get(run_id=run_id), actor=product("tests"))


def statuses(*, run_ids: list[str] | None = None) -> dict[str, str]:
    """Run id → status, of these runs or of all."""
    from runs.models import Run

    runs = Run.objects.all() if run_ids is None else Run.objects.filter(run_id__in=run_ids)
    return dict(runs.values_list("run_id", "status"))


def demo_runs() -> dict[str, str]:
    """Run id → name of the runs that were submitted with the demo account."""
    from runs.models import Run

    return dict(Run.objects.filter(source="demo").values_list("run_id", "name"))


def attempts() -> list[dict[str, Any]]:
    """Every attempt there is, in short."""
    from runs.models import Attempt

    return list(Attempt.objects.values("run__run_id", "number", "worker_name", "outcome"))


def look(*, run_id: str) -> dict[str, Any]:
    """Everything that the tables say about a run; its log when it has ended."""
    from runs.actions.logs import stream_log
    from runs.models import EndedProcess, Run

    run = Run.objects.select_related("input_data").get(run_id=run_id)
    found: dict[str, Any] = {
        field.name: getattr(run, field.name)
        for field in Run._meta.concrete_fields
        if not field.is_relation
    }
    last = run.attempts.order_by("-number").first()
    stored = run.input_data.files.order_by("number") if run.input_data else []
    return found | {
        "events": list(
            run.events.order_by("id").values(
                "kind", "before", "after", "end_reason", "actor", "text", "attempt_number"
            )
        ),
        "attempts": list(run.attempts.order_by("number").values()),
        "ended": list(
            EndedProcess.objects.filter(attempt__run=run).values("pid", "command", "how", "signal")
        ),
        "options": list(
            run.options.order_by("position").values("name", "text", "source", "passed")
        ),
        "metrics": {m.name: m.text if m.number is None else m.number for m in run.metrics.all()},
        "files": list(run.files.order_by("role", "number").values()),
        "assets": list(run.assets.order_by("number").values()),
        "inputs": [{"path": file.path, "size_bytes": file.size_bytes} for file in stored],
        # A lost attempt keeps its log in rows: nobody was there to make one object of it.
        "chunks": sum(
            attempt.log_chunks.count()
            for attempt in run.attempts.all()
            if attempt.ended_at is None or attempt.log_key
        ),
        "log": b"".join(stream_log(attempt=last)).decode("utf-8", "replace")
        if last is not None and last.ended_at and last.log_bytes <= 2**20
        else "",
    }


def log_ends(*, run_id: str, size: int = 65536) -> dict[str, str]:
    """The beginning and the end of a log that may be large."""
    from runs.actions.logs import read_log, read_tail
    from runs.models import Attempt

    attempt = Attempt.objects.filter(run__run_id=run_id).latest("number")
    head = read_log(attempt=attempt, cursor=0, limit=size).data
    tail = read_tail(attempt=attempt, limit=size).data
    return {"head": head.decode("utf-8", "replace"), "tail": tail.decode("utf-8", "replace")}


def objects(*, run_id: str) -> list[str]:
    """The keys of everything that is stored for a run."""
    from runs.storage import keys, object_store

    return sorted(object_store().list(keys.run_prefix(run_id)))


def text_of(*, key: str) -> str:
    """An object of the store, as text."""
    from runs.storage import object_store

    with object_store().open(key) as stream:
        return stream.read().decode("utf-8", "replace")


def digest_of(*, key: str) -> str:
    """The SHA-256 of an object of the store."""
    import hashlib

    from runs.storage import object_store

    with object_store().open(key) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def builds() -> list[dict[str, str]]:
    """The state of every environment on every host."""
    from runs.models import EnvironmentBuild

    return list(EnvironmentBuild.objects.values("environment__key", "host", "state", "error"))


def workers() -> list[dict[str, Any]]:
    """Every worker, in short."""
    from runs.models import Worker

    return list(Worker.objects.values("name", "state", "pid", "slots_used", "boot_id"))


def _account() -> Any:
    from runs.models import Account

    return Account.objects.get(slug="demo")


def ticket(*, base: str, purpose: str = "data") -> dict[str, str]:
    """A new upload: its id and the address to send to."""
    from runs.actions.actors import product
    from runs.actions.tickets import new_upload, upload_url

    upload = new_upload(account=_account(), actor=product("tests"), purpose=purpose)
    return {"upload_id": upload.upload_id, "url": upload_url(upload, base=base)}


def received(*, upload_id: str, base: str) -> dict[str, Any]:
    """What came for an upload, an address to fetch it from, and all objects of uploads."""
    from runs.actions.tickets import download_url
    from runs.models import Upload
    from runs.storage import object_store

    upload = Upload.objects.get(upload_id=upload_id)
    words = {"file_name": "upload.json", "content_type": "application/json"}
    return {
        "size": upload.size_bytes,
        "sha256": upload.sha256,
        "url": download_url(key=upload.key, base=base, **words),
        "objects": list(object_store().list("uploads/")),
    }


COMMANDS = (
    prepare,
    add_application,
    submit,
    cancel,
    statuses,
    demo_runs,
    attempts,
    look,
    log_ends,
    objects,
    text_of,
    digest_of,
    builds,
    workers,
    ticket,
    received,
)


def main() -> None:
    """Serve until stdin ends."""
    import django

    django.setup()
    from django.db import connection

    known = {command.__name__: command for command in COMMANDS}
    for line in sys.stdin:
        words = json.loads(line)
        try:
            answer = {"answer": known[words.pop("do")](**words)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        connection.close()
        print(json.dumps(answer, default=str), flush=True)


if __name__ == "__main__":
    main()
