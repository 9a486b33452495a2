"""Promise: a printed line is in the browser after 150/250 ms. Floor: the reader of a pipe."""

from __future__ import annotations

import re
import selectors
import socket
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.report import Report, bounded, median_ms, p95_ms, parser

if TYPE_CHECKING:
    from bench.consoles import Console
    from runs.models import Run

PRINTED = re.compile(rb"at=([0-9]{19})=")
WAIT_S = 3.0
"""Programs wait this long before their first line, so that all watchers are there."""


def main() -> None:
    """Print one JSON line: milliseconds from a printed line to its event at a client."""
    arguments_of = parser(__doc__, limit_s=300)
    arguments_of.add_argument("--watchers", type=int, default=1, help="streams open on one run")
    arguments_of.add_argument("--printing", type=int, default=1, help="runs that print meanwhile")
    arguments_of.add_argument("--lines", type=int, default=100, help="lines of each run")
    arguments_of.add_argument("--every", type=float, default=0.13, help="seconds between lines")
    arguments = arguments_of.parse_args()
    with bounded(arguments.limit):
        _measure(arguments.watchers, arguments.printing, arguments.lines, arguments.every)


def _measure(watchers: int, printing: int, lines: int, every_s: float) -> None:
    from bench.consoles import console
    from bench.programs import PRINTER

    report = Report("line_to_browser", promise="median 150 ms, p95 250 ms", unit="ms")
    with console(slots=printing) as one:
        folder = one.add_application("printer", PRINTER)
        one.start()
        short = {"wait": 0.001, "lines": 1, "every": 0.001}
        one.wait_until_ended([one.submit("printer", options=short)], every_s=0.1)
        floors = _bare(folder, one.interpreter(), min(lines, 40))
        cookie = one.cookie()
        assert one.status_of("/", cookie) == 200, one.logs
        options = {"wait": WAIT_S, "lines": lines, "every": every_s}
        runs = [one.submit("printer", options=options) for _ in range(printing)]
        open_streams = [_Stream.open(one, runs[-1], cookie) for _ in range(watchers)]
        _follow(open_streams, limit_s=WAIT_S + lines * every_s * 3 + 60)
        one.wait_until_ended(runs, every_s=0.1)
    delays = [delay for stream in open_streams for delay in stream.delays]
    assert delays, "no line arrived while a watcher was there"
    slowest = max(statistics.median(stream.delays or [0.0]) for stream in open_streams)
    report.say(
        floor=median_ms(floors),
        figure=median_ms(delays),
        p95=p95_ms(delays),
        median_of_slowest_watcher=median_ms([slowest]),
        seen=len(delays),
        expected=lines * watchers,
        watchers=watchers,
        printing=printing,
        lines=lines,
    )


def _bare(folder: Path, interpreter: Path, lines: int) -> list[float]:
    """Seconds from a printed line to whoever reads the pipe."""
    from bench.programs import bare_environment

    words = ["-wait", "0", "-lines", str(lines), "-every", "0.02"]
    delays = []
    with subprocess.Popen(
        [str(interpreter), str(folder / "main.py"), *words],
        env=bare_environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as child:
        assert child.stderr is not None
        for line in child.stderr:
            found = PRINTED.search(line)
            if found:
                delays.append((time.time_ns() - int(found[1])) / 1e9)
    return delays


@dataclass(eq=False)
class _Stream:
    """One open event stream, as a browser holds it."""

    socket: socket.socket
    connected_ns: int = 0
    last_ns: int = 0
    rest: bytes = b""
    ended: bool = False
    delays: list[float] = field(default_factory=list)

    @classmethod
    def open(cls, one: Console, run: Run, cookie: str) -> _Stream:
        """Ask for the stream; its answer is read later."""
        connection = socket.create_connection(("127.0.0.1", one.port), timeout=30)
        connection.sendall(
            f"GET /runs/{run.run_id}/live/?log=1 HTTP/1.1\r\nHost: 127.0.0.1:{one.port}\r\n"
            f"Accept: text/event-stream\r\nCookie: {cookie}\r\n\r\n".encode()
        )
        return cls(connection)

    def read(self) -> None:
        """Take what has come and note how long each new line took."""
        data = self.socket.recv(1 << 16)
        now = time.time_ns()
        if not self.connected_ns:
            assert data.startswith(b"HTTP/1.1 200"), data[:300]
            self.connected_ns = now
        self.rest += data
        end = 0
        for found in PRINTED.finditer(self.rest):
            end, printed = found.end(), int(found[1])
            # The unfinished line at the end may be shown first, and then again as a row; what was
            # printed before this watcher came is no news.
            if printed > max(self.last_ns, self.connected_ns):
                self.last_ns = printed
                self.delays.append((now - printed) / 1e9)
        self.ended = not data or b"event: end" in self.rest
        self.rest = self.rest[max(end, len(self.rest) - 100) :]


def _follow(streams: list[_Stream], *, limit_s: float) -> None:
    """Read all streams in one thread until their run has ended; closes them."""
    limit = time.monotonic() + limit_s
    with selectors.DefaultSelector() as waiting:
        for stream in streams:
            waiting.register(stream.socket, selectors.EVENT_READ, stream)
        try:
            while waiting.get_map() and time.monotonic() < limit:
                for key, _ in waiting.select(1.0):
                    key.data.read()
                    if key.data.ended:
                        waiting.unregister(key.fileobj)
        finally:
            for stream in streams:
                stream.socket.close()


if __name__ == "__main__":
    main()
