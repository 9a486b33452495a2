"""Applications and uploads for tests of runs over the API."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

from django.test import Client

from runs.domain.manifest import manifest_to_json, parse_manifest
from runs.models import Account, Application, InputData, Run
from runs.storage import object_store
from tests.factories import make_application, make_executable

OPTIONS = """
configuration:
  content: {format: FORMAT}
  options:
    items:
      - {name: region, option_type: string, default: north}
      - {name: day, option_type: int, additional_attributes: {min: 1, max: 7}}
"""


def make_app(
    account: Account, application_id: str = "routing", form: str = "json", **fields: Any
) -> Application:
    """An application with the options `region` (north) and `day` (1 to 7)."""
    text = fields.pop("manifest", "files: [main.py]\n" + OPTIONS.replace("FORMAT", form))
    application = make_application(account, application_id=application_id, **fields)
    manifest = parse_manifest(text)
    make_executable(
        application,
        manifest=manifest_to_json(manifest),
        content_format=manifest.content.format,
    )
    return application


def send_upload(program: Any, data: bytes, app_id: str = "routing") -> str:
    """The id of an upload that holds `data`, sent by its ticket."""
    answer = program.send("POST", f"/v1/applications/{app_id}/runs/uploadurl")
    assert answer.status_code == 201, answer.content
    ticket = answer.json()
    sent = Client().generic("PUT", ticket["upload_url"].removeprefix("http://testserver"), data)
    assert sent.status_code in {200, 201, 204}, sent.content
    return str(ticket["upload_id"])


def fetch(address: str) -> bytes:
    """The bytes behind a signed address; nobody is asked for a key."""
    path = address.removeprefix("http://testserver")
    assert path != address, "an absolute address"
    answer: Any = Client().get(path)
    assert answer.status_code == 200
    return b"".join(answer.streaming_content) if answer.streaming else answer.content


def archive(**files: str) -> bytes:
    """A .tar.gz with these files."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as packed:
        for name, text in files.items():
            info = tarfile.TarInfo(name.replace("__", "/"))
            info.size = len(text)
            packed.addfile(info, io.BytesIO(text.encode()))
    return target.getvalue()


def names_in(data: bytes) -> list[str]:
    """The names of the files in a .tar.gz."""
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as packed:
        return sorted(packed.getnames())


def bytes_of(input_data: InputData | None) -> bytes:
    """What a program is given on stdin."""
    assert input_data is not None
    with object_store().open(input_data.files.get().key) as stream:
        return stream.read()


def submitted(program: Any, body: dict[str, Any], app_id: str = "routing", **query: str) -> Run:
    """The run that came of a request; it was accepted."""
    body = {"configuration": {}, **body}
    answer = program.send("POST", f"/v1/applications/{app_id}/runs", body, **query)
    assert answer.status_code == 202, answer.content
    assert set(answer.json()) == {"run_id"}
    return Run.objects.get(run_id=answer.json()["run_id"])


def refused(program: Any, body: Any, app_id: str = "routing", **query: str) -> tuple[int, str]:
    """Status and text of a request that was refused."""
    answer = program.send("POST", f"/v1/applications/{app_id}/runs", body, **query)
    assert set(answer.json()) == {"error", "status"}, answer.content
    assert answer.json()["status"] == answer.status_code
    return answer.status_code, answer.json()["error"]


def body_of(response: Any) -> Any:
    """The JSON of an answer, streamed or not."""
    data = b"".join(response.streaming_content) if response.streaming else response.content
    return json.loads(data)


def write(folder: Path, **files: str) -> Path:
    """A folder with these files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder
