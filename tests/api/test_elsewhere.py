"""What the client knows and this release does not have: JSON that says so, never a failed list."""

from __future__ import annotations

import pytest

from runs.models import Account
from tests.api.conftest import Program
from tests.api.golden import check_golden
from tests.factories import make_application

ROOT = "/v1/applications/routing"
ARRAYS = (
    "experiments/inputsets",
    "experiments/batch",
    "experiments/acceptance",
    "experiments/shadow",
)
OBJECTS = ("ensembles", "experiments/switchback")
TESTS = ("experiments/shadow", "experiments/switchback")


@pytest.fixture(autouse=True)
def application(account: Account) -> None:
    make_application(account, application_id="routing")


@pytest.mark.parametrize("path", [*ARRAYS, *OBJECTS])
def test_lists_are_empty_and_of_the_right_shape(program: Program, path: str):
    assert program.get(f"{ROOT}/{path}", pagereturn="true", pagetoken="x") == {"items": []}
    assert program.get(f"{ROOT}/{path}") == ([] if path in ARRAYS else {"items": []})
    assert program.get(f"{ROOT}/{path}", type="scenario") == program.get(f"{ROOT}/{path}")
    assert program.send("GET", f"/v1/applications/none/{path}").status_code == 404


@pytest.mark.parametrize("path", [*ARRAYS, *OBJECTS])
def test_one_of_them_does_not_exist(program: Program, path: str):
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        answer = program.send(method, f"{ROOT}/{path}/x-1", {} if method != "GET" else None)
        assert answer.status_code == 404
        assert "'x-1' does not exist" in answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "experiments/batch/x/runs"),
        ("GET", "experiments/batch/x/metadata"),
        *(("GET", f"{path}/x/runs") for path in TESTS),
        *(("GET", f"{path}/x/metadata") for path in TESTS),
        *(("PUT", f"{path}/x/start") for path in TESTS),
        *(("PUT", f"{path}/x/stop") for path in TESTS),
    ],
)
def test_what_is_below_one_does_not_exist(program: Program, method: str, path: str):
    assert program.send(method, f"{ROOT}/{path}").status_code == 404


@pytest.mark.parametrize("path", [*ARRAYS, *OBJECTS])
def test_creating_one_is_refused_in_words(program: Program, path: str):
    for body in ({"id": "x", "name": "x"}, {}, None):
        answer = program.send("POST", f"{ROOT}/{path}", body)
        assert answer.status_code == 400
        assert "not part of this release" in answer.json()["error"]
    assert program.send("POST", f"/v1/applications/none/{path}", {}).status_code == 404


def test_there_are_no_integrations(program: Program):
    assert program.get("/v1/integrations") == {"items": []}
    refused = program.send("POST", "/v1/integrations", {"name": "x"})
    assert refused.status_code == 400
    check_golden("integrations_refused", refused.json())
    for method in ("GET", "PUT", "DELETE"):
        assert program.send(method, "/v1/integrations/x", {}).status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/v1/marketplace/apps",
        "/v1/marketplace/partners/p/apps/a/versions/v",
        "/v1/marketplace/subscriptions/s",
        "/v1/enterprise/sso",
        "/v1/enterprise/sso/domain?domain=example.org",
        "/v1/internal/me/organization",
        "/v0/internal/tools?file=community-apps/manifest.yml",
    ],
)
def test_the_rest_has_no_address(program: Program, path: str):
    for method in ("GET", "POST", "PUT", "DELETE"):
        answer = program.send(method, path)
        assert answer.status_code == 404
        assert answer["Content-Type"].startswith("application/json")
