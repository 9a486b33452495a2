"""`manage.py serve`: start the whole console in the foreground (the same as ./script/server)."""

from __future__ import annotations

import sys
from importlib import import_module

from django.core.management.base import BaseCommand


class Command(BaseCommand):
    """Start the whole console in the foreground (the same as ./script/server)."""

    help = "Start the whole console in the foreground (the same as ./script/server)."
    requires_system_checks = ()

    def handle(self, *args: object, **options: object) -> None:
        """Hand over to the console, which stands above the rooms."""
        if code := import_module("runsite.console").serve():
            sys.exit(code)
