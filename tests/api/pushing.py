"""Pushes an application through the API as the client does: ticket, bytes, activation."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.test import Client

from tests.actions.applying import app_files, tar_bytes
from tests.api.conftest import Program

REQUIREMENTS: dict[str, Any] = {
    "executable_type": "python",
    "runtime": "ghcr.io/nextmv-io/runtime/python:3.11",
    "io_configuration": {"format": "json"},
    "entrypoint": "main.py",
}


def send_bytes(address: str, data: bytes) -> None:
    """PUT `data` to a signed address, without any key."""
    parts = urlsplit(address)
    assert (parts.scheme, parts.netloc) == ("http", "testserver")
    answer = Client().generic(
        "PUT", f"{parts.path}?{parts.query}", data, content_type="application/octet-stream"
    )
    assert answer.status_code in {200, 201, 204}, answer.content


def push(program: Program, app_id: str, data: bytes | None = None) -> Any:
    """Push an archive, by default of a small app; the answer to the activation."""
    address = program.get(f"/v1/applications/{app_id}/binary")["upload_url"]
    send_bytes(address, tar_bytes(app_files()) if data is None else data)
    return program.send("PUT", f"/v1/applications/{app_id}/binary", {"requirements": REQUIREMENTS})


def upload(program: Program, app_id: str, data: bytes) -> str:
    """Upload bytes; the id by which they are named."""
    answer = program.send("POST", f"/v1/applications/{app_id}/runs/uploadurl")
    assert answer.status_code == 201, answer.content
    send_bytes(answer.json()["upload_url"], data)
    return str(answer.json()["upload_id"])
