"""The rules of the house that can be looked at: floors, access, first lines."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from runs.domain.roles import PERMISSIONS

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(
    path
    for room in ("runs", "runsite", "bench", "tests")
    for path in (ROOT / room).rglob("*.py")
    if "migrations" not in path.parts or path.name == "__init__.py"
)


def patterns(resolver: URLResolver, before: str = "") -> Iterator[tuple[str, Any]]:
    """Every address with its view."""
    for entry in resolver.url_patterns:
        address = before + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from patterns(entry, address)
        elif isinstance(entry, URLPattern):
            yield address, entry.callback


ADDRESSES = [
    (address, view)
    for address, view in patterns(get_resolver())
    # Of the panel, see test_the_admin_panel_lets_nobody_in; of the API, its own tests: a key.
    if not address.startswith(("admin/", "v1/"))
]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_no_import_breaks_the_floors():
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_view_has_an_access_rule():
    rules = {address: getattr(view, "access", None) for address, view in ADDRESSES}
    without = [address for address, rule in rules.items() if rule is None]
    assert without == [], "put @public, @signed_in or @member(…) on each of these views"
    known = {"public", "signed in", *PERMISSIONS}
    assert {address: rule for address, rule in rules.items() if rule not in known} == {}


def test_there_are_addresses_to_look_at():
    assert len(ADDRESSES) >= 12


@pytest.mark.django_db
def test_the_admin_panel_lets_nobody_in(client):
    from django.urls import reverse

    from runs.admin.site import site
    from tests.factories import make_account, make_member

    addresses = ["/admin/"] + [
        reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        for model in site._registry
    ]
    for address in addresses:
        assert client.get(address).status_code == 302, address
    client.force_login(make_member(make_account(), "admin"))
    for address in addresses:
        assert client.get(address, follow=True).status_code == 403, address


def test_every_module_says_in_its_first_line_what_it_is_for():
    wrong = []
    for path in MODULES:
        source = path.read_text(encoding="utf-8")
        text = ast.get_docstring(ast.parse(source)) or ""
        first = source.removeprefix("#!/usr/bin/env python3").lstrip()
        says = text.split("\n")[0].endswith((".", "…")) or path.is_relative_to(ROOT / "tests")
        if not first.startswith('"""') or not says:
            wrong.append(name_of(path))
    assert wrong == [], "begin each with a docstring whose first line is a sentence"


def test_no_module_is_named_for_nothing():
    empty_names = {"utils", "util", "helpers", "common", "misc"}
    assert [name_of(path) for path in MODULES if path.stem in empty_names] == []
