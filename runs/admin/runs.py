"""Runs and what belongs to one: events, options, metrics, files, assets."""

from __future__ import annotations

from typing import ClassVar

from django.contrib import admin

from runs.admin.site import ReadOnlyTable, site
from runs.models import Asset, Run, RunEvent, RunFile, RunMetric, RunOption, RunWait


@admin.register(Run, site=site)
class RunTable(ReadOnlyTable):
    """Runs; only their own moves change them."""

    list_display = (
        "run_id",
        "name",
        "application",
        "account",
        "status",
        "end_reason",
        "hold",
        "slots",
        "created_at",
        "duration_s",
    )
    list_filter = ("status", "hold")
    list_select_related = (
        "application",
        "account",
        "instance",
        "version",
        "executable__application",
        "environment",
        "queue",
        "lane__queue",
        "lane__application",
        "lane__environment",
        "input_data",
        "managed_input",
        "cloned_from",
        "submitted_by",
        "api_key",
    )
    search_fields = ("=run_id", "name", "=application__application_id", "=account__slug")
    search_help_text = "A run id, a part of a name, an application or an account."
    sortable_by = ()
    large_values = ("requested_options", "warnings", "detail", "description")
    hidden = ("token",)


class PartTable(ReadOnlyTable):
    """What belongs to runs: found by the run, never sorted as a whole."""

    list_select_related: ClassVar[tuple[str, ...]] = ("run",)
    sortable_by = ()
    search_help_text = "A run id."
    search_fields: ClassVar[tuple[str, ...]] = ("=run__run_id",)


@admin.register(RunEvent, site=site)
class RunEventTable(PartTable):
    """Status changes."""

    list_display = ("at", "run", "kind", "before", "after", "end_reason", "actor")
    list_filter = ("kind",)
    list_select_related = ("run", "user")


@admin.register(RunOption, site=site)
class RunOptionTable(PartTable):
    """Options in force."""

    list_display = ("run", "name", "short", "source", "passed")
    list_select_related = ("run", "application", "account")
    large_values = ("text",)


@admin.register(RunWait, site=site)
class RunWaitTable(PartTable):
    """Runs that wait for other runs."""

    list_display = ("run", "awaited", "open", "outcome")
    list_filter = ("open",)
    list_select_related = ("run", "awaited")
    search_fields = ("=run__run_id", "=awaited__run_id")


@admin.register(RunMetric, site=site)
class RunMetricTable(PartTable):
    """Metrics."""

    list_display = ("run", "name", "text", "number")
    list_select_related = ("run", "application", "account")


@admin.register(RunFile, site=site)
class RunFileTable(PartTable):
    """Stored parts of results; the bytes are in the store."""

    list_display = ("run", "role", "number", "path", "size_bytes")
    list_filter = ("role",)


@admin.register(Asset, site=site)
class AssetTable(PartTable):
    """What runs declared; the content is in the store."""

    list_display = ("asset_id", "run", "name", "schema", "visual_type", "size_bytes")
    list_filter = ("schema",)
    search_fields = ("=run__run_id", "=asset_id")
    large_values = ("description", "warning")
