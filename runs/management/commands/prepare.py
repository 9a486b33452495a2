"""`manage.py prepare`: migrate and make the administrator, for installations on several hosts."""

from __future__ import annotations

from importlib import import_module

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandParser


class Command(BaseCommand):
    """Bring the database up to date; run it once before the processes of a new release start."""

    help = "Migrate the database and make the first administrator."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take `--demo`."""
        parser.add_argument(
            "--demo", action="store_true", help="Also load the demo account with the sample apps."
        )

    def handle(self, *args: object, **options: object) -> None:
        """Print what must be noted: a password that was made is shown once."""
        preparation = import_module("runsite.preparation")
        call_command("migrate", interactive=False, verbosity=options["verbosity"])
        for note in preparation.make_admin():
            self.stdout.write(note)
        if options["demo"]:
            preparation.load_demo()
