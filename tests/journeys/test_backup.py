"""A backup of a console that goes on working, restored elsewhere: nothing is lost or doubled."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.journeys.consoles import ROOT, Console, carriers, serving
from tests.journeys.tally import executions, make_tally
from tests.processes import until

pytestmark = pytest.mark.process


def manage(console: Console, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command of `manage.py` in the installation of a console."""
    return subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), *words],
        env={**console.environment, **variables},
        cwd=console.folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


class Restored(Console):
    """A console in a data directory that a backup was put into; it prepares nothing itself."""

    def __init__(self, folder: Path, backup: Path) -> None:
        folder.mkdir()
        super().__init__(folder, demo=True, RUNSITE_GRACE_S="2")
        done = manage(self, "restore", str(backup))
        assert done.returncode == 0, done.stderr
        self.restored = done.stdout


def test_a_console_is_restored_from_a_backup_made_while_it_worked(tmp_path):
    marks, backup = tmp_path / "marks", tmp_path / "backup"
    marks.mkdir()
    applications = {"tally": make_tally(tmp_path / "tally")}
    options = {"marks": str(marks)}
    with serving(tmp_path / "one", applications=applications, RUNSITE_GRACE_S="2") as console:
        ended = [console.make("tally", options=options) for _ in range(3)]
        held = console.submit("tally", options={**options, "hold": "first"})
        console.wait_until_executing(held)
        # The other slot goes on making runs while the backup is made.
        others = console.driver.submit(application="tally", options=options, count=30)
        done = manage(console, "backup", str(backup))
        assert done.returncode == 0, done.stderr
        again = manage(console, "backup", str(backup))
        assert again.returncode == 0, again.stderr
        refused = manage(console, "restore", str(backup))
        assert refused.returncode != 0
        assert "not empty" in refused.stderr
        until(lambda: set(console.driver.statuses(run_ids=others).values()) == {"succeeded"}, 240)
        key = (console.data_dir / "secret_key").read_bytes()
        console.stop()
    made = executions(marks, held)
    assert made == 1
    for run_id in others:
        for mark in marks.glob(f"{run_id}.*"):
            mark.unlink()  # what comes now is counted anew

    assert stat.S_IMODE((backup / "secret_key").stat().st_mode) == 0o600
    assert not stat.S_IMODE((backup / "runsite.sqlite3").stat().st_mode) & 0o077
    restored = Restored(tmp_path / "two", backup)
    try:
        before = restored.driver.statuses(run_ids=others)
        assert len(before) == 30
        assert (restored.data_dir / "secret_key").read_bytes() == key
        restored.start()
        for run in ended:
            found = restored.look(run["run_id"])
            for name in ("status", "events", "attempts", "options", "metrics", "files", "log"):
                assert found[name] == run[name], name
            assert [restored.driver.text_of(key=file["key"]) for file in found["files"]]
        found = restored.wait_for(held)
        assert (found["status"], len(found["attempts"])) == ("succeeded", 2)
        assert found["attempts"][0]["outcome"] == "worker_lost"
        assert executions(marks, held) == 2
        for run_id in others:
            assert restored.wait_for(run_id)["status"] == "succeeded"
            expected = 0 if before[run_id] == "succeeded" else 1
            assert executions(marks, run_id) == expected, before[run_id]
        assert restored.sign_in().get(f"/runs/{held}/").status == 200
        assert restored.make("tally", options=options)["status"] == "succeeded"
        ledger = manage(restored, "ledger")
        assert ledger.returncode == 0, ledger.stdout
        assert "Everything adds up." in ledger.stdout
        restored.stop()
        assert not carriers(f"RUN_DIR={restored.data_dir}/")
    finally:
        restored.end()
