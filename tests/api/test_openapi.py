"""The description of the API: complete, with examples that are what the API really says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from django.test import Client

from runs.api.examples import EXAMPLES
from runs.api.openapi import document
from runs.domain.roles import PERMISSIONS, ROLES

GOLDEN = Path(__file__).parent / "golden"
DOCUMENT = document()
SCHEMAS = DOCUMENT["components"]["schemas"]
OPERATIONS = [
    (f"{method.upper()} {path}", operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]
ANSWERS = {
    # The schema, and its optional keys that only one of the two has.
    "application": ("ApplicationOut", set()),
    "version": ("VersionOut", set()),
    "executable": ("ExecutableOut", set()),
    "managed_input": ("ManagedInputOut", set()),
    "secrets": ("SecretsOut", set()),
    "secrets_summary": ("SecretsSummary", set()),
    "upload": ("UploadTicket", set()),
    "organization": ("OrganizationOut", set()),
    "queue": ("QueueOut", set()),
    "run_waits": ("Waits", set()),
    "run_logs_live_running": ("LiveLog", set()),
    "run_result": ("RunResult", {"execution_duration", "tracking", "input_id"}),
    "run_metadata_queued": (
        "RunInformation",
        {"execution_duration", "initiated_at", "metrics", "tracking", "input_id", "experiment_id"},
    ),
}


def refs_in(part: Any) -> set[str]:
    if isinstance(part, dict):
        own = {part["$ref"].rsplit("/", 1)[1]} if "$ref" in part else set()
        return own.union(*map(refs_in, part.values()))
    return set().union(*map(refs_in, part)) if isinstance(part, list) else set()


def test_everybody_may_read_it(client: Client) -> None:
    answer = client.get("/api/openapi.json")
    assert answer.status_code == 200
    assert answer.json()["openapi"].startswith("3.")
    assert answer.json() == DOCUMENT


@pytest.mark.parametrize(("name", "operation"), OPERATIONS, ids=[name for name, _ in OPERATIONS])
def test_an_operation_says_what_it_needs_and_does(name: str, operation: dict[str, Any]) -> None:
    assert PERMISSIONS[operation["x-permission"]] == operation["x-role"]
    assert operation["x-role"] in ROLES
    assert len(operation["summary"].split()) > 1, operation["summary"]
    assert operation["tags"]


def test_what_every_body_is_has_an_example() -> None:
    assert refs_in(DOCUMENT["paths"]) - set(EXAMPLES) == set()


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_fits_its_schema(name: str) -> None:
    assert name in SCHEMAS
    schema = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    jsonschema.Draft202012Validator(schema).validate(EXAMPLES[name])
    known = SCHEMAS[name]["properties"]
    assert set(EXAMPLES[name]) <= set(known), "an example with a key that the schema does not know"


@pytest.mark.parametrize("golden", ANSWERS)
def test_an_example_has_the_keys_of_a_real_answer(golden: str) -> None:
    name, optional = ANSWERS[golden]
    real = json.loads((GOLDEN / f"{golden}.json").read_text())
    assert keys_of(EXAMPLES[name]) - optional == keys_of(real) - optional


def test_shapes_of_one_name_are_one_shape() -> None:
    """The document names shapes by their class: two classes of one name would be one in it."""
    from runs.api.v1 import schemas

    homes: dict[str, set[str]] = {}
    for path in Path(schemas.__file__).parent.glob("*.py"):
        for line in path.read_text().splitlines():
            if line.startswith("class "):
                homes.setdefault(line.split("(")[0].removeprefix("class "), set()).add(path.name)
    assert {name: found for name, found in homes.items() if len(found) > 1} == {}


def keys_of(value: Any, inner: frozenset[str] = frozenset()) -> set[str]:
    """The keys of an object and of those within it; what belongs to the user is not looked into."""
    of_the_user = {"options", "metrics", "statistics", "output", "requirements", "configuration"}
    if isinstance(value, list):
        return set().union(*map(keys_of, value)) if value else set()
    if not isinstance(value, dict):
        return set()
    found = set(value)
    for key, one in value.items():
        if key not in of_the_user:
            found |= keys_of(one)
    return found
