"""Every kept answer is what our OpenAPI says of it: no key missing, none that is not described."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from runs.api.v1 import api
from tests.api.golden import FOLDER

_APP = "/v1/applications/{app_id}"
_RUN = f"{_APP}/runs/{{run_id}}"
ANSWERS: dict[str, tuple[str, str, int]] = {
    # a file of `golden`: whose answer it is
    "application": ("post", "/v1/applications", 201),
    "application_missing": ("get", _APP, 404),
    "application_taken": ("post", "/v1/applications", 409),
    "applications": ("get", "/v1/applications", 200),
    "applications_page": ("get", "/v1/applications", 200),
    "executable": ("put", f"{_APP}/binary", 200),
    "instance": ("post", f"{_APP}/instances", 201),
    "instance_latest": ("get", f"{_APP}/instances/{{instance_id}}", 200),
    "instance_plain": ("post", f"{_APP}/instances", 201),
    "integrations_refused": ("post", "/v1/integrations", 400),
    "managed_input": ("post", f"{_APP}/inputs", 201),
    "managed_input_of_run": ("post", f"{_APP}/inputs", 201),
    "organization": ("get", "/v1/organization/{organization_id}", 200),
    "queue": ("get", "/v1/account/queue", 200),
    "run_assets": ("get", f"{_RUN}/assets", 200),
    "run_logs_live_last": ("get", f"{_RUN}/logs/live", 200),
    "run_logs_live_queued": ("get", f"{_RUN}/logs/live", 200),
    "run_logs_live_running": ("get", f"{_RUN}/logs/live", 200),
    "run_metadata_queued": ("get", f"{_RUN}/metadata", 200),
    "run_metadata_tracked": ("get", f"{_RUN}/metadata", 200),
    "run_output_url": ("get", f"{_RUN}/output", 200),
    "run_result": ("get", _RUN, 200),
    "run_result_failed": ("get", _RUN, 200),
    "run_waits": ("get", f"{_RUN}/waits", 200),
    "runs": ("get", f"{_APP}/runs", 200),
    "secrets": ("get", f"{_APP}/secrets/{{collection_id}}", 200),
    "secrets_page": ("get", f"{_APP}/secrets", 200),
    "secrets_summary": ("post", f"{_APP}/secrets", 201),
    "upload": ("post", f"{_APP}/runs/uploadurl", 201),
    "version": ("post", f"{_APP}/versions", 201),
}
GOLDEN = sorted(path.stem for path in FOLDER.glob("*.json"))
DOCUMENT: dict[str, Any] = json.loads(json.dumps(api.get_openapi_schema(path_prefix="/v1/")))


def _closed(value: Any) -> Any:
    """A schema that takes no key but those that it names, in every object that names some."""
    if isinstance(value, list):
        return [_closed(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    found = {key: _closed(inner) for key, inner in value.items()}
    if isinstance(value.get("properties"), dict) and value.get("type") == "object":
        found.setdefault("additionalProperties", False)
    return found


def _validator(name: str) -> Draft202012Validator:
    method, path, status = ANSWERS[name]
    answers = DOCUMENT["paths"][path][method]["responses"]
    schema = answers[str(status)]["content"]["application/json"]["schema"]
    whole = {**_closed(schema), "components": _closed(DOCUMENT["components"])}
    return Draft202012Validator(whole, format_checker=FormatChecker())


def _answer(name: str) -> Any:
    text = (FOLDER / f"{name}.json").read_text(encoding="utf-8")
    return json.loads(text.replace("<time>", "2026-05-01T10:00:00.123456Z"))


def test_it_is_known_whose_answer_each_is():
    assert set(GOLDEN) - set(ANSWERS) == set(), "say in ANSWERS whose answers these are"
    assert set(ANSWERS) - set(GOLDEN) == set(), "these are gone: take them out of ANSWERS"


@pytest.mark.parametrize("name", GOLDEN)
def test_a_kept_answer_is_as_described(name: str):
    faults = _validator(name).iter_errors(_answer(name))
    assert [f"{list(one.path)}: {one.message}" for one in faults] == []


@pytest.mark.parametrize("name", sorted(set(GOLDEN) - {"run_output_url"}))
def test_the_comparison_would_notice(name: str):
    """A key that nobody described, and one that is missing, are both seen.

    But in an output, which may be any object.
    """
    answer = _answer(name)
    whole = answer[0] if isinstance(answer, list) else answer
    whole["nobody described this"] = 1
    assert list(_validator(name).iter_errors(answer)), "an unknown key"
    del whole["nobody described this"]
    del whole[next(iter(whole))]
    assert list(_validator(name).iter_errors(answer)), "a missing key"
