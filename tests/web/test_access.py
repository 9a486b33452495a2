"""Who may see a page, headers that protect, errors as pages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import OperationalError
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.test import Client, RequestFactory, override_settings
from django.urls import path
from django.views.decorators.http import require_POST

from runs.domain.errors import Conflict
from runs.models import Account
from runs.storage import ObjectMissing, StorageError
from runs.web import urls as web_urls
from runs.web.access import client_address, member, public, safe_next, signed_in
from tests.factories import make_account, make_member, make_user
from tests.web.conftest import Browser, browser_of


@signed_in
def for_people(request):
    return HttpResponse(f"{request.user.email} {request.account}")


@member("view")
def for_members(request):
    return HttpResponse(f"{request.account.slug} {request.role} {request.actor.name}")


@member("manage applications")
def for_developers(request):
    return HttpResponse("yes")


@public
def broken(request, run_id=""):
    raise RuntimeError("secret detail")


@public
def in_conflict(request):
    raise Conflict("Queue `default` is paused already. Resume it first.")


@public
def gone(request):
    raise ObjectMissing("runs/r1/log")


@public
def database_broken(request, words):
    raise OperationalError(words)


@public
def store_broken(request):
    raise StorageError("disk /srv/data is broken")


@public
def missing(request):
    raise Http404


@public
@require_POST
def only_post(request):
    return HttpResponseRedirect("/there/")


@public
def with_figure(request):
    response = HttpResponse("<p>figure</p>")
    response.inline_styles = True
    return response


@public
def frame(request):
    response = HttpResponse("<p>frame</p>")
    response["Content-Security-Policy"] = "default-src 'none'"
    return response


urlpatterns = [
    path("t/people/", for_people),
    path("t/members/", for_members),
    path("t/developers/", for_developers),
    path("t/broken/<str:run_id>/", broken),
    path("t/conflict/", in_conflict),
    path("t/missing/", missing),
    path("t/gone/", gone),
    path("t/store/", store_broken),
    path("t/database/<str:words>/", database_broken),
    path("t/post/", only_post),
    path("t/figure/", with_figure),
    path("t/frame/", frame),
    *web_urls.urlpatterns,
]
handler400 = "runs.web.errors.bad_request"
handler403 = "runs.web.errors.permission_denied"
handler404 = "runs.web.errors.not_found"
handler500 = "runs.web.errors.server_error"


@pytest.fixture(autouse=True)
def own_addresses() -> Iterator[None]:
    from runs.admin.site import site

    module = type("addresses", (), {**globals()})
    module.urlpatterns = [path("admin/", site.urls), *urlpatterns]
    with override_settings(ROOT_URLCONF=module):
        yield


def test_somebody_unknown_is_sent_to_sign_in_and_comes_back(client: Client):
    response = client.get("/t/members/?q=a b")
    assert response.status_code == 302
    assert response["Location"] == "/sign-in/?next=%2Ft%2Fmembers%2F%3Fq%3Da%2520b"


def test_a_form_of_somebody_unknown_is_not_repeated_after_signing_in(client: Client):
    assert client.post("/t/members/")["Location"] == "/sign-in/"


def test_htmx_is_told_to_load_the_sign_in_page(client: Client):
    response = client.get(
        "/t/members/",
        headers={"HX-Request": "true", "HX-Current-URL": "http://testserver/runs/?status=failed"},
    )
    assert response.status_code == 401
    assert response["HX-Redirect"] == "/sign-in/?next=%2Fruns%2F%3Fstatus%3Dfailed"


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
def test_scripts_get_401_and_no_redirect(client: Client, accept: str):
    response = client.get("/t/members/", headers={"Accept": accept})
    assert response.status_code == 401
    assert response.json()["sign_in"] == "/sign-in/"


def test_a_member_works_in_the_account_with_the_role(operator: Browser):
    response = operator.get("/t/members/")
    assert response.content.decode() == "demo operator operator@example.org"


def test_a_role_without_the_permission_is_refused(operator: Browser, dev: Browser):
    refused = operator.get("/t/developers/")
    assert refused.status_code == 403
    assert "manage applications" in refused.content.decode()
    assert dev.get("/t/developers/").status_code == 200


def test_a_person_without_account_sees_own_pages_and_is_told_why_not_more(db: None):
    browser = browser_of(make_user("new@example.org"))
    assert browser.get("/t/people/").content == b"new@example.org None"
    refused = browser.get("/t/members/")
    assert refused.status_code == 403
    assert "not a member of any account" in refused.content.decode()


def test_root_is_in_every_account(account: Account):
    browser = browser_of(make_user("root@example.org", is_superuser=True))
    assert browser.get("/t/members/").content.startswith(b"demo root")
    make_account("second")
    browser.post("/account/", {"account": "second"})
    assert browser.get("/t/members/").content.startswith(b"second root")


def test_a_person_switched_off_is_signed_out_at_once(dev: Browser):
    dev.user.is_active = False
    dev.user.save(update_fields=["is_active"])
    assert dev.get("/t/members/").status_code == 302


def test_who_was_removed_is_out_with_the_next_request(account: Account, dev: Browser):
    account.memberships.all().delete()
    assert dev.get("/t/members/").status_code == 403


def test_finding_out_who_asks_takes_two_queries(
    dev: Browser, django_assert_num_queries, account: Account
):
    for number in range(5):
        make_account(f"more-{number}").memberships.create(user=dev.user, role="viewer")
    with django_assert_num_queries(2):
        assert dev.get("/t/members/").status_code == 200


def test_a_public_page_asks_nothing(client: Client, django_assert_num_queries, db: None):
    with django_assert_num_queries(0):
        assert client.get("/t/figure/").status_code == 200


def test_pages_allow_no_inline_code_and_no_other_host(client: Client, db: None):
    headers = client.get("/sign-in/").headers
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy["script-src"] == policy["style-src"] == policy["default-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["object-src"] == policy["base-uri"] == "'none'"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "camera=()" in headers["Permissions-Policy"]


def test_a_page_with_a_figure_allows_inline_styles_only(client: Client):
    policy = client.get("/t/figure/")["Content-Security-Policy"]
    assert "style-src 'self' 'unsafe-inline';" in policy
    assert "script-src 'self';" in policy


def test_a_frame_keeps_its_own_policy(client: Client):
    assert client.get("/t/frame/")["Content-Security-Policy"] == "default-src 'none'"


def test_a_domain_error_is_a_page_with_its_status_and_words(client: Client, db: None):
    response = client.get("/t/conflict/")
    assert response.status_code == 409
    assert "is paused already. Resume it first." in response.content.decode()
    assert response["Content-Security-Policy"]


def test_a_domain_error_is_a_toast_for_htmx(client: Client, db: None):
    response = client.get("/t/conflict/", headers={"HX-Request": "true"})
    assert response.status_code == 409
    assert response["HX-Retarget"] == "#toasts"
    assert "<html" not in response.content.decode()


def test_a_domain_error_is_json_for_scripts(client: Client, db: None):
    response = client.get("/t/conflict/", headers={"Accept": "application/json"})
    assert response.json() == {"error": "Queue `default` is paused already. Resume it first."}


def test_a_file_that_is_gone_is_said_without_its_key(client: Client, db: None):
    response = client.get("/t/gone/")
    assert response.status_code == 404
    assert "not in the store any more" in response.content.decode()
    assert "runs/r1" not in response.content.decode()


def test_a_store_that_fails_is_said_without_its_place(client: Client, db: None):
    response = client.get("/t/store/")
    assert response.status_code == 503
    assert "The store of files cannot be used now" in response.content.decode()
    assert "/srv/data" not in response.content.decode()


def test_unknown_addresses_and_missing_things_look_alike(dev: Browser):
    unknown, missing = dev.get("/no/such/page/"), dev.get("/t/missing/")
    assert unknown.status_code == missing.status_code == 404
    assert "Nothing of this account is at this address" in unknown.content.decode()
    assert unknown.content == missing.content or "error-page" in missing.content.decode()


def test_a_forgotten_slash_is_added(client: Client, db: None):
    response = client.get("/settings/keys?x=1")
    assert response.status_code == 302
    assert response["Location"] == "/settings/keys/?x=1"


def test_a_wrong_method_is_a_page_that_says_which_are_taken(client: Client, db: None):
    response = client.get("/t/post/")
    assert response.status_code == 405
    assert response["Allow"] == "POST"
    assert "does not take GET" in response.content.decode()


def test_an_unexpected_error_shows_no_detail_and_is_logged_with_the_run(client: Client, db, caplog):
    client.raise_request_exception = False
    response = client.get("/t/broken/r123/")
    assert response.status_code == 500
    assert "secret detail" not in response.content.decode()
    assert "Something broke on our side" in response.content.decode()
    records = [record for record in caplog.records if record.exc_info]
    assert len(records) == 1
    assert "/t/broken/r123/" in records[0].getMessage()
    assert "run r123" in records[0].getMessage()


def test_a_database_that_is_away_is_503_without_a_traceback(client: Client, db, caplog):
    client.raise_request_exception = False
    response = client.get("/t/database/connection refused at 10.0.0.9/")
    assert response.status_code == 503
    assert "The database does not answer now. Try again" in response.content.decode()
    assert "10.0.0.9" not in response.content.decode()
    assert [record for record in caplog.records if record.exc_info] == []
    assert "connection refused" in caplog.text


def test_a_question_that_sqlite_cannot_read_is_our_error(client: Client, db, caplog):
    client.raise_request_exception = False
    assert client.get("/t/database/no such column: x/").status_code == 500
    assert [record for record in caplog.records if record.exc_info]


def test_a_form_without_proof_of_origin_is_refused_in_words(db: None):
    response = Client(enforce_csrf_checks=True).post("/t/post/")
    assert response.status_code == 403
    assert "reload the page" in response.content.decode()


def test_a_form_above_the_limit_is_413(db: None, settings, client: Client):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10
    response = client.post("/sign-in/", {"email": "x" * 100})
    assert response.status_code == 413
    assert "Send large inputs as files." in response.content.decode()


def test_an_upload_by_script_learns_where_to_go(client: Client):
    response = client.post("/t/post/", headers={"X-Runsite-Upload": "1"})
    assert response.status_code == 200
    assert response["X-Runsite-Location"] == "/there/"


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        ("/runs/?a=1", "/runs/?a=1"),
        ("https://evil.example/", "/"),
        ("//evil.example/", "/"),
        ("/\\evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("http:///evil.example", "/"),
        ("", "/"),
    ],
)
def test_only_own_pages_follow_the_sign_in(rf: RequestFactory, wanted: str, taken: str):
    assert safe_next(rf.get("/sign-in/", {"next": wanted})) == taken


@pytest.mark.parametrize(
    ("trusted", "forwarded", "address"),
    [
        ((), "1.2.3.4", "10.0.0.1"),
        (("10.0.0.0/8",), "", "10.0.0.1"),
        (("10.0.0.0/8",), "1.2.3.4", "1.2.3.4"),
        (("10.0.0.0/8",), "6.6.6.6, 1.2.3.4", "1.2.3.4"),
        (("10.0.0.0/8",), "1.2.3.4, 10.0.0.9", "1.2.3.4"),
    ],
)
def test_a_proxy_is_believed_only_when_it_is_trusted(
    rf: RequestFactory, settings, trusted, forwarded: str, address: str
):
    settings.RUNSITE_TRUSTED_PROXIES = trusted
    request = rf.get("/", REMOTE_ADDR="10.0.0.1", headers={"X-Forwarded-For": forwarded})
    assert client_address(request) == address


def test_a_session_survives_no_change_of_the_password(dev: Browser):
    dev.user.set_password("another long one")
    dev.user.save(update_fields=["password"])
    assert dev.get("/t/members/").status_code == 302


def test_the_account_at_hand_is_kept_per_person(account: Account, dev: Browser):
    other = make_account("other-one")
    other.memberships.create(user=dev.user, role="viewer")
    dev.post("/account/", {"account": "other-one"})
    assert dev.get("/t/members/").content.startswith(b"other-one viewer")


def test_no_one_switches_to_an_account_of_others(dev: Browser):
    make_member(make_account("secret-one"), "admin")
    response = dev.post("/account/", {"account": "secret-one"})
    assert response.status_code == 404
    assert dev.get("/t/members/").content.startswith(b"demo")


def test_a_browser_that_asks_for_an_icon_is_led_to_it(client: Client, db: None):
    answer = client.get("/favicon.ico")
    assert answer.status_code == 302
    assert answer["Location"].endswith("favicon.svg")
