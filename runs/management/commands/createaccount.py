"""Makes an account."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from runs.actions.accounts import create_account
from runs.actions.actors import product
from runs.domain.errors import RunsiteError


class Command(BaseCommand):
    """`manage.py createaccount SLUG [--name NAME]`."""

    help = "Make an account."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The short name and the name shown."""
        parser.add_argument("slug", help="the short name, as clients and commands give it")
        parser.add_argument("--name", default="", help="the name shown on pages")

    def handle(self, *args: Any, **options: Any) -> None:
        """Make it and say so."""
        try:
            account = create_account(
                slug=options["slug"],
                name=options["name"],
                actor=product("manage.py createaccount"),
                now=timezone.now(),
            )
        except RunsiteError as error:
            raise CommandError(error.message) from error
        self.stdout.write(f"Account {account.slug} is there. Add people with createuser.")
