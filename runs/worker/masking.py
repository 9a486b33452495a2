"""Keeps the secrets of a run out of what is written of it: its log, its verdict, its warnings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from runs.domain.masking import MaskedStream, Masker
from runs.execution.spec import LogSink, Outcome
from runs.worker.result_documents import Record


@contextmanager
def masked_log(log: LogSink, masker: Masker) -> Iterator[LogSink]:
    """`log` itself where there is nothing to mask; else one before it that masks what comes.

    That holds back what may be the beginning of a value, for as long as the block goes on.
    """
    if not masker:
        yield log
        return
    stream = MaskedStream(masker, log.write)
    try:
        yield stream
    finally:
        stream.close()


def mask_record(record: Record, masker: Masker) -> None:
    """Mask every text of ours in it. Results are the program's own, and stay as they are."""
    if not masker:
        return
    verdict = record.verdict
    record.verdict = replace(
        verdict,
        error=masker.text(verdict.error),
        detail=masker.text(verdict.detail),
        given_back=masker.text(verdict.given_back),
    )
    record.warnings = [masker.text(warning) for warning in record.warnings]
    if record.outcome is not None:
        record.outcome = _masked(record.outcome, masker)


def _masked(outcome: Outcome, masker: Masker) -> Outcome:
    return replace(
        outcome,
        error=masker.text(outcome.error),
        detail=masker.text(outcome.detail),
        warnings=tuple(masker.text(warning) for warning in outcome.warnings),
        ended=tuple(replace(one, command=masker.text(one.command)) for one in outcome.ended),
    )
