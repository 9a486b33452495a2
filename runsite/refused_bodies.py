"""Reads what a refused request goes on sending, so that its sender gets to read why.

A web server that answers early closes the connection on a client that still sends. Over TLS the
client then sees a broken connection and no answer, and the published one sends all of it again, ten
times.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

LIMIT_BYTES = 512 << 20
"""As much as an executable may have. Who sends more sees the connection end."""
LIMIT_S = 20.0
"""Clients wait as long for an answer. Looked at between two pieces only."""
MOST_AT_ONCE = 16
"""So many senders are listened to at a time; others are answered at once. Who sends nothing more
holds a thread: whoever has no key must not be able to hold them all."""
_PIECE = 1 << 18

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class ReadRefusedBodies:
    """Around a WSGI application: an answer of 400 or above goes out when the body has come."""

    def __init__(self, application: Application, *, most_at_once: int = MOST_AT_ONCE) -> None:
        self._application = application
        self._room = threading.BoundedSemaphore(most_at_once)

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        if not _has_body(environ):
            return self._application(environ, start_response)
        body = environ["wsgi.input"] = _Body(environ["wsgi.input"])
        refused = False

        def start(status: str, *words: Any, **more: Any) -> Any:
            nonlocal refused
            refused = status[:1] in {"4", "5"}
            return start_response(status, *words, **more)

        answer = self._application(environ, start)
        # Who asks before sending (`Expect: 100-continue`) has sent nothing yet.
        waits = bool(environ.get("HTTP_EXPECT")) and not body.taken_bytes
        if refused and not waits and self._room.acquire(blocking=False):
            try:
                _read_rest(body, environ.get("CONTENT_LENGTH", ""))
            finally:
                self._room.release()
        return answer


class _Body:
    """The body of a request, which counts what was read of it."""

    def __init__(self, stream: Any) -> None:  # whatever the web server gives
        self._stream = stream
        self.taken_bytes = 0

    def read(self, *size: int) -> bytes:
        return self._count(self._stream.read(*size))

    def readline(self, *size: int) -> bytes:
        return self._count(self._stream.readline(*size))

    def readlines(self, *hint: int) -> list[bytes]:
        return [self._count(line) for line in self._stream.readlines(*hint)]

    def __iter__(self) -> Iterator[bytes]:
        return map(self._count, self._stream)

    def _count(self, data: bytes) -> bytes:
        self.taken_bytes += len(data)
        return data


def _has_body(environ: dict[str, Any]) -> bool:
    return environ.get("CONTENT_LENGTH", "") not in {"", "0"} or bool(
        environ.get("HTTP_TRANSFER_ENCODING")
    )


def _read_rest(body: _Body, length: str) -> None:
    """Read to the end, within the limits; `length` is what was announced, if it was."""
    announced = int(length) if length.isdecimal() else None
    until = time.monotonic() + LIMIT_S
    read_bytes = 0
    try:
        while read_bytes < LIMIT_BYTES and time.monotonic() < until:
            if announced is not None and body.taken_bytes >= announced:
                return
            piece = body.read(_PIECE)
            if not piece:
                return
            read_bytes += len(piece)
    except OSError:
        return  # the sender has gone
