"""Real runs for tests of the worker: a small app in the store, claimed and conducted in-process."""

from __future__ import annotations

from pathlib import Path

from django.utils import timezone

from runs.actions.actors import product
from runs.actions.builds import build_from_folder
from runs.actions.executables import create_with_build
from runs.actions.runs import submit_run
from runs.models import Account, Application, Run
from runs.queue.claim import WorkerIdentity, claim_next
from runs.worker.conduct import Conductor
from runs.worker.held import Held
from runs.worker.places import Places
from runs.worker.recorder import Flusher
from tests.factories import get_queue, make_account, make_worker


def make_app(
    folder: Path, script: str, *, account: Account | None = None, manifest: str = ""
) -> Application:
    """An application of one shell script, uploaded."""
    folder.mkdir(parents=True)
    (folder / "app.yaml").write_text(f"type: binary\nfiles: [main]\n{manifest}")
    (folder / "main").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "main").chmod(0o755)
    account = account or make_account()
    get_queue(account)
    with build_from_folder(folder=folder) as build:
        made = create_with_build(
            account=account, build=build, actor=product("tests"), application_id=folder.name
        )
    return made if isinstance(made, Application) else made.application


class Bench:
    """A worker without threads: claims one run and conducts it in the thread of the test."""

    def __init__(self, data_dir: Path, name: str = "w1") -> None:
        self.places = Places(data_dir, name)
        self.places.make()
        worker = make_worker(name=name, host=self.places.host)
        self.identity = WorkerIdentity(worker.pk, name, worker.boot_id, worker.host)
        self.flusher = Flusher()
        self.conductor = Conductor(places=self.places, boot_id=worker.boot_id, flusher=self.flusher)

    def submit(self, application: Application, **words: object) -> Run:
        return submit_run(
            account=application.account,
            application=application,
            actor=product("tests"),
            **words,  # type: ignore[arg-type]
        )

    def claim(self) -> Held:
        claimed = claim_next(self.identity, now=timezone.now())
        assert claimed is not None
        return Held(claimed)

    def make(self, application: Application, **words: object) -> Run:
        """Submit, claim and conduct one run; as it is then."""
        run = self.submit(application, **words)
        self.conductor(self.claim())
        run.refresh_from_db()
        return run
