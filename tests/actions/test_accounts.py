"""People, memberships and keys."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from runs.actions import accounts
from runs.actions.actors import key_holder, person, product
from runs.domain.errors import Conflict, FieldsInvalid, NotAllowed, NotFound
from runs.models import ApiKey, AuditEvent, Membership, SignInLink, User
from tests.factories import make_account, make_member, make_user

pytestmark = pytest.mark.django_db
NOW = timezone.now()


def admin_of(account):
    return person(make_member(account, "admin"), role="admin")


def test_a_new_account_is_written_down():
    account = accounts.create_account(slug="Plant-1", name="", actor=product(), now=NOW)
    assert (account.slug, account.name) == ("plant-1", "plant-1")
    event = account.audit_events.get()
    assert (event.actor, event.verb, event.target) == ("Runsite", "created", "plant-1")


def test_an_account_cannot_be_made_twice():
    make_account("demo")
    with pytest.raises(Conflict, match="demo"):
        accounts.create_account(slug="demo", actor=product(), now=NOW)


@pytest.mark.parametrize("slug", ["", "a b", "../x", "ä", "x" * 65])
def test_an_account_needs_a_name_for_addresses(slug: str):
    with pytest.raises(FieldsInvalid):
        accounts.create_account(slug=slug, actor=product(), now=NOW)


def test_addresses_are_kept_in_lower_case_and_once():
    user = accounts.create_user(email=" Ann@Example.ORG ", actor=product(), now=NOW)
    assert user.email == "ann@example.org"
    assert not user.has_usable_password()
    with pytest.raises(Conflict):
        accounts.create_user(email="ANN@example.org", actor=product(), now=NOW)


@pytest.mark.parametrize("email", ["", "ann", "ann@", "@localhost", "a b@localhost", "a@b c.org"])
def test_what_is_no_address_is_refused(email: str):
    with pytest.raises(FieldsInvalid):
        accounts.clean_email(email)


def test_an_address_on_this_machine_is_one():
    assert accounts.clean_email("admin@localhost") == "admin@localhost"


def test_a_weak_password_is_refused():
    with pytest.raises(FieldsInvalid) as refused:
        accounts.create_user(email="a@b.org", password="short", actor=product(), now=NOW)
    assert "password" in refused.value.errors
    assert not User.objects.exists()


def test_somebody_new_gets_a_link_that_signs_in():
    account = make_account()
    invitation = accounts.add_member(
        account=account, email="new@b.org", role="operator", actor=admin_of(account), now=NOW
    )
    assert invitation.membership.role == "operator"
    assert invitation.secret
    user = accounts.use_sign_in_link(secret=invitation.secret, now=NOW + timedelta(days=6))
    assert user.email == "new@b.org"


def test_somebody_known_gets_no_link_and_earlier_links_end():
    known = make_user("known@b.org")
    earlier = accounts.make_sign_in_link(user=known, now=NOW)
    account = make_account()
    invitation = accounts.add_member(
        account=account, email="KNOWN@b.org", role="viewer", actor=admin_of(account), now=NOW
    )
    assert invitation.secret is None
    assert invitation.membership.user == known
    with pytest.raises(NotFound):
        accounts.use_sign_in_link(secret=earlier, now=NOW)


def test_a_member_is_not_added_twice():
    account = make_account()
    actor = admin_of(account)
    make_member(account, "viewer", "v@b.org")
    with pytest.raises(Conflict, match="as viewer"):
        accounts.add_member(account=account, email="v@b.org", role="admin", actor=actor, now=NOW)
    assert account.memberships.get(user__email="v@b.org").role == "viewer"


def test_nobody_gives_more_than_the_own_role():
    account = make_account()
    actor = person(make_member(account, "developer"), role="developer")
    with pytest.raises(NotAllowed):
        accounts.create_api_key(account=account, name="k", role="admin", actor=actor, now=NOW)
    with pytest.raises(NotAllowed):
        accounts.add_member(account=account, email="x@b.org", role="admin", actor=actor, now=NOW)
    with pytest.raises(FieldsInvalid):
        accounts.create_api_key(account=account, name="k", role="root", actor=product(), now=NOW)
    assert not ApiKey.objects.exists()


def test_a_role_is_changed_and_written_down():
    account = make_account()
    actor = admin_of(account)
    membership = account.memberships.get(user=make_member(account, "viewer"))
    accounts.change_role(membership=membership, role="operator", actor=actor, now=NOW)
    membership.refresh_from_db()
    assert membership.role == "operator"
    assert account.audit_events.get().detail == "from viewer to operator"


def test_keys_have_no_more_than_the_new_role_of_who_made_them():
    account, other = make_account(), make_account()
    actor = admin_of(account)
    user = make_member(account, "admin")
    roles = ("admin", "developer", "operator", "viewer")
    made = [
        accounts.create_api_key(
            account=account, name=role, role=role, actor=person(user, role="admin"), now=NOW
        )[0]
        for role in roles
    ]
    elsewhere, _ = accounts.create_api_key(
        account=other, name="k", role="admin", actor=person(user, role="admin"), now=NOW
    )
    own, _ = accounts.create_api_key(account=account, name="k", role="admin", actor=actor, now=NOW)
    membership = account.memberships.get(user=user)
    accounts.change_role(membership=membership, role="operator", actor=actor, now=NOW)
    assert [ApiKey.objects.get(pk=key.pk).role for key in (*made, elsewhere, own)] == [
        "operator",
        "operator",
        "operator",
        "viewer",
        "admin",
        "admin",
    ]
    assert account.audit_events.latest("pk").detail == "from admin to operator, 2 keys too"
    accounts.change_role(membership=membership, role="admin", actor=actor, now=NOW)
    assert ApiKey.objects.get(pk=made[0].pk).role == "operator"


def test_a_key_ends_while_who_made_it_is_switched_off():
    account = make_account()
    user = make_member(account, "admin")
    _, secret = accounts.create_api_key(
        account=account, name="k", role="viewer", actor=person(user, role="admin"), now=NOW
    )
    _, of_product = accounts.create_api_key(
        account=account, name="p", role="viewer", actor=product(), now=NOW
    )
    assert accounts.find_api_key(secret) is not None
    User.objects.filter(pk=user.pk).update(is_active=False)
    assert accounts.find_api_key(secret) is None
    assert accounts.find_api_key(of_product) is not None


def test_the_last_admin_stays():
    account = make_account()
    actor = admin_of(account)
    membership = account.memberships.get()
    make_member(account, "admin", is_active=False)
    with pytest.raises(Conflict, match="last admin"):
        accounts.change_role(membership=membership, role="viewer", actor=actor, now=NOW)
    with pytest.raises(Conflict, match="last admin"):
        accounts.remove_member(membership=membership, actor=actor, now=NOW)
    assert account.memberships.filter(role="admin").count() == 2


def test_a_removed_member_leaves_no_keys_behind():
    account = make_account()
    actor = admin_of(account)
    leaving = make_member(account, "developer")
    _, secret = accounts.create_api_key(
        account=account,
        name="k",
        role="developer",
        actor=person(leaving, role="developer"),
        now=NOW,
    )
    accounts.remove_member(membership=leaving.memberships.get(), actor=actor, now=NOW)
    assert not Membership.objects.filter(user=leaving).exists()
    assert accounts.find_api_key(secret) is None


def test_a_link_for_a_member_of_another_account_is_refused():
    account, other = make_account(), make_account()
    actor = admin_of(account)
    both = make_member(account, "viewer")
    other.memberships.create(user=both, role="admin")
    with pytest.raises(NotAllowed):
        accounts.make_member_link(
            membership=both.memberships.get(account=account), actor=actor, now=NOW
        )
    staff = make_member(account, "viewer", is_staff=True)
    with pytest.raises(NotAllowed):
        accounts.make_member_link(membership=staff.memberships.get(), actor=actor, now=NOW)
    assert not SignInLink.objects.exists()


def test_a_key_is_kept_as_a_hash_and_found_by_its_text():
    account = make_account()
    key, secret = accounts.create_api_key(
        account=account, name="planner", role="operator", actor=admin_of(account), now=NOW
    )
    assert secret.startswith(key.hint)
    assert len(key.hint) < len(secret) / 2
    assert secret not in str(ApiKey.objects.values().get())
    assert accounts.find_api_key(secret) == key
    assert accounts.find_api_key(secret[:-1]) is None
    assert key_holder(key).role == "operator"


def test_a_key_comes_with_its_account_and_maker_in_one_query(django_assert_num_queries):
    account = make_account()
    actor = admin_of(account)
    made, secret = accounts.create_api_key(
        account=account, name="k", role="viewer", actor=actor, now=NOW
    )
    with django_assert_num_queries(1):
        key = accounts.find_api_key(secret)
        assert (key.account, key.account.slug) == (account, account.slug)
        assert (key.created_by, key.created_by.email) == (actor.user, actor.user.email)
    for field in ApiKey._meta.concrete_fields:
        assert getattr(key, field.attname) == getattr(made, field.attname)
    # What was not read is there all the same.
    assert key.account.created_at == account.created_at
    assert key.created_by.is_active is True


def test_a_revoked_key_is_found_no_more():
    account = make_account()
    actor = admin_of(account)
    key, secret = accounts.create_api_key(
        account=account, name="k", role="viewer", actor=actor, now=NOW
    )
    assert accounts.revoke_api_key(key=key, actor=actor, now=NOW)
    assert not accounts.revoke_api_key(key=key, actor=actor, now=NOW)
    assert accounts.find_api_key(secret) is None
    assert account.audit_events.filter(verb="revoked").count() == 1


def test_a_developer_revokes_own_keys_only():
    account = make_account()
    key, _ = accounts.create_api_key(
        account=account, name="k", role="viewer", actor=admin_of(account), now=NOW
    )
    developer = person(make_member(account, "developer"), role="developer")
    with pytest.raises(NotAllowed):
        accounts.revoke_api_key(key=key, actor=developer, now=NOW)
    own, _ = accounts.create_api_key(
        account=account, name="own", role="viewer", actor=developer, now=NOW
    )
    assert accounts.revoke_api_key(key=own, actor=developer, now=NOW)


def test_the_use_of_a_key_is_written_once_a_minute(django_assert_num_queries):
    account = make_account()
    key, _ = accounts.create_api_key(
        account=account, name="k", role="viewer", actor=admin_of(account), now=NOW
    )
    accounts.note_key_use(key, now=NOW)
    with django_assert_num_queries(0):
        accounts.note_key_use(key, now=NOW + timedelta(seconds=59))
    later = NOW + timedelta(seconds=60)
    accounts.note_key_use(key, now=later)
    key.refresh_from_db()
    assert key.last_used_at == later


def test_a_link_works_once():
    secret = accounts.make_sign_in_link(user=make_user(), now=NOW)
    accounts.use_sign_in_link(secret=secret, now=NOW)
    with pytest.raises(NotFound):
        accounts.use_sign_in_link(secret=secret, now=NOW)


def test_a_link_ends_with_its_time_and_with_its_person():
    user = make_user()
    secret = accounts.make_sign_in_link(user=user, lifetime=timedelta(minutes=5), now=NOW)
    assert accounts.find_sign_in_link(secret, now=NOW) is not None
    late = NOW + timedelta(minutes=5)
    assert accounts.find_sign_in_link(secret, now=late) is None
    with pytest.raises(NotFound):
        accounts.use_sign_in_link(secret=secret, now=late)
    User.objects.update(is_active=False)
    assert accounts.find_sign_in_link(secret, now=NOW) is None
    with pytest.raises(NotFound):
        accounts.use_sign_in_link(secret=secret, now=NOW)


def test_a_link_is_kept_as_a_hash_only():
    secret = accounts.make_sign_in_link(user=make_user(), now=NOW)
    assert secret not in str(SignInLink.objects.values().get())
    assert secret in accounts.sign_in_address(secret)


def test_a_password_is_changed_by_who_knows_it():
    user = make_user(password="the first long one")
    actor = person(user, role="")
    with pytest.raises(FieldsInvalid) as refused:
        accounts.change_password(
            user=user, old="wrong", new="the second long one", actor=actor, now=NOW
        )
    assert list(refused.value.errors) == ["old"]
    link = accounts.make_sign_in_link(user=user, now=NOW)
    accounts.change_password(
        user=user, old="the first long one", new="the second long one", actor=actor, now=NOW
    )
    user.refresh_from_db()
    assert user.check_password("the second long one")
    with pytest.raises(NotFound):
        accounts.use_sign_in_link(secret=link, now=NOW)


def test_no_secret_reaches_the_audit_trail():
    account = make_account()
    actor = admin_of(account)
    _, key = accounts.create_api_key(account=account, name="k", role="viewer", actor=actor, now=NOW)
    link = accounts.add_member(
        account=account, email="n@b.org", role="viewer", actor=actor, now=NOW
    ).secret
    trail = str(list(AuditEvent.objects.values()))
    assert key not in trail
    assert link is not None
    assert link not in trail
