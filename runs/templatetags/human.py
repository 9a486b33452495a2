"""Values as people read them: sizes, durations, instants, numbers."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from django import template
from django.template.context import Context
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe

register = template.Library()

NOTHING = "\N{EN DASH}"
_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB")
_CODED = re.compile(r"`([^`\n]+)`")


@register.filter
def filesize(value: Any) -> str:
    """Bytes in units of 1024: `0 B`, `999 B`, `1.2 KiB`, `340 MiB`."""
    number = _number(value)
    if number is None:
        return NOTHING
    sign, amount = ("-", -number) if number < 0 else ("", number)
    if amount < 1024:
        return f"{sign}{amount:.0f} B"
    step = 0
    amount /= 1024
    while amount >= 1023.5 and step + 1 < len(_UNITS):
        amount /= 1024
        step += 1
    digits = 1 if amount < 99.95 else 0
    return f"{sign}{amount:.{digits}f} {_UNITS[step]}"


@register.filter
def size(value: Any) -> SafeString | str:
    """Bytes as `filesize`, with the exact number in the title."""
    number = _number(value)
    if number is None:
        return NOTHING
    exact = "1 byte" if number == 1 else f"{number:,.0f} bytes"
    return format_html(
        '<data value="{}" title="{}">{}</data>', f"{number:.0f}", exact, filesize(number)
    )


@register.filter
def duration(value: Any) -> str:
    """Seconds or a timedelta: `3 ms`, `1.2 s`, `3 min 4 s`, `2 h 5 min`, `3 d 4 h`."""
    seconds = _number(value.total_seconds() if isinstance(value, timedelta) else value)
    if seconds is None:
        return NOTHING
    if seconds < 0:
        return f"-{duration(-seconds)}"
    if seconds < 0.0005:
        return "0 s"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit, smaller, length, part in (
        ("min", "s", 60, 1),
        ("h", "min", 3600, 60),
        ("d", "h", 86400, 3600),
    ):
        if whole < length * (24 if unit == "h" else 60) or unit == "d":
            first, rest = divmod(whole, length)
            return f"{first} {unit} {rest // part} {smaller}"
    raise AssertionError("days take every length")


@register.filter
def when(value: datetime | None) -> SafeString | str:
    """An instant as a `<time>` that a script turns into "3 min ago"; exact without script."""
    if value is None:
        return NOTHING
    exact = value.astimezone(UTC)
    return format_html(
        '<time data-relative datetime="{}">{}</time>',
        exact.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        f"{exact:%Y-%m-%d %H:%M:%S} UTC",
    )


@register.filter
def iso(value: datetime | None) -> str:
    """An instant as `2026-11-21T14:02:03.120Z`, for attributes."""
    if value is None:
        return ""
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@register.filter
def number(value: Any) -> str:
    """A number with separators and no needless digits: `1,204`, `0.125`, `1.5e-09`."""
    amount = _number(value)
    if amount is None:
        return NOTHING
    if amount == int(amount) and abs(amount) < 1e15:
        return f"{int(amount):,}"
    if abs(amount) >= 1e15 or abs(amount) < 1e-4:
        return f"{amount:.6g}"
    text = f"{amount:,.6g}" if abs(amount) < 1000 else f"{amount:,.2f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


@register.filter
def percent(value: Any) -> str:
    """A share of 1 in per cent: `0.5` → `50 %`."""
    share = _number(value)
    return NOTHING if share is None else f"{share * 100:.0f} %"


@register.filter
def coded(value: Any) -> SafeString:
    """Text with what stands in backticks as `<code>`; everything else is escaped."""
    return mark_safe(_CODED.sub(r"<code>\1</code>", str(escape("" if value is None else value))))


@register.simple_tag(takes_context=True)
def query_string(context: Context, **changes: Any) -> str:
    """The present query with `changes`; None or an empty text takes a name away.

    `{% query_string status="failed" after=None %}` → `?q=vrp&status=failed`; a list gives the
    name several times. Escaped when it is printed.
    """
    request = context.get("request")
    query = request.GET.copy() if request is not None else None
    if query is None:
        from django.http import QueryDict  # noqa: TID251 (a mapping, no request or response)

        query = QueryDict(mutable=True)
    for name, value in changes.items():
        if value is None or value == "":
            query.pop(name, None)
        elif isinstance(value, list | tuple):
            query.setlist(name, [str(each) for each in value])
        else:
            query[name] = str(value)
    return f"?{query.urlencode()}"


def _number(value: Any) -> float | None:
    if value is None or value == "" or isinstance(value, bool):
        return None
    try:
        amount = float(value)
    except (TypeError, ValueError):
        return None
    return None if amount != amount or amount in (float("inf"), float("-inf")) else amount
