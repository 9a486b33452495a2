"""The command of a newcomer: a fresh checkout, an empty home, a first and a second start."""

from __future__ import annotations

import shutil
import time

import pytest

from tests.journeys.consoles import BUILD_LIMIT_S, ROOT, serving

pytestmark = pytest.mark.process

LEFT_OUT = (".git", ".venv", "data", "__pycache__", ".*_cache", ".hypothesis")


def test_a_fresh_checkout_starts_and_starts_again(tmp_path):
    clone = tmp_path / "a clone"
    shutil.copytree(ROOT, clone, ignore=shutil.ignore_patterns(*LEFT_OUT), symlinks=True)
    with serving(tmp_path / "outside", demo=True, clone=clone) as console:
        assert "Making .venv" in console.said
        assert "Preparing the database" in console.said
        assert "password" in console.said
        assert f"Data and logs: {clone / 'data'}" in console.said
        person = console.sign_in()
        run_id = person.launch("routing", {"vehicles": 3, "duration": 2})
        found = console.wait_for(run_id, "succeeded", limit_s=BUILD_LIMIT_S)
        assert [asset["label"] for asset in found["assets"]] == ["Map", "Charts", "Stops", ""]
        assert console.stop() <= 30  # the promise is 15 s

        stamp = (clone / ".venv" / "server.stamp").stat().st_mtime_ns
        begin = time.monotonic()
        console.start()
        took_s = time.monotonic() - begin
        assert "Making" not in console.said
        assert "Installing" not in console.said
        assert "Preparing" not in console.said
        assert "password" not in console.said
        assert (clone / ".venv" / "server.stamp").stat().st_mtime_ns == stamp
        # The promise is 3 s; a busy machine may be late.
        assert took_s < 60
        # Who was signed in still is, and the run is there.
        page = person.get(f"/runs/{run_id}/")
        assert page.status == 200
        assert "succeeded" in page.words.lower()
        assert person.get(f"/runs/{run_id}/assets/0/figure/").status == 200
