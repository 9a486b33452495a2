"""`manage.py worker`: start a worker alone, for installations on several hosts."""

from __future__ import annotations

from importlib import import_module

from django.core.management.base import BaseCommand


class Command(BaseCommand):
    """Start a worker alone, for installations on several hosts."""

    help = "Start a worker alone, for installations on several hosts."
    requires_system_checks = ()

    def handle(self, *args: object, **options: object) -> None:
        """Hand over to the console, which stands above the rooms."""
        import_module("runsite.console").worker()
