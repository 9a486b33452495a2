"""The address of a run as the published client prints it."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from tests.factories import make_application, make_member, make_run
from tests.web.conftest import browser_of


@pytest.mark.django_db
def test_the_address_that_the_client_prints_leads_to_the_run() -> None:
    application = make_application(application_id="routing")
    run = make_run(application)
    browser = browser_of(make_member(application.account, "viewer"))
    address = f"/app/routing/run/{run.run_id}"
    answer: Any = browser.get(f"{address}?view=details")
    assert (answer.status_code, answer["Location"]) == (302, f"/runs/{run.run_id}/")
    assert browser.get(f"/app/other/run/{run.run_id}").status_code == 404
    assert browser.get("/app/routing/run/nope").status_code == 404
    asked: Any = Client().get(f"{address}?view=details")
    assert asked.status_code == 302
    assert asked["Location"].startswith("/sign-in/?next=%2Fapp%2Frouting%2Frun%2F")
    outsider = browser_of(make_member(make_application().account, "admin"))
    assert outsider.get(address).status_code == 404
