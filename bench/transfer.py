"""Promise: 1 GB goes up and down in less than 50 MB of memory. Floor: a socket into a file."""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.report import Report, bounded, parser, rounded

if TYPE_CHECKING:
    from bench.clients import Client
    from bench.consoles import Console

MB = 10**6
PIECE = 2**20

# Takes one file over a socket as the console does: onto the disk; then sends it back.
PLAIN = """
import os, socket, sys
path, size = sys.argv[1], int(sys.argv[2])
with socket.create_server(("127.0.0.1", 0)) as server:
    print(server.getsockname()[1], flush=True)
    taken, _ = server.accept()
    buffer = memoryview(bytearray(1 << 20))
    with taken, open(path, "w+b") as file:
        left = size
        while left and (got := taken.recv_into(buffer, min(left, len(buffer)))):
            file.write(buffer[:got])
            left -= got
        file.flush()
        os.fsync(file.fileno())
        taken.sendall(b"k")
        taken.recv(1)
        file.seek(0)
        taken.sendfile(file)
"""


def main() -> None:
    """Print one JSON line: MB/s up and down by ticket, and the memory of the web process."""
    arguments_of = parser(__doc__, limit_s=300)
    arguments_of.add_argument("--mb", type=float, default=1000, help="size of the file")
    arguments_of.add_argument("--repeats", type=int, default=3, help="times up and down")
    arguments = arguments_of.parse_args()
    with bounded(arguments.limit):
        _measure(int(arguments.mb * MB), arguments.repeats)


def _measure(size: int, repeats: int) -> None:
    from bench.clients import Client, WebMemory, make_key
    from bench.consoles import console
    from bench.programs import NOTHING

    report = Report(
        "transfer", promise="web memory grows by less than 50 MB; at least half", unit="MB/s"
    )
    with console(slots=1) as one:
        one.add_application("nothing", NOTHING)
        key = make_key(one)
        one.start()
        with Client(one.port, key) as client:
            _up_and_down(one, client, 1000)  # the first request loads what all of them need
            memory = WebMemory(one)
            plain, ours = [], []
            for _ in range(repeats):
                plain.append(_plain(one.data_dir / "floor", size))
                ours.append(_up_and_down(one, client, size))
            grown = memory.grown_mib()
    (floor_up, floor_down), (up, down) = (_rates(plain, size), _rates(ours, size))
    report.say(
        floor=floor_up,
        figure=up,
        down_floor=rounded(floor_down),
        down=rounded(down),
        down_ratio=rounded(down / floor_down),
        web_grown_mib=rounded(grown),
        web_idle_mib=rounded(memory.idle_mib),
        mb=rounded(size / MB),
        repeats=repeats,
    )


def _rates(times: list[tuple[float, float]], size: int) -> tuple[float, float]:
    """MB/s up and down."""
    up, down = zip(*times, strict=True)
    return size / MB / statistics.median(up), size / MB / statistics.median(down)


def _up_and_down(one: Console, client: Client, size: int) -> tuple[float, float]:
    """Seconds of an upload by ticket, and of a download of the same by another."""
    from runs.actions.tickets import download_url
    from runs.models import Upload
    from runs.storage import object_store

    _, ticket = client.send("POST", "/v1/applications/nothing/runs/uploadurl")
    up_s = client.put(ticket["upload_url"], _pieces(size), size)
    upload = Upload.objects.get(upload_id=ticket["upload_id"])
    address = download_url(
        key=upload.key,
        file_name="large.bin",
        content_type="application/octet-stream",
        base=f"http://127.0.0.1:{one.port}",
    )
    down_s, count = client.get(address, bytearray(PIECE))
    assert count == size, f"{count} of {size} bytes came back"
    object_store().delete(upload.key)
    return up_s, down_s


def _plain(path: Path, size: int) -> tuple[float, float]:
    """Seconds of the same between two processes that do nothing else."""
    words = [sys.executable, "-c", PLAIN, str(path), str(size)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline())
            with socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
                begin = time.perf_counter()
                for piece in _pieces(size):
                    connection.sendall(piece)
                connection.recv(1)
                up_s = time.perf_counter() - begin
                begin = time.perf_counter()
                connection.sendall(b"g")
                buffer, count = bytearray(PIECE), 0
                while got := connection.recv_into(buffer):
                    count += got
                down_s = time.perf_counter() - begin
        finally:
            server.kill()
    path.unlink()
    assert count == size, f"{count} of {size} bytes came back"
    return up_s, down_s


def _pieces(size: int) -> Iterator[bytes]:
    """So many bytes that no disk can make fewer."""
    piece = os.urandom(PIECE)
    for start in range(0, size, PIECE):
        yield piece[: size - start]


if __name__ == "__main__":
    main()
