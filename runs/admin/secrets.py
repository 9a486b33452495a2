"""Collections of secrets: their names. Values are on no page of the panel, not even encrypted."""

from __future__ import annotations

from django.contrib import admin

from runs.admin.site import ReadOnlyTable, site
from runs.models import Secret, SecretsCollection


@admin.register(SecretsCollection, site=site)
class SecretsCollectionTable(ReadOnlyTable):
    """Secrets that belong together."""

    list_display = ("collection_id", "name", "application", "updated_at")
    list_select_related = ("application", "created_by")
    search_fields = ("collection_id", "name", "application__application_id")
    sortable_by = ()


@admin.register(Secret, site=site)
class SecretTable(ReadOnlyTable):
    """What a collection gives a run: variables and files, by name."""

    list_display = ("location", "kind", "collection", "updated_at")
    list_filter = ("kind",)
    list_select_related = ("collection",)
    search_fields = ("location", "collection__collection_id")
    sortable_by = ()
    hidden = ("encrypted",)
