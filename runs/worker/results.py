"""Stores what a run produced, and ends the run: the last step of conducting.

Bytes go to the store first, then one transaction writes the rows and moves the run, guarded by the
attempt's token. So a page never shows half a result, and a late worker changes nothing.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from copy import copy
from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from runs.domain.concurrency import cancel_reason
from runs.domain.status import WORDS, EndReason, Status
from runs.execution.output import Limits, collect
from runs.execution.spec import Outcome, Reason
from runs.execution.workspace import Workspace
from runs.models import Attempt, EndedProcess, Run, UsageSample
from runs.storage import keys, object_store
from runs.worker.held import Held
from runs.worker.patience import patiently
from runs.worker.recorder import Recorder
from runs.worker.result_documents import Record, store_collected
from runs.worker.staging import Staged
from runs.worker.stored_logs import log_columns, store_log
from runs.worker.verdicts import Verdict, judged_result, verdict_of

log = logging.getLogger(__name__)


class Superseded(Exception):
    """Another attempt holds the run now; this one's results are not wanted."""


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
            f"{record.log.totals.cut_bytes:,} bytes in the middle of the log were dropped:"
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
    if outcome.reason in {Reason.WORKER_STOPPED, Reason.NOT_STARTED}:
        return record
    held.tick()
    collected = collect(
        Workspace(staged.spec.workspace),
        content_format=staged.output_format,
        places=staged.output_places,
        limits=Limits(
            result_bytes=staged.spec.output_limit_bytes,
            files=settings.RUNSITE_UNPACKED_FILES,
            action=staged.spec.output_limit_action,
        ),
        work=staged.work,
        tick=held.tick,
    )
    record.verdict = judged_result(
        outcome,
        collected,
        spec=staged.spec,
        output_format=staged.output_format,
        stopped_by=_stopped_by(held, outcome),
    )
    store_collected(held, record, collected)
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
        record.write()
        close_attempt(attempt, record, verdict, now)


def close_stopped(
    run: Run, attempt: Attempt, record: Record, *, give_back: Callable[..., Status | None]
) -> None:
    """Give back a run that the worker ended because it stops itself, or because of its disk.

    The log is kept. When no attempt is left, the run tells what was wrong with the disk.
    """
    now = timezone.now()
    verdict = record.verdict
    with transaction.atomic():
        after = give_back(run, attempt, now, EndReason.WORKER_STOPPED, what=verdict.given_back)
        if after is None:
            raise Superseded
        if verdict.given_back and after is Status.FAILED:
            ended = Run.objects.filter(pk=run.pk, end_reason=EndReason.WORKER_STOPPED)
            ended.update(error=verdict.error[:500], detail=_no_worker_left(run, verdict))
        if after is not Status.QUEUED and record.log.totals.written:
            Run.objects.filter(pk=run.pk).update(log_bytes=record.log.totals.written)
        close_attempt(attempt, record, record.verdict, now)


def _no_worker_left(run: Run, verdict: Verdict) -> str:
    made = "its only attempt" if run.attempt_number == 1 else f"all {run.attempt_number} attempts"
    return f"{verdict.detail} The run has used {made}; launch it again then."


def remove_workspace(folder: Path) -> None:
    """Remove the folder of an attempt, whatever the program made of its modes."""
    if not Workspace(folder).remove():
        log.warning("the workspace %s could not be removed whole", folder.name)


def _stopped_by(held: Held, outcome: Outcome) -> str:
    """Who wanted the program stopped and its result kept; empty when nobody did."""
    if outcome.reason != Reason.STOPPED_EARLY or outcome.stopped_at_limit:
        return ""
    rows = Run.objects.filter(pk=held.claimed.run.pk).values_list("stop_actor", flat=True)
    return patiently(rows.first, held=held) or ""


def _with_cancel(run: Run, verdict: Verdict) -> Verdict:
    """Say who canceled."""
    if verdict.status is not Status.CANCELED:
        return verdict
    who = Run.objects.filter(pk=run.pk).values_list("cancel_actor", flat=True).first() or ""
    reason = cancel_reason(who)
    if reason is EndReason.SUPERSEDED:
        words, begin = WORDS[reason], who
    else:
        words = begin = f"canceled by {who}" if who else "canceled"
    detail = f"{begin[0].upper()}{begin[1:]} while it was running; its processes were ended."
    return Verdict(verdict.status, reason, words, detail)


def _run_columns(run: Run, attempt: Attempt, record: Record, verdict: Verdict) -> dict[str, Any]:
    columns: dict[str, Any] = {
        "error": verdict.error,
        "detail": verdict.detail,
        "warnings": record.shown_warnings(run.warnings),
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


def close_attempt(attempt: Attempt, record: Record, verdict: Verdict, now: datetime) -> None:
    """Close the attempt with its evidence: how it ended, what it used, its log."""
    columns: dict[str, Any] = {
        "ended_at": now,
        "outcome": verdict.reason,
        "error": verdict.error,
        "detail": verdict.detail,
        "usage_key": record.usage_key,
        **log_columns(record.log),
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
    if outcome and outcome.reason != Reason.NOT_STARTED:
        # When the database was away as the program started, this is the first it hears of it.
        unknown = Attempt.objects.filter(pk=attempt.pk, started_at__isnull=True)
        unknown.update(started_at=outcome.started_at)
    if record.has_usage_rows:
        UsageSample.objects.filter(attempt=attempt).delete()
