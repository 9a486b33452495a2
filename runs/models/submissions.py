"""Requests to submit a run, as far as a repeated one must be told from a second one."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from runs.models.accounts import Account, ApiKey
from runs.models.runs import Run


class Submission(models.Model):
    """One request of a program to submit a run, and the run that came of it.

    `digest` is over the application, the query and the body. `answered_at` is empty while it is
    under way, and for ever when its process was killed. See decision 14 for what counts as a
    repetition.
    """

    account = models.ForeignKey(Account, models.CASCADE, related_name="submissions")
    api_key = models.ForeignKey(
        ApiKey, models.CASCADE, null=True, blank=True, related_name="submissions"
    )
    digest = models.CharField(max_length=64)
    key = models.CharField(max_length=200, blank=True, help_text="What the sender named it.")
    run = models.ForeignKey(Run, models.CASCADE, null=True, blank=True, related_name="submissions")
    received_at = models.DateTimeField(default=timezone.now)
    answered_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["account", "key"],
                condition=~models.Q(key=""),
                name="submission_once_by_key",
            ),
        ]
        indexes = [
            models.Index(fields=["api_key", "digest", "-id"], name="submission_by_digest"),
            models.Index(fields=["received_at"], name="submission_age"),
        ]

    def __str__(self) -> str:
        return f"{self.digest[:12]} {self.received_at}"
