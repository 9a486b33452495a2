"""Whether the installation can do its work: database, broker and a worker, each within a limit."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from django.db import DatabaseError, connection
from django.utils import timezone

from runs.models import Worker
from runs.queue.dispatch import broker_answers

logger = logging.getLogger(__name__)

LIMIT_S = 2.0
HEARTBEAT_AGE_S = 15.0

Check = Callable[[float], str]
"""Gets its limit in seconds and says what is wrong; an empty text when nothing is."""


@dataclass(frozen=True)
class Readiness:
    """The checks by name, each with what is wrong in a sentence, or an empty text."""

    checks: Mapping[str, str]

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong, in sentences; none when everything answers."""
        return tuple(text for text in self.checks.values() if text)


def check_readiness(limit_s: float | None = None) -> Readiness:
    """Ask database, broker and workers at the same time; takes about `limit_s` seconds at most.

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


_probes = {
    "database": Probe("database", check_database),
    "broker": Probe("broker", broker_answers),
    "worker": Probe("workers' table", check_workers),
}
