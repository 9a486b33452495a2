"""Asks the API over one kept connection, as the published client does; watches who answers."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import psutil

    from bench.consoles import Console

PIECE_BYTES = 1024 * 1024
MIB = 2**20


class Client:
    """One connection and one key. What is not answered with 2xx ends the script with the answer."""

    def __init__(self, port: int, key: str = "", *, timeout_s: float = 120.0) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
        self._headers = {
            "Content-Type": "application/json",
            "User-Agent": "python-requests/2.32.0",
            "Accept": "*/*",
            "Accept-Encoding": "gzip, deflate",
        }
        if key:
            self._headers["Authorization"] = f"Bearer {key}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()

    def send(self, method: str, path: str, body: bytes | None = None) -> tuple[float, Any]:
        """Seconds until the whole answer was there, and the answer read as JSON."""
        begin = time.perf_counter()
        self._connection.request(method, path, body, self._headers)
        answer = self._connection.getresponse()
        data = answer.read()
        spent = time.perf_counter() - begin
        assert answer.status < 300, f"{method} {path}: {answer.status} {data[:500]!r}"
        is_json = answer.headers.get_content_type() == "application/json"
        return spent, json.loads(data) if is_json and data else None

    def put(self, url: str, pieces: Iterable[bytes], size: int) -> float:
        """Seconds that an upload of `size` bytes takes by its ticket, which needs no key."""
        begin = time.perf_counter()
        self._connection.request(
            "PUT", _path(url), iter(pieces), {"Content-Length": str(size)}, encode_chunked=False
        )
        answer = self._connection.getresponse()
        data = answer.read()
        spent = time.perf_counter() - begin
        assert answer.status < 300, f"PUT {url}: {answer.status} {data[:500]!r}"
        return spent

    def get(self, url: str, buffer: bytearray) -> tuple[float, int]:
        """Seconds and bytes of a download by its ticket; what comes is read and forgotten."""
        begin = time.perf_counter()
        self._connection.request("GET", _path(url))
        answer = self._connection.getresponse()
        assert answer.status == 200, f"GET {url}: {answer.status}"
        count = 0
        while got := answer.readinto(buffer):
            count += got
        return time.perf_counter() - begin, count


def _path(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def make_key(one: Console) -> str:
    """A new key of the console's account; it may do everything there."""
    from django.utils import timezone

    from runs.actions.accounts import create_api_key
    from runs.actions.actors import product

    _, key = create_api_key(
        account=one.account,
        name="bench",
        role="admin",
        actor=product("bench"),
        now=timezone.now(),
    )
    return key


def web_process(one: Console) -> psutil.Process:
    """The process that answers; granian's main process only starts and watches it."""
    granians = [
        process
        for process in one.processes()
        if any("granian" in word for word in process.cmdline())
    ]
    pids = {process.pid for process in granians}
    [found] = [process for process in granians if process.ppid() in pids]
    return found


class WebMemory:
    """How much more memory the web process takes at its worst than it took before."""

    def __init__(self, one: Console) -> None:
        """Begin now; the kernel keeps the highest mark from here on."""
        self._pid = web_process(one).pid
        Path(f"/proc/{self._pid}/clear_refs").write_text("5")
        self._before = _status(self._pid, "VmRSS")

    @property
    def idle_mib(self) -> float:
        """What it took before."""
        return self._before / MIB

    def grown_mib(self) -> float:
        """The highest so far above that."""
        return max(0, _status(self._pid, "VmHWM") - self._before) / MIB


def _status(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(name)
