"""The announcer says in one line why the console is not ready."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from runsite import local_authority
from runsite.announcer import _ready, _trusting


class _Page(BaseHTTPRequestHandler):
    """Answers as the server of the test was told."""

    answer = (200, "text/html", "<!doctype html>\n<h1>Another program</h1>")

    def do_GET(self) -> None:
        status, content_type, text = self.answer
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed."""


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    server = HTTPServer(("127.0.0.1", 0), _Page)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(30)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ((200, "text/html", "<h1>Another</h1>"), (False, "/readyz answers with status 200")),
        ((400, "text/html", "<h1>Bad</h1>\n" * 99), (False, "/readyz answers with status 400")),
        ((503, "text/plain", "no worker\nlives\n"), (False, "no worker lives")),
        ((503, "text/plain; charset=utf-8", "no worker"), (False, "no worker")),
        ((200, "text/plain; charset=utf-8", "ready\n"), (True, "ready")),
    ],
)
def test_only_plain_words_are_repeated(
    server: HTTPServer,
    monkeypatch: pytest.MonkeyPatch,
    answer: tuple[int, str, str],
    expected: tuple[bool, str],
) -> None:
    monkeypatch.setattr(_Page, "answer", answer)
    assert _ready("127.0.0.1", server.server_port) == expected


def test_a_console_with_tls_is_asked_over_tls_whatever_names_it_has(
    server: HTTPServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(_Page, "answer", (200, "text/plain", "ready\n"))
    local_authority.ensure(tmp_path, names=["runs.example.org"], own=(), now=datetime.now(UTC))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    for mode in ("auto", "files"):
        found = _ready("127.0.0.1", server.server_port, context=_trusting(mode))
        assert found == (True, "ready")
    assert _trusting("off") is None
    assert _ready("127.0.0.1", server.server_port)[0] is False
