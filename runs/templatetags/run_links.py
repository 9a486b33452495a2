"""Sentences that name runs, with the names as links."""

from __future__ import annotations

import re
from typing import Any

from django import template
from django.urls import reverse
from django.utils.safestring import SafeString, mark_safe

from runs.templatetags.human import coded

register = template.Library()

# As `runs.domain.ids.new_run_id` makes them; in backticks or not.
_NAMED = re.compile(r"\b([Rr]un )(?:<code>)?([0-9a-hjkmnp-tv-z]{20})\b(?:</code>)?", re.ASCII)


@register.filter
def linked(value: Any) -> SafeString:
    """Text as `coded` writes it, each run that it names by its id being a link to that run."""
    return mark_safe(_NAMED.sub(_link, coded(value)))


def _link(found: re.Match[str]) -> str:
    address = reverse("run", args=[found[2]])
    return f'{found[1]}<a class="mono" href="{address}">{found[2]}</a>'
