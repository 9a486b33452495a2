"""Queues, and the lanes in which their runs wait."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone

from runs.models.accounts import Account
from runs.models.applications import Application, Environment

DEFAULT_QUEUE = "default"


class Queue(models.Model):
    """Where runs of one execution class wait; served by the workers that list its name."""

    account = models.ForeignKey(Account, models.CASCADE, related_name="queues")
    name = models.CharField(max_length=64, default=DEFAULT_QUEUE)
    running_limit = models.PositiveIntegerField(
        null=True, blank=True, help_text="Runs of it at once; empty means no limit."
    )
    paused_at = models.DateTimeField(null=True, blank=True)
    paused_by = models.CharField(max_length=200, blank=True)
    nudged_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["account", "name"], name="queue_once_in_account"),
        ]

    def __str__(self) -> str:
        return self.name


class Lane(models.Model):
    """Runs that wait for the same: one queue, application, environment and number of slots.

    All of a lane's runs are admissible or none is, so a claim looks at the head of each lane and
    never walks over runs that are held.
    """

    queue = models.ForeignKey(Queue, models.CASCADE, related_name="lanes")
    application = models.ForeignKey(Application, models.CASCADE, related_name="lanes")
    environment = models.ForeignKey(
        Environment, models.CASCADE, null=True, blank=True, related_name="lanes"
    )
    slots = models.PositiveSmallIntegerField(default=1, db_default=1)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["queue", "application", "environment", "slots"], name="lane_once"
            ),
            models.UniqueConstraint(
                fields=["queue", "application", "slots"],
                condition=Q(environment__isnull=True),
                name="lane_once_without_environment",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.queue} · {self.application} · {self.environment}"
