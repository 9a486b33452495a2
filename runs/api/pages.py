"""Lists in the two shapes of the contract: pages with a cursor, or everything at once."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from django.db.models import Model, QuerySet
from ninja import Query, Schema
from pydantic import Field

from runs.domain.errors import FieldsInvalid

PAGE_SIZE = 100
MOST_UNPAGED = 10_000
"""An unpaged list ends here; of runs there may be a million."""

Row = TypeVar("Row", bound=Model)


class Paging(Schema):
    """What a list is asked for."""

    pagereturn: bool = Field(False, description="Answer one page, as an object.")
    pagetoken: str = Field("", description="Where to go on: `next_page_token` of the page before.")


PageQuery = Query[Paging]


def answer_list(
    rows: QuerySet[Row],
    paging: Paging,
    show: Callable[[list[Row]], Iterable[Any]],
    *,
    newest_first: bool = False,
    name: str = "items",
    bare: bool = True,
) -> Any:
    """The rows as the client asked for them; `show` makes the items of a page of rows.

    Paged: `{name: […], "next_page_token": …}`. Else a bare list, or the object where `bare` is
    False. Rows are in the order of their creation, or `newest_first`; a cursor stays right while
    new ones appear. One query and those of `show`.
    """
    size = PAGE_SIZE if paging.pagereturn else MOST_UNPAGED
    ordered = rows.order_by("-pk" if newest_first else "pk")
    if paging.pagetoken:
        after = _read_token(paging.pagetoken)
        ordered = ordered.filter(**{"pk__lt" if newest_first else "pk__gt": after})
    found = list(ordered[: size + 1])
    items = list(show(found[:size]))
    if bare and not paging.pagereturn:
        return items
    answer: dict[str, Any] = {name: items}
    if len(found) > size:
        answer["next_page_token"] = _make_token(found[size - 1].pk)
    return answer


def _make_token(pk: int) -> str:
    return base64.urlsafe_b64encode(f"after {pk}".encode()).decode().rstrip("=")


def _read_token(token: str) -> int:
    try:
        padded = token + "=" * (-len(token) % 4)
        word, number = base64.urlsafe_b64decode(padded.encode("ascii")).decode("ascii").split(" ")
        if word != "after" or not number.isdecimal() or len(number) > 18:
            raise ValueError(token)
        return int(number)
    except (ValueError, binascii.Error, UnicodeError) as error:
        raise FieldsInvalid(
            {"pagetoken": ["This is no page token of ours. Begin the list anew."]}
        ) from error
