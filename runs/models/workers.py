"""Workers as rows fed by their heartbeats, and the leases of the loops of the installation."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


class Worker(models.Model):
    """A worker by the name that it keeps over restarts; `beat` counts its heartbeats."""

    ACTIVE, DRAINING, LOST, STOPPED = "active", "draining", "lost", "stopped"
    STATES = [(name, name) for name in (ACTIVE, DRAINING, LOST, STOPPED)]

    name = models.CharField(max_length=200, unique=True)
    boot_id = models.CharField(max_length=64, blank=True)
    host = models.CharField(max_length=255, blank=True)
    pid = models.PositiveIntegerField(default=0)
    software = models.CharField(max_length=64, blank=True, help_text="Its release of Runsite.")
    state = models.CharField(max_length=16, choices=STATES, default=ACTIVE)
    drain_wanted = models.BooleanField(default=False)
    slots = models.PositiveIntegerField(default=0)
    slots_used = models.PositiveIntegerField(default=0)
    queues = models.JSONField(default=list, help_text="Names; empty means all.")
    labels = models.JSONField(default=dict)
    beat = models.BigIntegerField(default=0)
    seen_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(default=timezone.now)
    stopped_at = models.DateTimeField(null=True, blank=True)
    load = models.FloatField(default=0)
    memory_bytes = models.BigIntegerField(default=0)
    free_bytes = models.BigIntegerField(default=0)
    log_lag_s = models.FloatField(
        default=0, db_default=0, help_text="Age of the oldest part of a log that no page sees yet."
    )
    note = models.CharField(max_length=300, blank=True, help_text="Why it takes nothing, if so.")

    def __str__(self) -> str:
        return self.name


class WorkerBoot(models.Model):
    """One life of a worker process."""

    worker = models.ForeignKey(Worker, models.CASCADE, related_name="boots")
    boot_id = models.CharField(max_length=64, unique=True)
    host = models.CharField(max_length=255, blank=True)
    pid = models.PositiveIntegerField(default=0)
    started_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True, blank=True)
    how = models.CharField(max_length=200, blank=True, help_text="How it ended, in words.")

    def __str__(self) -> str:
        return f"{self.worker}, from {self.started_at:%Y-%m-%d %H:%M}"


class LoopLease(models.Model):
    """Which process does a duty of the installation; `beat` shows that it still lives."""

    name = models.CharField(max_length=64, unique=True)
    holder = models.CharField(max_length=300, blank=True)
    beat = models.BigIntegerField(default=0)
    seen_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"{self.name} by {self.holder or 'nobody'}"
