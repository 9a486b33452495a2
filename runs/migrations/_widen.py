"""Adds columns in a way that processes of the release before go on with, and without a copy."""

from __future__ import annotations

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


class Widen(migrations.AddField):
    """Adds a column whose default the database keeps, for processes of the release before.

    On SQLite Django would copy the whole table for each column that may not be null. As the
    default stays, adding the column is enough.
    """

    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        """Add the column by one statement, on SQLite too."""
        model = to_state.apps.get_model(app_label, self.model_name)
        if not self.allow_migrate_model(schema_editor.connection.alias, model):
            return
        BaseDatabaseSchemaEditor.add_field(schema_editor, model, model._meta.get_field(self.name))
