"""Requests that no honest client sends, by hand: each is answered in JSON, and nothing breaks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction

from runs.models import Run
from tests.api.api_world import ApiWorld, make_api_world, text_of
from tests.api.test_matrix import CALLS, FAILURE, address

ENDPOINTS = [name for name in CALLS if not re.search("experiments/[^b]|ensembles|PUT.*batch", name)]
"""Those that this release does not have look at nothing; one kind of them is enough."""
WRITES = [name for name in ENDPOINTS if name.partition(" ")[0] in {"POST", "PUT", "PATCH"}]
DEEP = 50_000
TEXTS = {
    "zero byte": "a\0b",
    "half a character": "\ud800",
    "direction": "\u202e\u2066x",
    "digits of another script": "٣",
    "path": "../../../etc/passwd",
    "line": "a\r\nSet-Cookie: a=b",
    "long": "x" * 20_000,
    "blank": " \t\n",
    "nothing": "",
}
VALUES: dict[str, Any] = {
    **TEXTS,
    "null": None,
    "number": 7,
    "negative": -1,
    "large": 10**400,
    "list": [],
    "object": {},
    "numbers": [1, 2.5, -(10**30)],
    "zero byte in a key": {"a\0b": "a\0b"},
    "half a character in a key": {"\ud800": "\ud800"},
}
FIELDS = (
    "id",
    "name",
    "description",
    "version_id",
    "upload_id",
    "run_id",
    "input_id",
    "default_instance",
    "default_experiment_instance",
    "batch_experiment_id",
    "requirements",
    "secrets",
    "operations",
    "configuration",
    "options",
    "format",
    "result",
    "tracking",
    "waits_for",
    "wait_policy",
    "limits",
    "time_limit_s",
    "locked",
    "input",
)
WITH_PARTS = ("/runs", "/binary", "/instances", "/instances/{instance_id}", "/inputs")
INSIDE = {
    # a field: the keys that an object in it may have
    "configuration": (
        "execution_class",
        "format",
        "options",
        "queuing",
        "run_type",
        "secrets_collection_id",
        "integration_id",
        "limits",
    ),
    "format": ("input", "output"),
    "result": (
        "status",
        "execution_duration",
        "error_message",
        "output_upload_id",
        "error_upload_id",
        "metrics_upload_id",
        "statistics_upload_id",
        "assets_upload_id",
    ),
    "tracking": ("cloned_run_id",),
    "queuing": ("priority", "disabled"),
    "run_type": ("type", "definition_id", "reference_id"),
    "limits": ("time_limit_s", "memory_mb", "idle_s", "log_bytes"),
    "requirements": (
        "executable_type",
        "runtime",
        "io_configuration",
        "options",
        "entrypoint",
        "working_directory",
    ),
    "options": ("vehicles", "items", "strict", "validation", "format", ""),
    "io_configuration": ("format", "multi_file"),
}
BODIES: dict[str, bytes] = {
    "empty": b"",
    "blank": b" \r\n\t ",
    "not JSON": b"a=b&c=d",
    "cut off": b'{"id": "x',
    "two values": b"{}{}",
    "byte order mark": b"\xef\xbb\xbf{}",
    "other encoding": '{"id": "x"}'.encode("utf-16"),
    "not UTF-8": b'{"id": "\xff\xfe"}',
    "zero bytes": b"\0" * 100,
    "list": b"[]",
    "number": b"7",
    "text": b'"x"',
    "null": b"null",
    "no number": b'{"id": NaN, "name": Infinity, "input": -Infinity}',
    "long number": b'{"id": "a", "name": "a", "time_limit_s": ' + b"9" * 5000 + b"}",
    "larger number": b'{"id": "a", "name": "a", "time_limit_s": 1' + b"0" * 400 + b"}",
    "exponent": b'{"id": "a", "name": "a", "time_limit_s": 1e400, "input": 1e400}',
    "deep lists": b'{"input": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "deep and open": b"[" * DEEP,
    "rather deep": b'{"id": "a", "name": "a", "options": {"a": ' + b"[" * 900 + b"]" * 900 + b"}}",
    "same key twice": b'{"id": "a", "id": {"b": 1}, "name": 1, "name": "a", "name": null}',
    "many keys": json.dumps({str(i): i for i in range(50_000)}).encode(),
    "long key": json.dumps({"x" * 1_000_000: 1}).encode(),
    "half a character": b'{"id": "\\ud800", "name": "\\udc00", "description": "\\ud83d"}',
    "escaped zero byte": b'{"id": "a\\u0000", "name": "a", "options": {"\\u0000": "\\u0000"}}',
    "prototype": b'{"__proto__": {"a": 1}, "__class__": "x", "constructor": {"id": 1}}',
}
TYPES = (
    "",
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
    "multipart/form-data; boundary=x",
    "application/json; charset=utf-16",
    "application/json; charset=nonsense",
    "application/xml",
    "x" * 5000,
    "application/json\u20ac",
)


@pytest.fixture(autouse=True)
def store(settings: Any, tmp_path: Path) -> None:
    settings.RUNSITE_DATA_DIR = tmp_path


@pytest.fixture
def world(db: None) -> ApiWorld:
    return make_api_world()


def send(world: ApiWorld, method: str, path: str, data: bytes = b"", **words: Any) -> Any:
    """The answer to a request of an admin; nothing that was done stays."""
    words.setdefault("content_type", "application/json")
    with transaction.atomic():
        answer = world.admin.client.generic(method, path, data, **words)
        answer.said = text_of(answer)
        transaction.set_rollback(True)
    return answer


def fault(answer: Any, method: str = "GET", most: int = 500) -> str:
    """What is wrong with an answer, whatever it says; empty when nothing is."""
    status, kind = answer.status_code, answer.headers.get("Content-Type", "")
    if status >= most or 300 <= status < 400:
        return f"status {status}"
    if "Traceback" in answer.said or "Set-Cookie" in answer.headers:
        return "traceback or cookie"
    if status == 204 or method == "HEAD":
        return ""
    if not kind.startswith(("application/json", "application/zip")):
        return f"content type {kind}"
    if status >= 400 and (set(answer.json()) != FAILURE or answer.json()["status"] != status):
        return "error of another shape"
    return ""


def bodies_of(endpoint: str, world: ApiWorld) -> Iterator[tuple[str, bytes]]:
    """A usual body with each value in each field, and in the fields of those."""
    usual = {"id": "new-1", "name": "new", **(CALLS[endpoint].body or {})}
    usual = {
        name: world.names[value[1:]] if isinstance(value, str) and value[:1] == ":" else value
        for name, value in usual.items()
    }
    for kind, value in VALUES.items():
        yield f"all: {kind}", json.dumps({**usual, **dict.fromkeys(FIELDS, value)}).encode()
        for field in FIELDS:
            if field in usual:
                yield f"{field}: {kind}", json.dumps({**usual, field: value}).encode()
        for field, keys in INSIDE.items() if endpoint.endswith(WITH_PARTS) else ():
            inner: Any = dict.fromkeys(keys, value)
            if field in {"queuing", "run_type", "format", "limits"}:
                outer = {"configuration": {field: inner}}
            elif field == "io_configuration":
                outer = {"requirements": {field: inner}}
            else:
                outer = {field: inner}
            yield f"in {field}: {kind}", json.dumps({**usual, **outer}).encode()


def test_no_value_in_any_field_breaks_an_endpoint(world: ApiWorld) -> None:
    wrong, sent = [], 0
    for endpoint in WRITES:
        method = endpoint.partition(" ")[0]
        for kind, body in bodies_of(endpoint, world):
            sent += 1
            answer = send(world, method, address(world, endpoint), body)
            if found := fault(answer):
                wrong.append((endpoint, kind, found, answer.said[-200:]))
    assert wrong == []
    assert sent > 1_500


def test_no_body_breaks_an_endpoint_whatever_its_type(world: ApiWorld) -> None:
    wrong = []
    for endpoint in (*WRITES, *(name for name in ENDPOINTS if name.startswith("DELETE"))):
        method = endpoint.partition(" ")[0]
        for kind, body in BODIES.items():
            answer = send(world, method, address(world, endpoint), body)
            if found := fault(answer):
                wrong.append((endpoint, kind, found, answer.said[-200:]))
        for kind in TYPES:
            answer = send(
                world, method, address(world, endpoint), b'{"id": "a"}', content_type=kind
            )
            if found := fault(answer):
                wrong.append((endpoint, kind[:50], found, answer.said[-200:]))
    assert wrong == []


def test_a_body_is_read_as_json_whatever_its_type_says(world: ApiWorld) -> None:
    body = b'{"id": "typed", "name": "typed"}'
    for kind in TYPES:
        answer = send(world, "POST", "/v1/applications", body, content_type=kind)
        assert answer.status_code == 201, (kind, answer.said)


def test_no_id_in_a_path_breaks_an_endpoint(world: ApiWorld) -> None:
    ids = (
        "%00",
        "a%00b",
        "%ED%A0%80",  # half a character
        "%FF%FE",
        "%D9%A3",
        "%2e%2e",
        "..%2f..%2fetc%2fpasswd",
        "..;",
        "%5c..%5c",
        "%20",
        "%0d%0aSet-Cookie:a=b",
        "%25%30%30",
        "x" * 8_000,
        "*",
        "-1",
        "9" * 400,
        "null",
        "undefined",
        "latest",
        "%F0%9F%92%A5",
        "'%20or%201=1%20--",
        "{app_id}",
    )
    wrong = []
    for endpoint in ENDPOINTS:
        method, _, path = endpoint.partition(" ")
        parts = re.findall(r"\{(\w+)\}", path)
        for part in parts:
            for id_ in ids:
                answer = send(world, method, address(world, endpoint, **{part: id_}))
                if found := fault(answer):
                    wrong.append((endpoint, part, id_[:40], found, answer.said[-200:]))
                known = id_ == "latest" and part == "instance_id"
                if answer.status_code < 400 and not known:
                    wrong.append((endpoint, part, id_[:40], "is there", answer.said[-200:]))
    assert wrong == []


def test_no_query_breaks_a_list(world: ApiWorld) -> None:
    values = (
        "",
        "%00",
        "a%00b",
        "%ED%A0%80",
        "%FF",
        "%D9%A3",
        "YWZ0ZXIgMQ",  # after 1
        "YWZ0ZXIgMQ==",
        "YWZ0ZXIgLTE",  # after -1
        "YWZ0ZXIg2aM",  # after, and a digit of another script
        "YWZ0ZXIg" + "OTk5" * 30,
        "b3RoZXIgMQ",
        "====",
        "A",
        "x" * 10_000,
        "true",
        "null",
        "[]",
        "1e400",
        "-1",
        "9" * 400,
        "..%2f",
    )
    names = ("pagetoken", "status", "instance_id", "batch_experiment_id", "format", "since", "x")
    wrong = []
    for endpoint in ENDPOINTS:
        if not endpoint.startswith("GET"):
            continue
        path = address(world, endpoint)
        for value in values:
            answer = send(world, "GET", path + "?" + "&".join(f"{name}={value}" for name in names))
            if found := fault(answer):
                wrong.append((endpoint, value[:40], found, answer.said[-200:]))
        for query in ("?" * 50, "&" * 2000, "=", "a[b][c]=1", "&".join(["a=1"] * 2000)):
            answer = send(world, "GET", f"{path}?{query}")
            if found := fault(answer):
                wrong.append((endpoint, query[:20], found, answer.said[-200:]))
    assert wrong == []


def test_a_bad_page_token_is_refused_in_words(world: ApiWorld) -> None:
    root = f"/v1/applications/{world.names['app_id']}"
    for path in ("/v1/applications", *(f"{root}/{one}" for one in ("runs", "versions", "inputs"))):
        for token in ("x", "YWZ0ZXIgLTE", "YWZ0ZXIg2aM", "YWZ0ZXIg" + "OTk5" * 30, "é", "\0"):
            answer = world.admin.send("GET", path, pagereturn="true", pagetoken=token)
            assert answer.status_code == 400, (path, token)
            assert "page token" in answer.json()["error"]


def test_methods_that_an_address_does_not_take_are_answered_in_json(world: ApiWorld) -> None:
    methods = ("HEAD", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "GET", "POST", "PUT", "PATCH")
    wrong = []
    taken: dict[str, set[str]] = {}
    for endpoint in CALLS:
        method, _, path = endpoint.partition(" ")
        taken.setdefault(path, set()).add(method)
    for path, known in taken.items():
        endpoint = f"{min(known)} {path}"
        for method in (*methods, "DELETE", "X" * 100):
            if method in known:
                continue
            answer = send(world, method, address(world, endpoint), b"{}")
            if found := fault(answer, method):
                wrong.append((path, method, found, answer.said[-200:]))
            if answer.status_code != 405:
                wrong.append((path, method, answer.status_code))
    assert wrong == []


def test_addresses_written_otherwise_are_no_address_and_lead_nowhere(world: ApiWorld) -> None:
    app_id = world.names["app_id"]
    run = f"{app_id}/runs/{world.names['run_id']}"
    wrong = []
    for path in (
        "/v1",
        "/v1/",
        "/v0/internal/tools",
        "/v1/applications/",
        "//v1/applications",
        "///v1//applications",
        "/v1//applications",
        f"/v1/applications/{app_id}/",
        f"/v1/applications//{app_id}",
        f"/v1/applications/{app_id}//runs",
        f"/v1/applications/{app_id}/runs/",
        f"/v1/applications/{run}/",
        f"/v1/applications/{run}/metadata/",
        f"/v1/applications/{run}/metadata%2F",
        f"/v1/applications/{run}%2F%2Fmetadata",
        f"/v1/applications/./{app_id}",
        f"/v1/./applications/{app_id}",
        f"/v1/applications/x/../{app_id}",
        f"/v1/applications/{app_id}%20",
        f"/v1/applications/{app_id};x=1",
        f"/v1/applications/{app_id}.json",
        f"/v1/Applications/{app_id}",
        "/v1/marketplace/apps",
        "/v1/enterprise/sso",
    ):
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            # With the host: the test client takes what follows two slashes for one.
            answer = send(world, method, f"http://testserver{path}", b"{}")
            found = fault(answer, method)
            if found or answer.status_code not in {404, 405}:
                wrong.append((method, path, answer.status_code, found, answer.said[-200:]))
    assert wrong == []


def test_hostile_headers_break_nothing(world: ApiWorld) -> None:
    path = f"/v1/applications/{world.names['app_id']}/runs"
    wrong = []
    values = (
        "",
        "\0",
        "x" * 100_000,
        "\xe2\x82\xac",
        "\xff",
        "-1",
        "bytes=0-0",
        "a\tb",
        "Bearer",
        "Bearer \x7f",
    )
    for name in (
        "authorization",
        "idempotency-key",
        "accept",
        "accept-encoding",
        "accept-language",
        "content-encoding",
        "transfer-encoding",
        "if-none-match",
        "if-modified-since",
        "range",
        "cookie",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-http-method-override",
        "nextmv-account",
        "hx-request",
        "expect",
    ):
        for value in values:
            for method, body in (("GET", b""), ("POST", b'{"input": {}}')):
                answer = send(world, method, path, body, headers={name: value})
                if found := fault(answer):
                    wrong.append((name, method, value[:20], found, answer.said[-200:]))
    assert wrong == []


def test_a_host_that_is_none_is_refused_in_json(world: ApiWorld) -> None:
    for host in ("evil.example.org", "a b", "x" * 5000, "[::1", "testserver:99999999", "\0"):
        answer = send(world, "GET", "/v1/applications", headers={"host": host})
        assert fault(answer) == "", (host, answer.said)
        assert answer.status_code in {200, 400}
        assert "evil" not in answer.said


def test_what_was_refused_has_left_nothing(world: ApiWorld) -> None:
    """Of a request that is answered with an error no row stays."""
    path = f"/v1/applications/{world.names['app_id']}/runs"
    refused = 0
    for value in VALUES.values():
        for field in ("options", "configuration", "result", "waits_for", "limits", "time_limit_s"):
            body = json.dumps({"input": {}, field: value}).encode()
            now = Run.objects.count()
            answer = world.admin.client.generic("POST", path, body)
            if answer.status_code >= 400:
                refused += 1
                assert Run.objects.count() == now, (field, value)
    assert refused > 50
