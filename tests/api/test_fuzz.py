"""Thousands of generated requests over our own description of the API: nothing may break.

`RUNSITE_TEST_LONG=true` sends at least 20,000 of them; `RUNSITE_TEST_SEED` begins elsewhere.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, transaction
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
from schemathesis.openapi.checks import UndefinedStatusCode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from runs.api.v1 import api
from tests.api.api_world import ApiWorld, make_api_world

LONG = os.environ.get("RUNSITE_TEST_LONG", "").lower() == "true"
SEED = int(os.environ.get("RUNSITE_TEST_SEED", "20260501"))
PARTS = 6
"""So many tests share the operations, and so may run at the same time."""
EXAMPLES = 190 if LONG else 19
"""Requests for each operation and mode, at most: some have no more different ones."""
CHAIN = 25
"""After so many requests the rows are as they were in the beginning."""
FIELDS = {
    # a field of a body or a query: what of the world it may name
    "id": ("app_id", "version_id", "instance_id", "input_id", "collection_id"),
    "version_id": ("version_id",),
    "instance_id": ("instance_id", "spare"),
    "default_instance": ("instance_id", "spare"),
    "default_instance_id": ("instance_id",),
    "input_id": ("input_id",),
    "run_id": ("run_id", "running", "queued", "tracked", "succeeded"),
    "cloned_run_id": ("run_id", "tracked", "succeeded"),
    "secrets_collection_id": ("collection_id", "spare"),
    "upload_id": ("upload_id", "empty_upload"),
    "output_upload_id": ("upload_id", "empty_upload"),
    "error_upload_id": ("upload_id",),
    "metrics_upload_id": ("upload_id",),
    "statistics_upload_id": ("upload_id",),
    "assets_upload_id": ("upload_id",),
}
WORDS = {
    # a field: values that mean something
    "status": ["succeeded", "failed", "queued", "canceled", "running"],
    "type": ["json", "text", "multi-file", "csv-archive", "standard", "external", "env", "file"],
    "format": ["url", "json", {"input": {"type": "json"}}, {"output": {"type": "multi-file"}}],
    "op": ["create", "update", "delete"],
    "priority": [1, 6, 9, 0, 10**30],
    "wait_policy": ["fail", "skip", "continue"],
    "location": ["API_KEY", "keys/a.json", "../up", "/etc/passwd"],
    "version_id": ["latest"],
    "instance_id": ["latest"],
    "execution_class": ["default", "night"],
    "pagereturn": ["true", "false", "1"],
    "pagetoken": ["YWZ0ZXIgMQ", "YWZ0ZXIgOTk5OTk5OTk5OTk5OTk5OTk5", "YWZ0ZXIgLTE", "====", "é"],
    "since": ["1-0-0", "1.0", "9999999999999999999", "-1"],
    "time_limit_s": [1, 0, -1, 10**30],
    "limits": [{"time_limit_s": 5}, {"memory_mb": 10**30}, {"x": None}],
    "options": [{"vehicles": "3"}, {"vehicles": "x"}, {"unknown": "1"}, {"gap": None}],
}
HOSTILE = ["", "\0", "a\0b", "\ud800", "..", "../..", "%00", "a/b", "x" * 5000, "٣", "\u202e", "💥"]


@pytest.fixture(autouse=True)
def store(settings: Any, tmp_path: Path) -> None:
    settings.RUNSITE_DATA_DIR = tmp_path


@pytest.fixture
def world(db: None) -> Iterator[ApiWorld]:
    world = make_api_world()
    # The handler of a server closes the connection after each request: our transaction, too. The
    # test client puts these back whenever it asks, so they are taken away after it.
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield world
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


def description(world: ApiWorld) -> Any:
    """Our OpenAPI with the application behind it; real ids stand where ids are wanted."""
    config = SchemathesisConfig()
    config.projects.default.generation.update(with_security_parameters=False)
    schema = schemathesis.openapi.from_dict(
        api.get_openapi_schema(path_prefix="/v1/"), config=config
    )
    schema.app = WSGIHandler()

    @schema.hook
    def flatmap_path_parameters(context: Any, path_parameters: Any) -> Any:
        return _some_of_the_world(path_parameters, world, in_path=True, in_address=True)

    @schema.hook
    def flatmap_query(context: Any, query: Any) -> Any:
        return _some_of_the_world(query, world, in_address=True)

    @schema.hook
    def flatmap_body(context: Any, body: Any) -> Any:
        return _some_of_the_world(body, world)

    return schema


@st.composite
def _some_of_the_world(
    draw: Any, value: Any, world: ApiWorld, in_path: bool = False, in_address: bool = False
) -> Any:
    """`value` with ids of the world, words that mean something and hostile ones in places."""
    if isinstance(value, list):
        return [draw(_some_of_the_world(inner, world)) for inner in value[:20]]
    if not isinstance(value, dict):
        return value
    found = {}
    for name, inner in value.items():
        chance = draw(st.integers(0, 9))
        known = [world.names[part] for part in FIELDS.get(str(name), ())]
        if in_path and name in world.names:
            known = [world.names[name], *known]
        if known and chance < (8 if in_path else 4):
            found[name] = draw(st.sampled_from(known))
        elif name in WORDS and chance < 6:
            found[name] = draw(st.sampled_from(WORDS[name]))
        elif isinstance(inner, str) and chance == 9:
            # Nothing at all or a slash would be the path of another operation; and half a
            # character cannot be written into an address.
            texts = [
                text
                for text in HOSTILE
                if not (in_path and (not text or "/" in text))
                and not (in_address and "\ud800" in text)
            ]
            found[name] = draw(st.sampled_from(texts))
        else:
            found[name] = draw(_some_of_the_world(inner, world))
    return found


class Findings:
    """What was asked and what was wrong with the answers, each kind once."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.wrong: dict[tuple[Any, ...], str] = {}

    def note(self, key: tuple[Any, ...], words: str) -> None:
        """Keep the first of a kind."""
        self.wrong.setdefault(key, words[:1500])

    def look(self, case: Any, answer: Any) -> None:
        """Compare an answer with the contract, and with what is declared of it."""
        self.statuses[answer.status_code] += 1
        label = case.operation.label
        told = f"{label} {case.formatted_path} {case.query} {str(case.body)[:300]} → "
        told += f"{answer.status_code} {answer.content[:300]!r}"
        status, kind = answer.status_code, answer.headers.get("content-type", [""])[0]
        if status >= 500:
            self.note((label, status), told)
        if 300 <= status < 400 or "location" in answer.headers or "set-cookie" in answer.headers:
            self.note((label, "redirect or cookie"), told)
        if status >= 400:
            error = answer.json() if kind.startswith("application/json") else {}
            if set(error) != {"error", "status"} or error["status"] != status:
                self.note((label, "error of another shape"), told)
        if b"Traceback" in answer.content or b"a-value-that-nobody-sees" in answer.content:
            self.note((label, "shows what it must not"), told)
        if answer.elapsed > 10:
            self.note((label, "slow"), told)
        checks = [
            status_code_conformance,
            content_type_conformance,
            response_headers_conformance,
            response_schema_conformance,
        ]
        try:
            case.validate_response(answer, checks=checks)
        except FailureGroup as group:
            for failure in group.exceptions:
                what = type(failure).__name__
                more = status if isinstance(failure, UndefinedStatusCode) else ""
                self.note((label, what, more), f"{told}: {failure}")


def ask(case: Any, world: ApiWorld, findings: Findings) -> None:
    """One request as a program with every right sends it; of a refused one nothing stays."""
    with transaction.atomic():
        answer = case.call(headers={"Authorization": f"Bearer {world.admin.secret}"})
        if answer.status_code >= 400:
            transaction.set_rollback(True)
    findings.look(case, answer)


def fuzz(strategy: Any, world: ApiWorld, findings: Findings, seed: int) -> int:
    """Ask what the strategy generates from `seed`, and return how many requests were sent."""
    sent = 0
    begin = transaction.savepoint()

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(strategy)
    def one(case: Any) -> None:
        nonlocal sent, begin
        sent += 1
        ask(case, world, findings)
        if sent % CHAIN == 0:
            transaction.savepoint_rollback(begin)
            begin = transaction.savepoint()

    one()
    transaction.savepoint_rollback(begin)
    return sent


@pytest.mark.parametrize("part", range(PARTS))
def test_no_generated_request_breaks_anything(world: ApiWorld, part: int) -> None:
    findings, sent = Findings(), 0
    operations = [
        one.ok() for one in description(world).get_all_operations() if isinstance(one, Ok)
    ]
    assert len(operations) > 60
    for operation in operations[part::PARTS]:
        # What takes but texts in its path cannot be asked wrongly: it is asked twice as often.
        asked_wrongly = operation.body or operation.query
        second = GenerationMode.NEGATIVE if asked_wrongly else GenerationMode.POSITIVE
        for number, mode in enumerate((GenerationMode.POSITIVE, second)):
            strategy = operation.as_strategy(generation_mode=mode)
            sent += fuzz(strategy, world, findings, SEED + number)
        told = f"{sent} requests, {dict(findings.statuses)}, {len(findings.wrong)} findings"
        print(f"part {part}, {operation.label}: {told}", flush=True)
    assert not findings.wrong, "\n\n".join(findings.wrong.values())
    assert sent >= (20_000 if LONG else 2_000) / PARTS
    well = sum(number for status, number in findings.statuses.items() if status < 300)
    assert well > sent / 10, "most are refused at the door: real things must be hit"
