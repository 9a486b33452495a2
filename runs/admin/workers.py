"""Workers, their lives, the leases of loops, and counts of what happened."""

from __future__ import annotations

from django.contrib import admin

from runs.admin.site import ReadOnlyTable, site
from runs.models import Counter, LoopLease, Worker, WorkerBoot


@admin.register(Worker, site=site)
class WorkerTable(ReadOnlyTable):
    """Workers by name; fed by heartbeats, drained on the workers page."""

    list_display = ("name", "host", "state", "slots_used", "slots", "labels", "seen_at", "software")
    list_filter = ("state",)
    search_fields = ("name", "host", "boot_id")


@admin.register(WorkerBoot, site=site)
class WorkerBootTable(ReadOnlyTable):
    """Lives of worker processes."""

    list_display = ("worker", "boot_id", "host", "pid", "started_at", "ended_at", "how")
    list_select_related = ("worker",)
    search_fields = ("worker__name", "boot_id", "host")


@admin.register(LoopLease, site=site)
class LoopLeaseTable(ReadOnlyTable):
    """Which process does a duty of the installation."""

    list_display = ("name", "holder", "seen_at")
    search_fields = ("name", "holder")


@admin.register(Counter, site=site)
class CounterTable(ReadOnlyTable):
    """How often something has happened, over all processes and restarts."""

    list_display = ("name", "label", "value")
    list_filter = ("name",)
    search_fields = ("name", "label")
