"""The page of the API: every operation of the document, each with what it takes to try it."""

from __future__ import annotations

import html
import json
import re

import pytest

from runs.web.api_document import read_document
from tests.web.conftest import Browser

DOCUMENT = {
    "paths": {
        "/v1/things/{thing_id}": {
            "put": {
                "tags": ["things"],
                "summary": "Change <b>it</b>",
                "description": "Change <b>it</b>. Then `more`.",
                "x-permission": "launch",
                "x-role": "operator",
                "x-ours": True,
                "parameters": [
                    {"in": "path", "name": "thing_id", "required": True, "schema": {}},
                    {"in": "query", "name": "format", "schema": {"type": "string"}},
                ],
                "requestBody": {
                    "content": {"application/json": {"schema": {"$ref": "#/x/ThingIn"}}}
                },
                "responses": {
                    "400": {"description": "Bad"},
                    "200": {
                        "description": "OK",
                        "content": {
                            "application/json": {
                                "schema": {
                                    "anyOf": [
                                        {"type": "array", "items": {"$ref": "#/x/Thing"}},
                                        {"$ref": "#/x/Thing"},
                                    ]
                                }
                            }
                        },
                    },
                },
            }
        }
    },
    "components": {
        "schemas": {
            "ThingIn": {
                "description": "A thing.",
                "type": "object",
                "required": ["id"],
                "properties": {
                    "id": {"type": "string", "description": "Its id."},
                    "inner": {"anyOf": [{"$ref": "#/x/Thing"}, {"type": "null"}]},
                    "count": {"type": "integer", "default": 3},
                },
                "examples": [{"id": "a"}],
            },
            "Thing": {
                "type": "object",
                "properties": {
                    "at": {"type": "string", "format": "date-time"},
                    "self": {"$ref": "#/x/Thing"},
                },
            },
        }
    },
}


def test_a_document_becomes_rows() -> None:
    [section] = read_document(json.dumps(DOCUMENT))
    [operation] = section.operations
    assert (section.name, operation.method, operation.anchor) == (
        "things",
        "PUT",
        "put-v1-things-thing-id",
    )
    assert operation.parts == (("/v1/things/", False), ("{thing_id}", True))
    assert (operation.role, operation.is_ours, operation.errors) == ("operator", True, ("400",))
    assert operation.description == "Then `more`."
    assert [(row.name, row.where, row.required) for row in operation.parameters] == [
        ("thing_id", "path", True),
        ("format", "query", False),
    ]
    assert operation.body is not None
    assert operation.body.example == '{"id": "a"}'
    rows = [(row.name, row.type, row.depth) for row in operation.body.rows]
    assert rows[:4] == [
        ("id", "string", 0),
        ("inner", "object", 0),
        ("at", "time", 1),
        ("self", "object", 1),
    ]
    assert max(depth for *_, depth in rows) == 3
    assert operation.body.rows[-1].note == "Usually 3."
    [answer] = operation.answers
    assert [row.name for row in answer.body.rows][:2] == ["at", "self"]


def test_the_page_has_every_operation_of_the_document(viewer: Browser) -> None:
    document = viewer.get("/api/openapi.json").json()
    page = viewer.get("/api-reference/").content.decode()
    listed = {
        (method.upper(), path) for path, methods in document["paths"].items() for method in methods
    }
    tried = {
        (method, html.unescape(path))
        for path, method in re.findall(r'data-try="([^"]+)" data-try-method="([A-Z]+)"', page)
    }
    assert tried == listed
    anchors = re.findall(r'<details class="folded operation" id="([^"]+)"', page)
    assert len(set(anchors)) == len(anchors) == len(listed)
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(set(ids)) == len(ids)


def test_the_page_is_reached_from_everywhere(viewer: Browser) -> None:
    assert 'href="/api-reference/"' in viewer.get("/").content.decode()
    keys = viewer.get("/settings/keys/").content.decode()
    assert keys.count('href="/api-reference/"') >= 2


def test_who_has_not_signed_in_is_asked_to(client) -> None:
    assert client.get("/api-reference/")["Location"].startswith("/sign-in/")


@pytest.mark.parametrize("word", ["Idempotency-Key", "waits_for", "added by Runsite"])
def test_the_page_names_what_is_ours(viewer: Browser, word: str) -> None:
    assert word in viewer.get("/api-reference/").content.decode()
