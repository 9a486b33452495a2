"""What a run may use before it is ended; asked of an application, and in force for a run."""

from __future__ import annotations

from django.db import models

FAIL, TRUNCATE = "fail", "truncate"
ACTIONS = [(name, name) for name in (FAIL, TRUNCATE)]
DEFAULT_RETRY_DELAY_S = 10.0


class Limits(models.Model):
    """Limits of a run. Sizes are bytes, times seconds.

    Of an application empty means what its manifest says, of a run what the installation says.
    """

    time_limit_s = models.PositiveIntegerField(null=True, blank=True)
    keep_at_time_limit = models.BooleanField(
        null=True,
        blank=True,
        help_text="At the time limit stop it and keep the result, instead of failing.",
    )
    queue_limit_s = models.PositiveIntegerField(
        null=True, blank=True, help_text="How long it may wait to be started."
    )
    memory_limit_bytes = models.PositiveBigIntegerField(null=True, blank=True)
    process_limit = models.PositiveIntegerField(null=True, blank=True)
    log_limit_bytes = models.PositiveBigIntegerField(null=True, blank=True)
    log_limit_action = models.CharField(
        max_length=16, blank=True, default="", db_default="", choices=ACTIONS
    )
    output_limit_bytes = models.PositiveBigIntegerField(null=True, blank=True)
    output_limit_action = models.CharField(
        max_length=16, blank=True, default="", db_default="", choices=ACTIONS
    )
    stop_signal = models.CharField(
        max_length=16,
        blank=True,
        default="",
        db_default="",
        help_text="What asks it to stop and keep its result; empty means SIGINT.",
    )
    stop_grace_s = models.FloatField(null=True, blank=True)

    class Meta:
        abstract = True


LIMIT_NAMES = tuple(field.name for field in Limits._meta.fields)
"""The names of all limits, in the order in which pages show them."""
