"""Puts what a program left into the store, waiting out a store that is away."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from runs.actions.result_documents import ResultRows, store_result
from runs.execution.output import Collected
from runs.execution.spec import Outcome
from runs.storage import StorageError, Stored, object_store
from runs.worker.held import Held
from runs.worker.patience import allow_bytes, patiently
from runs.worker.stored_logs import StoredLog
from runs.worker.verdicts import Verdict

log = logging.getLogger(__name__)


@dataclass
class Record(ResultRows):
    """Everything that is written when an attempt ends; its bytes are in the store already."""

    verdict: Verdict
    log: StoredLog
    outcome: Outcome | None = None
    usage_key: str = ""
    has_usage_rows: bool = False


@dataclass(frozen=True)
class PatientStoring:
    """Puts objects into the store for a run that is held, as long as it takes."""

    held: Held

    def put_file(self, key: str, path: Path) -> Stored:
        def store() -> Stored:
            # Of a program's file only the size is known that it had when it was looked at.
            allow_bytes(self.held, path.lstat().st_size)
            return object_store().put_file(key, path)

        return patiently(store, held=self.held)

    def put_bytes(self, key: str, data: bytes) -> None:
        patiently(lambda: object_store().put_bytes(key, data), held=self.held)


def store_collected(held: Held, record: Record, collected: Collected) -> None:
    """Put result, files, metrics, statistics and assets into the store; prepare their rows."""
    run, number = held.claimed.run, held.claimed.attempt.number
    store_result(record, collected, run=run, number=number, storing=PatientStoring(held))


def remove_documents(record: Record) -> None:
    """Remove the objects of an attempt whose result is not wanted, as it is tried again.

    Should that fail they stay until the run is deleted: no row names them.
    """
    for key in [file.key for file in record.files] + [asset.key for asset in record.assets]:
        try:
            object_store().delete(key)
        except (StorageError, OSError) as error:
            log.warning("an object of an attempt that failed stays in the store: %s", error)
            return
