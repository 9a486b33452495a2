"""The tests have a data directory of their own, one for each process of pytest-xdist."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from django.conf import settings


def test_the_data_directory_belongs_to_this_process():
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    folder = Path(settings.RUNSITE_DATA_DIR)
    assert folder.is_dir()
    assert folder.parent.parent == Path(tempfile.gettempdir())
    assert folder.parent.name.startswith(f"runsite-tests-{worker}-")
