"""Attempts, log chunks, usage samples, ended processes."""

from __future__ import annotations

from django.contrib import admin

from runs.admin.site import ReadOnlyTable, site
from runs.models import Attempt, EndedProcess, LogChunk, UsageSample


@admin.register(Attempt, site=site)
class AttemptTable(ReadOnlyTable):
    """Executions of runs by workers."""

    list_display = ("run", "number", "worker_name", "claimed_at", "ended_at", "outcome")
    list_select_related = ("run", "worker")
    search_fields = ("=run__run_id", "=worker_name", "=boot_id")
    sortable_by = ()
    large_values = ("detail",)
    hidden = ("token",)


@admin.register(LogChunk, site=site)
class LogChunkTable(ReadOnlyTable):
    """Pieces of logs, without their bytes."""

    list_display = ("attempt", "first_byte", "size", "lines", "at")
    list_select_related = ("attempt",)
    search_fields = ("=attempt__run__run_id",)
    sortable_by = ()
    large_values = ("data", "times")


@admin.register(UsageSample, site=site)
class UsageSampleTable(ReadOnlyTable):
    """CPU time and memory of process trees."""

    list_display = ("attempt", "at_s", "cpu_s", "memory_bytes", "processes")
    list_select_related = ("attempt",)
    search_fields = ("=attempt__run__run_id",)
    sortable_by = ()


@admin.register(EndedProcess, site=site)
class EndedProcessTable(ReadOnlyTable):
    """Processes that had to be ended."""

    list_display = ("attempt", "pid", "command", "signal", "how", "at")
    list_select_related = ("attempt",)
    search_fields = ("=attempt__run__run_id", "command")
    sortable_by = ()
