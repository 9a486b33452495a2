"""Signed addresses of a real web process: bytes stream through it, and refusals are readable."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
import requests

from tests.journeys.consoles import Driver, free_port, small_environment
from tests.processes import until

ROOT = Path(__file__).resolve().parents[2]
MIB = 1 << 20
PIECE = os.urandom(MIB)

pytestmark = pytest.mark.process


class Web:
    """A web process of its own, without a worker, and the store behind it."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.data_dir = folder / "data"
        self.data_dir.mkdir(mode=0o700)
        environment = small_environment(
            folder / "home",
            RUNSITE_DATA_DIR=str(self.data_dir),
            RUNSITE_PORT=str(self.port),
            RUNSITE_SECRET_KEY="only-for-tests-" + "0" * 32,
            RUNSITE_ADMIN_PASSWORD="only-for-tests",
            RUNSITE_EXECUTABLE_LIMIT=str(20 * MIB),
        )
        self.driver = Driver(environment)
        self.driver.prepare()
        with (folder / "web.log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(ROOT / "manage.py"), "web"],
                env=environment,
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )
        until(self._answers, 120)

    def ticket(self, purpose: str = "data") -> tuple[str, str]:
        """A new upload and its address."""
        found = self.driver.ticket(base=self.base, purpose=purpose)
        return found["upload_id"], found["url"]

    def received(self, upload_id: str) -> dict[str, Any]:
        """What came for an upload."""
        found: dict[str, Any] = self.driver.received(upload_id=upload_id, base=self.base)
        return found

    def memory(self) -> int:
        """The bytes of memory that the process and its children have."""
        top = psutil.Process(self.process.pid)
        return sum(each.memory_info().rss for each in (top, *top.children(recursive=True)))

    def close(self) -> None:
        """End it."""
        self.driver.close()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)

    def _answers(self) -> bool:
        assert self.process.poll() is None
        with contextlib.suppress(requests.ConnectionError):
            return requests.get(f"{self.base}/healthz", timeout=5).status_code == 200
        return False


class Peak:
    """The most memory that the process had during the context."""

    def __init__(self, web: Web) -> None:
        self._web = web
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.most = 0

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            self.most = max(self.most, self._web.memory())


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    found = Web(tmp_path_factory.mktemp("web"))
    try:
        yield found
    finally:
        found.close()


def test_much_goes_up_and_down_through_little_memory(web, tmp_path):
    upload_id, url = web.ticket()
    assert requests.put(url, data=b"{}", timeout=60).status_code == 200  # everything is loaded
    path = tmp_path / "large"
    with path.open("wb") as file:
        for _ in range(128):
            file.write(PIECE)
    before = web.memory()
    with Peak(web) as peak:
        with path.open("rb") as file:
            answer = requests.put(url, data=file, timeout=60)
        assert answer.status_code == 200, answer.text
        digest, size = hashlib.sha256(), 0
        with requests.get(web.received(upload_id)["url"], stream=True, timeout=60) as answer:
            for piece in answer.iter_content(MIB):
                digest.update(piece)
                size += len(piece)
    kept = web.received(upload_id)
    assert (size, kept["size"]) == (128 * MIB, 128 * MIB)
    assert digest.hexdigest() == kept["sha256"]
    assert peak.most - before < 48 * MIB


def test_a_chunked_upload_is_told_why_it_is_refused(web):
    for pieces in ([b"a", b"b"], [PIECE] * 20):
        _, url = web.ticket()
        answer = requests.put(url, data=iter(pieces), timeout=60)
        assert answer.status_code == 411
        assert "Content-Length" in answer.json()["error"]


def test_too_much_is_told_why_it_is_refused(web):
    upload_id, url = web.ticket("executable")
    answer = requests.put(
        url,
        data=PIECE * 21,
        headers={"Content-Type": "application/octet-stream"},
        timeout=60,
    )
    assert answer.status_code == 413
    assert upload_id in answer.json()["error"]
    assert "Retry-After" not in answer.headers
    forged = requests.put(url + "0", data=PIECE * 10, timeout=60)
    assert (forged.status_code, forged.json()["status"]) == (403, 403)
    assert requests.put(url, data=PIECE, timeout=60).status_code == 200


def test_a_client_that_goes_away_leaves_nothing(web):
    upload_id, url = web.ticket()
    requests.put(url, data=b"whole", timeout=60).raise_for_status()
    kept = web.received(upload_id)
    parts = urlsplit(url)
    head = f"PUT {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
    writing = web.data_dir / "store" / "tmp"
    with socket.create_connection(("127.0.0.1", web.port), 10) as connection:
        connection.sendall(f"{head}Content-Length: {9 * MIB}\r\n\r\n".encode() + PIECE * 4)
        until(lambda: any(writing.iterdir()), 30)
    until(lambda: not any(writing.iterdir()), 30)
    assert web.received(upload_id) | {"url": ""} == kept | {"url": ""}
    got = requests.get(kept["url"], headers={"Range": "bytes=1-2"}, timeout=60)
    assert (got.status_code, got.content) == (206, b"ho")
