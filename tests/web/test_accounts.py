"""Pages of people: sign in and out, links, keys, members."""

from __future__ import annotations

import re

import pytest
from django.test import Client
from django.utils import timezone

from runs.actions.accounts import find_api_key, make_sign_in_link
from runs.actions.sign_in import PAIR_LIMIT
from runs.models import Account, ApiKey, Membership
from tests.factories import make_account, make_member, make_user
from tests.web.conftest import Browser

RIGHT = "the right long one"


def secret_on(response) -> str:
    found = re.search(r'id="secret-text">([^<]+)<', response.content.decode())
    assert found, "no secret is shown"
    return found[1]


def is_signed_in(client: Client) -> bool:
    return client.get("/settings/password/").status_code == 200


# --- Sign in and out --------------------------------------------------------------------------


def test_signing_in_leads_to_the_page_that_was_asked_for(client: Client, account: Account):
    make_member(account, "viewer", "v@b.org", password=RIGHT)
    page = client.get("/sign-in/?next=/settings/keys/")
    assert 'value="/settings/keys/"' in page.content.decode()
    response = client.post(
        "/sign-in/", {"email": "v@b.org", "password": RIGHT, "next": "/settings/keys/"}
    )
    assert response.status_code == 302
    assert response["Location"] == "/settings/keys/"
    assert is_signed_in(client)


def test_a_wrong_password_keeps_the_address_and_not_the_password(client: Client, db: None):
    response = client.post("/sign-in/", {"email": "v@b.org", "password": "hunter2hunter2"})
    page = response.content.decode()
    assert response.status_code == 422
    assert "do not fit together" in page
    assert 'value="v@b.org"' in page
    assert "hunter2" not in page
    assert not is_signed_in(client)


def test_an_empty_form_says_what_is_missing(client: Client, db: None):
    response = client.post("/sign-in/", {})
    assert response.status_code == 422
    assert response.content.decode().count("This field is required") == 2


def test_who_guesses_waits(client: Client, db: None):
    make_user("v@b.org", password=RIGHT)
    for _ in range(PAIR_LIMIT):
        assert client.post("/sign-in/", {"email": "v@b.org", "password": "x"}).status_code == 422
    response = client.post("/sign-in/", {"email": "v@b.org", "password": RIGHT})
    assert response.status_code == 429
    assert "Wait ten minutes" in response.content.decode()


def test_the_sign_in_page_leads_on_who_has_signed_in(viewer: Browser):
    assert viewer.get("/sign-in/?next=/settings/keys/")["Location"] == "/settings/keys/"


def test_signing_out_ends_the_session_and_needs_a_form(viewer: Browser):
    assert viewer.get("/sign-out/").status_code == 405
    assert is_signed_in(viewer)
    assert viewer.post("/sign-out/")["Location"] == "/sign-in/"
    assert not is_signed_in(viewer)


def test_looking_at_a_link_does_not_use_it_up(client: Client, account: Account):
    user = make_member(account, "viewer", "v@b.org", password=RIGHT)
    address = f"/sign-in/link/{make_sign_in_link(user=user, now=timezone.now())}/"
    for _ in range(2):
        page = client.get(address)
        assert page.status_code == 200
        assert "Sign in as v@b.org" in page.content.decode()
        assert "no-store" in page["Cache-Control"]
    assert not is_signed_in(client)
    assert client.post(address).status_code == 302
    assert is_signed_in(client)
    another = Client()
    assert another.get(address).status_code == 404
    assert another.post(address).status_code == 404
    assert not is_signed_in(another)


def test_who_comes_by_link_without_password_is_led_to_choose_one(client: Client, account: Account):
    user = make_member(account, "viewer", "v@b.org")
    secret = make_sign_in_link(user=user, now=timezone.now())
    assert client.post(f"/sign-in/link/{secret}/")["Location"] == "/settings/password/"
    page = client.get("/settings/password/").content.decode()
    assert 'name="old"' not in page
    response = client.post("/settings/password/", {"new": RIGHT, "again": RIGHT})
    assert response.status_code == 302
    assert is_signed_in(client)
    user.refresh_from_db()
    assert user.check_password(RIGHT)


def test_a_link_that_nobody_made_signs_nobody_in(client: Client, db: None):
    response = client.get("/sign-in/link/nothing/")
    assert response.status_code == 404
    assert "does not work any more" in response.content.decode()


def test_a_password_needs_to_be_typed_twice_and_strong(viewer: Browser):
    response = viewer.post("/settings/password/", {"new": RIGHT, "again": "something else"})
    assert response.status_code == 422
    assert "differs from the new password" in response.content.decode()
    response = viewer.post("/settings/password/", {"new": "short", "again": "short"})
    assert response.status_code == 422
    assert "too short" in response.content.decode()
    viewer.user.refresh_from_db()
    assert not viewer.user.has_usable_password()


# --- Keys -------------------------------------------------------------------------------------


def test_a_new_key_is_shown_once(dev: Browser, account: Account):
    response = dev.post("/settings/keys/", {"name": "planner", "role": "operator"})
    assert "no-store" in response["Cache-Control"]
    secret = secret_on(response)
    key = find_api_key(secret)
    assert key is not None
    assert (key.account, key.role, key.created_by) == (account, "operator", dev.user)
    page = dev.get("/settings/keys/").content.decode()
    assert secret not in page
    assert key.hint in page


def test_a_key_gets_no_more_than_the_role_of_its_maker(dev: Browser):
    response = dev.post("/settings/keys/", {"name": "planner", "role": "admin"})
    assert response.status_code == 422
    assert 'value="planner"' in response.content.decode()
    assert not ApiKey.objects.exists()


@pytest.mark.parametrize("who", ["operator", "viewer"])
def test_operators_and_viewers_see_keys_and_make_none(who: str, request):
    browser: Browser = request.getfixturevalue(who)
    assert browser.get("/settings/keys/").status_code == 200
    assert browser.post("/settings/keys/", {"name": "k", "role": "viewer"}).status_code == 403
    assert not ApiKey.objects.exists()


def test_a_key_is_revoked_by_its_maker_and_by_no_other_account(dev: Browser, outsider: Browser):
    secret = secret_on(dev.post("/settings/keys/", {"name": "k", "role": "viewer"}))
    key = ApiKey.objects.get()
    assert outsider.post("/settings/keys/revoke/", {"key": key.hint}).status_code == 404
    assert key.hint not in outsider.get("/settings/keys/").content.decode()
    assert find_api_key(secret)
    assert dev.post("/settings/keys/revoke/", {"key": key.hint}).status_code == 302
    assert find_api_key(secret) is None
    assert "revoked" in dev.get("/settings/keys/").content.decode()


def test_the_names_of_keys_are_text(dev: Browser):
    dev.post("/settings/keys/", {"name": "<script>alert(1)</script>", "role": "viewer"})
    page = dev.get("/settings/keys/").content.decode()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_the_pages_of_settings_stay_few_queries(
    ann: Browser, account: Account, django_assert_max_num_queries
):
    for number in range(20):
        member = make_member(account, "viewer", f"m{number}@b.org")
        ApiKey.objects.create(
            account=account, name="k", hint=f"h{number}", hashed=f"{number}", created_by=member
        )
    for address in ("/settings/keys/", "/settings/members/"):
        with django_assert_max_num_queries(4):
            assert ann.get(address).status_code == 200


# --- Members ----------------------------------------------------------------------------------


def test_an_admin_adds_somebody_new_and_gets_the_link_once(ann: Browser, account: Account):
    response = ann.post(
        "/settings/members/", {"email": "New@B.org", "name": "New", "role": "operator"}
    )
    link = secret_on(response)
    assert "One-time link for new@b.org" in response.content.decode()
    newcomer = Client()
    path = link[link.index("/sign-in/") :]
    newcomer.post(path)
    assert is_signed_in(newcomer)
    assert account.memberships.get(user__email="new@b.org").role == "operator"
    assert link not in ann.get("/settings/members/").content.decode()


def test_somebody_known_is_added_without_a_link(ann: Browser, account: Account):
    known = make_member(make_account("elsewhere"), "admin", "known@b.org")
    response = ann.post("/settings/members/", {"email": "known@b.org", "role": "viewer"})
    assert response.status_code == 302
    assert account.memberships.filter(user=known, role="viewer").exists()


def test_a_bad_address_keeps_what_was_typed(ann: Browser):
    response = ann.post("/settings/members/", {"email": "nonsense", "role": "viewer"})
    assert response.status_code == 422
    assert 'value="nonsense"' in response.content.decode()
    assert "Give an e-mail address" in response.content.decode()


def test_roles_are_changed_and_members_removed(ann: Browser, viewer: Browser, account: Account):
    ann.post("/settings/members/role/", {"email": viewer.user.email, "role": "developer"})
    membership = account.memberships.get(user=viewer.user)
    assert membership.role == "developer"
    ann.post("/settings/members/remove/", {"email": viewer.user.email})
    assert not Membership.objects.filter(pk=membership.pk).exists()


def test_the_last_admin_cannot_leave(ann: Browser, account: Account):
    response = ann.post("/settings/members/remove/", {"email": ann.user.email})
    assert response.status_code == 409
    assert "last admin" in response.content.decode()
    assert account.memberships.filter(user=ann.user).exists()


def test_a_forgotten_password_is_helped_by_a_link(ann: Browser, viewer: Browser):
    response = ann.post("/settings/members/link/", {"email": viewer.user.email})
    link = secret_on(response)
    again = Client()
    again.post(link[link.index("/sign-in/") :])
    assert is_signed_in(again)


@pytest.mark.parametrize("action", ["role", "remove", "link"])
def test_only_admins_of_the_account_change_members(
    action: str, dev: Browser, outsider: Browser, viewer: Browser, account: Account
):
    form = {"email": viewer.user.email, "role": "admin"}
    assert dev.post(f"/settings/members/{action}/", form).status_code == 403
    assert outsider.post(f"/settings/members/{action}/", form).status_code == 404
    assert account.memberships.get(user=viewer.user).role == "viewer"


def test_others_members_are_not_seen(outsider: Browser, viewer: Browser):
    assert viewer.user.email not in outsider.get("/settings/members/").content.decode()
    assert viewer.user.email in viewer.get("/settings/members/").content.decode()
