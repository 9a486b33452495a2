"""Whether the installation can do its work, and what is amiss though it can.

Database with all migrations, broker, store, disk and a worker; each is asked within a limit.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from pkgutil import iter_modules

from django.conf import settings
from django.db import DatabaseError, InterfaceError, OperationalError, connection
from django.utils import timezone

from runs import migrations
from runs.models import LoopLease, Worker
from runs.queue.dispatch import broker_answers
from runs.storage import StorageError, object_store

logger = logging.getLogger(__name__)

LIMIT_S = 2.0
HEARTBEAT_AGE_S = 15.0
LEAST_FREE_BYTES = 64 << 20
"""Below this the database and uploads of the data directory are about to fail."""
PROBE_KEY = "health/probe"
WARNINGS = frozenset({"scheduler"})
"""Checks that keep nobody from working: a web process is ready all the same."""

Check = Callable[[float], str]
"""Gets its limit in seconds and says what is wrong; an empty text when nothing is."""


@dataclass(frozen=True)
class Readiness:
    """The checks by name, each with what is wrong in a sentence, or an empty text."""

    checks: Mapping[str, str]

    @property
    def problems(self) -> tuple[str, ...]:
        """What keeps it from working, in sentences; none when everything answers."""
        return tuple(text for name, text in self.checks.items() if text and name not in WARNINGS)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is amiss and keeps nobody from working."""
        return tuple(text for name, text in self.checks.items() if text and name in WARNINGS)


def check_readiness(limit_s: float | None = None) -> Readiness:
    """Ask everything at the same time; takes about `limit_s` seconds at most.

    Without a limit it is `LIMIT_S`.
    """
    limit_s = LIMIT_S if limit_s is None else limit_s
    asked = {name: probe.ask(limit_s) for name, probe in _probes.items()}
    return Readiness({name: answer() for name, answer in asked.items()})


def check_database(limit_s: float) -> str:
    """What is wrong with the database; it opens or reuses the connection of this thread."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchone()
    except DatabaseError as error:
        return f"The database does not answer ({type(error).__name__})."
    return check_migrations()


def check_migrations() -> str:
    """Whether all migrations that this process knows are applied; asked until they once were.

    More than it knows are fine: a newer release widens the tables before the processes follow.
    """
    if _migrated.is_set():
        return ""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT name FROM django_migrations WHERE app = %s", ["runs"])
            applied = {name for (name,) in cursor.fetchall()}
    except DatabaseError:
        applied = set()
    known = {name for _, name, _ in iter_modules(migrations.__path__) if name[0] != "_"}
    missing = known - applied
    if missing:
        return (
            f"The database is older than this release: {len(missing)} migrations are missing. "
            "Run `manage.py prepare` once."
        )
    _migrated.set()
    return ""


def check_store(limit_s: float) -> str:
    """Whether the store answers; it need not hold anything."""
    try:
        object_store().exists(PROBE_KEY)
    except (StorageError, OSError) as error:
        logger.warning("the store does not answer: %s", error)
        return (
            f"The store does not answer ({type(error).__name__}). See the log of the web process."
        )
    return ""


def check_disk(limit_s: float) -> str:
    """Whether the data directory can be written, and has room for it."""
    folder = Path(settings.RUNSITE_DATA_DIR)
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return f"The data directory cannot be read ({error.strerror})."
    if free < LEAST_FREE_BYTES:
        return f"Only {free >> 20} MiB are free on the disk of the data directory. Make room."
    return ""


def check_scheduler(limit_s: float) -> str:
    """Whether somebody does the duties of the scheduler."""
    try:
        found = LoopLease.objects.filter(name="scheduler").values_list("holder", "seen_at").first()
    except DatabaseError as error:
        return f"Whether a scheduler acts is unknown ({type(error).__name__})."
    if found is None or not found[0]:
        return "No scheduler acts. Start one with `manage.py schedule`."
    age_s = (timezone.now() - found[1]).total_seconds()
    if age_s >= settings.RUNSITE_LEASE_S + HEARTBEAT_AGE_S:
        return f"The scheduler was last seen {age_s:.0f} s ago. See whether one still runs."
    return ""


def check_workers(limit_s: float) -> str:
    """Whether a worker has sent a heartbeat in the last 15 s."""
    live = Worker.objects.filter(state__in=(Worker.ACTIVE, Worker.DRAINING))
    try:
        seen = live.order_by("-seen_at").values_list("seen_at", flat=True).first()
    except DatabaseError as error:
        return (
            f"Whether a worker runs is unknown: no answer of the database ({type(error).__name__})."
        )
    if seen is None:
        return "No worker is running. Start one with `manage.py worker`."
    age_s = (timezone.now() - seen).total_seconds()
    if age_s >= HEARTBEAT_AGE_S:
        return f"The newest heartbeat of a worker is {age_s:.0f} s old. See whether it still runs."
    return ""


class Probe:
    """A check in a thread of its own, so that one that hangs holds up nobody.

    While one hangs no second is started: those who ask meanwhile are told so at their limit.
    """

    def __init__(self, name: str, check: Check) -> None:
        self._name = name
        self._check = check
        self._lock = threading.Lock()
        self._under_way: _Asked | None = None

    def ask(self, limit_s: float) -> Callable[[], str]:
        """Start the check, or join one under way; the function returned waits for its answer."""
        with self._lock:
            asked = self._under_way
            if asked is None or asked.done.is_set():
                asked = self._under_way = _Asked()
                thread = threading.Thread(
                    target=self._run,
                    args=(asked, limit_s),
                    name=f"check {self._name}",
                    daemon=True,
                )
                thread.start()
        waiting, until = asked, time.monotonic() + limit_s

        def answer() -> str:
            if waiting.done.wait(max(0.0, until - time.monotonic())):
                return waiting.answer
            return f"The {self._name} did not answer within {limit_s:g} s."

        return answer

    def _run(self, asked: _Asked, limit_s: float) -> None:
        try:
            asked.answer = self._check(limit_s)
        except Exception:
            logger.exception("the check of the %s failed", self._name)
            asked.answer = f"The check of the {self._name} failed; the log has the reason."
        finally:
            connection.close()
            asked.done.set()


class _Asked:
    def __init__(self) -> None:
        self.done = threading.Event()
        self.answer = ""


_migrated = threading.Event()
_probes = {
    "database": Probe("database", check_database),
    "broker": Probe("broker", broker_answers),
    "store": Probe("store", check_store),
    "disk": Probe("disk", check_disk),
    "worker": Probe("workers' table", check_workers),
    "scheduler": Probe("scheduler's lease", check_scheduler),
}


def is_database_away(error: BaseException | None) -> bool:
    """Whether the database is what failed, and not a question of ours that it could not read."""
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    # SQLite has one class for both.
    return not str(error).startswith(("no such", "near ", "table ", "wrong number"))
