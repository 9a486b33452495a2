"""Puts what a program left into the store: result, files, metrics, statistics, assets."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path

from runs.domain.ids import new_id
from runs.domain.values import flatten_values, main_value
from runs.execution.output import Collected
from runs.execution.spec import Outcome
from runs.models import Asset, RunFile, RunMetric
from runs.storage import StorageError, Stored, keys, object_store
from runs.visuals.assets import AssetSpec, read_assets
from runs.worker.held import Held
from runs.worker.patience import allow_bytes, patiently
from runs.worker.stored_logs import StoredLog
from runs.worker.verdicts import Verdict

log = logging.getLogger(__name__)


@dataclass
class Record:
    """Everything that is written when an attempt ends; its bytes are in the store already."""

    verdict: Verdict
    log: StoredLog
    outcome: Outcome | None = None
    usage_key: str = ""
    has_usage_rows: bool = False
    result_kind: str = ""
    output_bytes: int | None = None
    value: float | None = None
    files: list[RunFile] = field(default_factory=list)
    assets: list[Asset] = field(default_factory=list)
    metrics: list[RunMetric] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def store_files(held: Held, record: Record, collected: Collected) -> None:
    """Put stdout and the solution files into the store."""
    run, number = held.claimed.run, held.claimed.attempt.number

    def put(role: str, index: int, key: str, name: str, path: Path) -> None:
        def store() -> Stored:
            # Of a program's file only the size is known that it had when it was looked at.
            allow_bytes(held, path.lstat().st_size)
            return object_store().put_file(key, path)

        try:
            stored = patiently(store, held=held)
        except OSError as error:
            record.warnings.append(
                f"`{name}` could not be kept: {error.strerror or 'it is not a regular file'}."
            )
            return
        record.files.append(
            RunFile(run=run, role=role, number=index, path=name, size_bytes=stored.size, key=key)
        )

    if collected.stdout_bytes:
        name = "stdout.json" if collected.result_kind == "json" else "stdout.txt"
        put(RunFile.STDOUT, 0, keys.stdout(run.run_id, number), name, collected.stdout)
    if collected.cleaned is not None:
        key = keys.cleaned(run.run_id, number)
        put(RunFile.CLEANED, 0, key, "result.json", collected.cleaned)
    for index, solution in enumerate(collected.files):
        key = keys.output_file(run.run_id, number, index)
        put(RunFile.SOLUTION, index, key, solution.path, solution.source)


def prepare_documents(held: Held, record: Record, collected: Collected) -> None:
    """Store metrics, statistics and assets, and prepare their rows."""
    run, number = held.claimed.run, held.claimed.attempt.number
    for role, key, document in (
        (RunFile.METRICS, keys.metrics(run.run_id, number), collected.metrics),
        (RunFile.STATISTICS, keys.statistics(run.run_id, number), collected.statistics),
    ):
        if document is None:
            continue
        data = json.dumps(document, allow_nan=False).encode()
        patiently(lambda key=key, data=data: object_store().put_bytes(key, data), held=held)  # type: ignore[misc]
        record.files.append(
            RunFile(run=run, role=role, path=f"{role}.json", size_bytes=len(data), key=key)
        )
    record.value = main_value(collected.metrics, collected.statistics)
    flat = flatten_values(collected.metrics, collected.statistics)
    for position, value in enumerate(flat):
        record.metrics.append(
            RunMetric(
                account_id=run.account_id,
                application_id=run.application_id,
                run=run,
                name=value.name,
                position=position,
                text=value.text,
                number=value.number,
            )
        )
    if flat.left_out:
        record.warnings.append(f"{flat.left_out} metrics are not in the table: there are too many.")
    if collected.assets is None:
        return
    specs, warnings = read_assets(collected.assets)
    record.warnings += warnings
    for index, spec in enumerate(specs):
        record.assets.append(_store_asset(held, index, spec))


def _store_asset(held: Held, index: int, spec: AssetSpec) -> Asset:
    run, number, visual = held.claimed.run, held.claimed.attempt.number, spec.visual
    key = keys.asset(run.run_id, number, index)
    data = json.dumps(spec.content, allow_nan=False).encode()
    patiently(lambda: object_store().put_bytes(key, data), held=held)
    return Asset(
        run=run,
        asset_id=new_id(),
        number=index,
        name=spec.name[:300],
        description=spec.description,
        content_type=spec.content_type[:64],
        schema=visual.schema if visual else "",
        visual_type=visual.type[:64] if visual else "",
        label=visual.label[:300] if visual else "",
        figures=count_figures(spec.content) if visual else 0,
        size_bytes=len(data),
        key=key,
    )


def count_figures(content: object) -> int:
    """How many figures the content of an asset holds: a list is one for each item."""
    return len(content) if isinstance(content, list) else 1


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
