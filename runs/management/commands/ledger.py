"""`manage.py ledger`: print what became of the runs, and what does not add up."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from runs.actions.accounts import find_account
from runs.actions.ledger import LOOK_AT, Ledger, read_ledger
from runs.domain.errors import RunsiteError
from runs.domain.status import WORDS, EndReason


class Command(BaseCommand):
    """`manage.py ledger --json`: exit code 1 when something does not add up."""

    help = "Print what became of the runs. Ends with 1 when something does not add up."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Of whom, how far, and in which form."""
        parser.add_argument("--account", help="of this account only")
        parser.add_argument(
            "--runs", type=int, default=LOOK_AT, help=f"how many of the newest; default {LOOK_AT}"
        )
        parser.add_argument("--json", action="store_true", help="for programs")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print it; the exit code says whether everything adds up."""
        if options["runs"] < 1:
            raise CommandError("Give --runs a number above 0.")
        try:
            account = find_account(options["account"]) if options["account"] else None
        except RunsiteError as error:
            raise CommandError(error.message) from error
        found = read_ledger(timezone.now(), account=account, most=options["runs"])
        self.stdout.write(_as_json(found) if options["json"] else _as_text(found))
        if not found.balanced:
            raise SystemExit(1)


def _as_json(found: Ledger) -> str:
    words = {**asdict(found), "balanced": found.balanced}
    return json.dumps(words, default=lambda value: value.isoformat(), indent=2)


def _as_text(found: Ledger) -> str:
    figures = {
        "submitted": found.runs,
        **{f"  {status}": number for status, number in found.by_status.items()},
        "recorded only": found.recorded,
        "attempts": found.attempts,
        **{
            f"  {WORDS[EndReason(outcome)] or 'under way'}": number
            for outcome, number in found.by_outcome.items()
        },
        "runs with more than one attempt": found.repeated,
        "given back": found.given_back,
        "retried": found.retried,
        "results accepted": found.accepted,
        "processes ended": sum(found.ended_processes.values()),
        **{name.replace("_", " "): number for name, number in found.counters.items()},
        "results accepted twice": len(found.doubled),
        "contradicting histories": len(found.contradictions),
        "orphans": len(found.orphans),
        "overdue": len(found.overdue),
    }
    width = max(map(len, figures))
    lines = [f"{name:{width}}  {number:>9,}" for name, number in figures.items()]
    lines += [
        f"{one.kind}: {one.text} {f'Run {one.run_id}' if one.run_id else ''}".rstrip()
        + (f", since {one.since:%Y-%m-%d %H:%M:%S} UTC" if one.since else "")
        for one in found.findings
    ]
    if found.older:
        lines.append("There are older runs; --runs looks further.")
    lines.append("Everything adds up." if found.balanced else "Something does not add up.")
    return "\n".join(lines)
