"""Reads the curves that a run reported in its statistics."""

from __future__ import annotations

import json

from runs.domain.values import Series, series
from runs.models import Run, RunFile
from runs.storage import StorageError, object_store

LIMIT_BYTES = 8 * 1024 * 1024
"""Statistics beyond this are a download, not a picture."""


def read_series(*, run: Run) -> list[Series]:
    """The curves of `statistics.series_data` that have points; one query, 8 MiB at most.

    None when there are none, or the document is larger, gone or broken: a picture is an extra.
    """
    file = RunFile.objects.filter(run=run, role=RunFile.STATISTICS, number=0).first()
    if file is None or file.size_bytes > LIMIT_BYTES:
        return []
    try:
        document = json.loads(object_store().read_range(file.key, 0, LIMIT_BYTES))
    except (StorageError, ValueError, RecursionError):
        return []
    return [curve for curve in series(document) if curve.points]
