"""Limits, slots and retry rule of a run: who is heard, and what is refused."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from runs.domain.errors import FieldsInvalid
from runs.models import Lane, Run
from runs.models.limits import LIMIT_NAMES
from tests.actions.submitting import make_app, submit
from tests.factories import make_instance

pytestmark = pytest.mark.django_db

BLOCK = """
runsite:
  time_limit_s: 40
  queue_limit_s: 30
  memory_limit_mb: 64
  process_limit: 9
  log_limit_mb: 1
  log_limit_action: fail
  slots: 2
  stop_signal: SIGUSR1
  retries: 2
  retry_on: [signal]
"""


def test_a_run_that_nobody_limits_has_the_limits_of_the_installation():
    run = submit(make_app())
    said = {name: getattr(run, name) for name in LIMIT_NAMES}
    assert said.pop("stop_signal") == "SIGINT"
    assert set(said.values()) == {None, ""}
    assert (run.slots, run.lane.slots, run.retries, run.expires_at) == (1, 1, 0, None)


def test_the_manifest_is_heard_where_nobody_else_says_anything():
    now = timezone.now()
    run = Run.objects.get(pk=submit(make_app(BLOCK), now=now).pk)
    assert (run.time_limit_s, run.queue_limit_s, run.process_limit) == (40, 30, 9)
    assert (run.memory_limit_bytes, run.log_limit_bytes) == (64 * 1024**2, 1024**2)
    assert (run.log_limit_action, run.stop_signal) == ("fail", "SIGUSR1")
    assert (run.slots, run.lane.slots) == (2, 2)
    assert (run.retries, run.retry_on, run.retry_delay_s) == (2, "signal", 10.0)
    assert run.expires_at == now + timedelta(seconds=30)


def test_run_then_instance_then_settings_then_manifest():
    app = make_app(
        BLOCK,
        time_limit_s=50,
        process_limit=5,
        log_limit_action="truncate",
        slots=3,
        retries=0,
        keep_at_time_limit=True,
    )
    run = submit(
        app,
        instance=make_instance(app, time_limit_s=60),
        limits={"process_limit": 4, "memory_limit_bytes": None, "keep_at_time_limit": False},
    )
    assert (run.time_limit_s, run.process_limit, run.log_limit_action) == (60, 4, "truncate")
    assert (run.memory_limit_bytes, run.keep_at_time_limit) == (64 * 1024**2, False)
    assert (run.slots, run.retries) == (3, 0)
    assert submit(app, limits={"time_limit_s": 70}).time_limit_s == 70
    assert submit(app, time_limit_s=80, limits={"time_limit_s": 70}).time_limit_s == 80


def test_a_rule_without_causes_means_what_the_program_did():
    run = submit(make_app(retries=1, retry_delay_s=0.0))
    assert (run.retries, run.retry_on, run.retry_delay_s) == (1, "exit_code signal", 0.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("time_limit_s", 1001),
        ("log_limit_bytes", 2_000_001),
        ("output_limit_bytes", 3_000_001),
        ("memory_limit_bytes", 5),
        ("stop_signal", "SIGKILL"),
        ("slots", 4),
    ],
)
def test_no_run_gets_more_than_the_installation_allows(settings: Any, name: str, value: object):
    settings.RUNSITE_TIME_LIMIT_S = 1000
    settings.RUNSITE_LOG_LIMIT = 2_000_000
    settings.RUNSITE_OUTPUT_LIMIT = 3_000_000
    app = make_app()
    with pytest.raises(FieldsInvalid) as caught:
        submit(app, limits={name: value})
    assert list(caught.value.errors) == [name]
    assert (Run.objects.count(), Lane.objects.count()) == (0, 0)


def test_what_manifest_and_settings_say_is_cut_to_what_the_installation_allows(settings: Any):
    settings.RUNSITE_TIME_LIMIT_S = 35
    settings.RUNSITE_LOG_LIMIT = 500_000
    run = submit(make_app(BLOCK, output_limit_bytes=10**15))
    assert (run.time_limit_s, run.log_limit_bytes) == (35, 500_000)
    assert run.output_limit_bytes == settings.RUNSITE_OUTPUT_LIMIT


def test_a_manifest_with_huge_numbers_can_still_be_run():
    block = (
        "\nrunsite: {slots: 90000, retries: 90000, process_limit: 9000000000,"
        " stop_grace_s: 1000000000}"
    )
    run = Run.objects.get(pk=submit(make_app(block)).pk)
    assert (run.slots, run.retries, run.process_limit, run.stop_grace_s) == (1000, 20, 100000, 3600)
