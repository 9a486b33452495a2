"""Gives a run that failed back to the queue when its retry rule says so."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from runs.domain.status import Status
from runs.models import Attempt, Run
from runs.queue.retries import may_retry, retry_columns, retry_words
from runs.worker.result_documents import Record
from runs.worker.results import Superseded, close_attempt


def wants_further_attempt(run: Run, record: Record) -> bool:
    """Whether it shall be tried again, as far as is known without asking the database."""
    failed = record.verdict.status is Status.FAILED
    return failed and may_retry(run, record.verdict.reason, _exit_code(record))


def try_again(run: Run, attempt: Attempt, record: Record) -> bool:
    """Close the attempt with its evidence, and let the run wait for the next one.

    False, and nothing changed, when somebody wants the run ended. Raises `Superseded` when it is
    not ours any more. Locks the run.
    """
    now = timezone.now()
    verdict = record.verdict
    with transaction.atomic():
        held = Run.objects.select_for_update(of=("self",), no_key=True)
        fresh = held.filter(pk=run.pk, status=Status.RUNNING, token=attempt.token).first()
        if fresh is None:
            raise Superseded
        if not wants_further_attempt(fresh, record):
            return False
        changes = retry_columns(fresh, now)
        words = verdict.error.rstrip(".") or verdict.reason.value
        fresh.move_to(
            Status.QUEUED,
            now=now,
            actor=f"worker {attempt.worker_name}",
            text=f"Attempt {attempt.number} ended: {words}; {retry_words(changes, fresh, now)}",
            token=attempt.token,
            changes=changes,
        )
        close_attempt(attempt, record, verdict, now)
    return True


def _exit_code(record: Record) -> int | None:
    return record.outcome.exit_code if record.outcome else None
