"""Pages of people: sign in and out, switch the account, password, keys, members."""

from __future__ import annotations

from django import forms
from django.contrib import messages
from django.contrib.auth import login, logout, update_session_auth_hash
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from runs.actions import accounts as actions
from runs.actions.sign_in import sign_in_with_password
from runs.domain.connecting import connect_languages
from runs.domain.errors import FieldsInvalid, NotFound, RunsiteError
from runs.domain.roles import may, roles_up_to
from runs.models import Account, Membership
from runs.web.access import (
    SESSION_ACCOUNT,
    AccountRequest,
    PersonRequest,
    check_permission,
    client_address,
    member,
    public,
    safe_next,
    signed_in,
)
from runs.web.addresses import public_base
from runs.web.forms.accounts import KEY_WORDS, KeyForm, MemberForm, PasswordForm, SignInForm

_BACKEND = "runs.web.backend.MemberBackend"

# --- Sign in and out --------------------------------------------------------------------------


@public
@never_cache
@sensitive_post_parameters("password")
@require_http_methods(["GET", "POST"])
def sign_in(request: HttpRequest) -> HttpResponse:
    """Sign in by e-mail address and password."""
    following = safe_next(request)
    if request.method == "GET" and request.user.is_authenticated:
        return redirect(following)
    form = SignInForm(request.POST if request.method == "POST" else None)
    status = 200
    if request.method == "POST":
        status = 422
        if form.is_valid():
            try:
                user = sign_in_with_password(
                    email=form.cleaned_data["email"],
                    password=form.cleaned_data["password"],
                    address=client_address(request),
                    now=timezone.now(),
                )
            except RunsiteError as error:
                form.add_error(None, error.message)
                status = error.status
            else:
                login(request, user, backend=_BACKEND)
                return redirect(following)
    context = {"form": form, "next": following}
    return render(request, "accounts/sign_in.html", context, status=status)


@public
@never_cache
@require_http_methods(["GET", "POST"])
def sign_in_link(request: HttpRequest, secret: str) -> HttpResponse:
    """A one-time link: GET asks, POST signs in. A program that only looks uses nothing up."""
    now = timezone.now()
    if request.method == "POST":
        user = actions.use_sign_in_link(secret=secret, now=now)
        login(request, user, backend=_BACKEND)
        if not user.has_usable_password():
            messages.info(request, "Choose a password, so that you can sign in again.")
            return redirect("password")
        return redirect(safe_next(request))
    link = actions.find_sign_in_link(secret, now=now)
    if link is None and request.user.is_authenticated:
        return redirect("home")  # the link that brought this person here, opened again
    context = {"link": link, "next": safe_next(request)}
    return render(request, "accounts/link.html", context, status=200 if link else 404)


@public
@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """End the session."""
    logout(request)
    messages.success(request, "You have signed out.")
    return redirect("sign-in")


@signed_in
@require_POST
def account_switch(request: PersonRequest) -> HttpResponse:
    """Work in another account of one's own; root in any."""
    slug = request.POST.get("account", "")
    reachable = Account.objects.filter(slug=slug)
    if not request.user.is_superuser:
        reachable = reachable.filter(memberships__user=request.user)
    account = reachable.first()
    if account is None:
        raise NotFound(f"You are not a member of an account `{slug}`. Choose one from the menu.")
    request.session[SESSION_ACCOUNT] = account.pk
    return redirect(safe_next(request))


@signed_in
@never_cache
@sensitive_post_parameters()
@require_http_methods(["GET", "POST"])
def password(request: PersonRequest) -> HttpResponse:
    """Change one's own password."""
    form = PasswordForm(request.POST if request.method == "POST" else None)
    user = request.user
    if not user.has_usable_password():
        del form.fields["old"]
    if request.method == "POST" and form.is_valid():
        try:
            actions.change_password(
                user=user,
                old=form.cleaned_data.get("old", ""),
                new=form.cleaned_data["new"],
                actor=request.actor,
                now=timezone.now(),
            )
        except FieldsInvalid as error:
            _show_errors(form, error)
        else:
            update_session_auth_hash(request, user)
            messages.success(request, "Your password has been changed.")
            return redirect("password")
    return render(
        request,
        "accounts/password.html",
        {"form": form, "tabs": _tabs("password") if request.account else []},
        status=_status(form),
    )


# --- Keys -------------------------------------------------------------------------------------


@member("view")
@never_cache
@require_http_methods(["GET", "POST"])
def keys(request: AccountRequest) -> HttpResponse:
    """The keys of the account; makes one, which is shown once."""
    may_manage = may(request.role, "manage keys")
    form = KeyForm(request.POST if request.method == "POST" else None, role=request.role)
    secret = ""
    if request.method == "POST":
        check_permission(request, "manage keys")
        if form.is_valid():
            try:
                _, secret = actions.create_api_key(
                    account=request.account,
                    name=form.cleaned_data["name"],
                    role=form.cleaned_data["role"],
                    actor=request.actor,
                    now=timezone.now(),
                )
            except FieldsInvalid as error:
                _show_errors(form, error)
    context = {
        "form": KeyForm(role=request.role) if secret else form,
        "secret": secret,
        "may_manage": may_manage,
        "is_admin": may(request.role, "manage members"),
        "base": public_base(request),
        "languages": connect_languages(public_base(request), secret),
        "roles": [(role, KEY_WORDS[role]) for role in roles_up_to("admin")],
        # The newest are the ones looked for; nobody reads on after some hundred.
        "keys": request.account.api_keys.select_related("created_by").order_by("-id")[:500],
        "tabs": _tabs("keys"),
    }
    return render(request, "accounts/keys.html", context, status=_status(form))


@member("manage keys")
@require_POST
def key_revoke(request: AccountRequest) -> HttpResponse:
    """End a key, named by its first characters."""
    hint = request.POST.get("key", "")
    found = list(request.account.api_keys.filter(hint=hint).order_by("revoked_at", "-id")[:2])
    if not hint or not found:
        raise NotFound(f"This account has no key that begins with `{hint}`.")
    key = next((each for each in found if each.revoked_at is None), found[0])
    if actions.revoke_api_key(key=key, actor=request.actor, now=timezone.now()):
        messages.success(request, f"The key {key.name} has been revoked.")
    else:
        messages.info(request, f"The key {key.name} was revoked before.")
    return redirect("keys")


# --- Members ----------------------------------------------------------------------------------


@member("view")
@never_cache
@require_http_methods(["GET", "POST"])
def members(request: AccountRequest) -> HttpResponse:
    """The members of the account; adds one."""
    form = MemberForm(request.POST if request.method == "POST" else None, role=request.role)
    link, invited = "", ""
    if request.method == "POST":
        check_permission(request, "manage members")
        if form.is_valid():
            try:
                invitation = actions.add_member(
                    account=request.account,
                    email=form.cleaned_data["email"],
                    name=form.cleaned_data["name"],
                    role=form.cleaned_data["role"],
                    actor=request.actor,
                    now=timezone.now(),
                )
            except RunsiteError as error:
                _show_errors(form, error)
            else:
                invited = invitation.membership.user.email
                if invitation.secret is None:
                    messages.success(request, f"{invited} is a member now.")
                    return redirect("members")
                link = actions.sign_in_address(invitation.secret)
    return _members_page(request, form, link=link, invited=invited)


@member("manage members")
@require_POST
def member_role(request: AccountRequest) -> HttpResponse:
    """Give a member another role."""
    membership = _membership(request)
    role = request.POST.get("role", "")
    actions.change_role(membership=membership, role=role, actor=request.actor, now=timezone.now())
    messages.success(request, f"{membership.user.email} is {role} now.")
    return redirect("members")


@member("manage members")
@require_POST
def member_remove(request: AccountRequest) -> HttpResponse:
    """End a membership."""
    membership = _membership(request)
    actions.remove_member(membership=membership, actor=request.actor, now=timezone.now())
    messages.success(request, f"{membership.user.email} is no longer a member.")
    return redirect("members")


@member("manage members")
@never_cache
@require_POST
def member_link(request: AccountRequest) -> HttpResponse:
    """Make a one-time link for a member who cannot sign in; shown once."""
    membership = _membership(request)
    secret = actions.make_member_link(
        membership=membership, actor=request.actor, now=timezone.now()
    )
    return _members_page(
        request,
        MemberForm(role=request.role),
        link=actions.sign_in_address(secret),
        invited=membership.user.email,
    )


def _members_page(
    request: AccountRequest, form: MemberForm, *, link: str, invited: str
) -> HttpResponse:
    context = {
        "form": MemberForm(role=request.role) if link else form,
        "link": link,
        "invited": invited,
        "may_manage": may(request.role, "manage members"),
        "roles": roles_up_to(request.role),
        "memberships": request.account.memberships.select_related("user").order_by("user__email"),
        "tabs": _tabs("members"),
    }
    return render(request, "accounts/members.html", context, status=_status(form))


def _membership(request: AccountRequest) -> Membership:
    email = request.POST.get("email", "").strip().lower()
    found = request.account.memberships.select_related("user", "account")
    membership = found.filter(user__email=email).first()
    if membership is None:
        raise NotFound(f"{email or 'Nobody'} is not a member of {request.account.name}.")
    return membership


def _show_errors(form: forms.Form, error: RunsiteError) -> None:
    """Put the messages of an action at the fields they are about."""
    if not isinstance(error, FieldsInvalid):
        form.add_error(None, error.message)
        return
    for name, texts in error.errors.items():
        for text in texts:
            form.add_error(name if name in form.fields else None, text)


def _status(form: forms.Form) -> int:
    return 422 if form.is_bound and form.errors else 200


def _tabs(current: str) -> list[dict[str, object]]:
    pages = (
        ("keys", "API keys", "key"),
        ("members", "Members", "user"),
        ("password", "Password", "lock"),
    )
    return [
        {"label": label, "url": reverse(name), "current": name == current, "icon": icon}
        for name, label, icon in pages
    ]
