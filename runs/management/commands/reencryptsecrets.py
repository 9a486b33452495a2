"""`manage.py reencryptsecrets`: seal with the present key what a former one sealed."""

from __future__ import annotations

from django.core.management.base import BaseCommand, CommandError

from runs.actions.secrets import reseal_secrets
from runs.domain.errors import RunsiteError


class Command(BaseCommand):
    """The last step before a former key can be thrown away."""

    help = "Encrypt with the present key all secrets that a former key encrypted."

    def handle(self, *args: object, **options: object) -> None:
        """Say how many there were; end with 1 when some cannot be read with any key."""
        try:
            count, lost = reseal_secrets()
        except RunsiteError as error:
            raise CommandError(error.message) from error
        words = "1 secret was" if count == 1 else f"{count} secrets were"
        self.stdout.write(f"{words} encrypted with the present key.")
        if lost:
            names = "\n".join(f"  {name}" for name in lost)
            raise CommandError(
                f"{len(lost)} cannot be read with the present key or a former one:\n{names}\n"
                "Add their key to RUNSITE_FORMER_SECRET_KEYS, or set them anew."
            )
