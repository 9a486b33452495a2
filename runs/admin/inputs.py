"""Inputs, their files, named inputs, uploads."""

from __future__ import annotations

from django.contrib import admin

from runs.admin.site import ReadOnlyTable, site
from runs.models import InputData, InputFile, ManagedInput, Upload


@admin.register(InputData, site=site)
class InputDataTable(ReadOnlyTable):
    """Inputs by content; the bytes are in the store."""

    list_display = ("input_key", "account", "content_format", "size_bytes", "file_count")
    list_filter = ("content_format",)
    list_select_related = ("account",)
    search_fields = ("input_key", "sha256", "account__slug")
    sortable_by = ()


@admin.register(InputFile, site=site)
class InputFileTable(ReadOnlyTable):
    """The files of inputs."""

    list_display = ("path", "input_data", "number", "size_bytes")
    list_select_related = ("input_data",)
    search_fields = ("path", "input_data__input_key")
    sortable_by = ()


@admin.register(ManagedInput, site=site)
class ManagedInputTable(ReadOnlyTable):
    """Named inputs."""

    list_display = ("input_id", "name", "application", "input_data", "created_at")
    list_select_related = ("application", "input_data", "created_by")
    search_fields = ("input_id", "name", "application__application_id")


@admin.register(Upload, site=site)
class UploadTable(ReadOnlyTable):
    """Bytes on their way."""

    list_display = ("upload_id", "file_name", "account", "size_bytes", "created_at")
    list_select_related = ("account", "created_by")
    search_fields = ("upload_id", "file_name", "account__slug")
