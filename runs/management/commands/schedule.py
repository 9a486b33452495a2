"""`manage.py schedule`: run the scheduler alone, for installations on several hosts."""

from __future__ import annotations

from importlib import import_module

from django.core.management.base import BaseCommand


class Command(BaseCommand):
    """Run the scheduler alone, for installations on several hosts."""

    help = "Run the scheduler alone, for installations on several hosts."
    requires_system_checks = ()

    def handle(self, *args: object, **options: object) -> None:
        """Hand over to the console, which stands above the rooms."""
        import_module("runsite.console").schedule()
