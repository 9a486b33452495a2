"""Makes a person, or makes a known one a member of an account."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.utils import timezone

from runs.actions.accounts import (
    add_member,
    clean_email,
    create_user,
    find_account,
    make_sign_in_link,
    sign_in_address,
)
from runs.actions.actors import product
from runs.domain.errors import RunsiteError
from runs.domain.roles import roles_up_to
from runs.models import User


class Command(BaseCommand):
    """`manage.py createuser EMAIL [--account demo --role developer] [--root]`."""

    help = (
        "Make a person and, with --account, a member of it. Prints a one-time sign-in link, "
        "unless a password comes on stdin or the person was known already."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The address, the account and role. A password never stands on the command line."""
        parser.add_argument("email")
        parser.add_argument("--name", default="")
        parser.add_argument("--account", help="the account's short name")
        parser.add_argument("--role", choices=roles_up_to("admin"), default="developer")
        parser.add_argument("--root", action="store_true", help="may do everything, everywhere")
        parser.add_argument(
            "--password-stdin", action="store_true", help="read the password from stdin"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Make the person and the membership, together or not at all."""
        actor, now = product("manage.py createuser"), timezone.now()
        password = sys.stdin.readline().rstrip("\r\n") if options["password_stdin"] else None
        link = ""
        try:
            with transaction.atomic():
                email = clean_email(options["email"])
                user = User.objects.filter(email=email).first()
                is_new = user is None
                if user is None:
                    user = create_user(
                        email=email,
                        name=options["name"],
                        password=password,
                        root=options["root"],
                        actor=actor,
                        now=now,
                    )
                elif options["root"] or password is not None or not options["account"]:
                    raise CommandError(
                        f"There is a user {email} already. Give --account to add that person to "
                        "one, or use signinlink; root is given in the admin panel."
                    )
                if options["account"]:
                    add_member(
                        account=find_account(options["account"]),
                        email=email,
                        role=options["role"],
                        actor=actor,
                        now=now,
                    )
                if is_new and password is None:
                    link = sign_in_address(make_sign_in_link(user=user, now=now))
        except RunsiteError as error:
            raise CommandError(error.message) from error
        self.stdout.write(link or f"{email} is there.")
