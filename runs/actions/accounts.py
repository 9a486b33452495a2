"""People, memberships and keys: make, invite, change, revoke, sign in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.urls import reverse

from runs.actions.actors import Actor
from runs.actions.audit import record_change
from runs.domain.errors import Conflict, FieldsInvalid, NotAllowed, NotFound
from runs.domain.ids import is_chosen_id
from runs.domain.roles import ROLES, rank, roles_up_to
from runs.models import Account, ApiKey, Membership, SignInLink, User
from runs.models.accounts import hash_secret, new_secret

KEY_PREFIX = "rs_"
LINK_LIFETIME = timedelta(hours=1)
INVITATION_LIFETIME = timedelta(days=7)
KEY_USE_STEP = timedelta(minutes=1)
_HINT_LENGTH = 10
# Asked before every request of a program, in words of our own: putting them together takes Django
# several times as long as the database takes to answer.
_KEY_IN_FORCE = """
    SELECT known.*, account.slug AS account_slug, account.name AS account_name,
        maker.email AS maker_email, maker.name AS maker_name
    FROM runs_apikey known
    JOIN runs_account account ON account.id = known.account_id
    LEFT JOIN runs_user maker ON maker.id = known.created_by_id
    WHERE known.hashed = %s AND known.revoked_at IS NULL AND (maker.id IS NULL OR maker.is_active)
"""


@dataclass(frozen=True)
class Invitation:
    """A new member; `secret` opens the first sign-in when the person was not known before."""

    membership: Membership
    secret: str | None


# --- Accounts and people ----------------------------------------------------------------------


def create_account(*, slug: str, name: str = "", actor: Actor, now: datetime) -> Account:
    """Make an account. Raises `FieldsInvalid` for a bad slug, `Conflict` for one in use."""
    slug = slug.strip().lower()
    if not is_chosen_id(slug) or len(slug) > 64:
        raise FieldsInvalid(
            {"slug": ["An account is named by up to 64 letters, digits, dots and dashes."]}
        )
    try:
        with transaction.atomic():
            account = Account.objects.create(slug=slug, name=name.strip() or slug, created_at=now)
            record_change(
                account=account, actor=actor, verb="created", noun="account", target=slug, now=now
            )
    except IntegrityError:
        raise Conflict(f"There is an account `{slug}` already. Choose another name.") from None
    return account


def create_user(
    *,
    email: str,
    name: str = "",
    password: str | None = None,
    root: bool = False,
    actor: Actor,
    now: datetime,
) -> User:
    """Make a person; without a password only one-time links let them in.

    Raises `FieldsInvalid` for a bad address or password, `Conflict` for an address in use.
    """
    email = clean_email(email)
    if password is not None:
        _check_password(password, User(email=email, name=name))
    make = User.objects.create_superuser if root else User.objects.create_user
    try:
        with transaction.atomic():
            user = make(email, password, name=name.strip(), created_at=now)
            record_change(
                account=None, actor=actor, verb="created", noun="user", target=email, now=now
            )
    except IntegrityError:
        raise Conflict(f"There is a user {email} already.") from None
    return user


def clean_email(text: str) -> str:
    """The address in lower case. Raises `FieldsInvalid` when it is none."""
    email = text.strip().lower()
    try:
        validate_email(email)
    except ValidationError:
        # A console on one machine has addresses as admin@localhost.
        name, _, host = email.partition("@")
        if not (name and host == "localhost" and not any(c.isspace() for c in name)):
            message = "Give an e-mail address, as ann@example.org."
            raise FieldsInvalid({"email": [message]}) from None
    return email


def change_password(*, user: User, old: str, new: str, actor: Actor, now: datetime) -> None:
    """Give `user` a new password. Open one-time links of that person end with it.

    A person who has a password must know it. Raises `FieldsInvalid`.
    """
    if user.has_usable_password() and not user.check_password(old):
        raise FieldsInvalid({"old": ["This is not your present password."]})
    _check_password(new, user, field="new")
    user.set_password(new)
    with transaction.atomic():
        user.save(update_fields=["password"])
        _close_links(user, now)
        record_change(
            account=None, actor=actor, verb="changed", noun="password", target=user.email, now=now
        )


def find_account(slug: str) -> Account:
    """The account named `slug`. Raises `NotFound` with the names that there are."""
    account = Account.objects.filter(slug=slug).first()
    if account is None:
        known = ", ".join(Account.objects.order_by("slug").values_list("slug", flat=True)[:20])
        raise NotFound(f"There is no account `{slug}`. Known accounts: {known or 'none yet'}.")
    return account


# --- Members ----------------------------------------------------------------------------------


def add_member(
    *, account: Account, email: str, role: str, name: str = "", actor: Actor, now: datetime
) -> Invitation:
    """Make somebody a member; a person who is new gets a one-time link, shown once.

    Somebody known already gets no link: it would let the inviting admin in elsewhere as that
    person. Raises `FieldsInvalid`, `NotAllowed`, `Conflict` when a member already.
    """
    email = clean_email(email)
    _check_role(role, actor)
    with transaction.atomic():
        user = User.objects.filter(email=email).first()
        is_new = user is None
        if user is None:
            user = create_user(email=email, name=name, actor=actor, now=now)
        membership, made = Membership.objects.get_or_create(
            account=account, user=user, defaults={"role": role, "created_at": now}
        )
        if not made:
            raise Conflict(
                f"{email} is a member of {account.name} already, as {membership.role}. "
                "Change the role in the list."
            )
        record_change(
            account=account,
            actor=actor,
            verb="added",
            noun="member",
            target=email,
            detail=f"as {role}",
            now=now,
        )
        if not is_new:
            # Whoever made an earlier link must not come in here by it.
            _close_links(user, now)
            return Invitation(membership, None)
        secret = make_sign_in_link(user=user, lifetime=INVITATION_LIFETIME, now=now)
    return Invitation(membership, secret)


def change_role(*, membership: Membership, role: str, actor: Actor, now: datetime) -> None:
    """Give a member another role; keys that the person made in the account never have more.

    Raises `NotAllowed`, `Conflict` for the last admin.
    """
    _check_role(role, actor)
    with transaction.atomic():
        present = _locked(membership)
        if present.role == role:
            return
        if present.role == "admin":
            _keep_an_admin(present)
        before = present.role
        present.role = role
        present.save(update_fields=["role"])
        above = [name for name in ROLES if rank(name) > rank(role)]
        made = present.account.api_keys.filter(created_by=present.user, revoked_at=None)
        lowered = made.filter(role__in=above).update(role=role)
        record_change(
            account=present.account,
            actor=actor,
            verb="changed",
            noun="member",
            target=present.user.email,
            detail=f"from {before} to {role}" + (f", {lowered} keys too" if lowered else ""),
            now=now,
        )


def remove_member(*, membership: Membership, actor: Actor, now: datetime) -> None:
    """End a membership and the keys that the person made in the account.

    Raises `Conflict` for the last admin.
    """
    with transaction.atomic():
        present = _locked(membership)
        if present.role == "admin":
            _keep_an_admin(present)
        account, user = present.account, present.user
        revoked = account.api_keys.filter(created_by=user, revoked_at=None).update(revoked_at=now)
        present.delete()
        record_change(
            account=account,
            actor=actor,
            verb="removed",
            noun="member",
            target=user.email,
            detail=f"{revoked} keys revoked" if revoked else "",
            now=now,
        )


def make_member_link(*, membership: Membership, actor: Actor, now: datetime) -> str:
    """The secret of a new one-time link for a member who cannot sign in otherwise.

    Raises `NotAllowed` when the person also belongs elsewhere or is staff: an admin of one
    account must not come into others as that person.
    """
    user = membership.user
    elsewhere = user.memberships.exclude(account=membership.account_id).exists()
    if (elsewhere or user.is_staff or user.is_superuser) and actor.role != "root":
        raise NotAllowed(
            f"{user.email} may do more than this account lets you give. Ask the people who run "
            f"this console for `manage.py signinlink {user.email}`."
        )
    with transaction.atomic():
        secret = make_sign_in_link(user=user, lifetime=INVITATION_LIFETIME, now=now)
        record_change(
            account=membership.account,
            actor=actor,
            verb="created",
            noun="sign-in link",
            target=user.email,
            now=now,
        )
    return secret


# --- Keys -------------------------------------------------------------------------------------


def create_api_key(
    *, account: Account, name: str, role: str, actor: Actor, now: datetime
) -> tuple[ApiKey, str]:
    """Make a key; the row and the key itself, which is nowhere else and cannot be shown again.

    Raises `FieldsInvalid`, `NotAllowed` for a role above the actor's own.
    """
    name = name.strip()
    if not name or len(name) > 200:
        raise FieldsInvalid({"name": ["Give the key a name of at most 200 characters."]})
    _check_role(role, actor)
    secret = new_secret(KEY_PREFIX)
    with transaction.atomic():
        key = ApiKey.objects.create(
            account=account,
            name=name,
            role=role,
            hint=secret[:_HINT_LENGTH],
            hashed=hash_secret(secret),
            created_by=actor.user,
            created_at=now,
        )
        record_change(
            account=account,
            actor=actor,
            verb="created",
            noun="key",
            target=name,
            detail=f"{key.hint}…, {role}",
            now=now,
        )
    return key, secret


def revoke_api_key(*, key: ApiKey, actor: Actor, now: datetime) -> bool:
    """End a key at once; whether this changed anything.

    Raises `NotAllowed` unless the actor made it or is an admin.
    """
    own = actor.user is not None and key.created_by_id == actor.user.pk
    if not own and rank(actor.role) < rank("admin"):
        raise NotAllowed(
            f"The key {key.name} was made by somebody else. Ask an admin to revoke it."
        )
    with transaction.atomic():
        if not ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=now):
            return False
        record_change(
            account=key.account,
            actor=actor,
            verb="revoked",
            noun="key",
            target=key.name,
            detail=f"{key.hint}…",
            now=now,
        )
    key.revoked_at = now
    return True


def find_api_key(secret: str) -> ApiKey | None:
    """The key in force that `secret` is, with its account and maker; one query.

    None when its maker has been switched off. Of account and maker only what names them is read.
    """
    for key in ApiKey.objects.raw(_KEY_IN_FORCE, [hash_secret(secret)]):
        read, db = vars(key), key._state.db
        owner = (key.account_id, read.pop("account_slug"), read.pop("account_name"))
        key.account = Account.from_db(db, ("id", "slug", "name"), owner)
        maker = (key.created_by_id, read.pop("maker_email"), read.pop("maker_name"))
        if key.created_by_id is not None:
            key.created_by = User.from_db(db, ("id", "email", "name"), maker)
        return key
    return None


def note_key_use(key: ApiKey, *, now: datetime) -> None:
    """Remember when a key was last used; written once a minute at most."""
    if key.last_used_at is None or now - key.last_used_at >= KEY_USE_STEP:
        ApiKey.objects.filter(pk=key.pk).update(last_used_at=now)
        key.last_used_at = now


# --- One-time links ---------------------------------------------------------------------------


def make_sign_in_link(*, user: User, lifetime: timedelta = LINK_LIFETIME, now: datetime) -> str:
    """The secret of a new link that signs `user` in once within `lifetime`."""
    secret = new_secret("")
    SignInLink.objects.create(
        user=user, hashed=hash_secret(secret), created_at=now, expires_at=now + lifetime
    )
    return secret


def sign_in_address(secret: str) -> str:
    """The whole address that opens the link with this secret."""
    path = reverse("sign-in-link", kwargs={"secret": secret})
    return f"{settings.RUNSITE_PUBLIC_URL}{path}"


def find_sign_in_link(secret: str, *, now: datetime) -> SignInLink | None:
    """The link while it is open, without using it."""
    link = SignInLink.objects.select_related("user").filter(hashed=hash_secret(secret)).first()
    return link if link and link.is_open(now) and link.user.is_active else None


def use_sign_in_link(*, secret: str, now: datetime) -> User:
    """The person that the link signs in; the link is used up. Raises `NotFound`.

    One guarded update decides, so that of two who send it at once only one comes in.
    """
    hashed = hash_secret(secret)
    with transaction.atomic():
        used = SignInLink.objects.filter(
            hashed=hashed, used_at=None, expires_at__gt=now, user__is_active=True
        ).update(used_at=now)
        if not used:
            raise NotFound(
                "This link was used before, or its time is over. Ask for a new one: "
                "an admin of the account makes it, or `manage.py signinlink` on the server."
            )
        user = SignInLink.objects.select_related("user").get(hashed=hashed).user
        record_change(
            account=None,
            actor=Actor(user=user, key=None, role="", name=user.email),
            verb="signed in",
            noun="user",
            target=user.email,
            detail="by one-time link",
            now=now,
        )
    return user


def _close_links(user: User, now: datetime) -> None:
    user.sign_in_links.filter(used_at=None).update(used_at=now)


def _check_role(role: str, actor: Actor) -> None:
    if role not in roles_up_to("admin"):
        known = ", ".join(roles_up_to("admin"))
        raise FieldsInvalid({"role": [f"{role!r} is not a role; choose one of {known}."]})
    if role not in roles_up_to(actor.role):
        raise NotAllowed(
            f"You act as {actor.role}, so you cannot give the role {role}. Choose a lesser one."
        )


def _check_password(password: str, user: User, field: str = "password") -> None:
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise FieldsInvalid({field: list(error.messages)}) from None


def _locked(membership: Membership) -> Membership:
    """The membership as it is now; the account's admins are held, so that one of them stays."""
    rows = list(
        Membership.objects.select_for_update(of=("self",))
        .filter(account=membership.account_id)
        .order_by("pk")
        .select_related("user", "account")
    )
    for row in rows:
        if row.pk == membership.pk:
            return row
    raise NotFound("This person is no longer a member.")


def _keep_an_admin(leaving: Membership) -> None:
    others = Membership.objects.filter(
        account=leaving.account_id, role="admin", user__is_active=True
    ).exclude(pk=leaving.pk)
    if not others.exists():
        raise Conflict(
            f"{leaving.user.email} is the last admin of {leaving.account.name}. "
            "Make somebody else an admin first."
        )
