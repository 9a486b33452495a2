"""Pages of secrets: names for those who launch, changes for developers, values for nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.urls import reverse

from runs.actions.secrets import reveal
from runs.domain.status import Status
from tests.factories import make_application, make_executable, make_instance, make_run, make_secrets

if TYPE_CHECKING:
    from runs.models import Account, Application, SecretsCollection
    from tests.web.conftest import Browser

VALUE = "value-that-no-page-shows"


@pytest.fixture
def application(account: Account, settings: Any, tmp_path: Any) -> Application:
    settings.RUNSITE_DATA_DIR = tmp_path
    found = make_application(account, application_id="routing")
    return make_executable(found, content_format="json").application


@pytest.fixture
def prod(application: Application) -> SecretsCollection:
    return make_secrets(application, {"API_KEY": VALUE}, collection_id="prod", name="Production")


def address(name: str = "", collection_id: str = "prod") -> str:
    if not name:
        return reverse("application-secrets", args=["routing"])
    return reverse(f"application-secrets-{name}", args=["routing", collection_id])


def text(response: Any) -> str:
    return str(response.content.decode())


def opened(collection: SecretsCollection) -> dict[str, str]:
    return {f"{one.kind} {one.location}": one.value for one in reveal(collection)}


def test_a_developer_makes_a_collection_and_fills_it(
    dev: Browser, application: Application
) -> None:
    made = dev.post(address(), {"collection_id": "prod", "name": "Production"})
    assert made["Location"] == address("one")
    for kind, location, value in (
        ("env", "API_KEY", VALUE),
        ("file", "keys/a.pem", f"one\r\n{VALUE}\r\n"),
    ):
        sent = {"kind": kind, "location": location, "value": value}
        assert dev.post(address("one"), sent)["Location"] == address("one")
    collection = application.secrets_collections.get()
    assert opened(collection) == {"env API_KEY": VALUE, "file keys/a.pem": f"one\n{VALUE}\n"}
    page = text(dev.get(address("one")))
    assert "API_KEY" in page
    assert "keys/a.pem" in page
    assert VALUE not in page
    assert "Production" in text(dev.get(address()))


def test_a_value_is_replaced_and_a_secret_removed(dev: Browser, prod: SecretsCollection) -> None:
    page = text(dev.get(address("one"), {"kind": "env", "location": "API_KEY"}))
    assert "New value of" in page
    assert 'name="replace"' in page
    sent = {"kind": "env", "location": "API_KEY", "value": "other-value", "replace": "True"}
    dev.post(address("one"), sent)
    assert opened(prod) == {"env API_KEY": "other-value"}
    dev.post(address("remove"), {"kind": "env", "location": "API_KEY"})
    assert opened(prod) == {}


def test_what_does_not_fit_is_told_at_its_field_without_the_value(
    dev: Browser, prod: SecretsCollection
) -> None:
    for location, words in (("PATH", "set by Runsite"), ("API_KEY", "already"), ("1 A", "no name")):
        answer = dev.post(address("one"), {"kind": "env", "location": location, "value": VALUE})
        assert answer.status_code == 422
        assert words in text(answer), location
        assert VALUE not in text(answer)
    taken = dev.post(address(), {"collection_id": "prod"})
    assert (taken.status_code, "already" in text(taken)) == (422, True)
    assert opened(prod) == {"env API_KEY": VALUE}


def test_name_and_description_are_changed(dev: Browser, prod: SecretsCollection) -> None:
    dev.post(address("name"), {"name": "Live", "description": "For the night"})
    page = text(dev.get(address("one")))
    assert "Live" in page
    assert "For the night" in page
    assert dev.post(address("name"), {"name": "x" * 201}).status_code == 422


def test_what_is_used_is_not_deleted(
    dev: Browser, application: Application, prod: SecretsCollection
) -> None:
    instance = make_instance(application, instance_id="night", secrets=prod)
    refused = dev.post(address("delete"))
    assert (refused.status_code, "night" in text(refused)) == (409, True)
    instance.delete()
    assert dev.post(address("delete"))["Location"] == address()
    assert not application.secrets_collections.exists()


def test_operators_see_names_and_viewers_nothing(
    operator: Browser, viewer: Browser, prod: SecretsCollection
) -> None:
    page = text(operator.get(address("one")))
    assert "API_KEY" in page
    assert "<textarea" not in page
    assert VALUE not in page
    assert operator.post(address("one"), {}).status_code == 403
    assert operator.post(address("remove"), {}).status_code == 403
    assert viewer.get(address()).status_code == 403
    assert viewer.get(address("one")).status_code == 403
    overview = reverse("application", args=["routing"])
    assert address() in text(operator.get(overview))
    assert address() not in text(viewer.get(overview))


def test_collections_of_others_are_not_there(
    dev: Browser, outsider: Browser, prod: SecretsCollection
) -> None:
    assert outsider.get(address("one")).status_code == 404
    assert dev.get(address("one", "missing")).status_code == 404


# --- Choosing -----------------------------------------------------------------------------------


def test_a_run_is_launched_with_secrets_and_run_again_with_them(
    operator: Browser, application: Application, prod: SecretsCollection
) -> None:
    launch = reverse("launch", args=["routing"])
    assert "Production · prod" in text(operator.get(launch))
    sent = {"source": "paste", "text": "{}", "secrets": "prod"}
    answer = operator.post(launch, sent)
    assert answer.status_code == 302, text(answer)
    run = application.runs.get()
    assert run.secrets == prod
    page = text(operator.get(reverse("run", args=[run.run_id])))
    assert address("one") in page
    again = text(operator.get(launch, {"from": run.run_id}))
    assert '<option value="prod" selected>' in again


def test_a_launch_with_secrets_that_are_not_there_is_refused(
    operator: Browser, application: Application, prod: SecretsCollection
) -> None:
    sent = {"source": "paste", "text": "{}", "secrets": "missing"}
    assert operator.post(reverse("launch", args=["routing"]), sent).status_code == 422
    assert not application.runs.exists()


def test_without_collections_there_is_nothing_to_choose(
    operator: Browser, dev: Browser, application: Application
) -> None:
    assert 'name="secrets"' not in text(operator.get(reverse("launch", args=["routing"])))
    instances = reverse("application-instances", args=["routing"])
    assert 'name="secrets"' not in text(dev.get(instances))


def test_an_instance_is_given_secrets(
    dev: Browser, viewer: Browser, application: Application, prod: SecretsCollection
) -> None:
    instances = reverse("application-instances", args=["routing"])
    dev.post(instances, {"instance_id": "night", "secrets": "prod"})
    instance = application.instances.get()
    assert instance.secrets == prod
    page = reverse("application-instance", args=["routing", "night"])
    assert '<option value="prod" selected>' in text(dev.get(page))
    assert "Production" in text(viewer.get(page))
    launch = text(dev.get(reverse("launch", args=["routing"]), {"instance": "night"}))
    assert "prod (usual)" in launch


def test_a_viewer_reads_on_a_run_which_secrets_it_had(
    viewer: Browser, application: Application, prod: SecretsCollection
) -> None:
    run = make_run(application, status=Status.SUCCEEDED, secrets=prod)
    page = text(viewer.get(reverse("run", args=[run.run_id])))
    assert "Production" in page
    assert address("one") not in page, "no link to a page that is refused"
