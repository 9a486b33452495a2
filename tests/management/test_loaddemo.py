"""The demo account: loaded once, left alone afterwards."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from runs.models import Account, Application, Executable, Instance, Membership, Run, User, Version

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_store(settings, data_dir: Path) -> None:
    settings.RUNSITE_DATA_DIR = data_dir


def load(**options) -> str:
    out = StringIO()
    call_command("loaddemo", stdout=out, **options)
    return out.getvalue()


def test_the_sample_apps_are_ready_to_launch():
    said = load()
    account = Account.objects.get(slug="demo")
    assert set(account.applications.values_list("application_id", flat=True)) == {
        "forecast",
        "knapsack",
        "routing",
        "stress",
    }
    for application in account.applications.all():
        assert application.executable is not None
        assert application.executable.warnings == []
        assert application.default_instance is not None
        assert application.default_instance.version is not None
        assert application.managed_inputs.count() == 1
        assert application.description
        assert application.application_id in said
    routing = account.applications.get(application_id="routing").default_instance
    assert routing is not None
    assert (routing.instance_id, routing.options) == ("quick", {"duration": 3.0})


def test_a_few_runs_wait_for_the_worker():
    load()
    runs = Run.objects.all()
    assert {run.status for run in runs} == {"queued"}
    assert {run.source for run in runs} == {"demo"}
    assert all(run.input_bytes > 0 for run in runs)
    assert {run.application.application_id for run in runs} == {
        "forecast",
        "knapsack",
        "routing",
        "stress",
    }


def test_loading_again_changes_nothing():
    load()
    models = (Account, Application, Executable, Version, Instance, Run, Membership)
    before = [model.objects.count() for model in models]
    Application.objects.filter(application_id="routing").update(name="My own name")
    assert "Everything is there" in load()
    assert [model.objects.count() for model in models] == before
    assert Application.objects.get(application_id="routing").name == "My own name"


def test_root_is_an_admin_of_the_demo_account():
    root = User.objects.create_superuser("admin@localhost", "a long password")
    load(no_runs=True)
    assert Membership.objects.get(user=root).role == "admin"
    assert not Run.objects.exists()


def test_missing_samples_are_said(tmp_path: Path):
    with pytest.raises(CommandError, match="--folder"):
        load(folder=tmp_path)
