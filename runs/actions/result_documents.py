"""Puts a result into the store and prepares its rows: of programs that ran here or elsewhere."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from runs.domain.ids import new_id
from runs.domain.values import flatten_values, main_value
from runs.execution.output import Collected
from runs.models import Asset, Run, RunFile, RunMetric
from runs.storage import Stored, keys
from runs.visuals.assets import AssetSpec, read_assets

LONGEST_WARNING = 500
MOST_WARNINGS = 50


@dataclass(kw_only=True)
class ResultRows:
    """The rows of a result whose bytes are in the store already; written when the run ends.

    `output_bytes` and `value` are None where there is none; `warnings` are for people.
    """

    result_kind: str = ""
    output_bytes: int | None = None
    value: float | None = None
    files: list[RunFile] = field(default_factory=list)
    assets: list[Asset] = field(default_factory=list)
    metrics: list[RunMetric] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def write(self) -> None:
        """Write them; may be repeated after a transaction that was rolled back."""
        for rows in (self.files, self.assets, self.metrics):
            for row in rows:
                row.pk = None
        RunFile.objects.bulk_create(self.files)
        Asset.objects.bulk_create(self.assets)
        RunMetric.objects.bulk_create(self.metrics)

    def shown_warnings(self, before: list[str]) -> list[str]:
        """What the run keeps as warnings, those of `before` first: not too many, none too long."""
        return [text[:LONGEST_WARNING] for text in [*before, *self.warnings][:MOST_WARNINGS]]


class Storing(Protocol):
    """How bytes get into the store: a worker waits out an outage, a request does not."""

    def put_file(self, key: str, path: Path) -> Stored:
        """Store a file; `OSError` when it is not a regular file, or cannot be read."""
        ...

    def put_bytes(self, key: str, data: bytes) -> None:
        """Store `data`."""
        ...


def store_result(
    rows: ResultRows, collected: Collected, *, run: Run, number: int, storing: Storing
) -> None:
    """Store everything of a result under attempt `number` of `run`, and prepare the rows.

    `run` needs no row yet: only its ids are read. What cannot be kept is a warning.
    """
    rows.warnings += collected.warnings
    rows.result_kind = collected.result_kind
    rows.output_bytes = collected.output_bytes
    _store_files(rows, collected, run, number, storing)
    _store_documents(rows, collected, run, number, storing)


def _store_files(
    rows: ResultRows, collected: Collected, run: Run, number: int, storing: Storing
) -> None:
    """Put the document and the solution files into the store."""

    def put(role: str, index: int, key: str, name: str, path: Path) -> None:
        try:
            stored = storing.put_file(key, path)
        except OSError as error:
            rows.warnings.append(
                f"`{name}` could not be kept: {error.strerror or 'it is not a regular file'}."
            )
            return
        rows.files.append(
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


def _store_documents(
    rows: ResultRows, collected: Collected, run: Run, number: int, storing: Storing
) -> None:
    """Store metrics, statistics and assets, and prepare their rows."""
    for role, key, document in (
        (RunFile.METRICS, keys.metrics(run.run_id, number), collected.metrics),
        (RunFile.STATISTICS, keys.statistics(run.run_id, number), collected.statistics),
    ):
        if document is None:
            continue
        data = json.dumps(document, allow_nan=False).encode()
        storing.put_bytes(key, data)
        rows.files.append(
            RunFile(run=run, role=role, path=f"{role}.json", size_bytes=len(data), key=key)
        )
    rows.value = main_value(collected.metrics, collected.statistics)
    flat = flatten_values(collected.metrics, collected.statistics)
    for position, value in enumerate(flat):
        rows.metrics.append(
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
        rows.warnings.append(f"{flat.left_out} metrics are not in the table: there are too many.")
    if collected.assets is None:
        return
    specs, warnings = read_assets(collected.assets)
    rows.warnings += warnings
    for index, spec in enumerate(specs):
        rows.assets.append(_store_asset(run, number, index, spec, storing))


def _store_asset(run: Run, number: int, index: int, spec: AssetSpec, storing: Storing) -> Asset:
    visual = spec.visual
    key = keys.asset(run.run_id, number, index)
    data = json.dumps(spec.content, allow_nan=False).encode()
    storing.put_bytes(key, data)
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
