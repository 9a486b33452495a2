#!/usr/bin/env python3
"""Runs Runsite's commands: `python manage.py help` lists them."""

from __future__ import annotations

import os
import sys


def main() -> int:
    """Run the command of the command line; its exit code."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "runsite.settings")
    from runsite.env import SettingError

    try:
        if sys.argv[1:2] == ["serve"] and "--tls" in sys.argv[2:]:
            # Before the settings are read, and for every process that the console starts.
            os.environ["RUNSITE_TLS"] = "auto"
        if sys.argv[1:] in (["serve"], ["serve", "--tls"]):
            # Loads Django only when something has changed.
            from runsite import console

            return console.serve()
        from django.core.management import execute_from_command_line

        execute_from_command_line(sys.argv)
    except SettingError as error:
        print(f"runsite: {error}", file=sys.stderr)  # noqa: T201
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
