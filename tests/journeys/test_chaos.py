"""The chaos test in its short form: everything is killed meanwhile, and every run ends once.

The long form is `bench/chaos.py --runs 2000 --minutes 10`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.journeys.consoles import ROOT

pytestmark = pytest.mark.process

LIMIT_S = 500
"""For about a minute and a half on an idle machine."""


def make_chaos(*options: str) -> dict[str, object]:
    """Run the script on a small scale, with leases so short that many run out; its report."""
    words = ["--runs", "120", "--minutes", "0.6", "--lease", "4", "--every", "2.5", "--seed", "7"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / "chaos.py"), *words, *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    if done.returncode and done.stderr.strip().splitlines()[-1].startswith("chaos: "):
        if os.environ.get("CI") == "true":
            pytest.fail(f"{done.stderr}\nWith CI=true it is required.")
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stderr
    [line] = done.stdout.splitlines()
    print(done.stderr)
    found: dict[str, object] = json.loads(line)
    return found


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_every_run_ends_once_whatever_is_killed(database: str) -> None:
    report = make_chaos("--database", database)
    assert report["wrong"] == {}
    assert report["figure"] == report["floor"] == 120
    assert report["faults"]
