"""Wakes a worker through Celery, whatever the broker; a message is a nudge and names no run."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import Protocol

from django.conf import settings
from django.db import DatabaseError, transaction
from django.db.models import Q
from django.utils import timezone

from runs.models import Counter, Queue, Worker

logger = logging.getLogger(__name__)

TASK = "runs.tasks.nudge"
ALL_QUEUES = "runsite-all"
LOST_AFTER = timedelta(seconds=2)
EXPIRES_S = 60.0
BROKER_PAUSE_S = 5.0


class Sender(Protocol):
    """Brings one message to a worker."""

    def send(self, queue_name: str, target: str) -> None:
        """Send the nudge for `queue_name` to the Celery queue `target`; raises what it likes."""
        ...


class CelerySender:
    """Sends through the broker of the settings."""

    def send(self, queue_name: str, target: str) -> None:
        """One message, no retry: the table repairs what is lost."""
        from runsite.celery import app

        app.send_task(
            TASK,
            args=[queue_name],
            queue=target,
            retry=False,
            ignore_result=True,
            expires=EXPIRES_S,
        )


class _Broker:
    """Guards a sender: a broker that fails is left alone for a while and logged once."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._lock = threading.Lock()
        self._failed_at: float | None = None

    def send(self, queue_name: str, target: str) -> bool:
        with self._lock:
            failed_at = self._failed_at
            if failed_at is not None and time.monotonic() - failed_at < BROKER_PAUSE_S:
                return False
            if failed_at is not None:
                self._failed_at = time.monotonic()  # one thread tries, the others go on
        try:
            self._sender.send(queue_name, target)
        except Exception as error:  # every transport raises errors of its own
            if failed_at is None:
                logger.warning(
                    "The broker does not take messages (%s: %s). Workers look at the table every "
                    "second, so runs start a little later until it is back.",
                    type(error).__name__,
                    error,
                )
            with self._lock:
                self._failed_at = time.monotonic()
            return False
        if failed_at is not None:
            with self._lock:
                self._failed_at = None
            logger.warning("The broker takes messages again.")
        return True


_broker = _Broker(CelerySender())


@contextmanager
def sent_through(sender: Sender) -> Iterator[None]:
    """Send through `sender` instead of Celery; for tests."""
    global _broker
    before, _broker = _broker, _Broker(sender)
    try:
        yield
    finally:
        _broker = before


def nudge_after_commit(queue: Queue) -> None:
    """Nudge once the transaction under way is committed; at once outside of one. Never raises."""
    transaction.on_commit(partial(nudge, queue), robust=True)


def nudge(queue: Queue, *, now: datetime | None = None) -> bool:
    """Tell a worker that there is work in `queue`; whether a message was sent.

    None is sent while one is under way (sent less than 2 s ago and not arrived), and none when no
    live worker could take it. Errors of broker and database are logged, never raised.
    """
    now = now or timezone.now()
    try:
        target = _target(queue.name)
        if target is None or not _begin(queue, now):
            return False
    except DatabaseError:
        logger.warning("Queue %s was not nudged: the database failed.", queue.name, exc_info=True)
        return False
    return _broker.send(queue.name, target)


def nudge_arrived(queue_name: str) -> None:
    """Let the next nudge of this queue be sent; call it before looking for work. Never raises."""
    try:
        Queue.objects.filter(name=queue_name, nudged_at__isnull=False).update(nudged_at=None)
    except DatabaseError:
        logger.warning("Queue %s: the database failed.", queue_name, exc_info=True)


def celery_queues(names: Iterable[str]) -> tuple[str, ...]:
    """The Celery queues from which a worker that lists these `names` consumes (none: all)."""
    return tuple(f"runsite.{name}" for name in names) or (ALL_QUEUES,)


def broker_answers(limit_s: float) -> str:
    """What is wrong with the broker, in a sentence without its address; empty when it answers.

    Opens a connection of its own and closes it. Each step of it waits at most `limit_s` seconds;
    who needs a limit for the whole calls it in a thread.
    """
    kind = settings.RUNSITE_BROKER_URL.partition(":")[0]
    if kind == "folder":
        return _folder_answers(settings.RUNSITE_BROKER_DIR)
    from kombu.connection import Connection

    options = dict(settings.CELERY_BROKER_TRANSPORT_OPTIONS)
    if kind.startswith("redis"):
        options |= {"socket_connect_timeout": limit_s, "socket_timeout": limit_s}
    name = "Redis" if kind.startswith("redis") else "RabbitMQ"
    try:
        with Connection(
            settings.RUNSITE_BROKER_URL, connect_timeout=limit_s, transport_options=options
        ) as connection:
            # Redis asks PING when the channel is made; AMQP shakes hands before.
            connection.connect()
            connection.default_channel.close()
    except Exception as error:  # every transport raises errors of its own
        return f"The broker ({name}) does not answer ({type(error).__name__})."
    return ""


def _folder_answers(folder: Path) -> str:
    """Whether messages can be written; the folder itself is made with the first one."""
    there = folder if folder.is_dir() else folder.parent
    try:
        with TemporaryFile(dir=there):
            return ""
    except OSError as error:
        return f"The broker's folder takes no messages ({error.strerror or type(error).__name__})."


def _begin(queue: Queue, now: datetime) -> bool:
    """Mark a nudge as under way, unless one is. A mark from the future is a clock that jumped."""
    mine = Queue.objects.filter(pk=queue.pk)
    if mine.filter(nudged_at__isnull=True).update(nudged_at=now):
        return True
    lost = Q(nudged_at__lt=now - LOST_AFTER) | Q(nudged_at__gt=now + LOST_AFTER)
    if not mine.filter(lost).update(nudged_at=now):
        return False
    Counter.add("nudges_lost")
    return True


def _target(queue_name: str) -> str | None:
    """Where to send: to workers with a free slot first, to those that list the name before all."""
    best: tuple[bool, bool] | None = None
    live = Worker.objects.filter(state=Worker.ACTIVE, drain_wanted=False)
    for names, slots, used in live.values_list("queues", "slots", "slots_used"):
        if not names or queue_name in names:
            rank = (used < slots, bool(names))
            best = rank if best is None else max(best, rank)
    if best is None:
        return None
    return celery_queues([queue_name] if best[1] else [])[0]
