"""Reads what runs produced: one place that doors import from, whatever holds the bytes."""

from __future__ import annotations

from runs.actions.logs import (
    Found,
    LogPiece,
    find_in_log,
    log_end,
    read_before,
    read_log,
    read_tail,
    stream_log,
)
from runs.actions.outputs import (
    Preview,
    open_asset,
    open_output,
    preview_object,
    read_figures,
    zip_files,
)
from runs.actions.usage import Sample, last_usage, read_usage

__all__ = [
    "Found",
    "LogPiece",
    "Preview",
    "Sample",
    "find_in_log",
    "last_usage",
    "log_end",
    "open_asset",
    "open_output",
    "preview_object",
    "read_before",
    "read_figures",
    "read_log",
    "read_tail",
    "read_usage",
    "stream_log",
    "zip_files",
]
