"""Gives the tests an environment of their own before Django loads."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import pytest

# A stray variable of the machine must not change what the tests see.
for _name in [name for name in os.environ if name.startswith("RUNSITE_")]:
    if not _name.startswith("RUNSITE_TEST_"):
        del os.environ[_name]

_folder = Path(
    tempfile.mkdtemp(prefix=f"runsite-tests-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}-")
)
_owner = os.getpid()


def _remove_folder() -> None:
    if os.getpid() == _owner:  # not in a process that a test forked
        shutil.rmtree(_folder, ignore_errors=True)


atexit.register(_remove_folder)
os.environ["RUNSITE_DATA_DIR"] = str(_folder / "data")
os.environ["RUNSITE_SECRET_KEY"] = "only-for-tests-" + "0" * 32
os.environ["RUNSITE_SLOTS"] = "2"
if os.environ.get("RUNSITE_TEST_DATABASE_URL"):
    os.environ["RUNSITE_DATABASE_URL"] = os.environ["RUNSITE_TEST_DATABASE_URL"]
os.environ["DJANGO_SETTINGS_MODULE"] = "runsite.settings"
(_folder / "data" / "static").mkdir(mode=0o700, parents=True)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Make passwords cheap before Django reads the list of hashers."""
    from django.conf import settings

    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    if getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput"):
        # The processes that xdist starts inherit our environment: with this in it pytest-django
        # would load the settings before they have a data directory of their own.
        del os.environ["DJANGO_SETTINGS_MODULE"]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """An empty data directory of this test."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    return folder
