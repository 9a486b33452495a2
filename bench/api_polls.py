"""Promise: a look at a run's metadata takes 5 ms of server time. Floor: one at /healthz."""

from __future__ import annotations

import socket
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.report import Report, bounded, median_ms, p95_ms, parser, rounded

if TYPE_CHECKING:
    import psutil

    from bench.consoles import Console

SLEEP_S = 3600
WARM = 100
HEALTH = "/healthz"


def main() -> None:
    """Print one JSON line: ms of a look at an ended run by one client, and looks a second."""
    arguments_of = parser(__doc__, limit_s=300)
    arguments_of.add_argument("--seconds", type=float, default=5, help="time of each measurement")
    arguments_of.add_argument("--clients", type=int, default=8, help="clients at once")
    arguments = arguments_of.parse_args()
    with bounded(arguments.limit):
        _measure(arguments.seconds, arguments.clients)


def _measure(seconds: float, clients: int) -> None:
    from bench.clients import make_key, web_process
    from bench.consoles import console
    from bench.programs import SLEEPER

    report = Report("api_polls", promise="p95 of server time 5 ms, 3 queries", unit="ms")
    with console(slots=1) as one:
        one.add_application("sleeper", SLEEPER)
        key = make_key(one)
        one.start()
        ended = one.submit("sleeper", options={"sleep": 0.01})
        one.wait_until_ended([ended], every_s=0.1)
        running = one.submit("sleeper", options={"sleep": SLEEP_S})
        _wait_until_running(one, running.pk)
        paths = {
            "floor": HEALTH,
            "ended": f"/v1/applications/sleeper/runs/{ended.run_id}/metadata",
            "running": f"/v1/applications/sleeper/runs/{running.run_id}/metadata",
        }
        for path in paths.values():
            _poll(one.port, path, key, clients=clients, count=WARM)
        # In turn, a part each time: the load of a machine changes.
        alone = {name: Polls() for name in paths}
        together = {name: Polls() for name in paths}
        web = web_process(one)
        for count, found in ((1, alone), (clients, together)):
            for _ in range(5):
                for name, path in paths.items():
                    before = _cpu_s(web)
                    polls = _poll(one.port, path, key, clients=count, seconds=seconds / 5)
                    polls.cpu_s = _cpu_s(web) - before
                    found[name] += polls
    floor, figure = median_ms(alone["floor"].delays), median_ms(alone["ended"].delays)
    report.say(
        floor=floor,
        figure=figure,
        **_words(alone, "alone"),
        **_words(together, "together"),
        # What the server takes for all that comes on top of the bare way through it.
        over_floor_ms=rounded(figure - floor),
        clients=clients,
        seconds=seconds,
    )


@dataclass
class Polls:
    """Looks at one address: how long each took, in how much time altogether."""

    delays: tuple[float, ...] = ()
    spent_s: float = 0.0
    cpu_s: float = 0.0
    """Of the web process."""

    def __add__(self, other: Polls) -> Polls:
        return Polls(
            self.delays + other.delays, self.spent_s + other.spent_s, self.cpu_s + other.cpu_s
        )

    @property
    def rate(self) -> float:
        """Looks a second."""
        return len(self.delays) / self.spent_s


def _words(found: dict[str, Polls], how: str) -> dict[str, dict[str, float]]:
    return {
        f"{how}_{name}": {
            "median": median_ms(polls.delays),
            "p95": p95_ms(polls.delays),
            "cpu_ms": rounded(polls.cpu_s / len(polls.delays) * 1000),
            "per_s": rounded(polls.rate),
            "rate_ratio": rounded(polls.rate / found["floor"].rate),
        }
        for name, polls in found.items()
    }


def _poll(
    port: int, path: str, key: str, *, clients: int, count: int = 0, seconds: float = 0.0
) -> Polls:
    """Ask again and again over kept connections: `count` times each, or for so many seconds."""
    request = (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {key}\r\n"
        "Content-Type: application/json\r\nUser-Agent: python-requests/2.32.0\r\nAccept: */*\r\n"
        "Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n\r\n"
    ).encode()
    found: list[list[float]] = [[] for _ in range(clients)]
    failed: list[BaseException] = []

    def ask(delays: list[float]) -> None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                end = time.perf_counter() + seconds
                while len(delays) < count or time.perf_counter() < end:
                    begin = time.perf_counter()
                    connection.sendall(request)
                    _read_answer(connection)
                    delays.append(time.perf_counter() - begin)
        except BaseException as error:  # told by the main thread
            failed.append(error)

    threads = [threading.Thread(target=ask, args=(delays,), daemon=True) for delays in found]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spent = time.perf_counter() - begin
    if failed:
        raise failed[0]
    return Polls(tuple(delay for delays in found for delay in delays), spent)


def _read_answer(connection: socket.socket) -> None:
    """Read one whole answer. As little work as can be: the cores are the server's."""
    data = connection.recv(65536)
    head = data.find(b"\r\n\r\n")
    while head < 0:
        more = connection.recv(65536)
        assert more, f"the server closed the connection: {data[:300]!r}"
        data += more
        head = data.find(b"\r\n\r\n")
    assert data.startswith(b"HTTP/1.1 200"), data[:500]
    lowered = data[:head].lower()
    at = lowered.index(b"content-length:") + 15
    length = int(lowered[at:].split(b"\r\n", 1)[0])
    left = head + 4 + length - len(data)
    while left > 0:
        more = connection.recv(left)
        assert more, "the server closed the connection within an answer"
        left -= len(more)


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _wait_until_running(one: Console, pk: int) -> None:
    end = time.monotonic() + 60
    while one.ask("SELECT status FROM runs_run WHERE id = ?", (pk,)) != [("running",)]:
        assert time.monotonic() < end, one.logs
        time.sleep(0.05)  # a row of another process; `end` bounds the whole


if __name__ == "__main__":
    main()
