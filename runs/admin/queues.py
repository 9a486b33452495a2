"""Queues, lanes, and requests to submit."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest

from runs.admin.site import ReadOnlyTable, Table, site
from runs.models import Lane, Queue, Submission


@admin.register(Queue, site=site)
class QueueTable(Table):
    """The limit may be changed; pausing is on the queue's page, which says who did it."""

    list_display = ("name", "account", "running_limit", "paused_at", "paused_by")
    list_select_related = ("account",)
    search_fields = ("name", "account__slug")
    fields = ("account", "name", "running_limit", "paused_at", "paused_by", "created_at")
    readonly_fields = ("account", "name", "paused_at", "paused_by", "created_at")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Queues come with the first run of their execution class."""
        return False


@admin.register(Lane, site=site)
class LaneTable(ReadOnlyTable):
    """Groups of runs that wait for the same things."""

    list_display = ("queue", "application", "environment", "slots")
    list_select_related = ("queue", "application", "environment")
    search_fields = ("queue__name", "application__application_id", "environment__key")


@admin.register(Submission, site=site)
class SubmissionTable(ReadOnlyTable):
    """Requests of programs to submit a run; kept for a day, to tell a repeated one apart."""

    list_display = ("digest", "account", "api_key", "run", "received_at", "answered_at")
    list_select_related = ("account", "api_key", "run")
    search_fields = ("digest", "key", "run__run_id")
    sortable_by = ()
