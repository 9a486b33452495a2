"""Makes an API key and prints it alone on stdout."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from runs.actions.accounts import create_api_key, find_account
from runs.actions.actors import product
from runs.domain.errors import RunsiteError
from runs.domain.roles import roles_up_to


class Command(BaseCommand):
    """`manage.py createapikey --account demo --role developer NAME`."""

    help = "Make an API key. It is printed once, alone on stdout; only its hash is kept."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The account, the role, the name."""
        parser.add_argument("--account", required=True, help="the account's short name")
        parser.add_argument("--role", choices=roles_up_to("admin"), default="developer")
        parser.add_argument("name", help="what will use the key")

    def handle(self, *args: Any, **options: Any) -> None:
        """Make the key and print it."""
        try:
            _, secret = create_api_key(
                account=find_account(options["account"]),
                name=options["name"],
                role=options["role"],
                actor=product("manage.py createapikey"),
                now=timezone.now(),
            )
        except RunsiteError as error:
            raise CommandError(error.message) from error
        self.stdout.write(secret)
