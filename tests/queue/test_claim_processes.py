"""Claims by real processes at the same time: each run once, and no limit exceeded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.services import new_postgres_database

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("claiming.py")
RUNS, PROCESSES, LIMIT_S = 200, 4, 240


@contextmanager
def _database(kind: str, folder: Path) -> Iterator[str]:
    if kind == "sqlite":
        yield f"sqlite://{folder}/claims.sqlite3"
    else:
        with new_postgres_database() as url:
            yield url


def _command(*arguments: str) -> list[str]:
    return [sys.executable, str(SCRIPT), *arguments]


def _environment(database_url: str, folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "RUNSITE_DATABASE_URL": database_url,
        "RUNSITE_DATA_DIR": str(folder),
    }


def _run(environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        _command(*arguments),
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_four_processes_claim_each_of_200_runs_exactly_once(kind: str, tmp_path: Path) -> None:
    with _database(kind, tmp_path) as url:
        environment = _environment(url, tmp_path)
        _run(environment, "prepare", str(RUNS))
        claimers = [
            subprocess.Popen(
                _command("claim", f"w{number}", ("left", "right")[number % 2]),
                env=environment,
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for number in range(PROCESSES)
        ]
        try:
            for claimer in claimers:
                assert claimer.stdout is not None
                assert claimer.stdout.readline() == "ready\n"
            for claimer in claimers:
                assert claimer.stdin is not None
                claimer.stdin.write("go\n")
                claimer.stdin.flush()
            answers: list[dict[str, Any]] = [
                json.loads(claimer.communicate(timeout=LIMIT_S)[0]) for claimer in claimers
            ]
        finally:
            for claimer in claimers:
                if claimer.poll() is None:
                    claimer.kill()
                claimer.communicate()
        report = json.loads(_run(environment, "report"))

    claimed = [run for answer in answers for run in answer["claimed"]]
    assert len(claimed) == RUNS
    assert len(set(claimed)) == RUNS
    assert report == {
        "runs": RUNS,
        "succeeded": RUNS,
        "most_attempts": 1,
        "attempts": RUNS,
        "moved_to_running": RUNS,
        "paused_waiting": 1,
        "accounts": 1,
    }
    assert max(answer["most"]["limited"] for answer in answers) <= 2
    assert max(answer["most"]["one"] for answer in answers) <= 1
    # Runs of one, two and three slots, by workers of three: always full, never above.
    assert max(answer["most"]["slots"] for answer in answers) == 3
