"""Who may see a page: one of these decorators stands on every view.

`@public` for everybody, `@signed_in` for a person, `@member("permission")` for members of the
account at hand whose role permits it. The rule stays readable as `view.access`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, cast
from urllib.parse import urlencode, urlsplit

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django_htmx.middleware import HtmxDetails

from runs.actions.actors import ROOT, Actor, person
from runs.domain.errors import NotAllowed
from runs.domain.networks import lies_in
from runs.domain.roles import may
from runs.models import Account, Membership, User

P = ParamSpec("P")

SESSION_ACCOUNT = "account"
PUBLIC, SIGNED_IN = "public", "signed in"


class PersonRequest(HttpRequest):
    """The request of a view that is `@signed_in`. `account` is None for who is in no account."""

    user: User
    htmx: HtmxDetails
    account: Account | None
    accounts: list[Account]
    membership: Membership | None
    role: str
    actor: Actor


class AccountRequest(PersonRequest):
    """The request of a view that is `@member`: queries start at `request.account`."""

    account: Account


View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]


def public(view: View[P]) -> View[P]:
    """Everybody may see it; nothing is looked up."""
    return _mark(view, PUBLIC)


def signed_in(
    view: Callable[Concatenate[PersonRequest, P], HttpResponseBase],
) -> View[P]:
    """Only somebody who has signed in may see it."""

    @wraps(view)
    def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        if not load_person(request):
            return ask_to_sign_in(request)
        return view(cast(PersonRequest, request), *args, **kwargs)

    return _mark(guarded, SIGNED_IN)


def member(
    permission: str,
) -> Callable[[Callable[Concatenate[AccountRequest, P], HttpResponseBase]], View[P]]:
    """Only members of the account at hand whose role has `permission` may see it.

    Raises `NotAllowed` for a role without it, and for somebody who is in no account.
    """

    def decorate(
        view: Callable[Concatenate[AccountRequest, P], HttpResponseBase],
    ) -> View[P]:
        @wraps(view)
        def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            if not load_person(request):
                return ask_to_sign_in(request)
            asking = cast(PersonRequest, request)
            if asking.account is None:
                raise NotAllowed(
                    f"{asking.user.email} is not a member of any account. "
                    "Ask an admin of the account to add this e-mail address."
                )
            check_permission(cast(AccountRequest, request), permission)
            return view(cast(AccountRequest, request), *args, **kwargs)

        return _mark(guarded, permission)

    return decorate


def check_permission(request: AccountRequest, permission: str) -> None:
    """Raise `NotAllowed` unless the role at hand has `permission`; for rules inside a view."""
    if not may(request.role, permission):
        raise NotAllowed(
            f"Your role in {request.account.name} is {request.role}, which does not permit this "
            f"({permission}). Ask an admin of the account for another role."
        )


def load_person(request: HttpRequest) -> bool:
    """Put who asks, and in which account, on the request; False when nobody has signed in.

    At most two queries, the session's included; a third for root in an account of others.
    """
    known = cast(PersonRequest, request)
    if getattr(known, "actor", None) is not None:
        return True
    user = cast(User | AnonymousUser, known.user)
    if not user.is_authenticated:
        return False
    memberships: list[Membership] | None = getattr(user, "known_memberships", None)
    if memberships is None:  # has just signed in, or another backend
        memberships = list(
            user.memberships.select_related("account").order_by("account__name", "account_id")
        )
    wanted = request.session.get(SESSION_ACCOUNT)
    chosen = next((each for each in memberships if each.account_id == wanted), None)
    accounts = [each.account for each in memberships]
    account = chosen.account if chosen else None
    if account is None and user.is_superuser and (wanted or not memberships):
        others = Account.objects.order_by("pk")
        account = others.filter(pk=wanted).first() if wanted else others.first()
        if account is not None:
            accounts.append(account)
    if account is None and memberships:
        chosen = memberships[0]
        account = chosen.account
    role = ROOT if user.is_superuser else chosen.role if chosen else ""
    known.account = account
    known.accounts = accounts
    known.membership = chosen
    known.role = role
    known.actor = person(user, role=role)
    return True


def ask_to_sign_in(request: HttpRequest) -> HttpResponse:
    """The answer to somebody unknown: the sign-in page for a page, 401 for a script."""
    sign_in = reverse("sign-in")
    if request.headers.get("HX-Request") == "true":
        here = urlsplit(request.headers.get("HX-Current-URL", ""))
        shown = f"{here.path}?{here.query}" if here.query else here.path
        answer = HttpResponse("Sign in again.", status=401, content_type="text/plain")
        answer["HX-Redirect"] = _with_next(sign_in, shown)
        return answer
    if not wants_page(request):
        return JsonResponse({"error": "Sign in again.", "sign_in": sign_in}, status=401)
    shown = request.get_full_path() if request.method in {"GET", "HEAD"} else ""
    return redirect(_with_next(sign_in, shown))


def wants_page(request: HttpRequest) -> bool:
    """Whether a page is an answer that the asking side can show."""
    accept = request.headers.get("Accept", "")
    if "text/html" in accept or not accept:
        return True
    if "application/json" in accept or "text/event-stream" in accept:
        return False
    return request.headers.get("Sec-Fetch-Dest") != "empty"


def safe_next(request: HttpRequest, default: str = "/") -> str:
    """Where to go after signing in: `next` of the form or address, if it is a page of ours."""
    wanted = request.POST.get("next") or request.GET.get("next") or ""
    local = url_has_allowed_host_and_scheme(
        wanted, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return wanted if local and wanted.startswith("/") else default


def client_address(request: HttpRequest) -> str:
    """The address of the browser; a proxy is believed when the setting names its network."""
    address = str(request.META.get("REMOTE_ADDR", ""))
    forwarded = request.headers.get("X-Forwarded-For", "")
    for hop in reversed([part.strip() for part in forwarded.split(",") if part.strip()]):
        if not lies_in(address, settings.RUNSITE_TRUSTED_PROXIES):
            break
        address = hop
    return address[:64]


def account_context(request: HttpRequest) -> dict[str, Any]:
    """Context processor: the accounts that the person may switch to."""
    return {"accounts": getattr(request, "accounts", [])}


def _with_next(address: str, shown: str) -> str:
    return f"{address}?{urlencode({'next': shown})}" if shown not in {"", "/"} else address


def _mark(view: View[P], access: str) -> View[P]:
    view.access = access  # type: ignore[attr-defined] # read by the test of all addresses
    return view
