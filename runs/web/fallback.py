"""The answer to an address that no page has."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.templatetags.static import static
from django.urls import resolve

from runs.web.access import public


@public
def unknown_address(request: HttpRequest, rest: str) -> HttpResponse:
    """Add a forgotten slash when a page is there, else say that nothing is.

    Browsers ask for `favicon.ico` beside answers that are no pages of ours: it leads to the icon.
    """
    if rest == "favicon.ico":
        return redirect(static("img/favicon.svg"))
    if rest and not rest.endswith("/") and request.method in {"GET", "HEAD"}:
        with_slash = resolve(f"{request.path_info}/")
        if with_slash.url_name != "unknown-address":
            query = request.META.get("QUERY_STRING", "")
            return redirect(f"{request.path}/" + (f"?{query}" if query else ""))
    raise Http404
