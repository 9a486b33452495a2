"""Attempts: one execution of a run by one worker, with its log and its use of resources."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone

from runs.models.runs import Run
from runs.models.workers import Worker


class Attempt(models.Model):
    """One execution of a run. While `ended_at` is empty the worker holds a lease on it.

    Every write of the worker is guarded by `token`; `beat` counts its signs of life, and the
    reaper watches whether it changes. `outcome` is the end reason in the end, also `lost`.
    """

    run = models.ForeignKey(Run, models.CASCADE, related_name="attempts")
    number = models.PositiveSmallIntegerField()
    token = models.CharField(max_length=32, unique=True)
    worker = models.ForeignKey(Worker, models.SET_NULL, null=True, related_name="attempts")
    worker_name = models.CharField(max_length=200)
    boot_id = models.CharField(max_length=64)
    host = models.CharField(max_length=255, blank=True)
    beat = models.BigIntegerField(default=0)
    claimed_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)
    executed_at = models.DateTimeField(null=True, blank=True, help_text="The program ended.")
    ended_at = models.DateTimeField(null=True, blank=True)
    outcome = models.CharField(max_length=32, blank=True)
    error = models.CharField(max_length=500, blank=True)
    detail = models.TextField(blank=True)
    pid = models.PositiveIntegerField(null=True, blank=True)
    pid_started = models.FloatField(null=True, blank=True, help_text="Against reused pids.")
    exit_code = models.IntegerField(null=True, blank=True)
    signal = models.IntegerField(null=True, blank=True)
    cpu_s = models.FloatField(null=True, blank=True)
    peak_memory_bytes = models.BigIntegerField(null=True, blank=True)
    log_bytes = models.BigIntegerField(default=0, help_text="Written by the program.")
    log_cut_at = models.BigIntegerField(null=True, blank=True, help_text="Where bytes are missing.")
    log_cut_bytes = models.BigIntegerField(default=0, help_text="How many are missing there.")
    log_lines = models.BigIntegerField(default=0)
    log_key = models.CharField(max_length=300, blank=True, help_text="The whole log, once ended.")
    usage_key = models.CharField(max_length=300, blank=True, help_text="All samples, once ended.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["run", "number"], name="attempt_number_in_run"),
        ]
        indexes = [
            models.Index(
                fields=["worker_name"], condition=Q(ended_at__isnull=True), name="attempt_open"
            ),
            models.Index(
                fields=["ended_at"],
                condition=Q(outcome__in=["worker_lost", "worker_stopped"]),
                name="attempt_taken_away",
            ),
        ]

    def __str__(self) -> str:
        return f"attempt {self.number} of {self.run_id}"


class LogChunk(models.Model):
    """A piece of a log: bytes `first_byte` to `first_byte + size` of what is kept.

    Newest pieces hold their bytes; older ones were joined into an object of the store (`key`).
    """

    attempt = models.ForeignKey(Attempt, models.CASCADE, related_name="log_chunks")
    first_byte = models.BigIntegerField()
    size = models.PositiveIntegerField()
    first_line = models.BigIntegerField(default=0)
    lines = models.PositiveIntegerField(default=0, help_text="Line ends in it.")
    at = models.DateTimeField(default=timezone.now)
    data = models.BinaryField(null=True)
    key = models.CharField(max_length=300, blank=True)
    times = models.JSONField(
        null=True, blank=True, help_text="[byte, seconds since start] of its former pieces."
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["attempt", "first_byte"], name="chunk_first_byte"),
        ]

    def __str__(self) -> str:
        return f"{self.size} bytes from {self.first_byte}"


class UsageSample(models.Model):
    """CPU time and memory of the process tree at one moment."""

    attempt = models.ForeignKey(Attempt, models.CASCADE, related_name="usage_samples")
    at_s = models.FloatField(help_text="Since the program started.")
    cpu_s = models.FloatField(help_text="Used so far by the whole tree.")
    memory_bytes = models.BigIntegerField()
    processes = models.PositiveIntegerField(default=1)

    class Meta:
        indexes = [models.Index(fields=["attempt", "at_s"], name="usage_of_attempt")]

    def __str__(self) -> str:
        return f"{self.at_s:.1f} s: {self.memory_bytes} bytes"


class EndedProcess(models.Model):
    """A process of a run that had to be ended, and how; the proof that nothing survived."""

    attempt = models.ForeignKey(Attempt, models.CASCADE, related_name="ended_processes")
    pid = models.PositiveIntegerField()
    command = models.CharField(max_length=200, blank=True)
    how = models.CharField(max_length=200, help_text="Why it was ended, in words.")
    signal = models.CharField(max_length=16)
    at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"{self.signal} to {self.pid} {self.command}"
