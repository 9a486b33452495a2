"""Promise: a pushed 100 MB archive is in use well under 1 s. Floor: a file and its sha256."""

from __future__ import annotations

import hashlib
import io
import os
import statistics
import sys
import tarfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.report import Report, bounded, parser, rounded

if TYPE_CHECKING:
    from bench.clients import Client
    from bench.consoles import Console

MB = 10**6
APP = "pushed"
BINARY = f"/v1/applications/{APP}/binary"
MANIFEST = "type: python\nfiles: [main.py, data.bin]\n"
REQUIREMENTS = (
    b'{"requirements":{"executable_type":"python","runtime":"ghcr.io/nextmv-io/runtime/python:3.11"'
    b',"io_configuration":{"format":"json"},"entrypoint":"main.py"}}'
)
CHECK_LIMIT_S = 120.0


def main() -> None:
    """Print one JSON line: seconds until a pushed archive is in use, and of what parts."""
    arguments_of = parser(__doc__, limit_s=300)
    arguments_of.add_argument("--mb", type=float, default=100, help="size of the archive")
    arguments_of.add_argument("--small-mb", type=float, default=3, help="of one checked at once")
    arguments_of.add_argument("--repeats", type=int, default=5, help="pushes of each, one by one")
    arguments = arguments_of.parse_args()
    with bounded(arguments.limit):
        _measure(arguments.mb, arguments.small_mb, arguments.repeats)


def _measure(mb: float, small_mb: float, repeats: int) -> None:
    from bench.clients import Client, WebMemory, make_key
    from bench.consoles import console

    report = Report("push", promise="activation well under 1 s", unit="s")
    with console(slots=1) as one:
        large, small = _archive(int(mb * MB)), _archive(int(small_mb * MB))
        key = make_key(one)
        one.start()
        with Client(one.port, key) as client:
            client.send("POST", "/v1/applications", b'{"id":"%s","name":"x"}' % APP.encode())
            _push(client, _archive(1000))  # the first request loads what all of them need
            floors, pushes, checks, grown = [], [], [], []
            for _ in range(repeats):
                floors.append(_write(large, one.data_dir / "floor"))
                memory = WebMemory(one)
                pushes.append(_push(client, large))
                grown.append(memory.grown_mib())
                checks.append(_wait_until_checked(one))
            small_floors = [_write(small, one.data_dir / "floor") for _ in range(repeats)]
            small_pushes = [_push(client, small) for _ in range(repeats)]
    report.say(
        floor=statistics.median(floors),
        figure=statistics.median(map(sum, pushes)),
        **_parts(pushes),
        checked_s=rounded(statistics.median(checks)),
        web_grown_mib=rounded(max(grown)),
        small={
            "mb": small_mb,
            "floor": rounded(statistics.median(small_floors)),
            **_parts(small_pushes),
        },
        mb=mb,
        repeats=repeats,
    )


def _parts(pushes: list[tuple[float, float, float]]) -> dict[str, float]:
    names = ("ticket_s", "put_s", "activation_s")
    parts = zip(*pushes, strict=True)
    return {name: rounded(statistics.median(part)) for name, part in zip(names, parts, strict=True)}


def _archive(size: int) -> bytes:
    """An application whose archive has about so many bytes; they cannot be made fewer."""
    made = io.BytesIO()
    files = {
        "app.yaml": MANIFEST.encode(),
        "main.py": b'print("{}")\n',
        "data.bin": os.urandom(max(1, size)),
    }
    with tarfile.open(fileobj=made, mode="w:gz", compresslevel=1) as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return made.getvalue()


def _push(client: Client, archive: bytes) -> tuple[float, float, float]:
    """Seconds for the ticket, the upload and the activation."""
    ticket_s, ticket = client.send("GET", BINARY)
    put_s = client.put(ticket["upload_url"], [archive], len(archive))
    activation_s, _ = client.send("PUT", BINARY, REQUIREMENTS)
    return ticket_s, put_s, activation_s


def _wait_until_checked(one: Console) -> float:
    """Seconds until a worker has checked the newest executable."""
    begin = time.perf_counter()
    while True:
        [found] = one.ask("SELECT state, error FROM runs_executable ORDER BY id DESC LIMIT 1")
        if found[0] == "ready":
            return time.perf_counter() - begin
        assert found[0] != "failed", found
        assert time.perf_counter() - begin < CHECK_LIMIT_S, one.logs
        time.sleep(0.02)  # a row of another process; CHECK_LIMIT_S bounds the whole


def _write(data: bytes, path: Path) -> float:
    """Seconds to write a file that is on the disk, and to know its digest."""
    begin = time.perf_counter()
    digest = hashlib.sha256()
    view = memoryview(data)
    with path.open("wb") as file:
        for start in range(0, len(data), MB):
            digest.update(view[start : start + MB])
            file.write(view[start : start + MB])
        file.flush()
        os.fsync(file.fileno())
    spent = time.perf_counter() - begin
    path.unlink()
    return spent


if __name__ == "__main__":
    main()
