"""Makes a one-time sign-in link and prints it alone on stdout."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from runs.actions.accounts import make_sign_in_link, sign_in_address
from runs.actions.actors import product
from runs.actions.audit import record_change
from runs.models import User

LONGEST_MINUTES = 7 * 24 * 60


class Command(BaseCommand):
    """`manage.py signinlink EMAIL [--minutes 60]`."""

    help = "Make a link that signs a person in once; for who has no password or forgot it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The person and how long the link is open."""
        parser.add_argument("email")
        parser.add_argument("--minutes", type=int, default=60, help="how long it is open")

    def handle(self, *args: Any, **options: Any) -> None:
        """Make the link and print it."""
        minutes = options["minutes"]
        if not 1 <= minutes <= LONGEST_MINUTES:
            raise CommandError(f"--minutes must be 1 to {LONGEST_MINUTES} (a week).")
        email = options["email"].strip().lower()
        user = User.objects.filter(email=email, is_active=True).first()
        if user is None:
            raise CommandError(f"There is no active user {email}. Make one with createuser.")
        now = timezone.now()
        secret = make_sign_in_link(user=user, lifetime=timedelta(minutes=minutes), now=now)
        record_change(
            account=None,
            actor=product("manage.py signinlink"),
            verb="created",
            noun="sign-in link",
            target=email,
            now=now,
        )
        self.stdout.write(sign_in_address(secret))
