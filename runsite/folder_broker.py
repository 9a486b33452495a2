"""Kombu's broker in a folder, without half-written messages: the embedded default.

Kombu's own transport creates a message and fills it afterwards, so that a reader may take it
empty, which raises in the worker and loses the message; it moves what it reads through the
system's temporary folder. Here whatever appears under its final name is complete.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from queue import Empty
from typing import Any

from kombu.exceptions import ChannelError
from kombu.transport import filesystem
from kombu.utils.json import dumps, loads

log = logging.getLogger(__name__)

_PARTIAL = ".partial"
_TAKEN = ".taken"
# What a process left half-written or half-read when it was killed.
_STALE_AFTER_S = 3600.0


class Channel(filesystem.Channel):
    """Messages as files `<time>_<random>.<queue>.msg` in one folder."""

    _table_lock = threading.Lock()

    def get_table(self, exchange: str) -> list[Any]:
        """The bindings of `exchange`; an exchange that nobody bound has none."""
        try:
            text = self._table_file(exchange).read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        try:
            return [filesystem.exchange_queue_t(*row) for row in loads(text)]
        except ValueError as error:
            raise ChannelError(f"The broker's table {exchange!r} is damaged: {error}") from error

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        row = filesystem.exchange_queue_t(routing_key or "", pattern or "", queue or "")
        _make(self.control_folder)
        with self._table_lock, _FolderLock(self.control_folder):
            try:
                table = self.get_table(exchange)
            except ChannelError as error:
                log.warning("%s It is written anew.", error)
                table = []
            if row not in table:
                _write(self._table_file(exchange), dumps([row, *table]))

    def _delete(self, queue: str, exchange: str, routing_key: str, pattern: str, *_: Any) -> None:
        row = filesystem.exchange_queue_t(routing_key or "", pattern or "", queue or "")
        self._purge(queue)
        if not self.control_folder.is_dir():
            return
        with self._table_lock, _FolderLock(self.control_folder):
            table = self.get_table(exchange)
            if row in table:
                table.remove(row)
                _write(self._table_file(exchange), dumps(table))

    def _table_file(self, exchange: str) -> Path:
        find: Callable[[str], Path] = self._exchange_file  # kombu checks the name
        return find(exchange)

    # kombu's own classes differ in the name of the second argument
    def _put(self, queue: str, payload: dict[str, Any], **_: Any) -> None:  # type: ignore[override]
        folder = Path(self.data_folder_out)
        name = f"{time.time_ns():020d}_{uuid.uuid4().hex}.{queue}.msg"
        try:
            _make(folder)
            _write(folder / name, dumps(payload))
        except OSError as error:
            raise ChannelError(f"Cannot add the message {name} to {folder}: {error}") from error

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        """The oldest message of `queue`; raises `Empty`. A message that cannot be read is dropped:
        it was a nudge, and the table is looked at anyway."""
        folder = Path(self.data_folder_in)
        for name in _names(folder, queue):
            taken = folder / f"{name}.{uuid.uuid4().hex}{_TAKEN}"
            try:
                (folder / name).rename(taken)  # one reader wins
            except OSError:
                continue
            try:
                return loads(taken.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                log.warning("The message %s of queue %s is dropped: %s", name, queue, error)
            finally:
                taken.unlink(missing_ok=True)
        raise Empty

    def _purge(self, queue: str) -> int:
        count = 0
        folder = Path(self.data_folder_in)
        for name in _names(folder, queue):
            try:
                (folder / name).unlink()
            except OSError:
                continue  # a worker took it
            count += 1
        return count

    def _size(self, queue: str) -> int:
        return len(_names(Path(self.data_folder_in), queue))


class Transport(filesystem.Transport):
    """`folder://`; where the messages are stands in the transport options."""

    Channel = Channel
    driver_type = "folder"
    driver_name = "folder"

    def driver_version(self) -> str:
        """The version of the rules above."""
        return "1"

    def establish_connection(self) -> Any:
        """Sweep what killed processes left, then connect."""
        client: Any = self.client
        folder = client.transport_options.get("data_folder_in")
        if folder:
            sweep(Path(folder))
        connect: Callable[[], Any] = super().establish_connection
        return connect()


class _FolderLock:
    """One writer of tables at a time, over all processes."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lock"

    def __enter__(self) -> None:
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        os.close(self._file)


def sweep(folder: Path) -> None:
    """Remove half-written and half-read messages older than an hour."""
    limit = time.time() - _STALE_AFTER_S
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    for entry in entries:
        try:
            if entry.name.endswith((_PARTIAL, _TAKEN)) and entry.stat().st_mtime < limit:
                Path(entry.path).unlink()
        except FileNotFoundError:
            continue


def _names(folder: Path, queue: str) -> list[str]:
    """The messages of `queue`, oldest first."""
    ending = f"{queue}.msg"
    try:
        names = os.listdir(folder)  # noqa: PTH208 (twenty times a second)
    except FileNotFoundError:
        return []
    return sorted(name for name in names if name.partition(".")[2] == ending)


def _make(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def _write(path: Path, text: str) -> None:
    """Let `path` appear with all of `text`."""
    partial = path.with_name(f"{uuid.uuid4().hex}{_PARTIAL}")
    try:
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
