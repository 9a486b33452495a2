"""The scripts of bench/ start, explain themselves and report what they promise; no timing here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis

from bench.report import KEYS, Report, median_ms, p95_ms, rounded
from tests.services import redis_url

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(
    path.name
    for path in (ROOT / "bench").glob("*.py")
    if "\ndef main() -> None:" in path.read_text()
)
SMALL = {
    "api_polls.py": ("--seconds", "0.3", "--clients", "2"),
    "chaos.py": ("--runs", "20", "--minutes", "0.2", "--lease", "4"),
    "claim.py": ("--runs", "300", "--repeats", "2"),
    "heartbeats.py": ("--workers", "3"),
    "inline_run.py": ("--mb", "0.2", "--runs", "2"),
    "push.py": ("--mb", "6", "--small-mb", "0.1", "--repeats", "1"),
    "recovery.py": ("--kills", "1"),
    "startup.py": ("--repeats", "1"),
    "idle.py": ("--seconds", "0.5", "--settle", "0"),
    "submit_to_start.py": ("--runs", "2"),
    "submit_to_end.py": ("--runs", "2"),
    "throughput.py": ("--runs", "4"),
    "transfer.py": ("--mb", "20", "--repeats", "1"),
    "workers.py": ("--runs", "4", "--workers", "1", "2"),
    "expected_start.py": ("--history", "10", "--batches", "1", "--runs", "4"),
    "line_to_browser.py": ("--lines", "5", "--watchers", "2", "--printing", "2"),
}
"""Options with which each script does its whole work once, in a few seconds."""

LIMIT_S = 500


def run_script(name: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "bench" / name), *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def report_of(name: str, *options: str) -> dict[str, Any]:
    done = run_script(name, *options, "--limit", str(LIMIT_S - 60))
    assert done.returncode == 0, done.stdout + done.stderr
    [line] = done.stdout.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def test_every_script_is_tried_here():
    assert sorted(SMALL) == SCRIPTS


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_explains_itself(name):
    done = run_script(name, "--help")
    assert done.returncode == 0, done.stderr
    assert "Promise: " in " ".join(done.stdout.split())
    assert "--limit" in done.stdout


@pytest.mark.process
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_reports_floor_figure_and_ratio(name):
    report = report_of(name, *SMALL[name])
    assert set(KEYS) <= set(report)
    assert report["bench"] == name.removesuffix(".py")
    assert report["floor"] > 0
    assert report["figure"] > 0
    assert report["ratio"] == pytest.approx(report["figure"] / report["floor"], rel=0.02)


@pytest.mark.process
def test_a_script_measures_with_redis():
    url = f"{redis_url().rsplit('/', 1)[0]}/14"
    # A run of the tests that was killed may have left something; the database is theirs.
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    report = report_of("submit_to_start.py", "--runs", "1", "--broker", "redis", "--redis", url)
    assert report["broker"] == "redis"
    assert report["figure"] > 0


@pytest.mark.process
def test_a_script_that_takes_too_long_says_so():
    done = run_script("claim.py", "--limit", "1", "--runs", "1000000")
    assert done.returncode != 0
    assert "--limit" in done.stderr
    assert done.stdout == ""


def test_a_report_is_one_line_with_the_load_of_the_machine():
    line = Report("this", promise="2 s", unit="s").line(floor=2, figure=5, runs=3)
    report = json.loads(line)
    assert "\n" not in line
    assert set(KEYS) <= set(report)
    assert (report["floor"], report["figure"], report["ratio"], report["runs"]) == (2, 5, 2.5, 3)
    assert len(report["load"]) == 2


def test_a_floor_of_nothing_has_no_ratio():
    assert json.loads(Report("this", promise="", unit="s").line(floor=0, figure=5))["ratio"] is None


def test_median_and_p95():
    seconds = [number / 1000 for number in range(1, 101)]
    assert median_ms(seconds) == 50.5
    assert p95_ms(seconds) == 95
    assert p95_ms([0.003]) == 3


@pytest.mark.parametrize(
    ("value", "expected"), [(0.0, 0.0), (1234.5, 1234), (12.345, 12.3), (0.0012345, 0.00123)]
)
def test_three_digits_are_enough(value, expected):
    assert rounded(value) == pytest.approx(expected, rel=1e-9)
