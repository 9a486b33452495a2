"""Prepares database, static files and the first data; does nothing when nothing has changed."""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from runsite import settings

_MIGRATIONS = settings.BASE_DIR / "runs" / "migrations"


def prepare() -> list[str]:
    """Bring database and static files up to date; what the person at the terminal must know."""
    collect_static_files()
    wanted = _schema_stamp()
    kept = _read_stamp()
    if kept == wanted:
        return []
    _say("Preparing the database …")
    call("migrate", interactive=False, verbosity=0)
    notes = make_admin()
    if kept == 0:  # an installation that has its data is not filled again
        load_demo()
    _write_stamp(wanted)
    return notes


def collect_static_files() -> None:
    """Collect static files under hashed names, if a source has changed since the last time."""
    stamp = settings.RUNSITE_DATA_DIR / "static.stamp"
    wanted = _static_stamp()
    if _text(stamp) == wanted:
        return
    with _lock(settings.RUNSITE_DATA_DIR / "static.lock"):
        if _text(stamp) == wanted:
            return  # another host of the same directory was first
        call("collectstatic", interactive=False, verbosity=0)
        partial = stamp.with_name(f"{stamp.name}.{os.getpid()}")
        partial.write_text(wanted)
        partial.replace(stamp)


def call(name: str, **options: Any) -> None:
    """Run a command of Django; it is loaded here for the first time."""
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "runsite.settings")
    django.setup()
    from django.core.management import call_command

    call_command(name, **options)


def make_admin() -> list[str]:
    """Make the first administrator; the lines that show a password made here, once."""
    from runs.models import User

    if User.objects.filter(is_superuser=True).exists():
        return []
    password = settings.RUNSITE_ADMIN_PASSWORD or secrets.token_urlsafe(12)
    user = User.objects.filter(email=settings.RUNSITE_ADMIN_EMAIL.lower()).first()
    if user is None:
        User.objects.create_superuser(settings.RUNSITE_ADMIN_EMAIL, password)
    else:
        user.is_staff = user.is_superuser = True
        user.set_password(password)
        user.save(update_fields=["is_staff", "is_superuser", "password"])
    if settings.RUNSITE_ADMIN_PASSWORD:
        return [f"Administrator: {settings.RUNSITE_ADMIN_EMAIL} (password as set)"]
    return [
        f"Administrator: {settings.RUNSITE_ADMIN_EMAIL}, password {password} "
        "(shown this once; only its hash is kept)"
    ]


def load_demo() -> None:
    """Load the demo account with the sample apps."""
    from django.core.management import get_commands

    if "loaddemo" in get_commands():
        call("loaddemo", verbosity=0)


# --- Stamps -----------------------------------------------------------------------------------


def _schema_stamp() -> int:
    """A number for the migrations that this code knows: 1 to 2^31 - 1."""
    names = sorted(path.name for path in _MIGRATIONS.glob("[0-9]*.py"))
    text = "\n".join([version("django"), *names])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") % (2**31 - 1) + 1


def _sqlite_path() -> Path | None:
    database = settings.DATABASES["default"]
    if database["ENGINE"].endswith("sqlite3"):
        return Path(database["NAME"])
    return None


def _read_stamp() -> int:
    """The stamp kept inside the database, so that a restored copy brings its own.

    0 in a database never prepared to its end; -1 on a server, which others may have changed.
    """
    path = _sqlite_path()
    if path is None:
        return _first_time_stamp()
    if not path.exists():
        return 0
    connection = sqlite3.connect(path, timeout=20)
    try:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])
    except sqlite3.DatabaseError as error:
        from runsite.console import CannotStart

        raise CannotStart(
            f"The database {path} cannot be read: {error}. Restore it from a backup, or move it "
            "away to begin with an empty one."
        ) from error
    finally:
        connection.close()


def _first_time_stamp() -> int:
    """For a database server: 0 as long as nobody can sign in there, else -1 (always migrate)."""
    call("migrate", interactive=False, verbosity=0)
    from runs.models import User

    return -1 if User.objects.exists() else 0


def _write_stamp(stamp: int) -> None:
    from django.db import connection

    path = _sqlite_path()
    if path is not None:
        with connection.cursor() as cursor:
            cursor.execute(f"PRAGMA user_version = {stamp:d}")
    # The processes that follow make their own connections.
    connection.close()


def _static_stamp() -> str:
    """Changes with every source of the static files."""
    digest = hashlib.sha256()
    for name in ("django", "whitenoise", "django-htmx"):
        digest.update(f"{name} {version(name)}\n".encode())
    for root in settings.STATICFILES_DIRS:
        for path in sorted(Path(root).rglob("*")):
            if path.is_file():
                stat = path.stat()
                line = f"{path.relative_to(root)} {stat.st_size} {stat.st_mtime_ns}\n"
                digest.update(line.encode())
    if not (settings.STATIC_ROOT / "staticfiles.json").exists():
        digest.update(b"nothing collected")
    return digest.hexdigest()


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
