"""Imports the runs of a local run folder, and says what became of each."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from runs.actions.accounts import find_account
from runs.actions.actors import product
from runs.actions.run_folders import (
    CHANGING,
    IMPORTED,
    KNOWN,
    REFUSED,
    ImportedFolder,
    import_runs,
)
from runs.domain.errors import RunsiteError
from runs.models import Account


class Command(BaseCommand):
    """`manage.py import_runs DIR [--account SLUG] [--application ID]`."""

    help = (
        "Import the runs that the published local tool keeps in DIR: the folder of an application,"
        " its .nextmv/runs, or the folder of one run. Importing them again doubles nothing. Ends"
        " with 1 when a folder could not be imported."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The folder, and where its runs go."""
        parser.add_argument("folder", metavar="DIR", type=Path)
        parser.add_argument(
            "--account", help="the account's short name; needed when there are several"
        )
        parser.add_argument(
            "--application",
            default="",
            metavar="ID",
            help="of this application; else of the one that each run names, else called as the"
            " folder. One that is missing is made",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Import; a line for each folder, then the sums."""
        try:
            report = import_runs(
                account=_account(options["account"]),
                folder=options["folder"],
                actor=product("manage.py import_runs"),
                application_id=options["application"],
                tell=self._tell,
            )
        except RunsiteError as error:
            raise CommandError(error.message) from error
        sums = [f"{report.count(word)} {word}" for word in (IMPORTED, KNOWN, CHANGING, REFUSED)]
        self.stdout.write(f"{len(report.folders)} folders: {', '.join(sums)}.")
        if report.refused:
            raise SystemExit(1)

    def _tell(self, one: ImportedFolder) -> None:
        where = f" as {one.application_id}/{one.run_id}" if one.run_id else ""
        text = f". {one.text}" if one.text else ""
        self.stdout.write(f"{one.folder}: {one.outcome}{where}{text}")
        for warning in one.warnings:
            self.stdout.write(f"  {warning}")


def _account(slug: str | None) -> Account:
    if slug:
        return find_account(slug)
    found = list(Account.objects.order_by("slug")[:20])
    if len(found) == 1:
        return found[0]
    names = ", ".join(account.slug for account in found)
    raise CommandError(
        f"Say which account with --account: {names}."
        if found
        else "There is no account yet. Make one with `manage.py createaccount`."
    )
