"""What is done on a page, as a request that a program sends: the values, and how they are written.

The texts are made in `requests_curl` and `requests_client`. No text of a person is ever more than
one quoted word in them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from runs.domain.content import is_folder_format

NONE, MANAGED, OF_RUN, INLINE, FILE = "none", "managed", "run", "inline", "file"
"""Where the input of a request comes from."""
LONGEST_INLINE = 2000
"""Characters of an input that is small enough to stand in the request itself."""
LINE = 72
"""Characters of a line, about."""


@dataclass(frozen=True)
class InputSource:
    """The input of a run. `value` is an id, a JSON value or a file name, as `kind` says.

    `content_format` is that of the input, `large` that it cannot be sent within a request.
    """

    kind: str = NONE
    value: Any = None
    content_format: str = "json"
    large: bool = False

    @property
    def is_folder(self) -> bool:
        """Whether it is sent as an archive."""
        return is_folder_format(self.content_format)

    @property
    def is_json(self) -> bool:
        """Whether it can be a part of the body of a request."""
        return self.content_format == "json"


@dataclass(frozen=True)
class RunRequest:
    """A run to submit. Empty fields are not sent; `usual_priority` holds where none is asked for.

    `output_format` is the one that the application has; `limits` are by their names in docs/api.md.
    """

    base: str
    application_id: str
    instance_id: str = ""
    input: InputSource = InputSource()
    output_format: str = "json"
    options: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    description: str = ""
    priority: int | None = None
    usual_priority: int = 6
    execution_class: str = ""
    secrets_collection_id: str = ""
    time_limit_s: int | None = None
    limits: Mapping[str, Any] = field(default_factory=dict)
    waits_for: Sequence[str] = ()
    wait_policy: str = ""

    @property
    def path(self) -> str:
        """The path of the runs of the application."""
        return f"v1/applications/{quote(self.application_id, safe='')}"

    @property
    def query(self) -> str:
        """What stands behind the path of a submit."""
        return f"?{urlencode({'instance_id': self.instance_id})}" if self.instance_id else ""

    @property
    def configuration(self) -> dict[str, Any]:
        """How the run is executed: only what was chosen."""
        chosen: dict[str, Any] = {
            "execution_class": self.execution_class,
            "secrets_collection_id": self.secrets_collection_id,
        }
        found = {name: value for name, value in chosen.items() if value}
        if self.priority is not None:
            found["queuing"] = {"priority": self.priority}
        return found

    @property
    def ours(self) -> dict[str, Any]:
        """What we add to the contract, so that the client has no words for it."""
        chosen: dict[str, Any] = {
            "time_limit_s": self.time_limit_s,
            "limits": dict(self.limits),
            "waits_for": list(self.waits_for),
            "wait_policy": self.wait_policy if self.waits_for else "",
        }
        return {name: value for name, value in chosen.items() if value}

    @property
    def words(self) -> dict[str, Any]:
        """The body of the request without its input."""
        chosen: dict[str, Any] = {
            "name": self.name,
            "description": self.description,
            "options": dict(self.options),
            "configuration": self.configuration,
        }
        return {name: value for name, value in chosen.items() if value} | self.ours


@dataclass(frozen=True)
class ListRequest:
    """The runs of one application; `application_id` is empty where none was chosen.

    `example_id` then stands for any.
    """

    base: str
    application_id: str = ""
    example_id: str = "my-application"
    statuses: Sequence[str] = ()
    who: str = ""


@dataclass(frozen=True)
class ReadRequest:
    """State, result and log of one run."""

    base: str
    application_id: str
    run_id: str
    output_format: str = "json"

    @property
    def path(self) -> str:
        """The path of the run."""
        application = quote(self.application_id, safe="")
        return f"v1/applications/{application}/runs/{quote(self.run_id, safe='')}"


@dataclass(frozen=True)
class Snippet:
    """One text to copy, and what it does."""

    title: str
    text: str


@dataclass(frozen=True)
class Language:
    """The snippets in one language; `key` is `curl`, `python` or `cli`.

    `note` is what to know before, `missing` names what this language cannot say.
    """

    key: str
    label: str
    snippets: tuple[Snippet, ...]
    note: str = ""
    missing: tuple[str, ...] = ()


def small_json(text: str) -> Any:
    """The JSON value that a text is when it is small enough to be shown in a request; else None."""
    if not text.strip() or len(text) > LONGEST_INLINE:
        return None
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and _is_finite(value) else None


def json_text(value: Any) -> str:
    """JSON for people: short parts on one line, and escaped where characters do not show."""
    text = _lines_of(value, "", plain=False)
    shown = all(letter.isprintable() or letter == "\n" for letter in text)
    return text if shown else _lines_of(value, "", plain=True)


def json_line(value: Any, *, plain: bool = True) -> str:
    """JSON on one line; with `plain` in ASCII."""
    return json.dumps(value, ensure_ascii=plain, allow_nan=False)


def _lines_of(value: Any, pad: str, *, plain: bool) -> str:
    flat = json_line(value, plain=plain)
    if len(flat) + len(pad) <= LINE or not isinstance(value, dict | list) or not value:
        return flat
    inner = f"{pad}  "
    if isinstance(value, dict):
        parts = [
            f"{inner}{json_line(key, plain=plain)}: {_lines_of(one, inner, plain=plain)}"
            for key, one in value.items()
        ]
    else:
        parts = [inner + _lines_of(one, inner, plain=plain) for one in value]
    opened, closed = "{}" if isinstance(value, dict) else "[]"
    return f"{opened}\n" + ",\n".join(parts) + f"\n{pad}{closed}"


def file_name_of(source: InputSource) -> str:
    """The name of the file or folder that a snippet reads: as it was sent, else a usual one."""
    name = str(source.value or "") if source.kind == FILE else ""
    plain = name.isprintable() and "/" not in name and "\\" not in name and len(name) <= 100
    if name and plain and not name.startswith((".", "-")) and not source.is_folder:
        return name
    if source.is_folder:
        return "inputs"
    return "input.json" if source.is_json else "input.txt"


def _refuse(name: str) -> float:
    raise ValueError(name)


def _is_finite(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    if isinstance(value, list):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)
