"""Every address for every role: one table says what each page answers to whom."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.conf import settings
from django.db import transaction
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from runs.api import urls as api_urls
from runs.domain.roles import ROLES, may
from runs.models import Account, Run, User
from tests.factories import make_account, make_member, make_user, make_worker
from tests.web.world import SECRET, World, make_world, text_of

PUBLIC, SIGNED_IN = "public", "signed in"
MARKER = "Quokka7731"
ANYBODY = ("anonymous", *ROLES, "outsider")


@dataclass(frozen=True)
class Page:
    """What an address asks for, and what it answers to who may.

    `get` and `post` are the permissions of both methods; "" where the address does not take one.
    `names` are the parts of the address; `body` is what is posted, its values names of `World` or
    plain texts behind "=". `owned` says that the address or the body names a thing of an account:
    to members of others it is not there.
    """

    get: str = ""
    post: str = ""
    names: dict[str, str] = field(default_factory=dict)
    body: dict[str, str] = field(default_factory=dict)
    owned: bool = False
    shown: int = 200
    done: int = 302


def view(**more: Any) -> Page:
    return Page(get="view", **more)


def of_run(**more: Any) -> Page:
    more.setdefault("get", "" if "post" in more else "view")
    return Page(owned=True, **{"names": {"run_id": "run_id"}, **more})


def of_application(*parts: str, **more: Any) -> Page:
    names = {part: part for part in ("application_id", *parts)}
    more.setdefault("get", "" if "post" in more else "view")
    return Page(owned=True, **{"names": names, **more})


def numbered(**more: str) -> Page:
    return of_run(names={"run_id": "run_id", "number": "=0", **more})


MANAGE = "manage applications"

PAGES: dict[str, Page] = {
    "home": view(),
    "home-parts": view(),
    "healthz": Page(get=PUBLIC),
    "readyz": Page(get=PUBLIC),
    "metrics": Page(get=PUBLIC),
    "unknown-address": Page(
        get=PUBLIC, post=PUBLIC, names={"rest": "=no/such/page/"}, shown=404, done=404
    ),
    # runs
    "runs": view(),
    "runs-parts": view(),
    "runs-cancel": Page(post="cancel", body={"run": "queued"}),
    "runs-import": Page(get="register folders", post="register folders", done=422),
    "run": of_run(),
    "console-run": of_run(
        names={"application_id": "application_id", "run_id": "run_id"}, shown=302
    ),
    "run-log": of_run(),
    "run-log-download": of_run(),
    "run-input": of_run(),
    "run-input-download": of_run(),
    "run-input-file": numbered(),
    "run-output": of_run(),
    "run-output-download": of_run(),
    "run-file": numbered(role="=stdout"),
    "run-visuals": of_run(),
    "run-visual": numbered(),
    "run-asset": numbered(),
    "run-figure": numbered(),
    "run-resources": of_run(),
    "run-history": of_run(),
    "run-live": of_run(),
    "run-poll": of_run(),
    "run-cancel": of_run(post="cancel", names={"run_id": "queued"}),
    "run-stop": of_run(post="cancel", names={"run_id": "running"}),
    "run-delete": of_run(post="delete runs"),
    "run-export": of_run(),
    # applications
    "applications": view(),
    "application-new": Page(get=MANAGE, post=MANAGE, done=422),
    "application": of_application(),
    "application-settings": of_application(get=MANAGE, post=MANAGE, body={"name": "=Routing"}),
    "application-pin": of_application(post=MANAGE, body={"pinned": "=1"}),
    "application-archive": of_application(post=MANAGE),
    "application-delete": of_application(post=MANAGE, done=409),
    "application-builds": of_application(),
    "application-upload": of_application(get=MANAGE, post=MANAGE, done=422),
    "application-read-folder": of_application(post="register folders", done=409),
    "application-environment": of_application("key"),
    "application-rebuild": of_application("key", post=MANAGE),
    "application-versions": of_application(get="view", post=MANAGE, body={"version_id": "=v2"}),
    "application-version-delete": of_application("version_id", post=MANAGE, done=409),
    "application-instances": of_application(get="view", post=MANAGE, done=422),
    "application-instance": of_application("instance_id", get="view", post=MANAGE, done=409),
    "application-instance-default": of_application("instance_id", post=MANAGE),
    "application-instance-lock": of_application("instance_id", post=MANAGE),
    "application-instance-delete": of_application("instance_id", post=MANAGE, done=409),
    "application-inputs": of_application(get="view", post=MANAGE, done=422),
    "application-input-delete": of_application("input_id", post=MANAGE),
    "application-secrets": of_application(
        get="launch", post=MANAGE, body={"collection_id": "=more-secrets"}
    ),
    "application-secrets-one": of_application(
        "collection_id",
        get="launch",
        post=MANAGE,
        body={"kind": "=env", "location": "=TOKEN", "value": f"={MARKER}-new"},
    ),
    "application-secrets-name": of_application("collection_id", post=MANAGE, body={"name": "=x"}),
    "application-secrets-remove": of_application(
        "collection_id", post=MANAGE, body={"kind": "=env", "location": "=API_KEY"}
    ),
    "application-secrets-delete": of_application("collection_id", post=MANAGE, done=409),
    # launch
    "launch": of_application(
        get="launch", post="launch", body={"source": "=paste", "text": '={"a": 1}'}
    ),
    "launch-part": Page(
        post="launch",
        names={"application_id": "application_id", "part": "=settings"},
        owned=True,
        done=200,
    ),
    # queue and workers
    "queue": view(),
    "queue-parts": view(),
    "queue-starts": view(),
    "queue-new": Page(post="manage queue", body={"name": "=gpu"}),
    "queue-pause": Page(post="manage queue", body={"queue": "queue"}, owned=True),
    "queue-resume": Page(post="manage queue", body={"queue": "queue"}, owned=True),
    "queue-limit": Page(
        post="manage queue", body={"queue": "queue", "running_limit": "=2"}, owned=True
    ),
    "queue-priority": Page(
        post="manage queue", body={"run": "queued", "priority": "=3"}, owned=True
    ),
    "queue-first": Page(post="manage queue", body={"run": "queued"}, owned=True),
    "queue-cancel": Page(post="cancel", body={"run": "queued"}, owned=True),
    "workers": view(),
    "workers-parts": view(),
    "worker-drain": Page(post="manage workers", body={"worker": "=north"}),
    "worker-resume": Page(post="manage workers", body={"worker": "=north"}),
    "ledger": view(),
    "api-reference": Page(get=SIGNED_IN),
    # accounts
    "sign-in": Page(get=PUBLIC, post=PUBLIC, done=422),
    "sign-in-link": Page(get=PUBLIC, post=PUBLIC, names={"secret": "=wrong"}, shown=404, done=404),
    "sign-out": Page(post=PUBLIC),
    "account-switch": Page(post=SIGNED_IN, body={"account": "slug"}, owned=True),
    "password": Page(get=SIGNED_IN, post=SIGNED_IN, done=422),
    "keys": Page(get="view", post="manage keys", done=422),
    "key-revoke": Page(post="manage keys", body={"key": "hint"}, owned=True),
    "members": Page(get="view", post="manage members", done=422),
    "member-role": Page(
        post="manage members", body={"email": "member", "role": "=operator"}, owned=True
    ),
    "member-remove": Page(post="manage members", body={"email": "member"}, owned=True),
    "member-link": Page(post="manage members", body={"email": "member"}, owned=True, done=200),
}
EXCEPTIONS: dict[tuple[str, str, str], set[int]] = {
    # (page, method, who): an answer that no rule of the table gives
    **{("readyz", "GET", who): {200, 503} for who in ("anonymous", "signed in")},
    # Without a token they are for root alone; to others there is no such page.
    **{("metrics", "GET", who): {404} for who in ("anonymous", "signed in")},
    ("metrics", "GET", "root"): {200},
    ("sign-in", "GET", "signed in"): {302},
    ("sign-in-link", "GET", "signed in"): {302},
    # An operator cancels own runs only; this one was submitted by somebody else.
    ("run-cancel", "POST", "operator"): {403},
    ("queue-cancel", "POST", "operator"): {403},
    ("run-stop", "POST", "operator"): {403},
    # So does a developer with keys.
    ("key-revoke", "POST", "developer"): {403},
}


# --- Everybody ----------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def store(settings: Any, tmp_path: Any) -> None:
    settings.RUNSITE_DATA_DIR = tmp_path


@pytest.fixture
def world(db: None) -> World:
    make_worker(name="north")
    return make_world("demo", MARKER)


@dataclass(frozen=True)
class Person:
    """Somebody who asks: the role, and a browser whose session is as it was after signing in."""

    who: str
    session: str
    # One for all requests: a client reads the list of static files when it first asks.
    _client: Client

    @property
    def browser(self) -> Client:
        self._client.cookies.clear()
        if self.session:
            self._client.cookies[settings.SESSION_COOKIE_NAME] = self.session
        return self._client


def people(world: World, elsewhere: Account | None = None) -> list[Person]:
    """Everybody of `ANYBODY`."""
    users: dict[str, User | None] = {"anonymous": None}
    for role in ROLES:
        email = f"{role}@roles.example"
        if role == "root":
            users[role] = make_user(email, is_superuser=True, is_staff=True)
        else:
            users[role] = make_member(world.account, role, email)
    users["outsider"] = make_member(
        elsewhere or make_account("elsewhere"), "admin", "outsider@roles.example"
    )
    found = []
    for who, user in users.items():
        client = Client()
        if user is not None:
            client.force_login(user)
        cookie = client.cookies.get(settings.SESSION_COOKIE_NAME)
        found.append(Person(who, cookie.value if cookie else "", client))
    return found


def value(world: World, name: str) -> str:
    return name[1:] if name.startswith("=") else world.names[name]


def ask(world: World, person: Person, name: str, method: str) -> tuple[int, str, str]:
    """Status, text and place to go; nothing that was done stays."""
    page = PAGES[name]
    parts = {part: value(world, told) for part, told in page.names.items()}
    body = {part: value(world, told) for part, told in page.body.items()}
    with transaction.atomic():
        client = person.browser
        address = reverse(name, kwargs=parts)
        response: Any = client.post(address, body) if method == "POST" else client.get(address)
        text = text_of(response)
        transaction.set_rollback(True)
    return response.status_code, text, response.headers.get("Location", "")


def expected(name: str, method: str, who: str) -> set[int]:
    """The statuses that the table allows."""
    page = PAGES[name]
    asked = page.post if method == "POST" else page.get
    if not asked:
        # Refusing the method or the person first is the same to whoever may not.
        allowed = allows(page.post or page.get, who)
        return {405} if allowed else {405, refusal(who)}
    for kind in (who, "signed in" if who != "anonymous" else ""):
        if (name, method, kind) in EXCEPTIONS:
            return EXCEPTIONS[name, method, kind]
    if not allows(asked, who):
        return {refusal(who)}
    if who == "outsider" and page.owned:
        return {404}
    return {page.done if method == "POST" else page.shown}


def allows(permission: str, who: str) -> bool:
    if permission == PUBLIC:
        return True
    if who == "anonymous":
        return False
    return permission == SIGNED_IN or may("admin" if who == "outsider" else who, permission)


def refusal(who: str) -> int:
    return 302 if who == "anonymous" else 403


def web_names(resolver: URLResolver) -> Iterator[tuple[str, str]]:
    """Name and address of all patterns, without the panel's and the API's, which have their own."""
    for entry in resolver.url_patterns:
        address = str(entry.pattern)
        if isinstance(entry, URLResolver):
            if not address.startswith(("admin/", "v1/")):
                yield from web_names(entry)
        elif isinstance(entry, URLPattern) and entry not in api_urls.urlpatterns:
            yield entry.name or address, address


# --- The tests ----------------------------------------------------------------------------------


def test_the_table_has_every_address_and_no_other() -> None:
    names = {name for name, _ in web_names(get_resolver())}
    assert names - set(PAGES) == set(), "say in PAGES who may see these"
    assert set(PAGES) - names == set(), "these pages are gone: take them out of PAGES"


def test_who_may_and_who_may_not(world: World) -> None:
    wrong = []
    everybody = people(world)
    for name in PAGES:
        for person in everybody:
            for method in ("GET", "POST"):
                status, text, location = ask(world, person, name, method)
                case = f"{method} {name} as {person.who}"
                if status not in (wanted := expected(name, method, person.who)):
                    wrong.append(f"{case}: {status}, not {wanted}")
                if person.who in {"anonymous", "outsider"} and MARKER in text:
                    wrong.append(f"{case}: tells what belongs to {world.account.slug}")
                asks_to_sign_in = person.who == "anonymous" and status == 302
                if asks_to_sign_in and not location.startswith("/sign-in/"):
                    wrong.append(f"{case}: leads to {location}")
                if SECRET in text:
                    wrong.append(f"{case}: shows the value of a secret")
                if "Traceback" in text:
                    wrong.append(f"{case}: shows a traceback")
    assert wrong == [], "\n".join(wrong)


def test_a_form_from_elsewhere_changes_nothing(world: World) -> None:
    admin = next(person for person in people(world) if person.who == "admin")
    client = Client(enforce_csrf_checks=True)
    client.cookies[settings.SESSION_COOKIE_NAME] = admin.session
    before = rows()
    for name, page in PAGES.items():
        if not page.post:
            continue
        parts = {part: value(world, told) for part, told in page.names.items()}
        body = {part: value(world, told) for part, told in page.body.items()}
        response = client.post(reverse(name, kwargs=parts), body)
        assert response.status_code == 403, name
        assert "reload the page" in response.content.decode(), name
    assert rows() == before


def rows() -> list[tuple[str, int]]:
    """How many rows there are of each kind, and what every run is at."""
    from django.apps import apps

    counts = [
        (model._meta.label, model._default_manager.count())
        for model in apps.get_app_config("runs").get_models()
    ]
    statuses = Run.objects.values_list("status", "cancel_requested_at", "priority")
    return [*counts, (str(sorted(map(str, statuses))), 0)]


def test_a_thing_of_others_looks_as_if_it_were_not_there(world: World) -> None:
    """Also to members with every right in their own account, and word for word."""
    outsider = next(person for person in people(world) if person.who == "outsider")
    for name, page in PAGES.items():
        if not page.owned or not page.names:
            continue
        texts = []
        for kind in ("theirs", "nobody's"):
            parts = {
                part: value(world, told)
                if kind == "theirs" or told.startswith("=")
                else value(world, told)[::-1]
                for part, told in page.names.items()
            }
            client = outsider.browser
            address = reverse(name, kwargs=parts)
            ask_page = client.get if page.get else client.post
            response = ask_page(address)
            assert response.status_code == 404, (name, kind)
            text = re.sub(r'(X-CSRFToken": |value=)"[^"]+"', "", response.content.decode())
            for part in parts.values():
                if part != "0":
                    text = text.replace(part, "…")
            texts.append(text)
        assert texts[0] == texts[1], name


def test_the_panel_is_for_root_alone(world: World) -> None:
    from runs.admin.site import site

    addresses = [reverse("admin:index")]
    for model in site._registry:
        base = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        addresses += [reverse(f"{base}_changelist"), reverse(f"{base}_add")]
        row = model._default_manager.first()
        if row is not None:
            addresses.append(reverse(f"{base}_change", args=[row.pk]))
    assert len(addresses) > 30
    for person in people(world):
        client = person.browser
        for address in addresses:
            response = client.get(address)
            case = (person.who, address, response.status_code)
            if person.who == "root":
                # What nobody may add by hand is refused to root as well.
                assert response.status_code in ({200, 403} if "/add/" in address else {200}), case
            else:
                assert response.status_code in {302, 403}, case
                assert MARKER not in response.content.decode()
