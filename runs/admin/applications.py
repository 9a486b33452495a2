"""Applications, executables, environments and their builds, versions, instances."""

from __future__ import annotations

from django.contrib import admin

from runs.actions.application_settings import SETTING_NAMES
from runs.admin.site import ReadOnlyTable, Table, site
from runs.models import (
    Application,
    Environment,
    EnvironmentBuild,
    Executable,
    Instance,
    Version,
)


@admin.register(Application, site=site)
class ApplicationTable(Table):
    """Names and limits may be changed; what an application runs is changed on its page."""

    list_display = (
        "application_id",
        "name",
        "account",
        "running_limit",
        "slots",
        "concurrency_limit",
        "created_at",
    )
    list_select_related = ("account", "executable__application", "default_instance", "created_by")
    search_fields = ("application_id", "name", "account__slug")
    readonly_fields = (
        "account",
        "application_id",
        "executable",
        "default_instance",
        "folder",
        "created_by",
        "created_at",
        "archived_at",
        # Checked by the application's own page, which knows the manifest.
        *SETTING_NAMES,
    )

    def has_add_permission(self, request: object) -> bool:
        """Applications are made from their files."""
        return False


@admin.register(Environment, site=site)
class EnvironmentTable(ReadOnlyTable):
    """Dependencies by content."""

    list_display = ("key", "python_version", "platform", "created_at")
    search_fields = ("key", "platform", "python_version")
    large_values = ("requirements",)


@admin.register(EnvironmentBuild, site=site)
class EnvironmentBuildTable(ReadOnlyTable):
    """Environments on their hosts; the log of a build is on the application's page."""

    list_display = ("environment", "host", "state", "worker_name", "requested_at", "ended_at")
    list_filter = ("state",)
    list_select_related = ("environment",)
    search_fields = ("environment__key", "host", "worker_name")
    large_values = ("log", "error")


@admin.register(Executable, site=site)
class ExecutableTable(ReadOnlyTable):
    """Uploaded builds; manifest and files are on the application's page."""

    list_display = ("executable_id", "application", "number", "content_format", "archive_bytes")
    list_filter = ("content_format",)
    list_select_related = ("application", "environment", "uploaded_by")
    search_fields = ("executable_id", "application__application_id", "sha256")
    large_values = ("manifest", "warnings")


@admin.register(Version, site=site)
class VersionTable(ReadOnlyTable):
    """Immutable names of executables."""

    list_display = ("version_id", "name", "application", "executable", "created_at")
    list_select_related = ("application", "executable__application", "created_by")
    search_fields = ("version_id", "name", "application__application_id")


@admin.register(Instance, site=site)
class InstanceTable(ReadOnlyTable):
    """Versions with options; changed on the application's page, which knows the manifest."""

    list_display = ("instance_id", "name", "application", "version", "locked", "updated_at")
    list_filter = ("locked",)
    list_select_related = ("application", "version", "created_by")
    search_fields = ("instance_id", "name", "application__application_id")
    large_values = ("options",)
