"""True pushes for tests: made by the published client, caught by a small server of our own."""

from __future__ import annotations

import json
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from runs.actions.actors import Actor
from runs.actions.pushes import activate_push, new_push
from runs.models import Application, Executable, Upload
from runs.storage import object_store
from tests.actions.applying import Files, write_folder

ELF_MACHINES = {"x86_64": 0x3E, "aarch64": 0xB7}


@dataclass
class Push:
    """What a client sent: the archive, and the body of its activation."""

    archive: bytes = b""
    declared: dict[str, Any] = field(default_factory=dict)


def elf(machine: str) -> bytes:
    """The start of a compiled file for this machine."""
    head = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00"
    return head + ELF_MACHINES[machine].to_bytes(2, "little") + bytes(100)


def make_wheel(
    folder: Path, name: str, version: str = "1.0", *, machine: str = "", python: str = "311"
) -> Path:
    """A wheel made by hand: of one module, compiled for `machine` if that is given."""
    folder.mkdir(parents=True, exist_ok=True)
    tag = f"cp{python}-cp{python}-manylinux_2_17_{machine}" if machine else "py3-none-any"
    info = f"{name}-{version}.dist-info"
    files: dict[str, bytes] = {
        f"{name}/__init__.py": f"VERSION = {version!r}\nMACHINE = {machine!r}\n".encode(),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n".encode(),
    }
    if machine:
        files[f"{name}/_fast.cpython-{python}-{machine}-linux-gnu.so"] = elf(machine)
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"]).encode()
    path = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for inside, content in files.items():
            wheel.writestr(inside, content)
    return path


def push(
    folder: Path, files: Files, monkeypatch: pytest.MonkeyPatch, wheels: Path | None = None
) -> Push:
    """Push an application with the published client; its packages come from `wheels` alone."""
    from nextmv.cloud import Application as Pushed
    from nextmv.cloud import Client

    home = folder / "home"
    home.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("UV_CACHE_DIR", str(home / "uv"))
    if wheels is not None:
        monkeypatch.setenv("UV_FIND_LINKS", str(wheels))
    app_dir = write_folder(folder / "app", files)
    with _server() as (address, caught):
        monkeypatch.setenv("UV_DEFAULT_INDEX", f"{address}/simple")
        client = Client(api_key="key", url=address)
        Pushed(client=client, id="app").push(app_dir=str(app_dir))
    return caught


def sent(application: Application, actor: Actor, archive: bytes, **fields: Any) -> Upload:
    """The upload of an archive that has come."""
    upload = new_push(application=application, actor=actor, **fields)
    object_store().put_bytes(upload.key, archive)
    return upload


def activated(application: Application, actor: Actor, caught: Push) -> Executable:
    """What the server makes of a push."""
    sent(application, actor, caught.archive)
    return activate_push(application=application, actor=actor, declared=caught.declared)


@contextmanager
def _server() -> Iterator[tuple[str, Push]]:
    """As much of a server as a push needs, and an empty package index."""
    caught = Push()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            # The package index has nothing.
            status = 404 if self.path.startswith("/simple") else 200
            self._answer({"upload_url": f"{address}/upload"}, status)

        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/upload":
                caught.archive = body
            else:
                caught.declared = json.loads(body)
            self._answer({})

        def _answer(self, value: Mapping[str, Any], status: int = 200) -> None:
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing is printed."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield address, caught
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
