"""`manage.py reap`: watch for one lease, then take runs from workers that are silent."""

from __future__ import annotations

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from runs.supervision.reaping import in_words, reap_once


class Command(BaseCommand):
    """What the scheduler does every few seconds, once and by hand, as when none is running."""

    help = "Watch all workers for one lease, then give back or end the runs of silent ones."

    def handle(self, *args: object, **options: object) -> None:
        """Say before how long it takes, and after what it did."""
        self.stdout.write(f"Watching for {settings.RUNSITE_LEASE_S:g} s …")
        self.stdout.flush()
        try:
            reaped = reap_once()
        except DatabaseError as error:
            raise CommandError(f"The database failed: {error}. Run it again.") from error
        self.stdout.write(in_words(reaped))
