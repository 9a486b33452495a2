"""What an application's settings say about its runs: checked, kept, and taken from manifests."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from runs.actions.actors import product
from runs.actions.application_settings import RunSettings, settings_of, settings_of_manifest
from runs.actions.applications import update_application
from runs.actions.executables import add_executable
from runs.domain.errors import FieldsInvalid
from runs.domain.manifest import parse_manifest
from runs.models import Application, AuditEvent
from tests.actions.applying import MANIFEST, app_files, zip_file
from tests.actions.submitting import make_app
from tests.factories import make_application

pytestmark = pytest.mark.django_db

SETTINGS = RunSettings(
    keep_at_time_limit=True,
    queue_limit_s=60,
    memory_limit_bytes=2**30,
    process_limit=20,
    log_limit_bytes=2**20,
    log_limit_action="fail",
    output_limit_bytes=2**20,
    output_limit_action="truncate",
    stop_signal="SIGUSR1",
    stop_grace_s=2.5,
    slots=2,
    concurrency_expression="{region}",
    concurrency_limit=3,
    concurrency_policy="drop",
    retries=4,
    retry_on="signal exit_code:75",
    retry_delay_s=1.5,
)


def update(application: Application, settings: RunSettings | None) -> Application:
    return update_application(
        application=application, actor=product(), name=application.name, run_settings=settings
    )


def test_settings_are_kept_whole_and_noted():
    app = make_app()
    update(app, SETTINGS)
    assert settings_of(Application.objects.get(pk=app.pk)) == SETTINGS
    assert settings_of(app) == SETTINGS
    detail = AuditEvent.objects.latest("pk").detail
    assert "concurrency_limit" in detail
    assert "retry_on" in detail
    update(app, None)
    assert settings_of(Application.objects.get(pk=app.pk)) == SETTINGS
    update(app, RunSettings())
    assert settings_of(Application.objects.get(pk=app.pk)) == RunSettings()


@pytest.mark.parametrize(
    "wrong",
    [
        {"queue_limit_s": 0},
        {"memory_limit_bytes": 1},
        {"process_limit": 0},
        {"log_limit_bytes": 2**60},
        {"output_limit_action": "explode"},
        {"stop_signal": "SIGKILL"},
        {"stop_grace_s": -1.0},
        {"slots": 0},
        {"slots": 1001},
        {"concurrency_limit": 0},
        {"concurrency_limit": None},
        {"concurrency_policy": "hope"},
        {"concurrency_expression": "{zone}"},
        {"concurrency_expression": "{"},
        {"retries": 21},
        {"retry_on": "sometimes"},
        {"retry_delay_s": 3601.0},
        {"slots": 0, "retries": -1},
    ],
    ids=str,
)
def test_each_wrong_field_is_named_and_nothing_is_kept(wrong: dict[str, Any]):
    app = make_app()
    with pytest.raises(FieldsInvalid) as caught:
        update(app, replace(SETTINGS, **wrong))
    assert list(caught.value.errors) == list(wrong)
    assert settings_of(Application.objects.get(pk=app.pk)) == RunSettings()


def test_a_key_names_the_options_there_are():
    with pytest.raises(FieldsInvalid, match="Name one of `region`, `day`"):
        update(make_app(), replace(SETTINGS, concurrency_expression="{zone}"))
    update(make_application(), replace(SETTINGS, concurrency_expression="{zone}"))


def test_faults_of_all_fields_are_told_at_once():
    app = make_app()
    with pytest.raises(FieldsInvalid) as caught:
        update_application(
            application=app, actor=product(), name="", run_settings=RunSettings(slots=0)
        )
    assert set(caught.value.errors) == {"name", "slots"}


BLOCK = """
runsite:
  concurrency: {key: "{region}", limit: 2, policy: replace}
  retry_on: signal
  slots: 3
"""


def test_what_a_manifest_says_is_offered_as_settings():
    said = settings_of_manifest(parse_manifest(MANIFEST + BLOCK))
    assert (said.slots, said.retry_on, said.retries) == (3, "signal", None)
    assert (said.concurrency_expression, said.concurrency_limit) == ("{region}", 2)
    assert said.concurrency_policy == "replace"
    none = asdict(settings_of_manifest(parse_manifest(MANIFEST)))
    assert none == asdict(RunSettings(slots=1, stop_signal="SIGINT"))


def test_empty_settings_take_over_the_key_of_a_manifest_and_keep_it(tmp_path: Path):
    app = make_application()
    add_executable(
        application=app, source=zip_file(tmp_path, app_files(MANIFEST + BLOCK)), actor=product()
    )
    kept = Application.objects.get(pk=app.pk)
    for one in (app, kept):
        assert (one.concurrency_expression, one.concurrency_limit) == ("{region}", 2)
        assert (one.concurrency_policy, one.slots) == ("replace", None)
    assert not any("concurrency" in warning for warning in kept.executable.warnings)
    other = MANIFEST + BLOCK.replace("limit: 2", "limit: 5")
    add_executable(application=kept, source=zip_file(tmp_path, app_files(other)), actor=product())
    kept = Application.objects.get(pk=app.pk)
    assert kept.concurrency_limit == 2
    assert any("differs from the settings" in warning for warning in kept.executable.warnings)
