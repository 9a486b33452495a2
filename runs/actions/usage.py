"""Reads how much CPU time and memory the processes of an attempt used over time."""

from __future__ import annotations

import json
from dataclasses import dataclass

from runs.models import Attempt, UsageSample
from runs.storage import StorageError, object_store

MOST_SAMPLES = 100_000


@dataclass(frozen=True)
class Sample:
    """The process tree at `at_s` seconds after its start; `cpu_s` is the sum so far."""

    at_s: float
    cpu_s: float
    memory_bytes: int
    processes: int = 1


def read_usage(*, attempt: Attempt) -> list[Sample]:
    """All samples of an attempt, oldest first; none when the object is gone or broken."""
    if not attempt.usage_key:
        rows = UsageSample.objects.filter(attempt=attempt).order_by("at_s")
        columns = ("at_s", "cpu_s", "memory_bytes", "processes")
        return [Sample(*row) for row in rows.values_list(*columns)[:MOST_SAMPLES]]
    try:
        with object_store().open(attempt.usage_key) as stream:
            rows_kept = json.load(stream)
        return [
            Sample(float(at_s), float(cpu_s), int(memory), int(processes))
            for at_s, cpu_s, memory, processes in rows_kept[:MOST_SAMPLES]
        ]
    except (StorageError, ValueError, TypeError):
        return []


def last_usage(*, attempt: Attempt) -> Sample | None:
    """The newest sample of an attempt that runs."""
    rows = UsageSample.objects.filter(attempt=attempt).order_by("-at_s")
    row = rows.values_list("at_s", "cpu_s", "memory_bytes", "processes").first()
    return Sample(*row) if row else None
