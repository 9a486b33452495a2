"""What the client knows and this release does not have: empty lists, and a clear refusal.

Marketplace, single sign-on and community apps have no address at all: 404 as any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ninja import Router

from runs.api.auth import ApiRequest, Key
from runs.api.pages import PageQuery
from runs.api.v1.finding import find_application
from runs.api.v1.schemas.base import FAILURES
from runs.api.v1.schemas.elsewhere import Nothing
from runs.domain.errors import FieldsInvalid, NotFound

router = Router(tags=["not in this release"])


@dataclass(frozen=True)
class Absent:
    """Things of an application that there are none of. `bare`: their unpaged list is an array."""

    path: str
    noun: str
    bare: bool = True
    parts: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Its name at the begin of a sentence."""
        return self.noun[:1].upper() + self.noun[1:]


ABSENT = (
    Absent("experiments/inputsets", "input set"),
    Absent("experiments/batch", "batch experiment", parts=("runs", "metadata")),
    Absent("experiments/acceptance", "acceptance test"),
    Absent("ensembles", "ensemble", bare=False),
    Absent("experiments/shadow", "shadow test", parts=("runs", "metadata", "start", "stop")),
    Absent(
        "experiments/switchback",
        "switchback test",
        bare=False,
        parts=("runs", "metadata", "start", "stop"),
    ),
)
_METHODS = ["GET", "PUT", "PATCH", "DELETE"]


def _add(absent: Absent) -> None:
    name = absent.noun.replace(" ", "_")
    root = f"applications/{{app_id}}/{absent.path}"

    @router.get(
        root,
        auth=Key("view"),
        response={200: Nothing | list[Any], **FAILURES},
        operation_id=f"list_{name}s",
        summary=f"List {absent.noun}s: there are none in this release",
    )
    def list_none(request: ApiRequest, app_id: str, paging: PageQuery) -> Any:
        find_application(request, app_id)
        return [] if absent.bare and not paging.pagereturn else {"items": []}

    @router.post(
        root,
        auth=Key("view"),
        response=FAILURES,
        operation_id=f"create_{name}",
        summary=f"Refused: {absent.noun}s are not part of this release",
    )
    def create(request: ApiRequest, app_id: str) -> Any:
        find_application(request, app_id)
        raise _refusal(f"{absent.title}s")

    def read(request: ApiRequest, app_id: str, thing_id: str) -> Any:
        find_application(request, app_id)
        raise NotFound(
            f"{absent.title} '{thing_id[:128]}' does not exist in application '{app_id}':"
            f" {absent.noun}s are not part of this release."
        )

    for part in ("", *absent.parts):
        router.api_operation(
            _METHODS,
            f"{root}/{{thing_id}}" + (f"/{part}" if part else ""),
            auth=Key("view"),
            response=FAILURES,
            include_in_schema=False,
        )(read)


for _absent in ABSENT:
    _add(_absent)


@router.get("integrations", auth=Key("view"), response={200: Nothing, **FAILURES})
def list_integrations(request: ApiRequest) -> Any:
    """The integrations with outside platforms: there are none in this release."""
    return {"items": []}


@router.post("integrations", auth=Key("view"), response=FAILURES)
def create_integration(request: ApiRequest) -> Any:
    """Refused: integrations are not part of this release."""
    raise _refusal("Integrations")


@router.api_operation(
    ["GET", "PUT", "DELETE"],
    "integrations/{integration_id}",
    auth=Key("view"),
    response=FAILURES,
    include_in_schema=False,
)
def integration(request: ApiRequest, integration_id: str) -> Any:
    """Not there: integrations are not part of this release."""
    raise NotFound(
        f"Integration '{integration_id[:128]}' does not exist: integrations are not part of this"
        " release."
    )


def _refusal(things: str) -> FieldsInvalid:
    return FieldsInvalid(
        {}, f"{things} are not part of this release of Runsite. docs/api.md lists what is."
    )
