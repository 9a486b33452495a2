"""Counts of what happened to the installation, over all processes and restarts."""

from __future__ import annotations

import logging

from django.db import Error, connection, models, transaction
from django.db.models import F

logger = logging.getLogger(__name__)


class Counter(models.Model):
    """How often something has happened; `label` tells kinds of it apart."""

    name = models.CharField(max_length=64)
    label = models.CharField(max_length=64, blank=True, default="")
    value = models.BigIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["name", "label"], name="counter_once")]

    def __str__(self) -> str:
        return f"{self.name} {self.label}: {self.value}"

    @staticmethod
    def add(name: str, label: str = "", *, by: int = 1) -> None:
        """Count `by` more. A count that cannot be written is lost: nothing may fail for it.

        Call it after what it counts was committed.
        """
        try:
            with transaction.atomic():
                if not Counter.objects.filter(name=name, label=label).update(value=F("value") + by):
                    fresh = Counter(name=name, label=label, value=0)
                    Counter.objects.bulk_create([fresh], ignore_conflicts=True)
                    Counter.objects.filter(name=name, label=label).update(value=F("value") + by)
        except Error as error:
            logger.warning("%s %s could not be counted: %s", name, label, error)
            if not connection.in_atomic_block:
                connection.close()
