"""The addresses of all pages, one section for each noun."""

from __future__ import annotations

from django.urls import path, re_path

from runs.web import accounts, fallback

urlpatterns = [
    # runs
    # applications
    # launch
    # queue and workers
    # home and health
    # accounts
    path("sign-in/", accounts.sign_in, name="sign-in"),
    path("sign-in/link/<str:secret>/", accounts.sign_in_link, name="sign-in-link"),
    path("sign-out/", accounts.sign_out, name="sign-out"),
    path("account/", accounts.account_switch, name="account-switch"),
    path("settings/password/", accounts.password, name="password"),
    path("settings/keys/", accounts.keys, name="keys"),
    path("settings/keys/revoke/", accounts.key_revoke, name="key-revoke"),
    path("settings/members/", accounts.members, name="members"),
    path("settings/members/role/", accounts.member_role, name="member-role"),
    path("settings/members/remove/", accounts.member_remove, name="member-remove"),
    path("settings/members/link/", accounts.member_link, name="member-link"),
    # names that the menu needs, until their sections above have them
    path("", fallback.page_to_come, name="home"),
    path("applications/", fallback.page_to_come, name="applications"),
    path("runs/", fallback.page_to_come, name="runs"),
    path("queue/", fallback.page_to_come, name="queue"),
    path("workers/", fallback.page_to_come, name="workers"),
    # everything else: the last line
    re_path(r"^(?P<rest>.*)$", fallback.unknown_address, name="unknown-address"),
]
