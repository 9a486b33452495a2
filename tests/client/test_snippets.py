"""The requests that pages show, run as they stand: they make the runs that the pages would make."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.client.conftest import PROBE_FILES, Live, pushed
from tests.journeys.consoles import EXAMPLES, Page, Person

pytestmark = pytest.mark.process

SAMPLE = EXAMPLES / "routing" / "input.json"
LAUNCH = "/applications/routing/launch/"
CHANGED: dict[str, Any] = {
    "o:vehicles": "3",
    "o:duration": "0.5",
    "o:seed": "7",
    "name": 'It\'s "quoted" $HOME `id`',
    "priority": "2",
}


def shown(page: Page, language: str, number: int = 1) -> str:
    """The text of a snippet, as a browser copies it."""
    found = re.search(rf'<code id="request-{language}-{number}">(.*?)</code>', page.text, re.DOTALL)
    assert found, page.words
    return html.unescape(found[1])


def run_snippet(live: Live, language: str, text: str, folder: Path) -> str:
    """Run a snippet in `folder` as a person would, with the key in the environment; its output."""
    command = ["sh", "-e"] if language == "curl" else [sys.executable, "-"]
    done = subprocess.run(
        command,
        input=text,
        env=live.environment(NEXTMV_API_KEY=live.secret),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def submitted(live: Live, language: str, text: str, folder: Path) -> dict[str, Any]:
    """The metadata of the run that a snippet makes."""
    said = run_snippet(live, language, text, folder)
    run_id = json.loads(said[said.rindex("{") :])["run_id"] if language == "curl" else said.strip()
    return metadata(live, run_id)


def metadata(live: Live, run_id: str, application: str = "routing") -> dict[str, Any]:
    """What makes two runs the same, as the API says it."""
    answer = live.client.request("GET", f"v1/applications/{application}/runs/{run_id}/metadata")
    found = answer.json()
    kept = ("application_instance_id", "application_version_id", "options", "format", "input_size")
    kept += ("queuing_priority", "execution_class", "run_type", "runtime")
    tracking = found["metadata"].get("tracking", {})
    return {
        "name": found["name"],
        "input_id": tracking.get("input_id"),
        **{name: found["metadata"][name] for name in kept},
    }


def filled(person: Person, **changes: Any) -> dict[str, Any]:
    """The launch form with changes, as a browser would send it."""
    sent: dict[str, Any] = dict(person.get(LAUNCH).form("priority"))
    sent.pop("csrfmiddlewaretoken", None)
    return {**sent, **CHANGED, **changes}


def sent_by_form(
    live: Live, person: Person, fields: dict[str, Any], **words: Any
) -> dict[str, Any]:
    """The metadata of the run that the form makes."""
    page = person.post(LAUNCH, fields, **words)
    found = re.search(r"/runs/([^/]+)/$", page.url)
    assert found, page.words
    return metadata(live, found[1])


@pytest.mark.parametrize("language", ["curl", "python"])
def test_the_request_of_the_form_makes_the_run_of_the_form(
    embedded: Live, person: Person, tmp_path: Path, language: str
) -> None:
    fields = filled(person, source="upload")
    part = person.post(f"{LAUNCH}parts/note/", fields)
    (tmp_path / "input.json").write_bytes(SAMPLE.read_bytes())
    same = submitted(embedded, language, shown(part, language), tmp_path)
    own = sent_by_form(
        embedded, person, fields, files=[("files", "input.json", SAMPLE.read_bytes())]
    )
    assert same["name"] == CHANGED["name"]
    assert same["options"]["request_options"] == {
        "vehicles": "3",
        "duration": "0.5",
        "seed": "7",
    }
    # The client writes the JSON of the file anew, without its blanks.
    assert same | {"input_size": 0} == own | {"input_size": 0}


@pytest.mark.parametrize("language", ["curl", "python"])
def test_an_earlier_input_with_a_limit_makes_the_run_of_the_form(
    embedded: Live, person: Person, tmp_path: Path, language: str
) -> None:
    earlier = person.launch("routing", {"duration": 0.5})
    fields = filled(person, source="earlier", earlier=earlier, time_limit_s="50")
    text = shown(person.post(f"{LAUNCH}parts/note/", fields), language)
    assert "time_limit_s" in text
    same = submitted(embedded, language, text, tmp_path)
    own = sent_by_form(embedded, person, fields)
    assert same | {"input_size": 0} == own | {"input_size": 0}


@pytest.mark.parametrize("language", ["curl", "python"])
def test_the_page_of_a_run_reads_it_and_runs_it_again(
    embedded: Live, person: Person, tmp_path: Path, language: str
) -> None:
    client, application = embedded.client, embedded.application("routing")
    managed = f"snippets-{language}"
    ticket = application.upload_url()
    application.upload_data(upload_url=ticket, data=json.loads(SAMPLE.read_text()))
    application.new_managed_input(id=managed, name=managed, upload_id=ticket.upload_id)
    run_id = application.new_run(
        managed_input_id=managed, options={"duration": "0.5", "vehicles": "5"}, name="A b"
    )
    application.run_result_with_polling(run_id)
    page = person.get(f"/runs/{run_id}/")
    state, result, log = (
        run_snippet(embedded, language, shown(page, language, number), tmp_path)
        for number in (1, 2, 3)
    )
    assert "succeeded" in state
    assert "total_km" in result
    assert "vehicles" in log or "progress" in log
    again = submitted(embedded, language, shown(page, language, 4), tmp_path)
    assert again == metadata(embedded, run_id)
    assert again["input_id"] == managed
    listed = person.get("/runs/?application=routing&status=succeeded")
    assert run_id in run_snippet(embedded, language, shown(listed, language), tmp_path)
    assert client is not None


@pytest.mark.parametrize("language", ["curl", "python"])
def test_a_folder_is_sent_as_one(
    embedded: Live, person: Person, tmp_path: Path, language: str
) -> None:
    name = f"snippets-{language}"
    pushed(embedded, name, PROBE_FILES)
    page = person.get(f"/applications/{name}/launch/")
    folder = tmp_path / "inputs"
    folder.mkdir()
    (folder / "a.txt").write_text("one\n")
    said = run_snippet(embedded, language, shown(page, language), tmp_path)
    run_id = json.loads(said)["run_id"] if language == "curl" else said.strip()
    found = metadata(embedded, run_id, name)
    assert found["format"]["input"] == {"type": "multi-file"}
    again = person.get(f"/runs/{run_id}/")
    other = tmp_path / "other"
    other.mkdir()
    said = run_snippet(embedded, language, shown(again, language, 4), other)
    run_id = json.loads(said[said.rindex("{") :])["run_id"] if language == "curl" else said.strip()
    assert metadata(embedded, run_id, name)["format"] == found["format"]
