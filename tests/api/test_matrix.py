"""Every endpoint and everybody who might ask: who is let in, and what others learn: nothing.

The endpoints are read from the API itself and `CALLS` must name each, so none can be forgotten.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django.utils import timezone

from runs.api.auth import Key
from runs.api.v1 import api
from runs.domain.roles import ROLES, may
from runs.models import Account, ApiKey
from tests.api.api_world import (
    MARKER,
    ApiWorld,
    make_api_world,
    make_client,
    make_program,
    path_of,
    text_of,
)
from tests.factories import make_account, make_application, make_executable
from tests.web.world import SECRET

NO_KEY = ("no key", "wrong key", "revoked key", "another scheme")
ROLES_OF_KEYS = tuple(role for role in ROLES if role != "root")
FOREIGN = "key of another account"
FAILURE = {"error", "status"}


@dataclass(frozen=True)
class Call:
    """How an endpoint is asked and what it answers to whoever may.

    `names` puts other things into the path than the usual ones, `body` is sent as JSON; a text
    that begins with `:` in either is looked up in the names of the world. `foreign` is the answer
    to a key of another account: 404 wherever the path names a thing.
    """

    done: int = 200
    body: Any = None
    names: dict[str, str] = field(default_factory=dict)
    foreign: int = 404


_NEW = {"id": "new-1", "name": "new"}
_APP = "applications/{app_id}"
_RUN = f"{_APP}/runs/{{run_id}}"
CALLS: dict[str, Call] = {
    "GET applications": Call(foreign=200),
    "POST applications": Call(201, _NEW, foreign=201),
    f"GET {_APP}": Call(),
    f"PUT {_APP}": Call(200, {"name": "other"}),
    f"DELETE {_APP}": Call(204, names={"app_id": ":spare_app"}),
    f"GET {_APP}/binary": Call(),
    # The key that is asked with has sent nothing.
    f"PUT {_APP}/binary": Call(400, {"requirements": {}}),
    f"GET {_APP}/versions": Call(),
    f"POST {_APP}/versions": Call(201, _NEW),
    f"GET {_APP}/versions/{{version_id}}": Call(),
    f"PUT {_APP}/versions/{{version_id}}": Call(200, {"name": "other"}),
    f"DELETE {_APP}/versions/{{version_id}}": Call(204, names={"version_id": ":spare_version"}),
    f"GET {_APP}/instances": Call(),
    f"POST {_APP}/instances": Call(201, {**_NEW, "version_id": ":version_id"}),
    f"GET {_APP}/instances/{{instance_id}}": Call(),
    f"PUT {_APP}/instances/{{instance_id}}": Call(200, {"name": "other"}),
    f"DELETE {_APP}/instances/{{instance_id}}": Call(204, names={"instance_id": ":spare"}),
    f"PUT {_APP}/instances/{{instance_id}}/lock": Call(200, {"locked": True}),
    f"POST {_APP}/runs/uploadurl": Call(201),
    f"POST {_APP}/runs": Call(202, {"input": {}, "configuration": {}}),
    f"GET {_APP}/runs": Call(),
    f"GET {_RUN}": Call(),
    f"DELETE {_RUN}": Call(204),
    f"PATCH {_RUN}/cancel": Call(202, names={"run_id": ":running"}),
    f"PATCH {_RUN}/stop": Call(202, names={"run_id": ":running"}),
    f"GET {_RUN}/metadata": Call(),
    f"GET {_RUN}/input": Call(),
    f"GET {_RUN}/output": Call(),
    f"GET {_RUN}/waits": Call(),
    f"GET {_RUN}/estimate": Call(),
    f"GET {_RUN}/export": Call(),
    f"GET {_RUN}/logs": Call(),
    f"GET {_RUN}/logs/live": Call(),
    f"GET {_RUN}/assets": Call(),
    f"GET {_RUN}/assets/{{asset_id}}": Call(),
    f"GET {_APP}/inputs": Call(),
    f"POST {_APP}/inputs": Call(201, {**_NEW, "upload_id": ":upload_id"}),
    f"GET {_APP}/inputs/{{input_id}}": Call(),
    f"PUT {_APP}/inputs/{{input_id}}": Call(200, {"name": "other"}),
    f"DELETE {_APP}/inputs/{{input_id}}": Call(204),
    f"GET {_APP}/secrets": Call(),
    f"POST {_APP}/secrets": Call(201, {**_NEW, "secrets": []}),
    f"GET {_APP}/secrets/{{collection_id}}": Call(),
    f"PATCH {_APP}/secrets/{{collection_id}}": Call(200, {"name": "other"}),
    f"DELETE {_APP}/secrets/{{collection_id}}": Call(204, names={"collection_id": ":spare"}),
    "GET account/queue": Call(foreign=200),
    "GET organization/{organization_id}": Call(),
    # Refused to everybody.
    "PUT organization/{organization_id}": Call(403, foreign=403),
    "DELETE organization/{organization_id}": Call(403, foreign=403),
    "POST organization": Call(403, {"name": "x"}, foreign=403),
    "GET integrations": Call(foreign=200),
    "POST integrations": Call(400, {"name": "x"}, foreign=400),
    "GET integrations/{integration_id}": Call(404),
    "PUT integrations/{integration_id}": Call(404),
    "DELETE integrations/{integration_id}": Call(404),
}
for _list in (
    "experiments/inputsets",
    "experiments/batch",
    "experiments/acceptance",
    "experiments/shadow",
    "experiments/switchback",
    "ensembles",
):
    CALLS[f"GET {_APP}/{_list}"] = Call()
    CALLS[f"POST {_APP}/{_list}"] = Call(400, _NEW)
    _parts = {"experiments/batch": ("/runs", "/metadata")}.get(_list, ())
    if _list in {"experiments/shadow", "experiments/switchback"}:
        _parts = ("/runs", "/metadata", "/start", "/stop")
    for _part in ("", *_parts):
        for _method in ("GET", "PUT", "PATCH", "DELETE"):
            CALLS[f"{_method} {_APP}/{_list}/{{thing_id}}{_part}"] = Call(404)

EXCEPTIONS = {
    # Operators cancel and stop their own runs only; this one was submitted by somebody else.
    (f"PATCH {_RUN}/cancel", "operator"): 403,
    (f"PATCH {_RUN}/stop", "operator"): 403,
}
SHOW_NO_MARKER = {
    f"GET {_RUN}/waits",
    f"GET {_RUN}/estimate",
    "GET integrations",
}
"""Reads whose answer holds no words of the account, or only in an address."""


def _endpoints() -> Iterator[tuple[str, str]]:
    for _, router in api._routers:
        for path, view in router.path_operations.items():
            for operation in view.operations:
                (key,) = operation.auth_callbacks
                assert isinstance(key, Key), f"{path} says no permission: auth=Key(…)"
                for method in operation.methods:
                    yield f"{method} {path}", key.permission


PERMISSION = dict(_endpoints())
IN_SCHEMA = {
    f"{method.upper()} {path.removeprefix('/v1/')}"
    for path, methods in api.get_openapi_schema(path_prefix="/v1/")["paths"].items()
    for method in methods
}


# --- Everybody ----------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def store(settings: Any, tmp_path: Path) -> None:
    settings.RUNSITE_DATA_DIR = tmp_path


@pytest.fixture
def world(db: None) -> ApiWorld:
    return make_api_world()


def people(world: ApiWorld) -> dict[str, Client]:
    """A client for each kind of asker."""
    revoked = make_program(world.account, "admin")
    ApiKey.objects.filter(pk=revoked.key.pk).update(revoked_at=timezone.now())
    headers = {
        "no key": {},
        "wrong key": {"authorization": f"Bearer {revoked.secret[:-1]}"},
        "revoked key": {"authorization": f"Bearer {revoked.secret}"},
        "another scheme": {"authorization": f"Basic {world.admin.secret}"},
    }
    found = {who: make_client(headers=told) for who, told in headers.items()}
    for role in ROLES_OF_KEYS:
        found[role] = make_program(world.account, role).client
    found[FOREIGN] = make_program(make_account("elsewhere"), "admin").client
    return found


def expected(endpoint: str, who: str) -> int:
    """The status that the table wants."""
    call = CALLS[endpoint]
    if who in NO_KEY:
        return 401
    if who == FOREIGN:
        return call.foreign
    if not may(who, PERMISSION[endpoint]):
        return 403
    return EXCEPTIONS.get((endpoint, who), call.done)


def address(world: ApiWorld, endpoint: str, **others: str) -> str:
    """The path of an endpoint with the things of the world in it."""
    call = CALLS[endpoint]

    def name(found: re.Match[str]) -> str:
        part = found[1]
        return others.get(part) or str(_told(world, call.names.get(part, f":{part}")))

    return "/v1/" + re.sub(r"\{(\w+)\}", name, endpoint.partition(" ")[2])


def ask(world: ApiWorld, client: Client, endpoint: str, **others: str) -> tuple[Any, str]:
    """The answer and all it says; nothing that was done stays."""
    body = _told(world, CALLS[endpoint].body)
    with transaction.atomic():
        answer: Any = client.generic(
            endpoint.partition(" ")[0],
            address(world, endpoint, **others),
            b"" if body is None else json.dumps(body).encode(),
            content_type="application/json",
        )
        text = text_of(answer)
        transaction.set_rollback(True)
    return answer, text


def _told(world: ApiWorld, value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _told(world, inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_told(world, inner) for inner in value]
    if isinstance(value, str) and value.startswith(":"):
        return world.names[value[1:]]
    return value


def _is_failure(answer: Any) -> bool:
    return (
        answer["Content-Type"].startswith("application/json")
        and set(answer.json()) == FAILURE
        and answer.json()["status"] == answer.status_code
    )


# --- The tests ----------------------------------------------------------------------------------


def test_the_table_has_every_endpoint_and_no_other():
    assert set(PERMISSION) - set(CALLS) == set(), "say in CALLS how these are asked"
    assert set(CALLS) - set(PERMISSION) == set(), "these endpoints are gone: take them out"
    assert set(PERMISSION) >= IN_SCHEMA, "described, but not an endpoint of a router"
    assert len(IN_SCHEMA) > 60


def test_who_is_let_in_and_who_is_not(world: ApiWorld):
    wrong, seen = [], 0
    for who, client in people(world).items():
        for endpoint in CALLS:
            answer, text = ask(world, client, endpoint)
            case = f"{endpoint} with {who}"
            if answer.status_code != expected(endpoint, who):
                told = f"{answer.status_code}, not {expected(endpoint, who)}: {text[-200:]}"
                wrong.append(f"{case}: {told}")
            if answer.status_code >= 400 and not _is_failure(answer):
                wrong.append(f"{case}: no error of the contract")
            if answer.status_code == 401 and answer.headers.get("WWW-Authenticate") != "Bearer":
                wrong.append(f"{case}: does not say which key")
            if who in {*NO_KEY, FOREIGN} and MARKER in text:
                wrong.append(f"{case}: tells what belongs to {world.account.slug}")
            if SECRET in text or "Traceback" in text or "Set-Cookie" in text:
                wrong.append(f"{case}: shows a secret, a traceback or a cookie")
            if who == "viewer" and endpoint.startswith("GET") and MARKER in text:
                seen += 1
    assert wrong == [], "\n".join(wrong)
    assert seen >= 20, "the marker must be seen by those who may, or the test proves nothing"


def test_a_reader_sees_the_marker_wherever_the_account_has_words(world: ApiWorld):
    """So that its absence in the answers to others says something."""
    viewer = make_program(world.account, "viewer").client
    silent = set()
    for endpoint in CALLS:
        answer, text = ask(world, viewer, endpoint)
        if endpoint.startswith("GET") and answer.status_code == 200 and MARKER not in text:
            silent.add(endpoint)
    lists = {one for one in silent if "experiments/" in one or "ensembles" in one}
    assert silent - lists == SHOW_NO_MARKER


def test_the_lists_of_another_account_are_empty(world: ApiWorld):
    foreign = make_program(make_account("elsewhere"), "admin")
    assert foreign.get("/v1/applications") == []
    assert foreign.get("/v1/applications", pagereturn="true") == {"items": []}
    assert foreign.get("/v1/account/queue") == {"runs": []}
    # An id is of one account: the other may have an application of the same name.
    app_id = world.names["app_id"]
    make_application(foreign.account, application_id=app_id)
    for part in ("versions", "instances", "inputs"):
        assert foreign.get(f"/v1/applications/{app_id}/{part}") == []
    assert foreign.get(f"/v1/applications/{app_id}/secrets") == {"items": []}
    for query in ({}, {"instance_id": world.names["instance_id"]}, {"pagereturn": "true"}):
        assert foreign.get(f"/v1/applications/{app_id}/runs", **query) == {"runs": []}


def _page_token(world: ApiWorld) -> str:
    """A page token that the first account might have been given."""
    from runs.api.pages import _make_token

    return _make_token(world.web.run.pk + 1)


def test_a_page_token_of_another_account_shows_nothing(world: ApiWorld):
    foreign = make_program(make_account("elsewhere"), "admin")
    app_id = world.names["app_id"]
    make_application(foreign.account, application_id=app_id)
    query = {"pagereturn": "true", "pagetoken": _page_token(world)}
    assert world.admin.get(f"/v1/applications/{app_id}/runs", **query)["runs"]
    assert foreign.get(f"/v1/applications/{app_id}/runs", **query) == {"runs": []}


def test_what_is_below_one_application_is_not_below_another(world: ApiWorld):
    """Asked through an application that is there, of the same account or of another."""
    wrong = []
    for account, app_id in (
        (make_account("elsewhere"), world.names["app_id"]),
        (world.account, "second"),
    ):
        make_executable(make_application(account, application_id=app_id))
        client = make_program(account, "admin").client
        for endpoint in CALLS:
            if not re.search(r"\{app_id\}.*\{\w+\}", endpoint):
                continue
            answer, text = ask(world, client, endpoint, app_id=app_id)
            if answer.status_code != 404 or not _is_failure(answer) or MARKER in text:
                wrong.append((account.slug, endpoint, answer.status_code, text[-200:]))
    assert wrong == []


def test_a_thing_of_others_looks_as_if_it_were_not_there(world: ApiWorld):
    """Word for word: the answer does not tell an id that is taken elsewhere from a free one."""
    client = make_program(make_account("elsewhere"), "admin").client
    wrong = []
    for endpoint, call in CALLS.items():
        parts = re.findall(r"\{(\w+)\}", endpoint)
        if not parts or call.foreign != 404:
            continue
        told = {part: _told(world, call.names.get(part, f":{part}")) for part in parts}
        texts = []
        for values in (told, {part: f"free-{part}" for part in parts}):
            answer, text = ask(world, client, endpoint, **values)
            for value in sorted(values.values(), key=len, reverse=True):
                text = text.replace(value, "…")
            texts.append((answer.status_code, _without_length(text)))
        if texts[0] != texts[1]:
            wrong.append((endpoint, texts))
    assert wrong == []


# --- Ids of another account in bodies -----------------------------------------------------------

# `default_experiment_instance` is not among them: it is a text that nothing reads yet.
IN_BODIES: dict[str, tuple[str, dict[str, Any]]] = {
    # what is named: (endpoint, body)
    "input_id": (f"POST {_APP}/runs", {"input_id": ":input_id"}),
    "upload_id": (f"POST {_APP}/runs", {"upload_id": ":upload_id"}),
    "empty upload": (f"POST {_APP}/runs", {"upload_id": ":empty_upload"}),
    "secrets_collection_id": (
        f"POST {_APP}/runs",
        {"input": {}, "configuration": {"secrets_collection_id": ":collection_id"}},
    ),
    "cloned_run_id": (
        f"POST {_APP}/runs",
        {"input": {}, "tracking": {"cloned_run_id": ":run_id"}},
    ),
    "waits_for": (f"POST {_APP}/runs", {"input": {}, "waits_for": [":queued"]}),
    **{
        f"{part} of a tracked run": (
            f"POST {_APP}/runs",
            {"input": {}, "result": {"status": "succeeded", part: ":upload_id"}},
        )
        for part in (
            "output_upload_id",
            "error_upload_id",
            "metrics_upload_id",
            "statistics_upload_id",
            "assets_upload_id",
        )
    },
    "upload_id of a tracked run": (
        f"POST {_APP}/runs",
        {"upload_id": ":upload_id", "result": {"status": "succeeded"}},
    ),
    "input_id of a tracked run": (
        f"POST {_APP}/runs",
        {"input_id": ":input_id", "result": {"status": "succeeded"}},
    ),
    "default_instance": (f"PUT {_APP}", {"default_instance": ":instance_id"}),
    "default_instance_id": (f"PUT {_APP}", {"default_instance_id": ":instance_id"}),
    "default_instance of a new application": (
        "POST applications",
        {**_NEW, "default_instance": ":instance_id"},
    ),
    "version_id": (f"POST {_APP}/instances", {**_NEW, "version_id": ":version_id"}),
    "version_id of a change": (
        f"PUT {_APP}/instances/{{instance_id}}",
        {"version_id": ":version_id"},
    ),
    "secrets_collection_id of an instance": (
        f"POST {_APP}/instances",
        {
            **_NEW,
            "version_id": "latest",
            "configuration": {"secrets_collection_id": ":collection_id"},
        },
    ),
    "secrets_collection_id of a change": (
        f"PUT {_APP}/instances/{{instance_id}}",
        {"configuration": {"secrets_collection_id": ":collection_id"}},
    ),
    "upload_id of an input": (f"POST {_APP}/inputs", {**_NEW, "upload_id": ":upload_id"}),
    "run_id of an input": (f"POST {_APP}/inputs", {**_NEW, "run_id": ":run_id"}),
}
OF_THE_ACCOUNT = {
    # An upload and a run are of the account: another application of it may name them.
    "upload_id",
    "empty upload",
    "cloned_run_id",
    "waits_for",
    *(name for name in IN_BODIES if name.endswith(" of a tracked run") and "upload" in name),
    "upload_id of an input",
    "run_id of an input",
}


@pytest.fixture
def second(world: ApiWorld) -> dict[str, Any]:
    """An application of another account that could use all that the first one has."""
    return _second_application(make_account("elsewhere"))


def _second_application(account: Account) -> dict[str, Any]:
    from tests.api.run_worlds import make_app
    from tests.factories import make_instance

    application = make_app(account, "second")
    make_instance(application, instance_id="own")
    return {"program": make_program(account, "admin"), "app_id": "second", "instance_id": "own"}


def _name_it(world: ApiWorld, second: dict[str, Any], what: str, names: Any) -> tuple[Any, str]:
    endpoint, body = IN_BODIES[what]
    path = re.sub(r"\{(\w+)\}", lambda found: second[found[1]], endpoint.partition(" ")[2])
    with transaction.atomic():
        answer = second["program"].send(endpoint.partition(" ")[0], f"/v1/{path}", names(body))
        text = text_of(answer)
        transaction.set_rollback(True)
    return answer, text


def _free(value: Any) -> Any:
    """The same body with an id that nobody has."""
    if isinstance(value, dict):
        return {key: _free(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_free(inner) for inner in value]
    return "nobodys-1" if isinstance(value, str) and value.startswith(":") else value


def _named(body: Any) -> list[str]:
    if isinstance(body, dict):
        return [name for inner in body.values() for name in _named(inner)]
    if isinstance(body, list):
        return [name for inner in body for name in _named(inner)]
    return [body[1:]] if isinstance(body, str) and body.startswith(":") else []


def test_a_body_cannot_name_what_another_account_has(world: ApiWorld, second: dict[str, Any]):
    wrong = []
    for what in IN_BODIES:
        answer, text = _name_it(world, second, what, lambda body: _told(world, body))
        if answer.status_code != 400 or not _is_failure(answer) or MARKER in text:
            wrong.append((what, answer.status_code, text[-300:]))
        # And word for word as if there were no such thing anywhere.
        free, other = _name_it(world, second, what, _free)
        for name in _named(IN_BODIES[what][1]):
            text = text.replace(world.names[name], "nobodys-1")
        if free.status_code != 400 or _without_length(text) != _without_length(other):
            wrong.append((what, free.status_code, text[-300:], other[-300:]))
    assert wrong == []


def test_a_body_cannot_name_what_another_application_has(world: ApiWorld):
    second, wrong = _second_application(world.account), []
    for what in set(IN_BODIES) - OF_THE_ACCOUNT:
        answer, text = _name_it(world, second, what, lambda body: _told(world, body))
        if answer.status_code != 400 or not _is_failure(answer) or MARKER in text:
            wrong.append((what, answer.status_code, text[-300:]))
    assert wrong == []


def test_a_body_may_name_what_the_account_has(world: ApiWorld):
    """So that the refusals above are for the account and for nothing else."""
    second, wrong = _second_application(world.account), []
    for what in OF_THE_ACCOUNT - {"empty upload"}:
        answer, text = _name_it(world, second, what, lambda body: _told(world, body))
        if answer.status_code not in {201, 202}:
            wrong.append((what, answer.status_code, text[-300:]))
    assert wrong == []


def _without_length(text: str) -> str:
    return re.sub(r"Content-Length: \d+", "", text)


def test_an_instance_of_others_in_the_query_is_not_there(world: ApiWorld, second: dict[str, Any]):
    program = second["program"]
    named = world.names["instance_id"]
    answer = program.send("POST", "/v1/applications/second/runs", {"input": {}}, instance_id=named)
    assert answer.status_code == 404
    assert MARKER not in answer.content.decode()
    # A filter of a list finds nothing.
    listed = program.get("/v1/applications/second/runs", instance_id=named)
    assert listed == {"runs": []}


def test_a_role_below_changes_nothing(world: ApiWorld):
    """Not even in part: the rows are as they were after a viewer has tried everything."""
    client = make_program(world.account, "viewer").client
    before = _rows()
    for endpoint in CALLS:
        if may("viewer", PERMISSION[endpoint]):
            continue
        body = _told(world, CALLS[endpoint].body)
        answer = client.generic(
            endpoint.partition(" ")[0],
            address(world, endpoint),
            json.dumps(body or {}).encode(),
            content_type="application/json",
        )
        assert answer.status_code == 403, endpoint
    assert _rows() == before


def _rows() -> list[tuple[str, Any]]:
    """All rows of all kinds but of the keys, which note when they were used."""
    from django.apps import apps

    return [
        (model._meta.label, sorted(map(repr, model._default_manager.values_list())))
        for model in apps.get_app_config("runs").get_models()
        if model is not ApiKey
    ]


# --- Tickets ------------------------------------------------------------------------------------


def test_a_ticket_opens_the_one_object_that_it_was_made_for(world: ApiWorld):
    """Each signature at each address, with each method: only its own is let in."""
    theirs = make_api_world("other", "Nightjar").tickets
    tickets = {
        **world.tickets,
        **{f"{name} of another account": one for name, one in theirs.items()},
    }
    client = make_client()
    opened, wrong = set(), []
    for name, signed in tickets.items():
        query = path_of(signed).partition("?")[2]
        for target, address_ in tickets.items():
            path = path_of(address_).partition("?")[0]
            for method in ("GET", "PUT"):
                with transaction.atomic():
                    data = b"{}" if method == "PUT" else b""
                    answer = client.generic(method, f"{path}?{query}", data, content_type="")
                    text = text_of(answer)
                    transaction.set_rollback(True)
                if answer.status_code == 200:
                    opened.add((name, target, method))
                elif answer.status_code not in {403, 405} or not _is_failure(answer):
                    wrong.append((name, target, method, answer.status_code, text[-200:]))
                elif MARKER in text or "Nightjar" in text:
                    wrong.append((name, target, method, "tells something"))
    own = {(name, name, "PUT" if "upload" in name or "push" in name else "GET") for name in tickets}
    # The asset list and the output may show the same bytes, but never by the same key.
    assert opened == own
    assert wrong == []


def test_a_ticket_is_no_key(world: ApiWorld):
    for signed in world.tickets.values():
        query = path_of(signed).partition("?")[2]
        answer = make_client().get(f"/v1/applications?{query}")
        assert answer.status_code == 401
        token = query.rpartition("=")[2]
        answer = make_client(headers={"authorization": f"Bearer {token}"}).get("/v1/applications")
        assert answer.status_code == 401
