"""Stores what a run produced, and ends the run: the last step of conducting.

Bytes go to the store first, then one transaction writes the rows and moves the run, guarded by the
attempt's token. So a page never shows half a result, and a late worker changes nothing.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from runs.domain.ids import new_id
from runs.domain.status import EndReason, Status
from runs.domain.values import flatten_values, main_value
from runs.execution.output import Collected, Limits, collect
from runs.execution.spec import Outcome
from runs.execution.workspace import Workspace
from runs.models import (
    Asset,
    Attempt,
    EndedProcess,
    LogChunk,
    Run,
    RunFile,
    RunMetric,
    UsageSample,
)
from runs.storage import StorageError, Stored, keys, object_store
from runs.visuals.assets import AssetSpec, read_assets
from runs.worker.patience import allow_bytes, patiently
from runs.worker.recorder import LogTotals, Recorder, packed_index
from runs.worker.slots import Held
from runs.worker.staging import Staged

log = logging.getLogger(__name__)

LONGEST_WARNING = 500
MOST_WARNINGS = 50


class Superseded(Exception):
    """Another attempt holds the run now; this one's results are not wanted."""


@dataclass(frozen=True)
class Verdict:
    """How a run ends: status, end reason, one short line, one sentence of cause and remedy."""

    status: Status
    reason: EndReason
    error: str = ""
    detail: str = ""


@dataclass(frozen=True)
class StoredLog:
    """Where the log of an ended attempt is, and what is known of it."""

    key: str
    totals: LogTotals
    warning: str = ""


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


def verdict_of(outcome: Outcome) -> Verdict:
    """The verdict that follows from how the program ended."""
    if outcome.reason == "canceled":
        return Verdict(Status.CANCELED, EndReason.CANCELED, "canceled", outcome.detail)
    if outcome.reason is not None:
        reason = EndReason(str(outcome.reason))
    elif outcome.signal is not None:
        reason = EndReason.SIGNAL
    elif outcome.exit_code:
        reason = EndReason.EXIT_CODE
    else:
        return Verdict(Status.SUCCEEDED, EndReason.EXITED)
    return Verdict(Status.FAILED, reason, outcome.error[:500], outcome.detail)


def store_log(held: Held, recorder: Recorder) -> StoredLog:
    """Flush what is left, store the whole log as one object with its index, and the usage."""
    run_id, number = recorder.run_id, recorder.number
    recorder.keep_usage()
    while patiently(lambda: recorder.flush(timezone.now()), held=held):
        pass
    totals = recorder.totals()
    if not totals.written:
        return StoredLog("", totals)
    key = keys.log(run_id, number)

    def store() -> None:
        allow_bytes(held, totals.written - totals.cut_bytes)
        with _Pieces(recorder, held) as stream:
            object_store().put(key, stream)  # type: ignore[arg-type]  # only read() is used
        object_store().put_bytes(keys.log_index(run_id, number), packed_index(recorder, totals))

    patiently(store, held=held)
    return StoredLog(key, totals, recorder.spool.failed)


def store_results(held: Held, recorder: Recorder, staged: Staged, outcome: Outcome) -> Record:
    """Collect what the program left, put it into the store, and prepare the rows.

    What cannot be read is a warning, never a failure: only the program's end decides.
    """
    record = Record(verdict=verdict_of(outcome), log=store_log(held, recorder), outcome=outcome)
    record.warnings += outcome.warnings
    if record.log.warning:
        record.warnings.append(record.log.warning)
    if record.log.totals.cut_bytes:
        record.warnings.append(
            f"{record.log.totals.cut_bytes} bytes in the middle of the log were dropped:"
            " it grew beyond its limit."
        )
    if recorder.all_usage:
        record.usage_key = keys.usage(recorder.run_id, recorder.number)
        samples = [
            [round(s.at_s, 2), round(s.cpu_s, 3), s.memory_bytes, s.processes]
            for s in recorder.all_usage
        ]
        data = json.dumps(samples, separators=(",", ":")).encode()
        patiently(lambda: object_store().put_bytes(record.usage_key, data), held=held)
        record.has_usage_rows = recorder.has_usage_rows
    if outcome.reason in {"worker_stopped", "not_started"}:
        return record
    held.tick()
    collected = collect(
        Workspace(staged.spec.workspace),
        content_format=staged.output_format,
        places=staged.output_places,
        limits=Limits(
            result_bytes=settings.RUNSITE_OUTPUT_LIMIT, files=settings.RUNSITE_UNPACKED_FILES
        ),
        work=staged.work,
        tick=held.tick,
    )
    if collected.too_large and record.verdict.status is Status.SUCCEEDED:
        record.verdict = Verdict(
            Status.FAILED,
            EndReason.OUTPUT_TOO_LARGE,
            "output too large",
            collected.too_large,
        )
    record.warnings += collected.warnings
    record.result_kind = collected.result_kind
    record.output_bytes = collected.output_bytes
    _store_files(held, record, collected, outcome)
    _prepare_documents(held, record, collected)
    return record


def end_run(run: Run, attempt: Attempt, record: Record) -> None:
    """Write everything and end the run, once; raises `Superseded` when it is not ours any more."""
    now = timezone.now()
    verdict = _with_cancel(run, record.verdict)
    with transaction.atomic():
        # A copy, as this may be repeated; whether it still is so is asked by the move itself.
        mine = copy(run)
        moved = mine.move_to(
            verdict.status,
            now=now,
            reason=verdict.reason,
            actor=f"worker {attempt.worker_name}",
            text=verdict.detail or verdict.error,
            token=attempt.token,
            changes=_run_columns(mine, attempt, record, verdict),
        )
        if not moved:
            raise Superseded
        for rows in (record.files, record.assets, record.metrics):
            for row in rows:
                row.pk = None
        RunFile.objects.bulk_create(record.files)
        Asset.objects.bulk_create(record.assets)
        RunMetric.objects.bulk_create(record.metrics)
        _close_attempt(attempt, record, verdict, now)


def close_stopped(
    run: Run, attempt: Attempt, record: Record, *, give_back: Callable[..., Status | None]
) -> None:
    """Give back a run that the worker ended because it stops itself; its log is kept."""
    now = timezone.now()
    with transaction.atomic():
        if give_back(run, attempt, now, EndReason.WORKER_STOPPED) is None:
            raise Superseded
        _close_attempt(attempt, record, record.verdict, now)


def keep_evidence(held: Held, recorder: Recorder) -> None:
    """Keep the log of an attempt that was taken from this worker; nothing else of it counts."""
    run, attempt = held.claimed.run, held.claimed.attempt
    stored = store_log(held, recorder)
    if not stored.key:
        return

    def note() -> bool:
        # Not that of an attempt which this worker ended itself, an answer having got lost.
        left = Attempt.objects.filter(pk=attempt.pk, ended_at__isnull=False)
        return bool(left.exclude(log_key=stored.key).update(**_log_columns(stored)))

    if patiently(note, held=held):
        object_store().delete(keys.found_log(run.run_id, attempt.number))
        object_store().delete(keys.found_log_index(run.run_id, attempt.number))
    elif not Attempt.objects.filter(pk=attempt.pk).exists():
        object_store().delete_prefix(keys.attempt_prefix(run.run_id, attempt.number))
    remove_live_log(attempt, stored)


def remove_live_log(attempt: Attempt, stored: StoredLog) -> None:
    """Remove the rows and parts of a log that is kept as one object now.

    Should that fail, the scheduler does it later: the run has ended, and nothing waits for it.
    """
    if not stored.key:
        return
    try:
        LogChunk.objects.filter(attempt=attempt).delete()
        object_store().delete_prefix(keys.log_parts_prefix(attempt.run.run_id, attempt.number))
    except (DatabaseError, StorageError, OSError) as error:
        log.warning("run %s: its live log is removed later: %s", attempt.run.run_id, error)
        connection.close()


def remove_workspace(folder: Path) -> None:
    """Remove the folder of an attempt, whatever the program made of its modes."""
    if not Workspace(folder).remove():
        log.warning("the workspace %s could not be removed whole", folder.name)


def _with_cancel(run: Run, verdict: Verdict) -> Verdict:
    """Say who canceled."""
    if verdict.status is not Status.CANCELED:
        return verdict
    who = Run.objects.filter(pk=run.pk).values_list("cancel_actor", flat=True).first()
    words = f"canceled by {who}" if who else "canceled"
    detail = f"{words[0].upper()}{words[1:]} while it was running; its processes were ended."
    return Verdict(verdict.status, verdict.reason, words, detail)


def _run_columns(run: Run, attempt: Attempt, record: Record, verdict: Verdict) -> dict[str, Any]:
    columns: dict[str, Any] = {
        "error": verdict.error,
        "detail": verdict.detail,
        "warnings": [w[:LONGEST_WARNING] for w in record.warnings[:MOST_WARNINGS]],
        "log_bytes": record.log.totals.written,
        "result_kind": record.result_kind,
        "output_bytes": record.output_bytes,
        "value": record.value,
    }
    if outcome := record.outcome:
        columns |= {
            "started_at": run.started_at or outcome.started_at,
            "execution_s": outcome.duration_s,
            "exit_code": outcome.exit_code,
            "signal": outcome.signal,
            "cpu_s": outcome.cpu_s,
            "peak_memory_bytes": outcome.peak_memory_bytes,
        }
    return columns


def _close_attempt(attempt: Attempt, record: Record, verdict: Verdict, now: datetime) -> None:
    columns: dict[str, Any] = {
        "ended_at": now,
        "outcome": verdict.reason,
        "error": verdict.error,
        "detail": verdict.detail,
        "usage_key": record.usage_key,
        **_log_columns(record.log),
    }
    if outcome := record.outcome:
        columns |= {
            "executed_at": outcome.ended_at,
            "exit_code": outcome.exit_code,
            "signal": outcome.signal,
            "cpu_s": outcome.cpu_s,
            "peak_memory_bytes": outcome.peak_memory_bytes,
        }
        EndedProcess.objects.bulk_create(
            EndedProcess(
                attempt=attempt,
                pid=one.pid,
                command=one.command[:200],
                how=one.how[:200],
                signal=one.signal,
                at=outcome.ended_at,
            )
            for one in outcome.ended
        )
    Attempt.objects.filter(pk=attempt.pk).update(**columns)
    if outcome and outcome.reason != "not_started":
        # When the database was away as the program started, this is the first it hears of it.
        unknown = Attempt.objects.filter(pk=attempt.pk, started_at__isnull=True)
        unknown.update(started_at=outcome.started_at)
    if record.has_usage_rows:
        UsageSample.objects.filter(attempt=attempt).delete()


def _log_columns(stored: StoredLog) -> dict[str, Any]:
    totals = stored.totals
    return {
        "log_bytes": totals.written,
        "log_lines": totals.lines,
        "log_cut_at": totals.cut_at,
        "log_cut_bytes": totals.cut_bytes,
        "log_key": stored.key,
    }


def _store_files(held: Held, record: Record, collected: Collected, outcome: Outcome) -> None:
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


def _prepare_documents(held: Held, record: Record, collected: Collected) -> None:
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


class _Pieces:
    """What the spool keeps, as a stream that the store reads; shows life while it is read."""

    def __init__(self, recorder: Recorder, held: Held) -> None:
        self._pieces = recorder.spool.pieces()
        self._held = held
        self._rest = b""

    def __enter__(self) -> _Pieces:
        return self

    def __exit__(self, *_: object) -> None:
        self._pieces.close()  # type: ignore[attr-defined]  # a generator

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes; all of them when it is negative."""
        if size < 0:
            return self._rest + b"".join(self._pieces)
        while len(self._rest) < size and (piece := next(self._pieces, b"")):
            self._rest += piece
        data, self._rest = self._rest[:size], self._rest[size:]
        return data
