"""The tour of the published client is true at the first try, on every kind of console."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.client.conftest import Live

pytestmark = pytest.mark.process

HERE = Path(__file__).parent


def test_the_tour_is_all_true(live: Live, tmp_path: Path) -> None:
    done = live.sdk(HERE / "tour.py", str(HERE / "tour_app"), str(tmp_path))

    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-3000:]}\n{live.console.logs}"
    assert done.stdout.rstrip().endswith("all true")
