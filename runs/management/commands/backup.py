"""`manage.py backup FOLDER`: copy database, objects and secret key while the console runs."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from runs.actions.backups import MOST_NAMED, NeedsDump, make_backup
from runs.domain.errors import RunsiteError


class Command(BaseCommand):
    """`manage.py backup /backup/runsite`; into the same folder again it copies what is new."""

    help = "Copy database, objects and secret key into a folder, while the console runs."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Where to."""
        parser.add_argument("folder", type=Path, help="empty, or with an older backup")

    def handle(self, *args: Any, **options: Any) -> None:
        """Make it and say what it holds. Ends with 2 where the database needs another program."""
        try:
            found = make_backup(folder=options["folder"].absolute(), now=timezone.now())
        except NeedsDump as error:
            self.stderr.write(error.message)
            sys.exit(2)
        except RunsiteError as error:
            raise CommandError(error.message) from error
        except OSError as error:
            raise CommandError(f"The backup could not be written: {error}.") from error
        self.stdout.write(
            f"{found.runs:,} runs and {found.objects:,} objects ({found.object_bytes:,} bytes); "
            f"{found.copied:,} copied now."
        )
        if found.missing:
            named = ", ".join(found.missing[:MOST_NAMED])
            raise CommandError(
                f"{len(found.missing)} objects that the database names are not in the store "
                f"({named}). See the log of the web process, then make the backup again."
            )
