"""Collections of secrets that runs are given; only their names are ever shown again."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from runs.models.accounts import User
from runs.models.applications import Application


class SecretsCollection(models.Model):
    """Secrets that belong together, given to the runs and instances that name the collection."""

    application = models.ForeignKey(Application, models.CASCADE, related_name="secrets_collections")
    collection_id = models.CharField(max_length=128)
    name = models.CharField(max_length=200, blank=True)
    description = models.TextField(blank=True)
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["application", "collection_id"], name="secrets_once_in_application"
            ),
        ]

    def __str__(self) -> str:
        return self.name or self.collection_id


class Secret(models.Model):
    """One secret: an environment variable or a file of the run. Its value is kept encrypted."""

    ENV, FILE = "env", "file"
    KINDS = [(kind, kind) for kind in (ENV, FILE)]

    collection = models.ForeignKey(SecretsCollection, models.CASCADE, related_name="secrets")
    kind = models.CharField(max_length=8, choices=KINDS)
    location = models.CharField(max_length=1024, help_text="Name of the variable, or path.")
    encrypted = models.TextField()
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["collection", "kind", "location"], name="secret_once_in_collection"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.location}"
