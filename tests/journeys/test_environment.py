"""Variables of the server that are named like options never reach a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.journeys.consoles import BUILD_LIMIT_S, HOSTILE

pytestmark = pytest.mark.process


def test_the_server_itself_runs_under_them(console):
    """Else the next test would prove nothing."""
    wanted = {f"{name}={value}".encode() for name, value in HOSTILE.items()}
    [worker] = console.driver.workers()
    environment = Path(f"/proc/{worker['pid']}/environ").read_bytes()
    assert wanted <= set(environment.split(b"\0"))


@pytest.mark.parametrize("application", ["knapsack", "routing", "forecast", "stress"])
def test_every_sample_app_succeeds_all_the_same(console, person, application):
    run_id = person.launch(application)
    found = console.wait_for(run_id, limit_s=BUILD_LIMIT_S)
    assert (found["status"], found["end_reason"], found["exit_code"]) == (
        "succeeded",
        "exited",
        0,
    ), found
