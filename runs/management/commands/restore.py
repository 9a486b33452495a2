"""`manage.py restore FOLDER`: put a backup into an empty data directory."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from runs.actions.backups import NeedsDump, restore_backup
from runs.domain.errors import RunsiteError


class Command(BaseCommand):
    """`RUNSITE_DATA_DIR=/new/folder manage.py restore /backup/runsite`."""

    help = "Put a backup into an empty data directory; every object is checked."
    # Checks may open the database, which is not there yet.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Where from."""
        parser.add_argument("folder", type=Path, help="what `manage.py backup` has made")

    def handle(self, *args: Any, **options: Any) -> None:
        """Restore it and say what to do next."""
        try:
            found = restore_backup(folder=options["folder"].absolute())
        except NeedsDump as error:
            self.stderr.write(error.message)
            sys.exit(2)
        except RunsiteError as error:
            raise CommandError(error.message) from error
        except OSError as error:
            raise CommandError(f"The backup could not be restored: {error}.") from error
        self.stdout.write(
            f"Restored {found.runs:,} runs and {found.objects:,} objects of {found.made_at} into "
            f"{settings.RUNSITE_DATA_DIR}. Start the console there: runs that were under way then "
            "are given back to the queue."
        )
        if found.missing:
            self.stderr.write(
                f"{len(found.missing)} objects were missing already when the backup was made; "
                "pages say so where they are named."
            )
