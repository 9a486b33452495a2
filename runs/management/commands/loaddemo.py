"""Loads the demo account: the sample apps, a version and an instance of each, a few runs."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from runs.actions.actors import Actor, product
from runs.actions.builds import build_from_folder
from runs.actions.executables import create_with_build
from runs.actions.instances import InstanceValues, create_instance, set_default_instance
from runs.actions.managed_inputs import create_managed_input
from runs.actions.runs import submit_run
from runs.actions.samples import sample_input
from runs.actions.versions import create_version
from runs.domain.errors import RunsiteError
from runs.models import Account, Application, Membership, Queue, User

_NONE: Mapping[str, Any] = {}


@dataclass(frozen=True)
class Sample:
    """A sample app: its folder in `examples/`, its words, its instance and its first runs."""

    folder: str
    name: str
    description: str
    instance_id: str
    instance_name: str
    options: Mapping[str, Any]
    runs: tuple[tuple[str, Mapping[str, Any]], ...]
    """The name of each run submitted at first, and its options."""
    main_metric: str = ""


SAMPLES = (
    Sample(
        "routing",
        "Vehicle routing",
        "Shares stops in Graz among vehicles that start and end at one depot. Shows a live log, a"
        " map and charts.",
        "quick",
        "Quick (3 s)",
        {"duration": 3.0},
        (("Four vehicles", _NONE), ("Six vehicles", {"vehicles": 6})),
        "value",
    ),
    Sample(
        "knapsack",
        "Knapsack",
        "Chooses items under a weight budget with a mixed-integer solver. Shows statistics,"
        " metrics and a chart.",
        "standard",
        "Standard",
        {"duration": 10.0},
        (("Whole budget", _NONE), ("Three of a group", {"max_per_group": 3})),
        "value",
    ),
    Sample(
        "forecast",
        "Demand forecast",
        "Forecasts the daily demand of each product from CSV files, and writes CSV files.",
        "two-weeks",
        "Two weeks",
        {"horizon": 14},
        (("Two weeks", _NONE),),
    ),
    Sample(
        "stress",
        "Stress",
        "Misbehaves on demand: exit codes, floods of log lines, memory, processes that do not end."
        " For trying out what the console makes of it.",
        "short",
        "Short (1 s)",
        {"sleep": 1.0},
        (("Ends with code 7", {"exit_code": 7}),),
    ),
)


class Command(BaseCommand):
    """`manage.py loaddemo [--no-runs]`."""

    help = (
        "Load the account `demo` with the sample apps. What is there already stays as it is; runs"
        " are submitted for an app when it is loaded for the first time."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Where the samples are, and whether to submit runs."""
        parser.add_argument("--no-runs", action="store_true", help="submit no runs")
        parser.add_argument(
            "--folder",
            type=Path,
            default=settings.BASE_DIR / "examples",
            help="the directory with the sample apps",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Make what is missing; say what was made."""
        actor = product("manage.py loaddemo")
        account, is_new = Account.objects.get_or_create(slug="demo", defaults={"name": "Demo"})
        Queue.objects.get_or_create(account=account, name="default")
        _add_admins(account)
        made = ["account demo"] if is_new else []
        for sample in SAMPLES:
            if account.applications.filter(application_id=sample.folder).exists():
                continue
            folder = options["folder"] / sample.folder
            if not folder.is_dir():
                raise CommandError(
                    f"The sample app {folder} is missing. Name their directory with --folder."
                )
            try:
                application = _load(account, sample, folder, actor)
                if not options["no_runs"]:
                    _submit(account, application, sample, actor)
            except RunsiteError as error:
                raise CommandError(f"{sample.folder}: {error.message}") from error
            made.append(f"application {sample.folder}")
        if options["verbosity"]:
            self.stdout.write(f"Made {', '.join(made)}." if made else "Everything is there.")


def _add_admins(account: Account) -> None:
    """Root, and the person of `RUNSITE_ADMIN_EMAIL`, are admins of the demo account."""
    email = settings.RUNSITE_ADMIN_EMAIL.lower()
    user = User.objects.filter(email=email).first()
    if user is None and settings.RUNSITE_ADMIN_PASSWORD:
        user = User.objects.create_superuser(email, settings.RUNSITE_ADMIN_PASSWORD)
    for each in {user, *User.objects.filter(is_superuser=True, is_active=True)} - {None}:
        Membership.objects.get_or_create(account=account, user=each, defaults={"role": "admin"})


def _load(account: Account, sample: Sample, folder: Path, actor: Actor) -> Application:
    with build_from_folder(folder=folder) as build:
        application = create_with_build(
            account=account,
            build=build,
            actor=actor,
            application_id=sample.folder,
            name=sample.name,
            description=sample.description,
        )
    application.main_metric = sample.main_metric
    application.save(update_fields=["main_metric"])
    version = create_version(
        application=application, version_id="v1", actor=actor, name="First version"
    )
    instance = create_instance(
        application=application,
        instance_id=sample.instance_id,
        values=InstanceValues(
            name=sample.instance_name, version=version, options=dict(sample.options)
        ),
        actor=actor,
    )
    set_default_instance(application=application, instance=instance, actor=actor)
    return application


def _submit(account: Account, application: Application, sample: Sample, actor: Actor) -> None:
    assert application.executable is not None
    data = sample_input(account=account, executable=application.executable)
    managed = None
    if data is not None:
        managed = create_managed_input(
            application=application,
            input_id="sample",
            name="Sample of the app",
            input_data=data,
            actor=actor,
        )
    for name, options in sample.runs:
        submit_run(
            account=account,
            application=application,
            actor=actor,
            options=dict(options),
            managed_input=managed,
            name=name,
            source="demo",
        )
