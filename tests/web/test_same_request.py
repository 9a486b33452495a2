"""What pages show of the API: the request that a form, a list and a run stand for."""

from __future__ import annotations

import html
import json
import re
from typing import Any

import pytest

from runs.domain.status import Status
from runs.models import Account, Application, RunOption
from tests.factories import (
    make_instance,
    make_managed_input,
    make_run,
    make_secrets,
    make_version,
)
from tests.web.conftest import Browser
from tests.web.test_launch import URL, fields_of
from tests.web.test_launch import make_build as make_routing


def shown(page: str, language: str = "curl", number: int = 1) -> str:
    """The text of a snippet, as a browser copies it."""
    found = re.search(rf'<code id="request-{language}-{number}">(.*?)</code>', page, re.DOTALL)
    assert found, page
    return html.unescape(found[1])


def body_of(snippet: str) -> Any:
    """The body that a curl with -d sends."""
    return json.loads(snippet.rpartition("-d '")[2].rstrip("'").replace("'\"'\"'", "'"))


@pytest.fixture
def routing(account: Account) -> Application:
    return make_routing(account, files={"input.json": b'{"stops": [1, 2, 3]}'}).application


# --- Launch -----------------------------------------------------------------------------------


def test_the_form_shows_its_request_as_it_is_opened(ann: Browser, routing: Application) -> None:
    page = ann.get(URL).content.decode()
    snippet = shown(page)
    assert "http://testserver/v1/applications/routing/runs'" in snippet
    assert body_of(snippet) == {"input": {"stops": [1, 2, 3]}}
    assert 'cloud.Application(client=client, id="routing")' in shown(page, "python")
    assert "--app-id routing" in shown(page, "cli")


def test_the_part_shows_the_request_as_it_was_changed(ann: Browser, routing: Application) -> None:
    sent = fields_of(ann.get(URL).content.decode())
    sent |= {"name": ["It's $HOME"], "o:vehicles": ["7"], "priority": ["2"], "source": ["none"]}
    sent |= {"time_limit_s": ["60"], "memory_limit_mib": ["64"]}
    page = ann.post(f"{URL}parts/note/", sent).content.decode()
    assert 'hx-swap-oob="true" data-languages' in page
    assert body_of(shown(page)) == {
        "name": "It's $HOME",
        "options": {"vehicles": "7"},
        "configuration": {"queuing": {"priority": 2}},
        "time_limit_s": 60,
        "limits": {"memory_limit_bytes": 64 * 1024 * 1024},
    }
    assert "Cannot be said here: time limit, limits, no input." in page


def test_what_is_wrong_in_the_form_is_left_out(ann: Browser, routing: Application) -> None:
    sent = fields_of(ann.get(URL).content.decode())
    sent |= {"priority": ["77"], "time_limit_s": ["soon"], "o:vehicles": ["99"]}
    page = ann.post(f"{URL}parts/note/", sent).content.decode()
    body = body_of(shown(page))
    assert "configuration" not in body
    assert "time_limit_s" not in body


def test_inputs_are_named_as_the_api_names_them(ann: Browser, routing: Application) -> None:
    managed = make_managed_input(routing, input_id="monday")
    earlier = make_run(routing, status=Status.SUCCEEDED, input_data=managed.input_data)
    sent = fields_of(ann.get(URL).content.decode())
    post = f"{URL}parts/note/"
    page = ann.post(post, sent | {"source": ["managed"], "managed": ["monday"]}).content.decode()
    assert body_of(shown(page)) == {"input_id": "monday"}
    sent |= {"source": ["earlier"], "earlier": [earlier.run_id]}
    page = ann.post(post, sent).content.decode()
    assert f"/v1/applications/routing/runs/{earlier.run_id}/input'" in shown(page)
    assert f'application.run_input(run_id="{earlier.run_id}")' in shown(page, "python")
    page = ann.post(post, sent | {"source": ["upload"]}).content.decode()
    assert "cat input.json" in shown(page)
    assert "<code>input.json</code> stands for the file with the input." in page


def test_an_option_that_the_role_does_not_see_is_not_shown(
    ann: Browser, operator: Browser, routing: Application
) -> None:
    run = make_run(
        routing,
        status=Status.SUCCEEDED,
        executable=routing.executable,
        requested_options={"seed": 777, "vehicles": 3},
    )
    RunOption.objects.create(
        account=run.account, application=routing, run=run, name="seed", text="777", source="run"
    )
    for who, sees in ((ann, True), (operator, False)):
        for address in (f"/runs/{run.run_id}/", f"{URL}?from={run.run_id}"):
            page = who.get(address).content.decode()
            assert ("777" in page.partition('id="same-request"')[2]) is sees, address
    page = operator.get(f"/runs/{run.run_id}/").content.decode()
    assert "1 option is left out" in page
    assert '"options": {"vehicles": "3"}' in shown(page, "curl", 4)


# --- Lists --------------------------------------------------------------------------------------


def test_a_list_shows_its_request_and_what_the_api_does_not_filter_by(ann: Browser) -> None:
    page = ann.get("/runs/?application=routing&status=failed&q=abc&source=api").content.decode()
    assert "/v1/applications/routing/runs?pagereturn=true&status=failed'" in shown(page)
    assert "--status failed" in shown(page, "cli")
    assert "The API does not filter by text and source" in page
    part = ann.get("/runs/?status=running", headers={"HX-Request": "true"}).content.decode()
    assert "/v1/account/queue'" in shown(part)


def test_a_hostile_filter_stays_a_text(ann: Browser) -> None:
    page = ann.get("/runs/", {"application": "';rm -rf /;'</code><script>", "who": "'"}).content
    assert b"<script>" not in page.partition(b'id="same-request"')[2]
    assert "%27%3Brm%20-rf%20%2F%3B%27" in shown(page.decode())


# --- Runs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("tab", ["", "log/", "input/", "output/", "resources/", "history/"])
def test_every_page_of_a_run_shows_how_it_is_read(
    ann: Browser, routing: Application, tab: str
) -> None:
    run = make_run(routing, status=Status.SUCCEEDED)
    page = ann.get(f"/runs/{run.run_id}/{tab}").content.decode()
    root = f"http://testserver/v1/applications/routing/runs/{run.run_id}"
    assert [shown(page, "curl", number).split("'")[1] for number in (1, 2, 3)] == [
        f"{root}/metadata",
        root,
        f"{root}/logs",
    ]


def test_run_again_carries_everything_over(ann: Browser, routing: Application) -> None:
    managed = make_managed_input(routing, input_id="monday")
    version = make_version(routing.executable)
    instance = make_instance(routing, instance_id="prod", version=version, priority=4)
    run = make_run(
        routing,
        status=Status.SUCCEEDED,
        executable=routing.executable,
        instance=instance,
        version=version,
        managed_input=managed,
        input_data=managed.input_data,
        requested_options={"vehicles": 7},
        name="First",
        priority=4,
        time_limit_s=60,
        secrets=make_secrets(routing, collection_id="maps"),
    )
    snippet = shown(ann.get(f"/runs/{run.run_id}/").content.decode(), "curl", 4)
    assert "runs?instance_id=prod'" in snippet
    assert body_of(snippet) == {
        "input_id": "monday",
        "name": "First",
        "options": {"vehicles": "7"},
        "configuration": {"secrets_collection_id": "maps"},
        "time_limit_s": 60,
    }


def test_who_may_not_launch_is_not_shown_how(viewer: Browser, routing: Application) -> None:
    run = make_run(routing, status=Status.SUCCEEDED)
    page = viewer.get(f"/runs/{run.run_id}/").content.decode()
    assert "request-curl-3" in page
    assert "request-curl-4" not in page


def test_the_address_is_the_public_one(ann: Browser, routing: Application, settings: Any) -> None:
    settings.RUNSITE_PUBLIC_URL = "https://runs.example.org"
    settings.RUNSITE_PUBLIC_URL_IS_SET = True
    page = ann.get(URL).content.decode()
    assert "https://runs.example.org/v1/applications" in shown(page)
    assert "https only" not in page


# --- Keys ---------------------------------------------------------------------------------------


def test_a_new_key_stands_in_the_lines_that_connect_once(ann: Browser) -> None:
    page = ann.post("/settings/keys/", {"name": "planning", "role": "operator"}).content.decode()
    key = re.search(r'id="secret-text">(rs_[\w-]+)<', page)
    assert key
    assert page.count(key[1]) == 5  # itself, Python, command line, assistant, curl
    assert "export NEXTMV_ENDPOINT=http://testserver" in page
    assert f"export NEXTMV_API_KEY={key[1]}" in page
    again = ann.get("/settings/keys/").content.decode()
    assert key[1] not in again
    assert "export NEXTMV_API_KEY=YOUR_KEY" in again
    assert "Also uploads inputs, submits runs" in again
