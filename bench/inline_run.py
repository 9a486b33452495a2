"""Promise: a run with 5 MB inline is accepted within 1 s. Floor: json.loads and dumps of it."""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.report import Report, bounded, p95_ms, parser, rounded

SMALL_PER_LARGE = 5


def main() -> None:
    """Print one JSON line: seconds from POST to 202 with a large input, and with a small one."""
    arguments_of = parser(__doc__, limit_s=300)
    arguments_of.add_argument("--mb", type=float, default=5, help="size of the compact JSON")
    arguments_of.add_argument("--runs", type=int, default=20, help="runs submitted, one by one")
    arguments = arguments_of.parse_args()
    with bounded(arguments.limit):
        _measure(arguments.mb, arguments.runs)


def _measure(mb: float, runs: int) -> None:
    from bench.clients import Client, WebMemory, make_key
    from bench.consoles import console
    from bench.programs import NOTHING

    report = Report("inline_run", promise="POST runs answers within 1 s", unit="s")
    with console(slots=1) as one:
        from runs.actions.actors import product
        from runs.actions.queues import pause_queue

        one.add_application("nothing", NOTHING)
        key = make_key(one)
        one.start()
        # What is measured is the answer: nothing is to run beside it.
        pause_queue(queue=one.account.queues.get(name="default"), actor=product("bench"))
        large, small = _body(int(mb * 10**6)), _body(200)
        path = "/v1/applications/nothing/runs"
        with Client(one.port, key) as client:
            for body in (small, large):  # the first request loads what all of them need
                client.send("POST", path, body)
            memory = WebMemory(one)
            floors, delays, short = [], [], []
            for _ in range(runs):
                floors.append(_parse_and_dump(large))
                delays.append(client.send("POST", path, large)[0])
                short += [client.send("POST", path, small)[0] for _ in range(SMALL_PER_LARGE)]
            grown = memory.grown_mib()
    report.say(
        floor=statistics.median(floors),
        figure=statistics.median(delays),
        p95=rounded(p95_ms(delays) / 1000),
        small_ms=rounded(statistics.median(short) * 1000),
        small_p95_ms=p95_ms(short),
        web_grown_mib=rounded(grown),
        mb=rounded(len(large) / 10**6),
        runs=runs,
    )


def _body(size: int) -> bytes:
    """A request as the client sends it, with about so many bytes of numbers and names."""
    item = {"id": "stop-0000", "lat": 52.517036, "lon": 13.38886, "demand": 7, "open": [28800]}
    count = max(1, size // (len(json.dumps(item, separators=(",", ":"))) + 1))
    stops = [item | {"id": f"stop-{number:04}"} for number in range(count)]
    formats = {"input": {"type": "json"}, "output": {"type": "json"}}
    sent = {"input": {"stops": stops}, "configuration": {"format": formats}}
    return json.dumps(sent, separators=(",", ":")).encode()


def _parse_and_dump(body: bytes) -> float:
    begin = time.perf_counter()
    json.dumps(json.loads(body), separators=(",", ":")).encode()
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
