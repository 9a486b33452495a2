"""S3-compatible servers in memory, for tests: each a process of its own on a free port."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

from runs.storage.s3_client import S3Address, make_client
from tests.processes import until

ACCESS_KEY, SECRET_KEY = "test-key", "test-secret"


class S3Server:
    """A server at `endpoint`, in this network namespace or another."""

    def __init__(self, *, host: str = "127.0.0.1", namespace: str = "") -> None:
        self.host = host
        self.port = _free_port()
        self._namespace = namespace
        self._process: subprocess.Popen[bytes] | None = None
        self._log = b""

    @property
    def endpoint(self) -> str:
        """Where it answers."""
        return f"http://{self.host}:{self.port}"

    def start(self) -> None:
        """Start it empty, and wait until it answers."""
        within = ["ip", "netns", "exec", self._namespace] if self._namespace else []
        self._process = subprocess.Popen(
            [*within, sys.executable, "-m", "moto.server", "-H", self.host, "-p", str(self.port)],
            env={**os.environ, "PYTHONPATH": "", "MOTO_S3_DEFAULT_KEY_BUFFER_SIZE": "1000000"},
            cwd=Path(__file__).parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        threading.Thread(target=self._keep_log, args=(self._process,), daemon=True).start()
        until(self._answers, 60)

    def stop(self) -> None:
        """End it; everything that it held is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(60)
            self._process = None

    def client(self) -> Any:
        """A client that looks at it from outside of the store."""
        return make_client(self.address("unused"))

    def address(self, bucket: str, prefix: str = "") -> S3Address:
        """The address of a bucket there."""
        return S3Address(
            bucket=bucket,
            prefix=prefix,
            endpoint=self.endpoint,
            region="us-east-1",
            access_key=ACCESS_KEY,
            secret_key=SECRET_KEY,
        )

    def new_bucket(self) -> str:
        """The name of an empty bucket."""
        name = f"bucket-{uuid4().hex[:12]}"
        self.client().create_bucket(Bucket=name)
        return name

    def variables(self, bucket: str, prefix: str = "runsite") -> dict[str, str]:
        """The settings by which an installation uses a bucket there."""
        return {
            "RUNSITE_STORE_URL": f"s3://{bucket}/{prefix}?endpoint={self.endpoint}&path_style=1",
            "RUNSITE_S3_ACCESS_KEY": ACCESS_KEY,
            "RUNSITE_S3_SECRET_KEY": SECRET_KEY,
        }

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.decode(errors="replace")
        with contextlib.suppress(OSError):
            socket.create_connection((self.host, self.port), 1).close()
            return True
        return False

    def _keep_log(self, process: subprocess.Popen[bytes]) -> None:
        """Read what it logs, so that it never waits for us, and keep the end of it."""
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                self._log = (self._log + line)[-4000:]


@contextlib.contextmanager
def s3_server(**words: str) -> Iterator[S3Server]:
    """A running server, which is ended whatever happens."""
    server = S3Server(**words)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
