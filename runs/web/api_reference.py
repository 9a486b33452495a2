"""The page of the API: every operation with its shapes and examples, and a form to try it."""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import resolve, reverse
from django.views.decorators.http import require_safe

from runs.web.access import PersonRequest, signed_in
from runs.web.addresses import public_base
from runs.web.api_document import count_of, read_document


@signed_in
@require_safe
def api_reference(request: PersonRequest) -> HttpResponse:
    """All operations, from the document that programs read; no query of its own."""
    sections = read_document(_document(request))
    context = {
        "sections": sections,
        "operation_count": count_of(sections),
        "base": public_base(request),
    }
    return render(request, "api_reference/page.html", context)


def _document(request: PersonRequest) -> str:
    """The OpenAPI document, as it stands at its address: pages and API do not import each other."""
    view = resolve(reverse("openapi")).func
    text: str = view(request).content.decode()
    return text
