"""`manage.py serve`: start the whole console in the foreground (the same as ./script/server)."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from importlib import import_module

from django.core.management.base import BaseCommand


class Command(BaseCommand):
    """Start the whole console in the foreground (the same as ./script/server)."""

    help = "Start the whole console in the foreground (the same as ./script/server)."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """`--tls`; manage.py has acted on it before the settings were read."""
        parser.add_argument(
            "--tls",
            action="store_true",
            help="serve https, with a certificate of the console's own (as RUNSITE_TLS=auto), or "
            "the one that RUNSITE_TLS_CERTIFICATE names",
        )

    def handle(self, *args: object, **options: object) -> None:
        """Hand over to the console, which stands above the rooms."""
        if code := import_module("runsite.console").serve():
            sys.exit(code)
