"""What a worker loads before it has anything to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START = """
import sys
from runsite.celery import app
app.loader.import_default_modules()
import runs.tasks
runs.tasks.install_worker(app)
print(sorted({"ninja", "pydantic", "plotly", "runs.api", "runs.web.urls"} & sys.modules.keys()))
print("runs.worker.conduct" in sys.modules)
"""


def test_a_worker_loads_neither_the_pages_nor_the_api():
    done = subprocess.run(
        [sys.executable, "-c", START],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.split("\n")[:2] == ["[]", "True"], done.stdout
