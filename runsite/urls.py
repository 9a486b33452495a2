"""All addresses: admin panel, API and pages."""

from __future__ import annotations

from importlib.util import find_spec

from django.urls import URLPattern, URLResolver, include, path

from runs.admin.site import site

handler400 = "runs.web.errors.bad_request"
handler403 = "runs.web.errors.permission_denied"
handler404 = "runs.web.errors.not_found"
handler500 = "runs.web.errors.server_error"

urlpatterns: list[URLPattern | URLResolver] = [path("admin/", site.urls)]
# Pages come last: they end with the page for an unknown address.
for _room in ("api", "web"):
    if find_spec(f"runs.{_room}.urls"):
        urlpatterns.append(path("", include(f"runs.{_room}.urls")))
